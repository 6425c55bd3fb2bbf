#include "harness/app/scenario_input.h"

#include <fmt/format.h>

#include <cstdio>

#include "harness/scenario/load_plan.h"

namespace sluice {

std::optional<Plan> load_scenario(const ScenarioOptions& options) {
  LoadOptions load;
  load.overrides = options.variables;
  load.time_scale = options.time_scale;
  load.seed = options.seed;
  load.threads = options.threads;
  auto plan = load_plan(options.file, load);
  if (plan) return std::move(*plan);
  const auto& problems = plan.error();
  fmt::print(stderr, "{}{} problem{} in {}\n", problems.text(), problems.list.size(),
             problems.list.size() == 1 ? "" : "s", options.file);
  return std::nullopt;
}

}  // namespace sluice
