// Which recorded stream a request gets, and when each of its pieces is due. Pure; the recording's own times, from the
// request's arrival on, divided by a speed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/serve/recording.h"

namespace sluice::engine {

class Replay {
 public:
  /// REQUIRES: speed > 0.
  Replay(Recording recording, double speed);

  /// The k-th request of a method to a path gets stream k modulo n of the n recorded so. Null: there is none.
  const RecordedStream* next(std::string_view method, const std::string& path);
  /// The methods that the path's streams were asked for with: "GET, POST"; empty: there are none.
  std::string methods_of(const std::string& path) const;

  const std::vector<std::string>& models() const { return recording_.models; }
  std::chrono::nanoseconds after(std::int64_t us) const {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(us) * 1000 / speed_));
  }
  /// Of all replays so far: a name for one of them.
  std::uint64_t count() const { return count_; }

 private:
  struct Turn {
    std::vector<std::size_t> streams;
    std::size_t next = 0;
  };
  Recording recording_;
  double speed_;
  std::unordered_map<std::string, std::map<std::string, Turn, std::less<>>> paths_;  // by path, then by method
  std::uint64_t count_ = 0;
};

/// One stream being replayed: what is due, step by step. Step 0 is the head, the last one the end.
class ReplayedStream {
 public:
  explicit ReplayedStream(const RecordedStream& stream) : stream_(&stream) {}

  const RecordedStream& stream() const { return *stream_; }
  enum class Step : std::uint8_t { head, piece, end };
  Step step() const {
    if (next_ == 0) return Step::head;
    return next_ <= stream_->pieces.size() ? Step::piece : Step::end;
  }
  std::int64_t due_us() const {
    if (next_ == 0) return stream_->head_us;
    return next_ <= stream_->pieces.size() ? stream_->pieces[next_ - 1].us : stream_->end_us;
  }
  /// REQUIRES: step() == Step::piece.
  std::string_view piece() const {
    const std::size_t from = next_ == 1 ? 0 : stream_->pieces[next_ - 2].end;
    return std::string_view(stream_->body).substr(from, stream_->pieces[next_ - 1].end - from);
  }
  std::uint32_t piece_index() const { return static_cast<std::uint32_t>(next_ - 1); }
  void advance() { ++next_; }

 private:
  const RecordedStream* stream_;
  std::size_t next_ = 0;
};

}  // namespace sluice::engine
