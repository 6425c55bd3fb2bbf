// When each VU of a closed load shape is meant to iterate, as offsets from the scenario's start.
//
// Pure arithmetic: no clock, no waiting. k6's semantics: between two stages the number of VUs follows the straight line
// and changes at the very instants where the line crosses a whole number; the VU with the highest number stops first.
// An iteration begun in time may go on after its VU's time: within graceful_ramp_down when the ramp took the VU away,
// within graceful_stop at the end of the scenario, and on into the VU's next interval when that begins meanwhile.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/base/time.h"
#include "harness/scenario/plan.h"

namespace sluice {

struct ActiveInterval {
  Nanoseconds from{}, to{};  // iterations begin in [from, to)
  Nanoseconds cut{};         // an iteration still under way then is cut; never before `to`
  bool operator==(const ActiveInterval&) const = default;
};

/// Of VU number `vu`, from 0. Ascending, disjoint, none empty.
std::vector<ActiveInterval> active_intervals(const LoadShape& shape, Nanoseconds graceful_stop, std::uint32_t vu);

/// How many VUs a closed shape asks for at an offset; 0 from its end on.
std::uint32_t planned_vus(const LoadShape& shape, Nanoseconds offset);

}  // namespace sluice
