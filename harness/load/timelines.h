// The engine's side of traced requests, asked for once the load has ended.
//
// sluice-engine answers GET /v1/requests/{x-request-id}/timeline for the last some thousand requests that it has
// finished; other servers do not, and the trace then has the client's side only.
#pragma once

#include <string>

#include "harness/load/run.h"
#include "harness/output/request_trace.h"

namespace sluice {

/// Fills in what the target tells, the latest request first, and says in the trace why some have nothing. Ends after
/// limits::timelines_time_max, or when it has told nothing of many in a row. An engine whose clock reads what ours
/// does when it is asked is on our machine.
void fetch_timelines(const Plan& plan, const RunOptions& options, RequestTrace& trace);

/// The path of a request's timeline.
std::string timeline_path(const std::string& request_id);

}  // namespace sluice
