// What a sample is on its way from a load thread to the files, and the points that are made of it there. Used by
// harness/output only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "harness/base/metric_catalog.h"
#include "harness/metrics/record.h"
#include "harness/metrics/tally_layout.h"

namespace sluice::samples {

enum class Kind : std::uint8_t { request, websocket, check, group, iteration, failed, dropped, vus, custom };

struct ContentStamp {
  Instant at = kNever;
  std::uint32_t tokens = 0;
  std::uint32_t characters = 0;
};

/// What was found in a stream; its bytes lie behind the texts of the request.
struct FindingMark {
  std::uint64_t offset = 0;
  std::uint32_t bytes = 0;
  StreamRule rule{};
};

/// Followed by the content's stamps, the findings that count, and the texts: the error, the stream's id if anything was
/// found in it, and the bytes of each finding.
struct Request {
  Kind kind = Kind::request;
  Outcome outcome = Outcome::ok;
  bool new_connection = false;
  bool http2 = false;
  StepId step = 0;
  Instant scheduled_at, started_at, looked_up_at, connected_at, tls_at, send_began_at, sent_at, first_byte_at,
      first_body_at, first_event_at, first_answer_at, done_at, ended_at;
  std::uint64_t bytes_sent, bytes_received;
  std::int64_t prompt_tokens, output_tokens, cached_tokens;
  Nanoseconds ttft_client, ttft_network, ttft_queue, ttft_prefill, ttft_output;  // -1: none
  std::uint32_t status, events, reads, content, findings, error_bytes, id_bytes;
};
/// Followed by the error's text.
struct WebSocket {
  Kind kind = Kind::websocket;
  Outcome outcome = Outcome::ok;
  StepId step = 0;
  Instant started_at, opened_at, ended_at;
  std::uint64_t sent, received, bytes_sent, bytes_received;
  Nanoseconds pong_time;
  std::uint32_t status, error_bytes;
};
struct CheckDone {
  Kind kind = Kind::check;
  bool passed;
  CheckId check;
  Instant at;
};
struct GroupDone {
  Kind kind = Kind::group;
  StepId group;
  Nanoseconds duration;
  Instant ended_at;
};
struct IterationDone {
  Kind kind = Kind::iteration;
  bool interrupted;
  std::uint32_t scenario;
  Nanoseconds duration;
  Instant ended_at;
};
/// Counted as an iteration too.
struct IterationFailed {
  Kind kind = Kind::failed;
  std::uint32_t scenario;
  Instant ended_at;
};
struct CustomValue {
  Kind kind = Kind::custom;
  Metric metric;
  StepId step;
  double value;
  Instant at;
};
struct IterationsDropped {
  Kind kind = Kind::dropped;
  std::uint32_t scenario;
  std::uint64_t iterations;
  Instant at;
};
struct VusNow {
  Kind kind = Kind::vus;
  std::uint64_t now, peak;
  Instant at;
};

/// A request as it lies in the ring. REQUIRES: `bytes` was left by SampleSink::add.
struct RequestView {
  explicit RequestView(std::span<const std::byte> bytes);
  const Request& request;
  std::span<const ContentStamp> content;
  std::span<const FindingMark> findings;
  std::string_view error, stream_id;
  std::string_view finding_bytes;  // of all findings, one after the other
};

/// One line of a file.
struct Point {
  Metric metric;
  Instant at;
  double value;  // in the metric's unit; of a rate: 1 or 0
  struct Found {
    StreamRule rule{};
    std::uint64_t offset = 0;
    std::string_view stream_id, bytes;  // of the view that the point was made of
    bool operator==(const Found&) const = default;
  };
  std::optional<Found> found = std::nullopt;  // of stream_findings
  bool operator==(const Point&) const = default;
};

void points_of(const WebSocket& session, std::vector<Point>& out);

/// k6's http_req_failed.
bool http_failed(Outcome outcome);

/// Replaces `out`. `token_time`: of the step's scenario, for fluidity. Metric by metric the points say what the tally
/// counts of the same request; what is left out, because it follows from others or is about the harness: see
/// docs/cli.md.
void points_of(const RequestView& view, bool step_streams, Nanoseconds token_time, std::vector<Point>& out);

}  // namespace sluice::samples
