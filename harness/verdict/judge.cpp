#include "harness/verdict/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "harness/scenario/timeline.h"
#include "harness/verdict/advice.h"
#include "harness/verdict/bounds.h"
#include "harness/verdict/stability.h"

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

/// The windows of a threshold that has such, as far as they are whole and have a value.
struct Judged {
  std::uint64_t windows = 0, failed = 0;
  std::size_t worst = 0;
  std::optional<double> value;  // the worst's
};

/// Is `a` further from holding than `b`? Of two that compare alike the earlier is the worse.
bool is_worse(double a, double b, Comparison comparison, double limit) {
  switch (comparison) {
    case Comparison::less:
    case Comparison::less_equal:
      return a > b;
    case Comparison::greater:
    case Comparison::greater_equal:
      return a < b;
    case Comparison::equal:
      return std::abs(a - limit) > std::abs(b - limit);
    case Comparison::not_equal:
      return std::abs(a - limit) < std::abs(b - limit);
  }
  return false;
}

Judged judge_windows(const Threshold& threshold, const Tally& tally, std::uint32_t number, Nanoseconds slack) {
  Judged judged;
  const std::size_t whole = tally.whole_windows(number, slack);
  for (std::size_t i = 0; i < whole; ++i) {
    const auto value = tally.aggregate_window(number, i, threshold.aggregation, threshold.percentile);
    if (!value) continue;
    ++judged.windows;
    if (!holds(*value, threshold.comparison, threshold.limit)) ++judged.failed;
    if (judged.value && !is_worse(*value, *judged.value, threshold.comparison, threshold.limit)) continue;
    judged.value = value;
    judged.worst = i;
  }
  return judged;
}

void add_windows(reports::ThresholdResult& result, const Threshold& threshold, const Tally& tally,
                 std::uint32_t number) {
  const Judged judged = judge_windows(threshold, tally, number, {});
  const double over = std::chrono::duration<double>(threshold.over).count();
  const double from = static_cast<double>(judged.worst) * over;
  result.windows = {.over_s = over, .judged = judged.windows, .failed = judged.failed};
  result.actual = judged.value;
  if (!judged.value) {
    result.verdict = "fail";
    result.reason = tally.window_s() < over ? fmt::format("no whole window: {:.4g} s were measured, a window is {:g} s",
                                                          tally.window_s(), over)
                                            : "no samples in any whole window";
    return;
  }
  result.windows->worst_from_s = from;
  result.windows->worst_to_s = from + over;
  result.verdict = judged.failed == 0 ? "pass" : "fail";
  if (judged.failed == 0) return;
  result.reason =
      fmt::format("{} from {:g} s to {:g} s; {} of {} windows failed",
                  reason_text(threshold, *judged.value, result.unit), from, from + over, judged.failed, judged.windows);
}

/// As how many independent samples the gaps of `figure` count: their number, times what a gap of this run is worth.
/// Bounds follow from blocks of time, not from gaps: those of all streams that wait for the same step of an engine are
/// one event. Measured at the quantile `q` of all gaps.
std::uint64_t independent_gaps(const Tally& tally, FigureId figure, double q) {
  const Histogram& all = tally.figure(Metric::icl).histogram;
  if (all.count() == 0) return 0;
  const std::uint64_t value = Series::ticks(Nanoseconds(static_cast<std::int64_t>(all.quantile(q))));
  std::vector<Block> blocks;
  std::uint64_t gaps = 0;
  for (const SeriesInterval& interval : tally.series().intervals()) {
    Block block{interval.gap.count(), 0};
    // Up to the end of the bucket in which the value lies: within 3 % of it.
    interval.gap.for_each([&](std::uint64_t from, std::uint64_t, std::uint64_t times) {
      if (from <= value) block.below += times;
    });
    gaps += block.samples;
    blocks.push_back(block);
  }
  const std::uint64_t independent = independent_samples(blocks);
  if (gaps == 0) return 0;
  const double worth = static_cast<double>(independent) / static_cast<double>(gaps);
  return static_cast<std::uint64_t>(static_cast<double>(tally.samples(figure)) * std::min(worth, 1.0));
}

/// What is known of a figure that is judged by its bounds, in its unit.
struct Known {
  Bounds bounds;
  std::uint64_t samples = 0, needed = 0;
  bool clumped = false;         // `samples` are those that the gaps count for
  std::uint64_t shortfall = 0;  // of a share that is 0 or 1 so far: as many samples would prove it; 0: no such
};

/// None: it is judged by its value.
std::optional<Known> known(const Threshold& threshold, const Tally& tally, FigureId id, double alpha) {
  const bool ordered = threshold.comparison != Comparison::equal && threshold.comparison != Comparison::not_equal;
  if (!ordered) return std::nullopt;
  const Figure& figure = tally.figure(id);
  const MetricInfo& metric = tally.layout().info(threshold.metric);
  const bool of_shares = metric.kind == MetricKind::rate || threshold.metric == Metric::availability ||
                         threshold.metric == Metric::goodput_rate;
  if (of_shares) {
    // No number of samples proves that nothing ever happens: then the value says it.
    if (threshold.limit <= 0 || threshold.limit >= 1) return std::nullopt;
    const std::uint64_t samples = figure.passes + figure.fails;
    if (samples == 0) return std::nullopt;
    Known result{share_bounds(figure.passes, samples, alpha), samples, 0};
    // With no miss among n the bound is (alpha / 2)^(1 / n) away from the other end.
    const bool below = threshold.comparison == Comparison::less || threshold.comparison == Comparison::less_equal;
    const double share = below ? 1 - threshold.limit : threshold.limit;
    if (figure.passes == (below ? 0 : samples) && share > 0 && share < 1) {
      const auto needed = static_cast<std::uint64_t>(std::ceil(std::log(alpha / 2) / std::log(share)));
      if (needed > samples) result.shortfall = needed;
    }
    return result;
  }
  const bool median = threshold.aggregation == Aggregation::med;
  if (!median && threshold.aggregation != Aggregation::percentile) return std::nullopt;
  const double percentile = median ? 50 : threshold.percentile;
  if (metric.kind != MetricKind::trend || percentile <= 0 || percentile >= 100) return std::nullopt;
  Known result;
  result.clumped = threshold.metric == Metric::icl || threshold.metric == Metric::itl;
  result.needed = samples_needed(percentile);
  const double q = percentile / 100;
  result.samples = result.clumped ? independent_gaps(tally, id, q) : tally.samples(id);
  const Bounds shares = quantile_shares(result.samples, q, alpha);
  const auto value_at = [&](const std::optional<double>& share) -> std::optional<double> {
    if (!share) return std::nullopt;
    return figure.histogram.quantile(*share) / ticks_per_unit(metric);
  };
  result.bounds = {value_at(shares.low), value_at(shares.high)};
  return result;
}

std::string why_unsure(const Known& figure, const std::string& unit) {
  if (figure.clumped && figure.samples == 0)
    return "too short to be sure: there must be gaps in at least 10 seconds of it";
  if (figure.samples < figure.needed)
    return fmt::format("too few samples to be sure: {}{} of at least {}", figure.samples,
                       figure.clumped ? " independent ones" : "", figure.needed);
  if (figure.shortfall > 0)
    return fmt::format("too few samples to be sure: {} of at least {}, if it goes on like this", figure.samples,
                       figure.shortfall);
  const auto text = [&](const std::optional<double>& bound) { return bound ? number_text(*bound, unit) : "none"; };
  return fmt::format("the 99 % bounds {} to {} straddle the limit", text(figure.bounds.low), text(figure.bounds.high));
}

void decide_by_value(reports::ThresholdResult& result, const Threshold& threshold) {
  const bool pass = holds(*result.actual, threshold.comparison, threshold.limit);
  result.verdict = pass ? "pass" : "fail";
  if (!pass) result.reason = reason_text(threshold, *result.actual, result.unit);
}

/// REQUIRES: result.actual.
void decide(reports::ThresholdResult& result, const Threshold& threshold, const Tally& tally, FigureId id, Judging how,
            double alpha = kAlpha) {
  const std::optional<Known> figure = how == Judging::by_value ? std::nullopt : known(threshold, tally, id, alpha);
  if (!figure) return decide_by_value(result, threshold);
  const auto holds_at = [&](double value) { return holds(value, threshold.comparison, threshold.limit); };
  const Bounds& bounds = figure->bounds;
  result.low = bounds.low;
  result.high = bounds.high;
  const bool from_above = threshold.comparison == Comparison::less || threshold.comparison == Comparison::less_equal;
  const auto& worst = from_above ? bounds.high : bounds.low;
  const auto& best = from_above ? bounds.low : bounds.high;
  const bool enough = figure->samples >= figure->needed;
  if (best && !holds_at(*best)) {
    result.verdict = "fail";
    result.reason = reason_text(threshold, *result.actual, result.unit);
  } else if (enough && worst && holds_at(*worst)) {
    result.verdict = "pass";
  } else {
    const std::string why = why_unsure(*figure, result.unit);
    result.open = how != Judging::by_bounds;
    result.verdict = how == Judging::by_bounds ? "inconclusive" : "fail";
    result.reason = why;
    if (how != Judging::by_bounds_or_value) return;
    result.reason.clear();
    decide_by_value(result, threshold);
    result.reason = result.reason.empty() ? "by its value; " + why : result.reason + "; " + why;
  }
}

std::optional<double> actual_value(const Plan& plan, const Tally& tally, std::size_t index) {
  const Threshold& threshold = plan.thresholds[index];
  return tally.aggregate(tally.layout().figure_of_threshold(index), threshold.aggregation, threshold.percentile);
}

/// `stable: {required: true}`, as a threshold on the largest deviation.
reports::ThresholdResult judge_stability(const Stability& rule, const reports::StabilityResult& stability) {
  reports::ThresholdResult result{.metric = "stable",
                                  .expression = fmt::format("deviation <= {:g}%", rule.tolerance * 100),
                                  .verdict = stability.from_s ? "pass" : "fail",
                                  .limit = rule.tolerance,
                                  .unit = "share",
                                  .source = "stable"};
  for (const reports::StableMetricResult& metric : stability.metrics)
    if (metric.deviation) result.actual = std::max(result.actual.value_or(0), *metric.deviation);
  if (!stability.from_s)
    result.reason = fmt::format("never stable: no {} windows of {:g} s in a row were within {:g} % of their mean",
                                rule.windows, stability.window_s, rule.tolerance * 100);
  return result;
}

}  // namespace

std::string unit_of(Aggregation aggregation, Metric metric, const MetricInfo& about) {
  if (aggregation == Aggregation::count && about.kind == MetricKind::trend) return "";
  if (about.kind == MetricKind::rate) return "share";
  if (aggregation == Aggregation::rate) return about.unit == Unit::bytes ? "bytes/s" : "1/s";
  if (metric == Metric::availability || metric == Metric::goodput_rate) return "share";
  return std::string(unit_name(about.unit));
}

std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally, Judging how) {
  std::vector<reports::ThresholdResult> results;
  for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
    const Threshold& threshold = plan.thresholds[i];
    reports::ThresholdResult result;
    result.metric = tally.layout().figures()[tally.layout().figure_of_threshold(i)].name();
    result.expression = threshold.text;
    result.limit = threshold.limit;
    result.unit = unit_of(threshold.aggregation, threshold.metric, tally.layout().info(threshold.metric));
    const FigureId figure = tally.layout().figure_of_threshold(i);
    const std::uint32_t windows = tally.layout().windows_of_threshold(i);
    if (threshold.min_samples > 0) result.min_samples = threshold.min_samples;
    result.actual = actual_value(plan, tally, i);
    if (result.actual && windows != TallyLayout::kNoWindows) add_windows(result, threshold, tally, windows);
    if (result.actual && tally.samples(figure) < threshold.min_samples) {
      result.verdict = "fail";
      result.reason =
          fmt::format("not enough samples: {} of at least {}", tally.samples(figure), threshold.min_samples);
    } else if (!result.verdict.empty()) {
      // judged by its windows
    } else if (!result.actual) {
      result.verdict = "fail";
      result.reason = "no samples";
    } else {
      decide(result, threshold, tally, figure, how);
    }
    results.push_back(std::move(result));
  }
  return results;
}

namespace {

/// Those of `fail_on` of the scenarios in [first, last).
reports::ThresholdResult judge_findings(const Tally& tally, Severity fail_on, std::size_t first, std::size_t last) {
  std::uint64_t streams = 0, findings = 0;
  for (std::size_t i = first; i < last; ++i) {
    const Tally::ScenarioCount& count = tally.scenarios()[i];
    streams += count.streams;
    for (auto severity = static_cast<std::size_t>(fail_on); severity < count.findings.size(); ++severity)
      findings += count.findings[severity];
  }
  reports::ThresholdResult result;
  result.metric = "stream_findings";
  result.expression = fmt::format("count == 0 (fail_on: {})", name_of(fail_on));
  result.source = "conformance";
  result.verdict = findings == 0 && streams > 0 ? "pass" : "fail";
  if (streams == 0) {
    result.reason = "no samples";
    return result;
  }
  result.actual = static_cast<double>(findings);
  if (findings > 0) result.reason = fmt::format("{} findings in {} streams", findings, streams);
  return result;
}

/// One for the whole file where all scenarios say the same, else one for each that says anything.
void judge_conformance(const Plan& plan, const Tally& tally, std::vector<reports::ThresholdResult>& results) {
  const auto& scenarios = plan.scenarios;
  if (scenarios.empty()) return;
  const std::optional<Severity> first = scenarios.front().conformance.fail_on;
  const bool same = std::all_of(scenarios.begin(), scenarios.end(),
                                [first](const ScenarioPlan& each) { return each.conformance.fail_on == first; });
  if (same) {
    if (first) results.push_back(judge_findings(tally, *first, 0, scenarios.size()));
    return;
  }
  for (std::size_t i = 0; i < scenarios.size(); ++i) {
    if (!scenarios[i].conformance.fail_on) continue;
    results.push_back(judge_findings(tally, *scenarios[i].conformance.fail_on, i, i + 1));
    results.back().metric += fmt::format("{{scenario:{}}}", scenarios[i].name);
  }
}

}  // namespace

std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally, const RunFacts& facts, Judging how) {
  std::vector<reports::ThresholdResult> results = judge(plan, tally, how);
  judge_conformance(plan, tally, results);
  if (facts.end != RunEnd::completed) return results;
  constexpr double kShare = 0.95;
  std::uint64_t dropped = 0, begun = 0;
  for (std::size_t i = 0; i < plan.scenarios.size(); ++i) {
    dropped += tally.scenarios()[i].dropped;
    if (is_open(plan.scenarios[i].shape)) begun += tally.scenarios()[i].begun_in_time;
  }
  const auto add = [&](std::string metric, std::string expression, double actual, double limit, std::string unit,
                       bool holds_now, std::string reason) {
    results.push_back({.metric = std::move(metric),
                       .expression = std::move(expression),
                       .verdict = holds_now ? "pass" : "fail",
                       .actual = actual,
                       .limit = limit,
                       .unit = std::move(unit),
                       .reason = holds_now ? "" : std::move(reason),
                       .source = "default gate"});
  };
  if (plan.gates.dropped_iterations && (dropped > 0 || facts.planned_iterations > 0))
    add("dropped_iterations", "count == 0", static_cast<double>(dropped), 0, "", dropped == 0,
        "too few VUs, or too little time; to allow it: gates: {dropped_iterations: off}");
  if (plan.gates.achieved_rate && facts.planned_iterations > 0) {
    const double share = static_cast<double>(begun) / static_cast<double>(facts.planned_iterations);
    add("achieved_rate", "rate >= 95%", share, kShare, "share", share >= kShare,
        fmt::format("{} of {} iterations begun in time; to allow it: gates: {{achieved_rate: off}}", begun,
                    facts.planned_iterations));
  }
  if (plan.stable && plan.stable->required)
    results.push_back(judge_stability(*plan.stable, *stability_result(plan, tally, facts)));
  return results;
}

bool all_decided(const Plan& plan, const Tally& tally, double alpha) {
  for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
    const Threshold& threshold = plan.thresholds[i];
    const FigureId id = tally.layout().figure_of_threshold(i);
    const std::uint32_t windows = tally.layout().windows_of_threshold(i);
    reports::ThresholdResult now;
    now.actual = actual_value(plan, tally, i);
    if (!now.actual || tally.samples(id) < threshold.min_samples) return false;
    if (windows != TallyLayout::kNoWindows) {
      if (judge_windows(threshold, tally, windows, std::chrono::seconds(1)).failed == 0) return false;
      continue;
    }
    decide(now, threshold, tally, id, Judging::by_bounds, alpha);
    if (now.verdict == "inconclusive") return false;
    // What is compared by its value proves nothing; as long as it does not hold, it may do so later.
    if (now.verdict == "fail" && !known(threshold, tally, id, alpha)) return false;
  }
  return true;
}

std::optional<double> Looks::due(double seconds) {
  if (seconds < next_s_) return std::nullopt;
  ++looks_;
  next_s_ = std::max(seconds + 1, seconds * 1.1);
  return kAlpha / (looks_ * (looks_ + 1.0));
}

std::optional<std::size_t> aborting_threshold(const Plan& plan, const Tally& tally) {
  for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
    const Threshold& threshold = plan.thresholds[i];
    if (!threshold.abort_on_fail) continue;
    if (tally.window_s() < std::chrono::duration<double>(threshold.delay_abort_eval).count()) continue;
    if (tally.samples(tally.layout().figure_of_threshold(i)) < threshold.min_samples) continue;
    const std::uint32_t windows = tally.layout().windows_of_threshold(i);
    if (windows != TallyLayout::kNoWindows) {
      if (judge_windows(threshold, tally, windows, std::chrono::seconds(1)).failed > 0) return i;
      continue;
    }
    reports::ThresholdResult now;
    now.actual = actual_value(plan, tally, i);
    if (!now.actual) continue;
    decide(now, threshold, tally, tally.layout().figure_of_threshold(i), Judging::by_bounds);
    if (now.verdict == "fail") return i;
  }
  return std::nullopt;
}

void conclude(reports::Summary& summary, std::vector<reports::ThresholdResult> thresholds, RunEnd end,
              std::optional<std::size_t> aborted_by, bool require_trusted) {
  if (aborted_by && *aborted_by < thresholds.size()) thresholds[*aborted_by].aborted = true;
  summary.thresholds = std::move(thresholds);
  for (reports::ThresholdResult& result : summary.thresholds) {
    if (result.verdict == "pass") continue;
    Advice advice = advice_for(summary, result);
    result.cause = std::move(advice.cause);
    result.suggestion = std::move(advice.suggestion);
  }
  const bool failed = std::any_of(summary.thresholds.begin(), summary.thresholds.end(),
                                  [](const reports::ThresholdResult& result) { return result.verdict == "fail"; });
  const bool undecided = std::any_of(
      summary.thresholds.begin(), summary.thresholds.end(),
      [](const reports::ThresholdResult& result) { return result.open || result.verdict == "inconclusive"; });
  if (summary.decided == "late" && undecided) summary.decided = "never";
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
