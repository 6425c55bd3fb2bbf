// Where `sluice calibrate` keeps what it has measured, and `sluice run` finds it: the instrument's error on this
// machine.
//
// $XDG_STATE_HOME/sluice/calibration.json, or ~/.local/state/sluice/calibration.json. A file that is not there, is of
// another machine or cannot be read is as good as none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/base/result.h"
#include "harness/load/calibrate.h"
#include "reports/summary.h"

namespace sluice {

struct Calibration {
  std::string machine, calibrated_at;  // host name; ISO 8601, UTC
  std::vector<CalibrationRow> rows;    // by streams, ascending
};

std::string to_json(const Calibration& calibration);
/// None: it is no such file.
std::optional<Calibration> parse_calibration(std::string_view text);

/// Empty: there is no home.
std::string calibration_path();
Result<void> store(const Calibration& calibration, const std::string& path);
std::optional<Calibration> stored_calibration(const std::string& path, const std::string& machine);

/// What a report of a run with so many VUs says of it: the row with at least as many streams, or the last.
reports::CalibrationResult calibration_for(const Calibration& calibration, std::uint64_t vus);

}  // namespace sluice
