// What an engine says of one request at GET /v1/requests/{id}/timeline: when it was queued, computed and written.
//
// Foreign JSON: bounded, every instant checked. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/result.h"
#include "harness/base/time.h"

namespace sluice {

struct EngineTimeline {
  /// A pass of the model that computed something of this request.
  struct Step {
    Instant began_at = kNever, ended_at = kNever;
    bool prefill = false;
    std::uint64_t rows = 0;
  };
  /// Bytes of the answer handed to the kernel.
  struct Write {
    Instant began_at = kNever, ended_at = kNever;
    std::uint64_t bytes = 0;
    std::string event;  // what was in it, as the engine names it
  };

  std::string clock;  // "CLOCK_MONOTONIC"
  // On the engine's clock; kNever: has not happened
  Instant said_at = kNever;  // when it was asked
  Instant received_at = kNever, queued_at = kNever, prefill_began_at = kNever, prefill_ended_at = kNever,
          first_token_at = kNever, finished_at = kNever;
  std::int64_t prompt_tokens = -1, cached_tokens = -1, completion_tokens = -1;  // -1: not said
  std::string finish_reason;
  std::vector<Step> steps;  // of each limits::trace_marks_max at most
  std::vector<Write> writes;
  std::uint64_t steps_left_out = 0, writes_left_out = 0;

  /// The last instant it speaks of.
  Instant ended_at() const;
};

/// Fails when it is not JSON, or names no instant at which the request was received.
Result<EngineTimeline> read_engine_timeline(std::string_view json);

}  // namespace sluice
