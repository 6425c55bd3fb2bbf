#include "harness/app/find_max_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "harness/load/find_max.h"
#include "harness/verdict/judge.h"

namespace sluice {
namespace {

/// Why the load did not hold; empty: it did. The default gates are among the thresholds.
std::string failure_of(const Plan& plan, const RunResult& result) {
  for (const reports::ThresholdResult& threshold : judge(plan, result.tally, result.facts, Judging::by_value)) {
    if (threshold.verdict == "fail") return fmt::format("{}: {}", threshold.metric, threshold.reason);
  }
  return {};
}

}  // namespace

Result<Driven> drive(const Plan& plan, const RunOptions& options, RunControl& control,
                     const std::function<void(const Progress&)>& every_second,
                     const std::function<void(const std::string&)>& say) {
  const FindMax* const wanted = find_max_of(plan);
  if (wanted == nullptr) {
    auto result = run(plan, options, control, every_second);
    if (!result) return result.error();
    return {boost::system::in_place_value, Driven{plan, std::move(*result), std::nullopt}};
  }
  reports::SearchResult found;
  found.unit = wanted->of == FindMax::Of::rate ? "iterations/s" : "VUs";
  found.precision = wanted->precision;
  std::size_t searched = 0;
  while (std::get_if<FindMax>(&plan.scenarios[searched].shape) != wanted) ++searched;
  found.scenario = plan.scenarios[searched].name;

  MaxSearch search(*wanted);
  std::optional<Driven> kept;  // the best, else the lowest that was tried
  double kept_load = 0;
  for (auto load = search.next(); load; load = search.next()) {
    Plan trial_of_plan = trial_plan(plan, *load);
    auto result = run(trial_of_plan, options, control, every_second);
    if (!result && !kept) return result.error();
    if (!result) {  // the load has been too much for it even to be begun
      search.add(*load, false);
      say(fmt::format("{:.6g} {} failed: {}", *load, found.unit, result.error().message));
      found.trials.push_back({.load = *load, .reason = result.error().message});
      continue;
    }
    const bool stopped = result->facts.end == RunEnd::interrupted_by_user;
    const Tally& tally = result->tally;
    reports::SearchTrial trial;
    trial.load = *load;
    trial.iterations = tally.scenarios()[searched].iterations;
    // Over the whole trial, what was still under way at its end included.
    const double seconds = tally.window_s();
    trial.iterations_per_s = seconds > 0 ? static_cast<double>(trial.iterations) / seconds : 0;
    trial.duration_p95_ms = tally.aggregate(Metric::http_req_duration, Aggregation::percentile, 95);
    trial.ttft_p95_ms = tally.aggregate(Metric::ttft, Aggregation::percentile, 95);
    if (!stopped) trial.reason = failure_of(trial_of_plan, *result);
    if (trial.reason.empty() && result->aborted_by) trial.reason = "a threshold ended it early";
    trial.held = !stopped && trial.reason.empty();
    const bool better =
        !kept || (trial.held ? !search.best() || *load > *search.best() : !search.best() && *load < kept_load);
    if (better) {
      kept = Driven{std::move(trial_of_plan), std::move(*result), std::nullopt};
      kept_load = *load;
    }
    if (stopped) {
      kept->result.facts.end = RunEnd::interrupted_by_user;
      break;
    }
    search.add(*load, trial.held);
    say(fmt::format("{:.6g} {} {}{}", *load, found.unit, trial.held ? "held" : "failed: ", trial.reason));
    found.trials.push_back(std::move(trial));
  }
  found.best = search.best();
  kept->search = std::move(found);
  return {boost::system::in_place_value, std::move(*kept)};
}

}  // namespace sluice
