// When the iterations of an open model are meant to begin, as offsets from the scenario's start.
//
// Pure arithmetic: no clock, no waiting. Offsets never decrease; the same plan and seed give the same offsets, however
// many threads share them out. Each offset is computed from the arrival's number, so that nothing adds up over hours.
//
// k6's semantics: at a constant rate arrival k (from 0) is due at k periods, before the end; on a ramp arrival k (from
// 1) when the area under the rate's curve reaches k. poisson and gamma draw the area between two arrivals: gamma
// distributed with mean 1 and shape `burstiness` (vLLM's bench names it so), exponential when that is 1. A trace's
// arrival k is due when its row says.
#pragma once

#include <cstdint>
#include <optional>
#include <random>

#include "harness/base/time.h"
#include "harness/scenario/plan.h"

namespace sluice {

/// What it is made of must outlive it.
class Arrivals {
 public:
  Arrivals(const ArrivalRate& rate, std::uint64_t seed);
  explicit Arrivals(const TraceReplay& replay);

  /// The next one; none after the last.
  std::optional<Nanoseconds> next();

 private:
  __extension__ using Wide = __int128;
  std::optional<Nanoseconds> next_at_rate();
  double draw_unit();  // in (0, 1)
  double draw_gap();
  double draw_normal();

  const TraceReplay* replay_ = nullptr;  // either this
  const ArrivalRate* rate_ = nullptr;    // or this
  std::uint64_t number_ = 0;             // of the next arrival
  double drawn_area_ = 0;                // poisson, gamma: arrivals' worth of area so far
  std::mt19937_64 random_;               // not the library's distributions: their results differ between libraries
  std::optional<double> spare_normal_;
  // The stage in which the last arrival fell. Areas: twice millionths of arrivals x nanoseconds, exact.
  std::size_t stage_ = 0;
  Wide area_before_ = 0;
  Nanoseconds time_before_{};
  std::uint64_t from_micro_ = 0;
};

/// How many there will be; none where that is drawn.
std::optional<std::uint64_t> arrivals_planned(const ArrivalRate& rate);

}  // namespace sluice
