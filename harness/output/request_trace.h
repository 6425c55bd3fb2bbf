// What a trace shows of a run: its first requests, each with what the client saw of it and what the engine says.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/base/limits.h"
#include "harness/metrics/record.h"
#include "harness/metrics/tally_layout.h"
#include "harness/output/engine_timeline.h"

namespace sluice {

struct TracedRequest {
  StepId step = 0;
  std::string request_id, id;  // as in RequestRecord
  Outcome outcome = Outcome::ok;
  unsigned status = 0;
  Instant scheduled_at = kNever, started_at = kNever, looked_up_at = kNever, connected_at = kNever, tls_at = kNever,
          send_began_at = kNever, sent_at = kNever, first_byte_at = kNever, ended_at = kNever;
  std::vector<ContentEvent> content;  // limits::trace_marks_max at most
  std::uint64_t content_left_out = 0;
  std::int64_t prompt_tokens = -1, output_tokens = -1;
  std::optional<EngineTimeline> engine;  // none: it has not told
  bool same_clock = false;               // the engine's is ours
};

struct RequestTrace {
  std::vector<TracedRequest> requests;
  std::uint64_t left_out = 0;  // requests that came after those
  std::string no_engine;       // why the engine tells nothing of some or all of them; empty: it does of all
};

/// Keeps the first requests that end. Costs a copy of each of them, and then one instruction a request.
class RequestTracer {
 public:
  explicit RequestTracer(std::size_t requests_max = limits::trace_requests_max) : requests_(requests_max) {}

  /// Any thread.
  void add(const RequestRecord& record, StepId step);
  /// REQUIRES: nobody adds any more.
  RequestTrace take();

 private:
  std::vector<TracedRequest> requests_;  // one slot a request, written by who has drawn its number
  std::atomic<std::uint64_t> seen_{0};
};

}  // namespace sluice
