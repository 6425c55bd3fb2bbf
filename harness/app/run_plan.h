// One run, from its plan to its reports: what `sluice run` does, and `sluice suite` for each of its cases.
#pragma once

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "harness/app/commands.h"
#include "harness/scenario/plan.h"
#include "reports/summary.h"
#include "reports/text.h"

namespace sluice {

struct RunEnding {
  int exit_code = 0;
  std::optional<reports::Summary> summary;  // none: there was no load, or nothing to report on
  std::string problem;                      // then: why
  bool interrupted = false;                 // the user has asked it to stop, whatever it came to
};

/// Starts or reaches the target, drives the load, judges it and writes the reports into `folder`, which exists. What
/// goes wrong is said on stderr; with `show_text` the summary goes to stdout. `simulated`: as in Summary.
RunEnding run_plan(const Plan& plan, const RunCommandOptions& options, const std::filesystem::path& folder,
                   bool show_text, const std::string& simulated = {});

/// out/NAME-TIME, or `wanted`; made, and writable.
Result<std::filesystem::path> make_out_dir(const std::string& wanted, const std::string& name);

/// "Load, 2nd try" -> "Load-2nd-try"
std::string file_name_of(std::string_view name);

bool write_file(const std::filesystem::path& path, const std::string& text);  // false: it has said so

/// As the terminal behind `out` takes it: its width, and colours unless NO_COLOR is set.
reports::TextOptions text_options(bool color, std::FILE* out);

}  // namespace sluice
