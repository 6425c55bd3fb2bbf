// What is known about one request when it has ended. Filled by net and load, read by checks and the tally.
//
// Definitions of the instants: docs/metrics.md. All on CLOCK_MONOTONIC in nanoseconds; kNever when it did not happen.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/server_times.h"
#include "harness/base/stream_rule.h"
#include "harness/base/time.h"

namespace sluice {

enum class Outcome : std::uint8_t {
  ok,
  connect_failed,  // no connection, TLS included
  timed_out,
  reset,           // the connection broke before the answer was whole
  malformed,       // not HTTP, or a body that breaks its own framing
  http_error,      // status 4xx or 5xx
  stream_invalid,  // 2xx, but a fatal finding in the stream (error event, no content, no finish, no end marker)
  interrupted,     // cut by us: graceful stop, Ctrl-C, abandon:; counts in no failure rate
  flow_failed      // of no request: the flow ended the iteration
};

/// As reports and checks say it.
constexpr std::string_view name_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::ok:
      return "ok";
    case Outcome::connect_failed:
      return "connect_failed";
    case Outcome::timed_out:
      return "timed_out";
    case Outcome::reset:
      return "reset";
    case Outcome::malformed:
      return "malformed";
    case Outcome::http_error:
      return "http_error";
    case Outcome::stream_invalid:
      return "stream_invalid";
    case Outcome::flow_failed:
      return "flow_failed";
    case Outcome::interrupted:
      return "interrupted";
  }
  return "";
}

/// One server-sent event that carried text.
struct ContentEvent {
  Instant received_at = kNever;  // t_rx: the kernel's stamp where `kernel_stamp`, else user space's
  Instant seen_at = kNever;      // t_seen: parsed
  std::uint32_t characters = 0;  // Unicode code points of its text
  std::uint32_t tokens = 0;      // token delta where known, else 0
  bool kernel_stamp = false;
  bool coalesced =
      false;  // not the last event of a read that drained the socket: it lies in (previous read, received_at]
  bool after_silence =
      false;  // its read came after 50 ms and more of silence, of the network and not only the reader's
};

struct RequestRecord {
  // instants
  Instant scheduled_at = kNever;                                          // t_sched
  Instant started_at = kNever;                                            // t_start
  Instant looked_up_at = kNever, connected_at = kNever, tls_at = kNever;  // only when the connection is new
  Instant send_began_at = kNever;                                         // connection in hand, first byte about to go
  Instant sent_at = kNever;                                               // t_sent
  Nanoseconds paced{};             // of sending, waited on purpose: the network of the scenario is slow
  Instant first_byte_at = kNever;  // of the response, header included
  Instant first_body_at = kNever;
  Instant first_event_at = kNever;
  Instant first_answer_at = kNever;                   // first non-reasoning content
  Instant finish_seen_at = kNever, done_at = kNever;  // `[DONE]`
  Instant ended_at = kNever;                          // last byte, or the failure

  Outcome outcome = Outcome::ok;
  std::string error;    // for people, when outcome is not ok; never a header or a prompt
  unsigned status = 0;  // HTTP status; 0 when no response came
  bool new_connection = false;
  bool http2 = false;      // else HTTP/1.1
  bool abandoned = false;  // interrupted because the flow wanted it
  std::uint64_t bytes_sent = 0, bytes_received = 0;

  // streams
  bool stream = false;
  std::vector<ContentEvent> content;  // in order; storage is reused between requests
  std::uint32_t events = 0;           // all events, [DONE] included
  std::uint32_t reads = 0;            // reads that completed at least one event
  std::uint32_t events_kernel_stamped = 0;
  bool backlog = false;               // the kernel's receive buffer was half full at least once
  std::uint32_t content_choices = 0;  // bit i: choice i has brought content
  std::uint64_t burst_bytes = 0;      // of the reads after such a silence that brought several content events
  bool saw_done = false;
  bool judged = false;            // by the rules of streams: `findings` are all there are
  std::string finish_reason;      // empty: none
  std::vector<Finding> findings;  // a rule at most once, unless both noted and not
  std::string id;                 // the stream's `id`: joins it with an engine's emission log

  std::string request_id;  // the header x-request-id that was sent: joins it with a server's log; empty: none was
  ServerTimes server;      // from the answer's last word on it: its events, else its header Server-Timing

  // from `usage`; -1: not reported
  std::int64_t prompt_tokens = -1, output_tokens = -1, cached_tokens = -1;

  // kept for checks only when the step has any
  std::string text;  // the answer, streamed pieces joined
  std::string body;  // of http steps and unstreamed answers, up to limits::body_bytes_kept
  std::vector<std::pair<std::string, std::string>> headers;
};

/// What a session over WebSocket has beside its RequestRecord.
struct WebSocketRecord {
  Instant opened_at = kNever;               // the upgrade was accepted
  std::uint64_t sent = 0, received = 0;     // messages
  bool found = false;                       // one of them is what was waited for
  Nanoseconds pong_time = Nanoseconds(-1);  // from our ping to its pong; -1: none came
};

}  // namespace sluice
