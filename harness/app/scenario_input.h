// A scenario from the command line's options; its problems go to stderr, one a line.
#pragma once

#include <optional>

#include "harness/app/commands.h"
#include "harness/scenario/plan.h"

namespace sluice {

std::optional<Plan> load_scenario(const ScenarioOptions& options);

}  // namespace sluice
