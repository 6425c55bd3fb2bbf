// Reads a scenario's executor and its options; used by load_plan.cpp only.
#pragma once

#include "harness/scenario/plan.h"
#include "harness/scenario/plan_reader.h"

namespace sluice {

/// Takes from the section what belongs to the load; `entry` is the scenario.
LoadShape read_load_shape(Section& section, const YamlMember& entry, ScalarReader& scalars, ProblemList& problems);

}  // namespace sluice
