// A suite: scenario files that are run one after the other.
//
//   name: quick
//   cases:
//     - {run: cases/streaming.yaml}
//     - {run: cases/temperature.yaml, needs_model: true}   # not when the scripted engine answers
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/result.h"
#include "harness/scenario/problem.h"

namespace sluice {

struct SuiteFile {
  struct Case {
    std::string run;           // the scenario's file, relative to the suite's
    bool needs_model = false;  // what it asks cannot be known of scripted answers
  };
  std::string name;
  std::vector<Case> cases;  // not empty
};

/// All that is wrong goes to `problems`; then none.
std::optional<SuiteFile> read_suite(std::string_view text, ProblemList& problems);

/// Where the suite lies: a path, or a name that is looked for in $SLUICE_SCENARIOS/suites, scenarios/suites and the
/// scenarios of the source tree.
Result<std::string> find_suite(const std::string& name);

}  // namespace sluice
