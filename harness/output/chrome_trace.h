// A trace in Chrome's Trace Event Format, which ui.perfetto.dev and chrome://tracing open.
//
// Two processes on one clock, the client and the engine. Requests that do not overlap share a row; a request has the
// same row in both. Within a row every slice lies inside the one around it: what overlaps, as steps of an engine that
// works ahead do, begins where the one before ends. Times count from the first request. Pure: the same trace gives the
// same bytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "harness/output/request_trace.h"

namespace sluice {

/// put(bytes) takes the file piece by piece. `run`: the scenario's name, for the head.
void write_chrome_trace(const RequestTrace& trace, const TallyLayout& layout, const std::string& run,
                        const std::function<void(std::string_view)>& put);

/// What is to be added to an engine's instants so that they stand among ours: 0 on one clock. Else from durations
/// alone, as if both ways between us and it had taken the same time.
Nanoseconds engine_offset(const TracedRequest& request);

}  // namespace sluice
