// Thresholds against a tally.
//
// Pure. A limit on a quantile or a share is judged by the 99 % bounds of the figure (bounds.h): it passes when all of
// them hold, fails when none does, and is inconclusive between, or with fewer samples than the percentile needs. Gaps
// of streams (icl, itl) count as the independent samples that they are worth, by the seconds of the run. Everything
// else is compared by its value. A figure without samples fails with the reason "no samples", one with fewer than
// min_samples with "not enough samples". With `over`, the value of every whole window of the measured time must hold:
// one without samples does not fail by itself (in one without requests counters are 0, and judged). Cheap enough to be
// asked each second while the run goes on. Why so: docs/decisions/0004-verdicts.md.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "harness/scenario/plan.h"
#include "reports/summary.h"

namespace sluice {

enum class Judging : std::uint8_t {
  by_bounds,           // pass, fail or inconclusive
  by_bounds_or_fail,   // what would be inconclusive fails
  by_bounds_or_value,  // what would be inconclusive is compared by its value
  by_value             // everything is
};

/// One result a threshold, in the plan's order.
std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally, Judging how = Judging::by_bounds);

/// Those, and after them what `conformance: {fail_on: ...}` asks for, the default gates that are on and have a say
/// (dropped iterations, and of open models the share of the iterations asked for that were begun in time), and `stable:
/// {required: true}`; all but the first only of a run that was not cut short.
std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally, const RunFacts& facts,
                                            Judging how = Judging::by_bounds);

/// Of what an aggregation of a metric gives, not always the metric's: count has none, rate of a counter is 1/s.
std::string unit_of(Aggregation aggregation, Metric metric, const MetricInfo& about);

/// Is every threshold decided, so that more samples are not needed? One with `over` only when it has failed, since each
/// window to come could still fail; one without samples or with fewer than it needs never; one that is compared by its
/// value while it holds. Whoever looks again and
/// again must be surer each time: see Looks.
bool all_decided(const Plan& plan, const Tally& tally, double alpha);

/// When to look whether all is decided, and how sure to be: the k-th look may be wrong with a chance of
/// 0.01 / (k (k + 1)), which is 0.01 over all of them; they come rarer and rarer, so that few are needed.
class Looks {
 public:
  /// Is it time, so long after the start? If so, the alpha of this look.
  std::optional<double> due(double seconds);

 private:
  int looks_ = 0;
  double next_s_ = 0;
};

/// The first threshold with abort_on_fail that fails now, by its bounds, and whose delay has passed since the tally's
/// origin. One without samples, or with fewer than it needs, does not abort: they may still come. A window is judged a
/// second after its end, when all threads have told what ended in it.
std::optional<std::size_t> aborting_threshold(const Plan& plan, const Tally& tally);

/// Exit codes of `sluice run`, spec: 0 passed, 99 a threshold failed, 98 client-limited and trust required, 105 aborted
/// by the user.
inline constexpr int kExitPassed = 0, kExitFailed = 99, kExitUntrusted = 98, kExitInterrupted = 105;

/// Fills thresholds, outcome and exit_code of the summary of a run that has ended: an inconclusive threshold fails no
/// run. `aborted_by`: the threshold that
/// stopped it.
void conclude(reports::Summary& summary, std::vector<reports::ThresholdResult> thresholds, RunEnd end,
              std::optional<std::size_t> aborted_by = {}, bool require_trusted = false);

}  // namespace sluice
