// Has the load become stable? The rule of `stable:`, as in NVIDIA's perf_analyzer: in so many windows in a row each
// value lies within a tolerance of their mean. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "harness/base/time.h"
#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "harness/scenario/plan.h"
#include "reports/summary.h"

namespace sluice {

/// Of one metric, window by window; none: no sample.
using WindowValues = std::vector<std::optional<double>>;

/// The first of the earliest `windows` windows in a row in which every metric is stable. REQUIRES: windows > 0, and as
/// many values of each metric.
std::optional<std::size_t> stable_from(const std::vector<WindowValues>& metrics, std::size_t windows, double tolerance);

/// The same of a run so far, by the plan's rule: of the windows that ended `slack` ago and before the load's end. None
/// also where there is no rule.
std::optional<std::size_t> stable_from(const Plan& plan, const Tally& tally, Nanoseconds slack = {});

/// For the report; none where there is no rule.
std::optional<reports::StabilityResult> stability_result(const Plan& plan, const Tally& tally, const RunFacts& facts);

}  // namespace sluice
