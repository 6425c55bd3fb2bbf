#include "harness/metrics/series.h"

#include <algorithm>

namespace sluice {

void SeriesInterval::merge(const SeriesInterval& other) {
  vus_change += other.vus_change;
  requests += other.requests;
  failures += other.failures;
  output_tokens += other.output_tokens;
  duration.merge(other.duration);
  ttft.merge(other.ttft);
  gap.merge(other.gap);
}

SeriesInterval& Series::grow_to(Instant at) {
  const auto since = static_cast<std::uint64_t>(std::max<Instant>(at - origin_, 0));
  while (since / interval_ns_ >= kPointsMax) halve();
  const std::size_t index = since / interval_ns_;
  if (index >= intervals_.size()) intervals_.resize(index + 1);
  return intervals_[index];
}

void Series::halve() {
  for (std::size_t i = 0; i < intervals_.size(); ++i) {
    if (i == 0) continue;
    if (i % 2 == 1)
      intervals_[i / 2].merge(intervals_[i]);
    else
      intervals_[i / 2] = std::move(intervals_[i]);
  }
  intervals_.resize((intervals_.size() + 1) / 2);
  interval_ns_ *= 2;
}

void Series::merge(const Series& other) {
  while (interval_ns_ < other.interval_ns_) halve();
  const std::uint64_t ratio = interval_ns_ / other.interval_ns_;  // both are powers of two times a second
  const std::size_t needed = (other.intervals_.size() + ratio - 1) / ratio;
  if (intervals_.size() < needed) intervals_.resize(needed);
  for (std::size_t i = 0; i < other.intervals_.size(); ++i) intervals_[i / ratio].merge(other.intervals_[i]);
}

}  // namespace sluice
