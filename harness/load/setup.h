// `setup:` and `teardown:`: flows that run once, before and after the load, on one session of their own.
//
// Their requests are in no metric: they are not the load. What goes wrong in them is a failure of the whole run: a
// request that fails, a check that does not hold, a capture that finds nothing, `fail:`.
#pragma once

#include <vector>

#include "harness/base/result.h"
#include "harness/load/run.h"
#include "harness/load/variables.h"
#include "harness/scenario/plan.h"

namespace sluice {

/// Runs `flow`; `what` names it in messages. Ends early when `control` says `stop_at` or more.
/// REQUIRES: what run() requires. `options.variables` are visible to it.
Result<FlowVariables> run_once(const Plan& plan, const std::vector<Step>& flow, std::string_view what,
                               const RunOptions& options, const RunControl& control, RunControl::State stop_at);

}  // namespace sluice
