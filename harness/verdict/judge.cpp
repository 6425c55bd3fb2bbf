#include "harness/verdict/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

namespace sluice {
namespace {

bool holds(double actual, Comparison comparison, double limit) {
  switch (comparison) {
    case Comparison::less:
      return actual < limit;
    case Comparison::less_equal:
      return actual <= limit;
    case Comparison::greater:
      return actual > limit;
    case Comparison::greater_equal:
      return actual >= limit;
    case Comparison::equal:
      return actual == limit;
    case Comparison::not_equal:
      return actual != limit;
  }
  return false;
}

/// What the number is missing when the comparison fails.
std::string_view against(Comparison comparison) {
  switch (comparison) {
    case Comparison::less:
      return "is not below";
    case Comparison::less_equal:
      return "is over";
    case Comparison::greater:
      return "is not above";
    case Comparison::greater_equal:
      return "is under";
    case Comparison::equal:
      return "is not";
    case Comparison::not_equal:
      return "is";
  }
  return "";
}

std::string aggregation_text(const Threshold& threshold) {
  switch (threshold.aggregation) {
    case Aggregation::avg:
      return "avg";
    case Aggregation::min:
      return "min";
    case Aggregation::max:
      return "max";
    case Aggregation::med:
      return "med";
    case Aggregation::percentile:
      return fmt::format("p({:g})", threshold.percentile);
    case Aggregation::count:
      return "count";
    case Aggregation::rate:
      return "rate";
    case Aggregation::value:
      return "value";
  }
  return "";
}

/// The unit of the number a threshold compares, not always that of the metric: count has none, rate of a counter is
/// 1/s.
std::string unit_of(const Threshold& threshold) {
  const MetricInfo& metric = info(threshold.metric);
  if (threshold.aggregation == Aggregation::count && metric.kind == MetricKind::trend) return "";
  if (metric.kind == MetricKind::rate) return "share";
  if (threshold.aggregation == Aggregation::rate) return metric.unit == Unit::bytes ? "bytes/s" : "1/s";
  if (threshold.metric == Metric::availability || threshold.metric == Metric::goodput_rate) return "share";
  return std::string(unit_name(metric.unit));
}

std::string number_text(double value, const std::string& unit) {
  if (unit == "share") return fmt::format("{:.4g} %", value * 100);
  return unit.empty() ? fmt::format("{:.6g}", value) : fmt::format("{:.6g} {}", value, unit);
}

std::string reason_text(const Threshold& threshold, double actual, const std::string& unit) {
  std::string value = number_text(actual, unit), limit = number_text(threshold.limit, unit);
  if (value == limit && actual != threshold.limit) {  // rounded alike: then all digits
    value = fmt::format("{}", actual);
    limit = fmt::format("{}", threshold.limit);
  }
  return fmt::format("{} {} {} {}", aggregation_text(threshold), value, against(threshold.comparison), limit);
}

std::optional<double> actual_value(const Plan& plan, const Tally& tally, std::size_t index) {
  const Threshold& threshold = plan.thresholds[index];
  return tally.aggregate(tally.layout().figure_of_threshold(index), threshold.aggregation, threshold.percentile);
}

}  // namespace

std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally) {
  std::vector<reports::ThresholdResult> results;
  for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
    const Threshold& threshold = plan.thresholds[i];
    reports::ThresholdResult result;
    result.metric = tally.layout().figures()[tally.layout().figure_of_threshold(i)].name();
    result.expression = threshold.text;
    result.limit = threshold.limit;
    result.unit = unit_of(threshold);
    result.actual = actual_value(plan, tally, i);
    if (!result.actual) {
      result.verdict = "fail";
      result.reason = "no samples";
    } else if (holds(*result.actual, threshold.comparison, threshold.limit)) {
      result.verdict = "pass";
    } else {
      result.verdict = "fail";
      result.reason = reason_text(threshold, *result.actual, result.unit);
    }
    results.push_back(std::move(result));
  }
  return results;
}

std::optional<std::size_t> aborting_threshold(const Plan& plan, const Tally& tally) {
  for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
    const Threshold& threshold = plan.thresholds[i];
    if (!threshold.abort_on_fail) continue;
    if (tally.window_s() < std::chrono::duration<double>(threshold.delay_abort_eval).count()) continue;
    const auto actual = actual_value(plan, tally, i);
    if (actual && !holds(*actual, threshold.comparison, threshold.limit)) return i;
  }
  return std::nullopt;
}

void conclude(reports::Summary& summary, std::vector<reports::ThresholdResult> thresholds, RunEnd end,
              std::optional<std::size_t> aborted_by, bool require_trusted) {
  if (aborted_by && *aborted_by < thresholds.size()) thresholds[*aborted_by].aborted = true;
  summary.thresholds = std::move(thresholds);
  const bool failed = std::any_of(summary.thresholds.begin(), summary.thresholds.end(),
                                  [](const reports::ThresholdResult& result) { return result.verdict == "fail"; });
  // The first that applies, in the order the specification of exit codes gives: 105, 98, 99, 0.
  if (end == RunEnd::interrupted_by_user) {
    summary.outcome = "interrupted";
    summary.exit_code = kExitInterrupted;
    return;
  }
  const bool aborted = end == RunEnd::aborted_by_threshold;
  summary.outcome = aborted ? "aborted" : failed ? "failed" : "passed";
  summary.exit_code = aborted || failed ? kExitFailed : kExitPassed;
  if (require_trusted && summary.instrument.verdict == "client-limited") {
    if (!aborted) summary.outcome = "failed";
    summary.exit_code = kExitUntrusted;
  }
}

}  // namespace sluice
