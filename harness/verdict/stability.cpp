#include "harness/verdict/stability.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>

#include "harness/scenario/timeline.h"
#include "harness/verdict/judge.h"

namespace sluice {
namespace {

struct Spread {
  double mean = 0, deviation = 0;  // the largest from the mean, as a share of it
};

/// None when a window has no value.
std::optional<Spread> spread_of(std::span<const std::optional<double>> values) {
  Spread spread;
  for (const auto& value : values) {
    if (!value) return std::nullopt;
    spread.mean += *value / static_cast<double>(values.size());
  }
  double largest = 0;
  for (const auto& value : values) largest = std::max(largest, std::abs(*value - spread.mean));
  if (largest > 0) spread.deviation = largest / std::abs(spread.mean);  // around 0: without bound
  return spread;
}

std::vector<WindowValues> values_of(const Plan& plan, const Tally& tally, Nanoseconds slack) {
  const Stability& rule = *plan.stable;
  const Nanoseconds load = load_end(plan) - measured_from(plan);
  std::vector<WindowValues> all;
  for (std::size_t i = 0; i < rule.metrics.size(); ++i) {
    const std::uint32_t number = tally.layout().windows_of_stable(i);
    std::size_t whole = tally.whole_windows(number, slack);
    if (load_end(plan).count() > 0) whole = std::min(whole, static_cast<std::size_t>(std::max(load, {}) / rule.window));
    const bool counts = tally.layout().info(rule.metrics[i].metric).kind == MetricKind::counter;
    WindowValues values;
    for (std::size_t window = 0; window < whole; ++window) {
      auto value = tally.aggregate_window(number, window, rule.metrics[i].aggregation, rule.metrics[i].percentile);
      if (counts && value == 0.0) value.reset();  // a standstill: a server that hangs is not stable
      values.push_back(value);
    }
    all.push_back(std::move(values));
  }
  return all;
}

}  // namespace

std::optional<std::size_t> stable_from(const std::vector<WindowValues>& metrics, std::size_t windows,
                                       double tolerance) {
  if (metrics.empty()) return std::nullopt;
  for (std::size_t first = 0; first + windows <= metrics[0].size(); ++first) {
    const bool all = std::all_of(metrics.begin(), metrics.end(), [&](const WindowValues& values) {
      const auto spread = spread_of(std::span(values).subspan(first, windows));
      // Not below what is written: 5 % of 100 is 5, whatever the digits of a double say.
      return spread && spread->deviation <= tolerance * (1 + 1e-12);
    });
    if (all) return first;
  }
  return std::nullopt;
}

std::optional<std::size_t> stable_from(const Plan& plan, const Tally& tally, Nanoseconds slack) {
  if (!plan.stable) return std::nullopt;
  return stable_from(values_of(plan, tally, slack), plan.stable->windows, plan.stable->tolerance);
}

std::optional<reports::StabilityResult> stability_result(const Plan& plan, const Tally& tally, const RunFacts& facts) {
  if (!plan.stable) return std::nullopt;
  const Stability& rule = *plan.stable;
  const double window_s = std::chrono::duration<double>(rule.window).count();
  reports::StabilityResult result{.window_s = window_s,
                                  .windows = rule.windows,
                                  .tolerance = rule.tolerance,
                                  .required = rule.required,
                                  .ended_run = facts.ended_when_stable};
  const std::vector<WindowValues> all = values_of(plan, tally, {});
  for (std::size_t i = 0; i < all.size(); ++i) {
    const StableMetric& metric = rule.metrics[i];
    reports::StableMetricResult one{
        .metric = metric.text, .unit = unit_of(metric.aggregation, metric.metric, tally.layout().info(metric.metric))};
    // Of the stable windows; where there are none of the last ones.
    const std::size_t first =
        facts.stable_from.value_or(std::max(all[i].size(), std::size_t{rule.windows}) - rule.windows);
    if (first + rule.windows <= all[i].size()) {
      if (const auto spread = spread_of(std::span(all[i]).subspan(first, rule.windows))) {
        one.mean = spread->mean;
        if (std::isfinite(spread->deviation)) one.deviation = spread->deviation;
      }
    }
    result.metrics.push_back(std::move(one));
  }
  if (facts.stable_from) {
    result.from_s = static_cast<double>(*facts.stable_from) * window_s;
    result.to_s = *result.from_s + static_cast<double>(rule.windows) * window_s;
  }
  return result;
}

}  // namespace sluice
