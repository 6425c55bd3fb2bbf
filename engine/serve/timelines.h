// The requests of late, each with the instants of its way through the server: GET /v1/requests/ID/timeline, and the
// `metrics` beside a usage.
//
// All instants are CLOCK_MONOTONIC nanoseconds; 0: has not come. No text and no prompt is kept. Memory: a request that
// runs takes 24 bytes a step and 24 a write, at most 4,096 of each; of those that have finished the last 4,096 stay,
// and no more than 64 MiB of them together. One thread, but for what RequestTimeline guards.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/timeline.h"

namespace sluice::engine {

/// One send() that carried bytes of an answer.
struct TimelineWrite {
  std::int64_t before_ns, after_ns;
  std::uint32_t bytes;
  std::uint32_t event;  // the last event of the stream that had been put in line by then; 0 for a whole answer
};

struct ServedRequest {
  std::string id;                     // what the client calls it, or else as response_id
  std::string response_id;            // "chatcmpl-..."
  std::int64_t received_ns = 0;       // the read that brought its last byte
  std::int64_t first_content_ns = 0;  // just before the write that begins the first content frame, or the whole answer
  std::uint64_t pieces = 0;           // of text that the engine gave: content frames without a chunk policy
  std::uint64_t frames = 0;           // content frames there were
  std::shared_ptr<RequestTimeline> engine;  // of choice 0; shared with the engine, which writes to it
  std::vector<TimelineWrite> writes;
  std::uint64_t writes_dropped = 0;

  void add(const TimelineWrite& write);
};

/// Per-request figures; the first five under vLLM's names. Empty: there is none.
struct RequestMetrics {
  std::optional<std::int64_t> time_to_first_token_ns;  // admitted to first token drawn
  std::optional<std::int64_t> generation_time_ns;      // first to last token
  std::optional<std::int64_t> queue_time_ns;           // received to admitted to a slot
  std::optional<std::int64_t> mean_itl_ns;
  std::optional<double> tokens_per_second;      // completion tokens by the time from admission to the last
  std::optional<std::int64_t> prefill_time_ns;  // admitted to first token drawn
  std::optional<std::int64_t> output_time_ns;   // first token drawn to first_content_ns
  std::optional<std::int64_t> server_ttft_ns;   // received to first_content_ns: queue, prefill and output together
  std::uint64_t frames = 0, pieces = 0;
};

RequestMetrics metrics_of(const ServedRequest& request);
/// {"time_to_first_token_ms": 1.234, ...}
void append_metrics(std::string& out, const RequestMetrics& metrics);
/// {"id": ..., "steps": [...], "writes": [...], ...}
std::string timeline_body(const ServedRequest& request, std::int64_t now_ns);

class Timelines {
 public:
  void add(std::shared_ptr<ServedRequest> request);
  /// From here on it counts among the finished, whose room is bounded. REQUIRES: it has been added.
  void finish(const std::shared_ptr<ServedRequest>& request);
  /// By either id; where several had it, the last. Null when it is not known (any more).
  std::shared_ptr<const ServedRequest> find(std::string_view id) const;

 private:
  struct Finished {
    std::shared_ptr<ServedRequest> request;
    std::size_t bytes;
  };
  void forget(const std::string& id, const ServedRequest* request);

  std::unordered_map<std::string, std::shared_ptr<ServedRequest>> by_id_;
  std::deque<Finished> finished_;  // the oldest first
  std::size_t finished_bytes_ = 0;
};

}  // namespace sluice::engine
