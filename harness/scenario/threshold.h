// k6's threshold grammar: `p(95) < 2s`, `rate<1%`, `count > 10`, and the metric with its selector: `ttft{kind:chat}`.
//
// A bare number takes the metric's unit (milliseconds for times, 0 to 1 for rates); written units are converted to it.
// The aggregation must fit the metric's kind, as k6's table has it: counter: count, rate; gauge: value; rate: rate;
// trend: avg, min, max, med, p(N).
#pragma once

#include <string_view>
#include <vector>

#include "harness/base/metric_catalog.h"
#include "harness/base/result.h"
#include "harness/scenario/plan.h"

namespace sluice {

/// Fills aggregation, percentile, comparison, limit and text of a Threshold of `metric`.
Result<Threshold> parse_threshold(std::string_view text, const MetricInfo& metric);
inline Result<Threshold> parse_threshold(std::string_view text, Metric metric) {
  return parse_threshold(text, info(metric));
}

/// "ttft{kind:chat} p(95)", "http_reqs rate": a metric, perhaps under a selector, and an aggregation that it has.
Result<StableMetric> parse_stable_metric(std::string_view text, const std::vector<CustomMetric>& own = {});

struct Selection {
  Metric metric{};
  Tags tags;
};
/// "ttft" or "ttft{kind:chat,scenario:a}". `own`: metrics of the file beside the catalogue's.
Result<Selection> parse_selection(std::string_view text, const std::vector<CustomMetric>& own = {});

}  // namespace sluice
