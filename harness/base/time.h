// Time inside the harness: nanoseconds of CLOCK_MONOTONIC.
#pragma once

#include <chrono>
#include <cstdint>

namespace sluice {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC on Linux
using Nanoseconds = std::chrono::nanoseconds;

/// An instant on CLOCK_MONOTONIC in nanoseconds; `kNever` (0) when it did not happen.
using Instant = std::int64_t;
inline constexpr Instant kNever = 0;

inline Instant now() { return std::chrono::duration_cast<Nanoseconds>(Clock::now().time_since_epoch()).count(); }

}  // namespace sluice
