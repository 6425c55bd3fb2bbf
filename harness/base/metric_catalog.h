// Every built-in metric: its name, kind, unit and exact definition. `sluice metrics` prints it; thresholds are checked
// against it; the report links to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace sluice {

enum class MetricKind : std::uint8_t { counter, gauge, rate, trend };  // k6's four
enum class Unit : std::uint8_t {
  none,
  milliseconds,
  bytes,
  characters,
  tokens,
  per_second,
  percent,
  watts,
  megahertz,
  celsius
};

enum class Metric : std::uint8_t {
  http_reqs,
  http_req_blocked,
  http_req_connecting,
  http_req_tls_handshaking,
  http_req_sending,
  http_req_looking_up,
  http_req_waiting,
  http_req_receiving,
  http_req_duration,
  http_req_failed,
  connect_failed,
  timed_out,
  abandoned,
  availability,
  data_sent,
  data_received,
  iterations,
  iteration_duration,
  iterations_failed,
  dropped_iterations,
  vus,
  vus_max,
  checks,
  group_duration,
  http_req_duration_sched,
  ttfb,
  ttfe,
  ttft,
  ttft_sched,
  ttfa,
  ttft_client,
  ttft_network,
  ttft_queue,
  ttft_prefill,
  ttft_output,
  icl,
  itl,
  tpot,
  e2e,
  e2e_done,
  e2e_sched,
  stream_chunks,
  stream_events,
  stream_duration,
  chunks_per_second,
  chunk_size,
  buffer_efficiency,
  events_per_read,
  burst_gaps,
  stalls,
  tokens_per_chunk,
  fluidity,
  output_tokens,
  prompt_tokens,
  cached_tokens,
  output_tokens_per_request,
  prompt_tokens_per_request,
  cached_tokens_per_request,
  output_tokens_per_second,
  stream_failed,
  stream_findings,
  goodput,
  goodput_rate,
  client_lag,
  loop_lag,
  sched_lag,
  send_lag,
  ws_sessions,
  ws_connecting,
  ws_session_duration,
  ws_msgs_sent,
  ws_msgs_received,
  ws_ping,
  gpu_utilization,
  gpu_memory_used,
  gpu_power,
  gpu_clock,
  gpu_temperature,
  kv_cache_usage,
  engine_running,
  engine_queued,
  engine_preemptions,
  engine_steps,
  count_  // how many there are
};
inline constexpr std::size_t kMetricCount = static_cast<std::size_t>(Metric::count_);

struct MetricInfo {
  Metric id;
  std::string_view name;  // as in YAML, JSON, reports
  MetricKind kind;
  Unit unit;
  std::string_view definition;  // one sentence, from the table of definitions
};

std::string_view kind_name(MetricKind kind);  // "trend"
std::string_view unit_name(Unit unit);        // "ms"; empty for none

std::span<const MetricInfo> metric_catalog();  // in the order of Metric
const MetricInfo& info(Metric metric);
/// Sampled beside the run, of the co-hosted engine and its GPU: no tags, and known only at the run's end.
constexpr bool is_sampled(Metric metric) { return metric >= Metric::gpu_utilization && metric < Metric::count_; }
/// Declared by a scenario file: what it is stands in the plan (harness/scenario/custom_metric.h), not in the catalogue.
constexpr bool is_custom(Metric metric) { return metric >= Metric::count_; }
std::optional<Metric> metric_named(std::string_view name);

}  // namespace sluice
