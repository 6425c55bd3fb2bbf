// Metrics that a scenario file declares: `metrics: {queue_time: {kind: trend, unit: ms}}`.
//
// Their ids follow those of the catalogue, in the order of the file.
#pragma once

#include <string>
#include <vector>

#include "harness/base/limits.h"
#include "harness/base/metric_catalog.h"

namespace sluice {

struct CustomMetric {
  std::string name;
  MetricKind kind = MetricKind::trend;
  Unit unit = Unit::none;
};

static_assert(kMetricCount + limits::custom_metrics_max <= 256, "ids have eight bits");

constexpr Metric custom_metric(std::size_t index) { return static_cast<Metric>(kMetricCount + index); }

/// Of the catalogue's metrics and those of `own`; its name lasts as long as `own`.
inline MetricInfo info(const std::vector<CustomMetric>& own, Metric metric) {
  if (!is_custom(metric)) return info(metric);
  const CustomMetric& custom = own[static_cast<std::size_t>(metric) - kMetricCount];
  return {metric, custom.name, custom.kind, custom.unit, "Declared by the scenario."};
}

}  // namespace sluice
