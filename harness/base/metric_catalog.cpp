#include "harness/base/metric_catalog.h"

#include <algorithm>
#include <array>

namespace sluice {
namespace {

using enum MetricKind;
using enum Unit;

#define METRIC(name, kind, unit, definition) \
  MetricInfo { Metric::name, #name, kind, unit, definition }

constexpr auto kCatalog = std::to_array<MetricInfo>({
    METRIC(http_reqs, counter, none, "Requests begun, whatever became of them."),
    METRIC(
        http_req_blocked, trend, milliseconds,
        "From the step's start until a connection is in hand: looking up, connecting and the TLS handshake included; "
        "next to nothing when a connection is reused."),
    METRIC(http_req_connecting, trend, milliseconds, "Time of the TCP connect; 0 when a connection is reused."),
    METRIC(http_req_tls_handshaking, trend, milliseconds, "Time of the TLS handshake; 0 when there was none."),
    METRIC(http_req_sending, trend, milliseconds,
           "From the first request byte about to go until the last one is handed to the kernel."),
    METRIC(http_req_looking_up, trend, milliseconds, "Time to resolve the name; 0 when a connection is reused."),
    METRIC(http_req_waiting, trend, milliseconds,
           "From the last request byte handed to the kernel until the first response byte, header included."),
    METRIC(http_req_receiving, trend, milliseconds, "From the first response byte until the last."),
    METRIC(http_req_duration, trend, milliseconds,
           "Sending, waiting and receiving together; of a request that timed out or broke, until then, so that a slow "
           "failure never makes the figures look better. Requests that found no connection have none."),
    METRIC(
        http_req_failed, rate, none,
        "Share of requests without a whole answer of status 2xx or 3xx: no connection, timed out, broken off, not "
        "HTTP, or status 4xx or 5xx. Interrupted requests do not count. What is wrong inside a whole stream counts in "
        "stream_failed."),
    METRIC(connect_failed, rate, none,
           "Share of requests and WebSocket sessions that found no connection, TLS included."),
    METRIC(timed_out, rate, none,
           "Share of requests and WebSocket sessions whose time-out passed before they were whole."),
    METRIC(abandoned, counter, none,
           "Streams that the flow dropped on purpose (abandon:). They count as interrupted: in no failure rate."),
    METRIC(availability, gauge, none,
           "1 minus the share of failed or dropped requests; a failed stream is a failed request."),
    METRIC(data_sent, counter, bytes, "Bytes sent, headers included."),
    METRIC(data_received, counter, bytes, "Bytes received, headers included."),
    METRIC(iterations, counter, none, "Times a flow was run to its end."),
    METRIC(iteration_duration, trend, milliseconds,
           "Time of one run of the flow, sleeps included; interrupted runs do not count."),
    METRIC(iterations_failed, counter, none,
           "Iterations that ended before the flow's end: by fail:, or by a capture that found nothing. They count in "
           "iterations too."),
    METRIC(dropped_iterations, counter, none,
           "Iterations that the load model wanted and no VU was free to start; always 0 in closed models."),
    METRIC(vus, gauge, none, "Virtual users running."),
    METRIC(vus_max, gauge, none, "Most virtual users running at one time."),
    METRIC(checks, rate, none, "Share of checks that held."),
    METRIC(group_duration, trend, milliseconds, "Time of one run of a group, sleeps included."),
    METRIC(http_req_duration_sched, trend, milliseconds,
           "From the instant the load model wanted the request to start until its last byte."),
    METRIC(ttfb, trend, milliseconds, "First byte of the response's body - t_start, of streams."),
    METRIC(ttfe, trend, milliseconds, "First server-sent event of any kind - t_start."),
    METRIC(
        ttft, trend, milliseconds,
        "First event with non-empty content, reasoning or tool-call text - t_start. A role-only chunk does not count."),
    METRIC(ttft_sched, trend, milliseconds,
           "The same event - t_sched, which corrects for requests that could not start in time."),
    METRIC(ttfa, trend, milliseconds, "First content that is not reasoning - t_start."),
    METRIC(ttft_client, trend, milliseconds,
           "The harness's own part of ttft: t_sent - t_start without what connecting took. As the four that follow: of "
           "streams whose server said at least queue or prefill; the five add up to ttft."),
    METRIC(ttft_network, trend, milliseconds,
           "ttft without the parts of the client and of the server: connecting, the ways there and back, and whatever "
           "the server does not speak of; never below 0."),
    METRIC(ttft_queue, trend, milliseconds,
           "Part of ttft in which the request waited to be computed, as the server says; absent where it does not."),
    METRIC(ttft_prefill, trend, milliseconds,
           "Part of ttft in which the first token was computed, as the server says; absent where it does not."),
    METRIC(ttft_output, trend, milliseconds,
           "Part of ttft from the first token until its frame was about to be written, as the server says; absent "
           "where it does not."),
    METRIC(icl, trend, milliseconds,
           "Every gap between consecutive content-bearing events, over all streams (inter-chunk latency)."),
    METRIC(
        itl, trend, milliseconds,
        "Every gap divided by the tokens its event brought, weighted by them; only where token deltas are known, else "
        "absent: never silently icl."),
    METRIC(
        tpot, trend, milliseconds,
        "Per stream: (t_last - t_first) / (n_out - n_first); n_first is the tokens of the first content event, 1 where "
        "unknown. Whole streams with usage only."),
    METRIC(e2e, trend, milliseconds, "Last content event - t_start, of whole streams."),
    METRIC(e2e_done, trend, milliseconds, "The end marker [DONE] - t_start, of whole streams."),
    METRIC(e2e_sched, trend, milliseconds, "Last content event - t_sched, of whole streams."),
    METRIC(stream_chunks, trend, none, "Content-bearing events per whole stream."),
    METRIC(stream_events, trend, none, "All server-sent events per whole stream, the end marker included."),
    METRIC(stream_duration, trend, milliseconds, "Another name of e2e."),
    METRIC(chunks_per_second, trend, per_second, "stream_chunks / stream_duration, per whole stream."),
    METRIC(chunk_size, trend, characters, "Unicode code points of each content event."),
    METRIC(buffer_efficiency, rate, none,
           "Share of content events with at least large_chunk_chars characters (20 unless set)."),
    METRIC(events_per_read, trend, none,
           "Server-sent events that one read completed; the mean of each stream is one sample."),
    METRIC(burst_gaps, rate, none, "Share of icl under 100 us."),
    METRIC(stalls, counter, none,
           "Gaps over stall_factor (10 unless set) times their stream's median gap, and over 100 ms."),
    METRIC(tokens_per_chunk, trend, tokens,
           "Output tokens / content events, per whole stream with usage; absent where usage counts more tokens than "
           "characters came: not all of them were shown."),
    METRIC(
        fluidity, trend, percent,
        "Share of a whole stream's tokens (chunks, where usage says nothing) that came in time for a reader who takes "
        "one every objective `tpot` (100 ms where there is none), from the first on: what comes early is slack for "
        "what "
        "follows, what comes late moves the deadlines behind it."),
    METRIC(output_tokens, counter, tokens, "Tokens generated, from usage."),
    METRIC(prompt_tokens, counter, tokens, "Tokens of the prompts, from usage."),
    METRIC(cached_tokens, counter, tokens, "Tokens of the prompts that the server had in its cache, from usage."),
    METRIC(output_tokens_per_request, trend, tokens, "Tokens generated by each request that ended well, from usage."),
    METRIC(prompt_tokens_per_request, trend, tokens,
           "Tokens of the prompt of each request that ended well, from usage."),
    METRIC(cached_tokens_per_request, trend, tokens,
           "Cached tokens of the prompt of each request that ended well, from usage."),
    METRIC(output_tokens_per_second, gauge, per_second, "output_tokens / seconds of the measured window."),
    METRIC(
        stream_failed, rate, none,
        "Share of streams that were not: status 2xx, the right content type, at least one content event (or no output "
        "tokens by usage), a finish_reason, the dialect's end marker, no error event, no fatal finding. Interrupted "
        "streams do not count."),
    METRIC(stream_findings, counter, none,
           "Deviations from the protocol, by rule (tag rule), each once a stream; what is only noted does not count."),
    METRIC(goodput, gauge, per_second,
           "Requests per second that ended well and met every one of their scenario's objectives."),
    METRIC(goodput_rate, gauge, none,
           "Share of all scheduled requests, failed and dropped ones included, that met every one of their scenario's "
           "objectives."),
    METRIC(
        client_lag, trend, milliseconds,
        "The harness's own delay, of each content event: parsed in user space - received by the kernel (by user space, "
        "where there is no kernel stamp)."),
    METRIC(loop_lag, trend, milliseconds, "The harness's own delay: how late an event loop's timer woke up."),
    METRIC(sched_lag, trend, milliseconds, "The harness's own delay: t_start - t_sched."),
    METRIC(send_lag, trend, milliseconds, "t_sent - t_sched: connecting and sending included."),
    METRIC(ws_sessions, counter, none, "WebSocket sessions begun, whatever became of them."),
    METRIC(ws_connecting, trend, milliseconds,
           "From a session's start until its upgrade was accepted: connecting and the TLS handshake included."),
    METRIC(ws_session_duration, trend, milliseconds,
           "From a session's start until its connection was closed; interrupted sessions do not count."),
    METRIC(ws_msgs_sent, counter, none, "Messages sent over WebSocket."),
    METRIC(ws_msgs_received, counter, none, "Messages received over WebSocket."),
    METRIC(ws_ping, trend, milliseconds, "From our ping until its pong, where a step asks for one."),
    METRIC(gpu_utilization, trend, percent,
           "Share of the time in which the GPU of the co-hosted engine ran a kernel; sampled once a second, as all of "
           "the system."),
    METRIC(gpu_memory_used, trend, bytes, "Memory of that GPU in use, by whatever program."),
    METRIC(gpu_power, trend, watts, "What that GPU draws."),
    METRIC(gpu_clock, trend, megahertz, "Clock of that GPU's multiprocessors."),
    METRIC(gpu_temperature, trend, celsius, "Temperature of that GPU's core."),
    METRIC(kv_cache_usage, trend, percent, "Share of the KV blocks of the co-hosted engine that its requests hold."),
    METRIC(engine_running, trend, none, "Requests that the co-hosted engine computes at the same time."),
    METRIC(engine_queued, trend, none, "Requests that the co-hosted engine has taken and not begun."),
    METRIC(engine_preemptions, counter, none,
           "Times the co-hosted engine took the KV blocks of a running request, to compute it anew later."),
    METRIC(engine_steps, counter, none, "Steps of the co-hosted engine: forward passes of its model."),
});
#undef METRIC

constexpr bool in_order() {
  if (kCatalog.size() != kMetricCount) return false;
  for (std::size_t i = 0; i < kCatalog.size(); ++i)
    if (static_cast<std::size_t>(kCatalog[i].id) != i) return false;
  return true;
}
static_assert(in_order(), "one entry a metric, in the order of the enumeration");

}  // namespace

std::span<const MetricInfo> metric_catalog() { return kCatalog; }

const MetricInfo& info(Metric metric) { return kCatalog[static_cast<std::size_t>(metric)]; }

std::optional<Metric> metric_named(std::string_view name) {
  const auto found =
      std::find_if(kCatalog.begin(), kCatalog.end(), [&](const MetricInfo& m) { return m.name == name; });
  if (found == kCatalog.end()) return std::nullopt;
  return found->id;
}

std::string_view kind_name(MetricKind kind) {
  switch (kind) {
    case MetricKind::counter:
      return "counter";
    case MetricKind::gauge:
      return "gauge";
    case MetricKind::rate:
      return "rate";
    case MetricKind::trend:
      return "trend";
  }
  return "";
}

std::string_view unit_name(Unit unit) {
  switch (unit) {
    case Unit::none:
      return "";
    case Unit::milliseconds:
      return "ms";
    case Unit::bytes:
      return "bytes";
    case Unit::characters:
      return "characters";
    case Unit::tokens:
      return "tokens";
    case Unit::per_second:
      return "1/s";
    case Unit::percent:
      return "%";
    case Unit::watts:
      return "W";
    case Unit::megahertz:
      return "MHz";
    case Unit::celsius:
      return "°C";
  }
  return "";
}

}  // namespace sluice
