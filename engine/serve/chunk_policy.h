// How tokens' pieces of text become the content frames of a stream, where a request or the server asks for fewer.
//
// Text is held back until min_chars are there, or max_delay has passed since the first that is held, or the stream
// ends; no frame has more than max_chars. Characters are code points. The text stays what it was, and a token of
// Request::logprobs leaves with the frame that carries the end of its text. Pure: time is an argument.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/token_trail.h"

namespace sluice::engine {

struct ChunkPolicy {
  static constexpr std::uint32_t chars_max = 1'000'000;
  static constexpr std::chrono::milliseconds delay_max{60'000};

  std::uint32_t min_chars = 1;  // 1: nothing waits for more
  std::uint32_t max_chars = chars_max;
  std::optional<std::chrono::milliseconds> max_delay;  // empty: held for as long as it takes; else at least 1

  /// False: every piece leaves as it comes.
  bool changes_frames() const { return min_chars > 1 || max_chars < chars_max; }
};

/// From a command line: min_chars=20,max_chars=80,max_delay=200ms, each of which may be missing.
Result<ChunkPolicy> parse_chunk_policy(std::string_view text);
/// A sentence when the values do not go together or are out of bounds; else empty.
std::string problem_of(const ChunkPolicy& policy);

class ChunkMerger {
 public:
  struct Frame {
    std::string text;
    std::vector<OutputToken> tokens;
  };

  /// REQUIRES: problem_of(policy) is empty.
  explicit ChunkMerger(ChunkPolicy policy) : policy_(policy) {}

  /// A piece of the text: whole code points, and the tokens whose text ends in it. Not after finish().
  void push(std::string_view text, std::vector<OutputToken>&& tokens, Clock::time_point now);
  /// The text has ended: what is held may leave.
  void finish() { finished_ = true; }
  /// The next frame that may leave, until there is none.
  std::optional<Frame> next(Clock::time_point now);
  /// When what is held must leave; max() when that is not for the clock to say.
  Clock::time_point due() const;

 private:
  bool holds() const { return chars_ > 0 || !tokens_.empty(); }

  ChunkPolicy policy_;
  std::string text_;
  std::uint64_t chars_ = 0;  // of text_
  std::uint64_t left_ = 0;   // characters that have left
  std::deque<OutputToken> tokens_;
  Clock::time_point since_, pushed_at_;  // of the first that is held, and of the last
  bool finished_ = false;
};

}  // namespace sluice::engine
