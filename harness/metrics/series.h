// A run over time: one point an interval, a second at first.
//
// When a run outgrows kPointsMax points, neighbours are joined and the interval doubles; so memory is bounded for a run
// of any length, and merging is exact whatever the intervals were. VUs are kept as changes, which add up over threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/base/time.h"
#include "harness/metrics/histogram.h"

namespace sluice {

struct SeriesInterval {
  std::int64_t vus_change = 0;
  std::uint64_t requests = 0, failures = 0, output_tokens = 0;
  IntervalHistogram duration, ttft, gap;  // in units of kSeriesTick

  void merge(const SeriesInterval& other);
  bool operator==(const SeriesInterval&) const = default;
};

class Series {
 public:
  static constexpr std::size_t kPointsMax = 900;
  static constexpr Nanoseconds kTick = std::chrono::microseconds(1);

  explicit Series(Instant origin) : origin_(origin) {}

  /// The interval in which `at` lies; what is before the origin counts as the first. Good until the next call.
  SeriesInterval& at(Instant at) {
    const Instant since = at > origin_ ? at - origin_ : 0;
    const auto index = static_cast<std::uint64_t>(since) / interval_ns_;
    return index < intervals_.size() ? intervals_[index] : grow_to(at);
  }
  void merge(const Series& other);

  Instant origin() const { return origin_; }
  Nanoseconds interval() const { return Nanoseconds(static_cast<std::int64_t>(interval_ns_)); }
  const std::vector<SeriesInterval>& intervals() const { return intervals_; }

  static std::uint64_t ticks(Nanoseconds time) {
    return time.count() <= 0 ? 0 : static_cast<std::uint64_t>(time.count() / kTick.count());
  }

 private:
  SeriesInterval& grow_to(Instant at);
  void halve();

  Instant origin_;
  std::uint64_t interval_ns_ = 1'000'000'000;
  std::vector<SeriesInterval> intervals_;
};

}  // namespace sluice
