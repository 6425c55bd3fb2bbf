// Thresholds against a tally.
//
// Pure. Judged plainly: pass or fail; a figure without samples fails with the reason "no samples", one with fewer than
// min_samples with "not enough samples". With `over`, every whole window of the measured time must hold: one without
// samples does not fail by itself (in one without requests counters are 0, and judged). Cheap enough to be asked each
// second while the run goes on.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "harness/scenario/plan.h"
#include "reports/summary.h"

namespace sluice {

/// One result a threshold, in the plan's order.
std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally);

/// Those, and after them what `conformance: {fail_on: ...}` asks for, and the default gates that are on and have a say:
/// dropped iterations, and of open models the share of the iterations asked for that were begun in time; the gates only
/// of a run that was not cut short.
std::vector<reports::ThresholdResult> judge(const Plan& plan, const Tally& tally, const RunFacts& facts);

/// The first threshold with abort_on_fail that fails now and whose delay has passed since the tally's origin. One
/// without samples, or with fewer than it needs, does not abort: they may still come. A window is judged a second after
/// its end, when all threads have told what ended in it.
std::optional<std::size_t> aborting_threshold(const Plan& plan, const Tally& tally);

/// Exit codes of `sluice run`, spec: 0 passed, 99 a threshold failed, 98 client-limited and trust required, 105 aborted
/// by the user.
inline constexpr int kExitPassed = 0, kExitFailed = 99, kExitUntrusted = 98, kExitInterrupted = 105;

/// Fills thresholds, outcome and exit_code of the summary of a run that has ended. `aborted_by`: the threshold that
/// stopped it.
void conclude(reports::Summary& summary, std::vector<reports::ThresholdResult> thresholds, RunEnd end,
              std::optional<std::size_t> aborted_by = {}, bool require_trusted = false);

}  // namespace sluice
