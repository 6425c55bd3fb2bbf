// A Summary as a real run leaves it, with something of everything: for tests of the reports and for looking at them.
#pragma once

#include "reports/summary.h"

namespace sluice::reports {

/// Two scenarios over 90 s; a failed threshold, a failed check, failures, findings, percentiles with too few samples.
Summary sample_summary();

/// A short run without streams and without failures: what the page shows when much is absent.
Summary small_summary();
/// The sample with a co-hosted engine on a GPU, sampled.
Summary gpu_summary();

}  // namespace sluice::reports
