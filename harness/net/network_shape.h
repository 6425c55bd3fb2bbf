// A network that is slower than the real one, as a scenario asks for: bandwidth and latency of one connection.
//
// Bandwidth by reading and writing a little at a time, so that TCP's own window holds the server back (the receive
// buffer is small too). Latency by arithmetic where it can be: a request leaves late, what comes back counts as
// received that much later than it was, and the virtual user goes on only then, so that the gaps of a stream stay as
// they are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "harness/base/time.h"

namespace sluice {

struct NetworkShape {
  std::uint64_t download_bytes_per_s = 0, upload_bytes_per_s = 0;  // 0: as fast as it goes
  Nanoseconds latency{};                                           // one way

  bool any() const { return download_bytes_per_s > 0 || upload_bytes_per_s > 0 || latency.count() > 0; }

  /// What is read or written at once: 20 ms' worth, within bounds.
  static std::size_t piece(std::uint64_t bytes_per_s) {
    return static_cast<std::size_t>(std::clamp<std::uint64_t>(bytes_per_s / 50, 256, std::uint64_t{64} << 10));
  }
  /// Of the kernel, which doubles it: a tenth of a second's worth, within bounds. 0: the system's own.
  int receive_buffer() const {
    if (download_bytes_per_s == 0) return 0;
    return static_cast<int>(std::clamp<std::uint64_t>(download_bytes_per_s / 10, 4096, std::uint64_t{256} << 10));
  }
};

/// When the next byte may go, at a given speed.
class Pace {
 public:
  explicit Pace(std::uint64_t bytes_per_s) : bytes_per_s_(bytes_per_s) {}
  /// Until when so many bytes keep the line busy, the first of them at `at` or when those before have gone.
  Instant after(std::size_t bytes, Instant at) {
    const auto busy = static_cast<Instant>(static_cast<double>(bytes) * 1e9 / static_cast<double>(bytes_per_s_));
    free_at_ = std::max(free_at_, at) + busy;
    return free_at_;
  }

 private:
  std::uint64_t bytes_per_s_;
  Instant free_at_ = 0;
};

}  // namespace sluice
