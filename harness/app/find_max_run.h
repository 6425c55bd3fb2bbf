// A run, or the trials of a find-max search, as one: what the report is about.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "harness/base/result.h"
#include "harness/load/run.h"
#include "reports/summary.h"

namespace sluice {

struct Driven {
  Plan plan;  // of the run that is reported: the scenario's own, or that of a trial
  RunResult result;
  std::optional<reports::SearchResult> search;
};

/// Where a scenario's executor is find-max: trial after trial until the search has ended or the control says stop; a
/// trial holds when every threshold does, the default gates included. Otherwise one run.
/// `say` gets a sentence after each trial.
Result<Driven> drive(const Plan& plan, const RunOptions& options, RunControl& control,
                     const std::function<void(const Progress&)>& every_second,
                     const std::function<void(const std::string&)>& say);

}  // namespace sluice
