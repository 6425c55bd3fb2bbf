#include <fmt/format.h>

#include <cstdio>

#include "harness/app/commands.h"
#include "harness/app/scenario_input.h"
#include "harness/verdict/judge.h"

namespace sluice {

int validate_command(const ScenarioOptions& options) {
  const auto plan = load_scenario(options);
  if (!plan) return kExitInvalid;
  fmt::print("{} is valid: {} scenario{}, {} threshold{}\n", plan->file, plan->scenarios.size(),
             plan->scenarios.size() == 1 ? "" : "s", plan->thresholds.size(), plan->thresholds.size() == 1 ? "" : "s");
  return kExitPassed;
}

}  // namespace sluice
