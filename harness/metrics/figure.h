// Samples of one figure, over a whole run or over a window of it.
#pragma once

#include <cstdint>

#include "harness/base/time.h"
#include "harness/metrics/histogram.h"

namespace sluice {

/// Which members are used follows from the metric's kind. Adding figures is exact in any order.
template <class Values>
struct BasicFigure {
  std::uint64_t samples = 0;            // how often it was observed, zeros included
  std::uint64_t sum = 0;                // counters, and gauges made of a count
  std::uint64_t passes = 0, fails = 0;  // rates, and gauges made of a rate
  Values histogram;                     // trends, in ticks (see ticks_per_unit)
  Instant last_at = kNever;             // gauges of the file's own: the value set last, and when
  double last = 0;

  void merge(const BasicFigure& other) {
    samples += other.samples;
    sum += other.sum;
    passes += other.passes;
    fails += other.fails;
    histogram.merge(other.histogram);
    set(other.last, other.last_at);
  }
  /// The latest wins; of two at the same instant the greater, so that order does not matter.
  void set(double value, Instant at) {
    if (at == kNever || at < last_at || (at == last_at && value <= last)) return;
    last = value;
    last_at = at;
  }
};

using Figure = BasicFigure<Histogram>;
/// As exact as the whole run's; its counters are half as wide.
using WindowFigure = BasicFigure<CompactHistogram>;

}  // namespace sluice
