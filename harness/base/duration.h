// Durations and sizes as people write them: "10s", "1m30s", "250ms", "1.5h"; "64kB", "8MiB".
//
// A unit is always needed: what a bare number means would be a guess. Values are exact to the nanosecond (byte).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/base/result.h"
#include "harness/base/time.h"

namespace sluice {

/// One or more numbers with units (ns, us, ms, s, m, h, d), largest first, each at most once; only the last may have a
/// fraction. Never negative; at most limits::duration_max.
Result<Nanoseconds> parse_duration(std::string_view text);

/// The shortest text that parse_duration() reads back as the same value: "1m30s", "250ms", "0s".
std::string format_duration(Nanoseconds value);

/// A number and B, kB, MB, GB, KiB, MiB or GiB; bytes.
Result<double> parse_size(std::string_view text);

/// Like std::from_chars for the whole text, decimal only: no sign '+', no hex, no inf, no nan, no blanks.
bool parse_decimal(std::string_view text, double& value);

}  // namespace sluice
