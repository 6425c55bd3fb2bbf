// Which row of a data set belongs to an iteration.
//
// Pure arithmetic on what the iteration is: the same for any number of threads, and nobody has to ask anybody.
#pragma once

#include <cstdint>
#include <optional>

#include "harness/scenario/plan.h"

namespace sluice {

/// `iteration`: its number among all of its scenario. `chance`: what order: random draws the row from. None when the
/// rows of an `order: unique` have run out. REQUIRES: the set has rows.
std::optional<std::uint64_t> row_of(const DataSet& set, std::uint32_t scenario, std::uint64_t iteration,
                                    std::uint64_t chance);

/// False when a set that the scenario reads has no row for the iteration: then it is not begun.
bool has_rows(const Plan& plan, std::uint32_t scenario, std::uint64_t iteration);

}  // namespace sluice
