// Reads a scenario's executor and its options; used by load_plan.cpp only.
#pragma once

#include <string>

#include "harness/scenario/load_plan.h"
#include "harness/scenario/plan.h"
#include "harness/scenario/plan_reader.h"

namespace sluice {

/// Takes from the section what belongs to the load; `entry` is the scenario, `file` the scenario file. Of a trace it
/// adds the names that the flow's holes may have, ${trace.prompt} and so on, until forget_trace().
LoadShape read_load_shape(Section& section, const YamlMember& entry, const std::string& file,
                          const LoadOptions& options, ScalarReader& scalars, ProblemList& problems);
void forget_trace(ScalarReader& scalars);

}  // namespace sluice
