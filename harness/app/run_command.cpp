#include <fmt/format.h>

#include <cstdio>

#include "harness/app/commands.h"
#include "harness/app/run_plan.h"
#include "harness/app/scenario_input.h"

namespace sluice {

int run_command(const RunCommandOptions& options) {
  const auto plan = load_scenario(options.scenario);
  if (!plan) return kExitInvalid;
  const auto folder = make_out_dir(options.out_dir, plan->name);
  if (!folder) return fmt::print(stderr, "sluice: {}\n", folder.error().message), kExitInvalid;
  return run_plan(*plan, options, *folder, true).exit_code;
}

}  // namespace sluice
