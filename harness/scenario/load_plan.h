// A scenario file -> a Plan, or every problem in it at once, each with its place.
//
// Strict: unknown and duplicate keys, durations without a unit, `yes` for true, unset variables, names that nothing has
// are all problems. Nothing is guessed.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness/base/result.h"
#include "harness/scenario/plan.h"
#include "harness/scenario/problem.h"

namespace sluice {

/// Called by boost::system::result when .value() is asked of problems: that is a bug of the caller, so it throws.
[[noreturn]] inline void throw_exception_from_error(const Problems& problems, const boost::source_location&) {
  throw std::logic_error("unchecked problems: " + problems.text());
}

using PlanOrProblems = boost::system::result<Plan, Problems>;

struct LoadOptions {
  std::map<std::string, std::string> overrides;  // -e NAME=VALUE
  double time_scale = 1;                         // see scale_times
  std::optional<std::uint64_t> seed;             // instead of the file's
  std::optional<std::uint32_t> threads;          // instead of the file's

  /// The process's environment by default.
  std::function<std::optional<std::string>(const std::string& name)> environment;
  /// Reads a data file; from the disk by default. The path is relative to the scenario file's folder already.
  std::function<Result<std::string>(const std::string& path)> read_file;
};

PlanOrProblems load_plan(const std::string& file, const LoadOptions& options = {});

/// The same for text that is in memory already; `file` is for messages, and its folder is where data files are looked
/// for.
PlanOrProblems read_plan(std::string_view text, const std::string& file, const LoadOptions& options = {});

/// Shortens (or stretches) what passes between requests: stages, durations, start times, sleeps, delays of thresholds.
/// Time-outs and graceful stops stay: a server is not faster in a short run.
/// REQUIRES: factor > 0.
void scale_times(Plan& plan, double factor);

}  // namespace sluice
