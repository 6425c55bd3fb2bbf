// `data:` of a scenario file: files read, prompts generated, rows dealt. Used by load_plan.cpp only.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "harness/scenario/data_file.h"
#include "harness/scenario/load_plan.h"
#include "harness/scenario/plan.h"
#include "harness/scenario/plan_reader.h"

namespace sluice {

/// The whole of a file, or why not.
Result<std::string> read_whole_file(const std::string& path, std::size_t bytes_max);

/// Calls read() with the blocks of a file, which may be larger than memory. The sentence when it cannot be read.
std::optional<std::string> read_in_blocks(const LoadOptions& options, const std::string& path,
                                          const std::function<void(const NextBlock&)>& read);

/// Adds the file's data sets to the plan, and their fields to the names that holes may have.
void read_data_sets(const YamlMember& data, const LoadOptions& options, Plan& plan, ScalarReader& scalars,
                    ProblemList& problems);

/// Says of each set with `order: unique` which scenarios read it: those whose part of the file, or whose flow under
/// `flows`, has a hole of its name.
void deal_unique_rows(const YamlNode& file, Plan& plan);

}  // namespace sluice
