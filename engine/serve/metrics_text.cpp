#include "engine/serve/metrics_text.h"

#include <fmt/format.h>

#include <iterator>
#include <string_view>

namespace sluice::engine {
namespace {

class Writer {
 public:
  explicit Writer(std::string labels) : labels_(std::move(labels)) {}

  void family(std::string_view name, std::string_view kind, std::string_view help) {
    fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, kind);
  }
  template <class Value>
  void sample(std::string_view name, std::string_view more, Value value) {
    const auto comma = !labels_.empty() && !more.empty() ? "," : "";
    if (labels_.empty() && more.empty()) {
      fmt::format_to(std::back_inserter(out), "{} {}\n", name, value);
    } else {
      fmt::format_to(std::back_inserter(out), "{}{{{}{}{}}} {}\n", name, labels_, comma, more, value);
    }
  }
  template <class Value>
  void one(std::string_view name, std::string_view kind, std::string_view help, Value value) {
    family(name, kind, help);
    sample(name, "", value);
  }
  void histogram(std::string_view name, std::string_view help, const HistogramCounts& counts) {
    family(name, "histogram", help);
    const std::string buckets = fmt::format("{}_bucket", name);
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < HistogramCounts::bounds_s.size(); ++i) {
      below += counts.counts[i];
      sample(buckets, fmt::format("le=\"{}\"", HistogramCounts::bounds_s[i]), below);
    }
    below += counts.counts.back();
    sample(buckets, "le=\"+Inf\"", below);
    sample(fmt::format("{}_sum", name), "", counts.sum_s);
    sample(fmt::format("{}_count", name), "", below);
  }

  std::string out;

 private:
  std::string labels_;
};

std::string label_value(std::string_view text) {
  std::string out;
  for (const char byte : text) {
    if (byte == '\\' || byte == '"') out += '\\';
    if (byte == '\n') {
      out += "\\n";
    } else {
      out += byte;
    }
  }
  return out;
}

void write_engine(Writer& to, const EngineStats& stats) {
  struct Reason {
    FinishReason reason;
    const char* ours;
    const char* vllm;
  };
  static constexpr Reason kReasons[] = {{FinishReason::stop, "stop", "stop"},
                                        {FinishReason::length, "length", "length"},
                                        {FinishReason::cancelled, "cancelled", "abort"},
                                        {FinishReason::error, "error", "error"}};
  const double kv_usage =
      stats.blocks == 0 ? 0 : static_cast<double>(stats.blocks_held) / static_cast<double>(stats.blocks);

  to.one("sluice_requests_running", "gauge", "Sequences that have a slot.", stats.running);
  to.one("sluice_requests_queued", "gauge", "Accepted requests without a slot yet.", stats.queued);
  to.one("sluice_requests_accepted_total", "counter", "Requests taken into the queue.", stats.accepted);
  to.one("sluice_requests_refused_total", "counter", "Requests refused: too large, queue full, draining.",
         stats.refused);
  to.family("sluice_requests_finished_total", "counter", "Ended requests; each has exactly one reason.");
  for (const auto& [reason, ours, vllm] : kReasons) {
    to.sample("sluice_requests_finished_total", fmt::format("reason=\"{}\"", ours),
              stats.finished[static_cast<std::size_t>(reason)]);
  }
  to.one("sluice_steps_total", "counter", "Steps handed to the executor.", stats.steps);
  to.one("sluice_step_rows_total", "counter", "Tokens computed over all steps.", stats.rows);
  to.one("sluice_kv_blocks", "gauge", "KV blocks there are.", stats.blocks);
  to.one("sluice_kv_blocks_held", "gauge", "KV blocks referenced by a sequence.", stats.blocks_held);
  to.one("sluice_preemptions_total", "counter", "Sequences preempted and computed anew.", stats.preemptions);

  to.one("vllm:num_requests_running", "gauge", "Number of requests in model execution batches.", stats.running);
  to.one("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.", stats.queued);
  to.one("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.", kv_usage);
  to.one("vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.", stats.prompt_tokens);
  to.one("vllm:generation_tokens_total", "counter", "Number of generation tokens processed.", stats.generation_tokens);
  to.one("vllm:prefix_cache_queries_total", "counter", "Prefix cache queries, in tokens.", stats.prefix_queries);
  to.one("vllm:prefix_cache_hits_total", "counter", "Prefix cache hits, in tokens.", stats.prefix_hits);
  to.one("vllm:num_preemptions_total", "counter", "Cumulative number of preemptions.", stats.preemptions);
  to.family("vllm:request_success_total", "counter", "Count of finished requests.");
  for (const auto& [reason, ours, vllm] : kReasons) {
    to.sample("vllm:request_success_total", fmt::format("finished_reason=\"{}\"", vllm),
              stats.finished[static_cast<std::size_t>(reason)]);
  }
  to.histogram("vllm:time_to_first_token_seconds", "Time to first token, from arrival.", stats.ttft);
  to.histogram("vllm:inter_token_latency_seconds", "Time between tokens of one request.", stats.inter_token);
  to.histogram("vllm:e2e_request_latency_seconds", "From arrival to the end.", stats.e2e);
  to.histogram("vllm:request_queue_time_seconds", "From arrival to a slot.", stats.queue);
  to.histogram("vllm:request_prefill_time_seconds", "From a slot to the first token.", stats.prefill);
  to.histogram("vllm:request_decode_time_seconds", "From the first token to the end.", stats.decode);
}

}  // namespace

std::string metrics_text(const ServerStats& server, const EngineFigures* engine) {
  Writer own({});
  own.one("sluice_connections", "gauge", "Open connections.", server.connections);
  own.one("sluice_connections_total", "counter", "Connections accepted.", server.connections_total);
  own.one("sluice_slow_readers_dropped_total", "counter", "Connections closed because the client did not read.",
          server.slow_readers_dropped);
  own.one("sluice_content_pieces_total", "counter", "Pieces of text that streams would have sent one by one.",
          server.content_pieces);
  own.one("sluice_content_frames_total", "counter", "Content frames that streams were sent.", server.content_frames);
  own.family("sluice_http_responses_total", "counter", "Answers begun, by status.");
  for (const auto& [status, count] : server.responses) {
    own.sample("sluice_http_responses_total", fmt::format("code=\"{}\"", status), count);
  }
  if (engine == nullptr) return own.out;
  own.family("sluice_engine_info", "gauge", "What runs, in its labels.");
  own.sample("sluice_engine_info",
             fmt::format("backend=\"{}\",device=\"{}\",model=\"{}\"", label_value(engine->backend),
                         label_value(engine->device), label_value(engine->model)),
             1);
  Writer labelled(fmt::format("model_name=\"{}\"", label_value(engine->model)));
  write_engine(labelled, engine->stats);
  return own.out + labelled.out;
}

}  // namespace sluice::engine
