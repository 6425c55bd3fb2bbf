#include "tests/reports/sample_summary.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace sluice::reports {
namespace {

MetricSummary trend(const std::string& name, const std::string& unit, double median, double spread,
                    std::uint64_t count) {
  MetricSummary metric{.name = name, .kind = "trend", .unit = unit, .count = count};
  const auto at = [&](double z) { return median * std::exp(spread * z); };
  metric.avg = median * std::exp(spread * spread / 2);
  metric.sum = *metric.avg * static_cast<double>(count);
  metric.stddev = *metric.avg * std::sqrt(std::exp(spread * spread) - 1);
  metric.min = at(-2.9);
  metric.max = at(3.4);
  metric.percentiles = {{50, median},    {75, at(0.674)}, {90, at(1.282)},
                        {95, at(1.645)}, {99, at(2.326)}, {99.9, at(3.09)}};
  if (count < 662) metric.unsure.push_back(99);
  if (count < 6636) metric.unsure.push_back(99.9);
  return metric;
}

MetricSummary counter(const std::string& name, const std::string& unit, std::uint64_t count, double seconds) {
  return {.name = name, .kind = "counter", .unit = unit, .count = count, .rate = static_cast<double>(count) / seconds};
}

MetricSummary rate(const std::string& name, std::uint64_t passes, std::uint64_t fails) {
  return {.name = name,
          .kind = "rate",
          .unit = "",
          .count = passes + fails,
          .rate = static_cast<double>(passes) / static_cast<double>(passes + fails),
          .passes = passes,
          .fails = fails};
}

MetricSummary gauge(const std::string& name, const std::string& unit, double value) {
  return {.name = name, .kind = "gauge", .unit = unit, .value = value};
}

HistogramResult histogram(const std::string& metric, double median, double spread, std::uint64_t count) {
  HistogramResult result{.metric = metric, .unit = "ms", .buckets = {}};
  const double ratio = std::pow(10.0, 1.0 / 20),
               first = std::floor(20 * std::log10(median * std::exp(-2.9 * spread))) / 20;
  const auto below = [&](double v) { return 0.5 * std::erfc(-std::log(v / median) / spread / std::sqrt(2.0)); };
  for (double from = std::pow(10.0, first); from < median * std::exp(3.2 * spread); from *= ratio)
    result.buckets.push_back(
        {from, from * ratio,
         static_cast<std::uint64_t>((below(from * ratio) - below(from)) * static_cast<double>(count))});
  return result;
}

}  // namespace

Summary sample_summary() {
  Summary s;
  s.sluice_version = "0.1.0";
  s.name = "Streaming chat under rising load";
  s.scenario_file = "scenarios/streaming.yaml";
  s.started_at = "2026-11-22T03:19:55Z";
  s.duration_s = 90.4;
  s.seed = 7;
  s.target = "engine: tiny-coder (cpu, avx512-bf16)";
  s.host = "builder-3";
  s.os = "Debian GNU/Linux 12, Linux 6.1";
  s.cpu = "AMD EPYC 9755, 2 cores";
  s.variables = {{"API_TOKEN", "********"}, {"BASE_URL", "http://127.0.0.1:8000"}, {"TTFT_THRESHOLD", "60ms"}};
  s.outcome = "failed";
  s.exit_code = 99;
  s.scenarios = {{"chat", "ramping-vus", "3 stages over 1m30s, up to 8 VUs", 1894, 3, {}, 8},
                 {"health", "constant-vus", "1 VU for 1m30s", 430, 0, {}, 1}};
  s.warmup_s = 10;
  s.warmup_requests = 96;
  s.scenarios[0].warmup_requests = 96;
  s.scenarios[0].load = {.requests = 1894,
                         .failures = 10,
                         .requests_per_s = 20.95,
                         .duration_p50_ms = 292.4,
                         .duration_p95_ms = 618.2,
                         .duration_p99_ms = 830.1,
                         .ttft_p50_ms = 24.1,
                         .ttft_p95_ms = 74.83,
                         .ttft_p99_ms = 119.9};
  s.scenarios[0].stages = {{.from_s = -10,
                            .to_s = 20,
                            .load = {.requests = 240,
                                     .requests_per_s = 12,
                                     .duration_p50_ms = 214.7,
                                     .duration_p95_ms = 401.3,
                                     .duration_p99_ms = 512.0,
                                     .ttft_p50_ms = 17.9,
                                     .ttft_p95_ms = 41.2,
                                     .ttft_p99_ms = 66.6}},
                           {.from_s = 20,
                            .to_s = 70,
                            .load = {.requests = 1391,
                                     .failures = 10,
                                     .requests_per_s = 27.82,
                                     .duration_p50_ms = 311.5,
                                     .duration_p95_ms = 655.8,
                                     .duration_p99_ms = 861.4,
                                     .ttft_p50_ms = 26.3,
                                     .ttft_p95_ms = 80.4,
                                     .ttft_p99_ms = 124.0}},
                           {.from_s = 70,
                            .to_s = 90,
                            .load = {.requests = 263,
                                     .requests_per_s = 13.15,
                                     .duration_p50_ms = 227.0,
                                     .duration_p95_ms = 448.9,
                                     .duration_p99_ms = 590.3,
                                     .ttft_p50_ms = 19.4,
                                     .ttft_p95_ms = 48.8,
                                     .ttft_p99_ms = 71.5}}};
  s.scenarios[1].load = {.requests = 430,
                         .failures = 2,
                         .requests_per_s = 4.76,
                         .duration_p50_ms = 0.4,
                         .duration_p95_ms = 1.1,
                         .duration_p99_ms = 2.2};
  s.steps = {{"chat", "::ask", "chat", 1894, 3, 292.4, 618.2, 1204.0},
             {"health", "", "http.get /health", 430, 0, 0.4, 1.1, 3.0}};
  s.thresholds = {
      {"http_req_duration{kind:chat}", "p(50) < 1500", "pass", 292.4, 1500, "ms", "", false},
      {"http_req_duration{kind:chat}", "p(95) < 3000", "pass", 618.2, 3000, "ms", "", false},
      {"ttft", "p(95) < 60ms", "fail", 74.83, 60, "ms", "p(95) 74.83 ms is not below 60 ms", false},
      {"http_req_failed", "rate < 1%", "pass", 0.0052, 0.01, "share", "", false},
      {"checks", "rate > 0.99", "pass", 0.9978, 0.99, "share", "", false},
      {"itl", "p(99) < 50ms", "fail", {}, 50, "ms", "no samples", false},
      {.metric = "ttft",
       .expression = "p(95) < 90ms",
       .verdict = "fail",
       .actual = 97.1,
       .limit = 90,
       .unit = "ms",
       .reason = "p(95) 97.1 ms is not below 90 ms from 40 s to 50 s; 2 of 9 windows failed",
       .windows = WindowsResult{.over_s = 10, .judged = 9, .failed = 2, .worst_from_s = 40, .worst_to_s = 50}},
      {.metric = "http_reqs",
       .expression = "rate > 5",
       .verdict = "pass",
       .actual = 6.2,
       .limit = 5,
       .unit = "1/s",
       .windows = WindowsResult{.over_s = 30, .judged = 3, .worst_from_s = 0, .worst_to_s = 30}},
      {.metric = "tpot",
       .expression = "p(99) < 90ms",
       .verdict = "fail",
       .actual = 12.1,
       .limit = 90,
       .unit = "ms",
       .reason = "not enough samples: 1 884 of at least 5000",
       .min_samples = 5000},
      {.metric = "dropped_iterations",
       .expression = "count == 0",
       .verdict = "fail",
       .actual = 12,
       .limit = 0,
       .reason = "too few VUs, or too little time; to allow it: gates: {dropped_iterations: off}",
       .source = "default gate"},
      {.metric = "achieved_rate",
       .expression = "rate >= 95%",
       .verdict = "pass",
       .actual = 0.9934,
       .limit = 0.95,
       .unit = "share",
       .source = "default gate"},
      {"icl", "p(99) < 30ms", "inconclusive", 29.1, 30, "ms", "the 99 % bounds 27.9 ms to 31.2 ms straddle the limit",
       false},
  };
  s.checks = {{"status == 200", "", 2313, 11},
              {"text contains \"print(\"", "::chat", 1883, 0},
              {"chunks in 50..100", "::chat", 1883, 0},
              {"finish_reason == stop", "::chat", 0, 0}};
  const double t = s.duration_s;
  s.metrics = {counter("http_reqs", "", 2324, t),
               trend("http_req_blocked", "ms", 0.012, 0.9, 2324),
               trend("http_req_waiting", "ms", 22, 0.5, 2312),
               trend("http_req_receiving", "ms", 268, 0.4, 2312),
               trend("http_req_duration", "ms", 290, 0.46, 2312),
               trend("http_req_duration{kind:chat}", "ms", 292.4, 0.455, 1894),
               rate("http_req_failed", 12, 2312),
               rate("connect_failed", 0, 2324),
               rate("timed_out", 4, 2320),
               gauge("availability", "share", 0.9948),
               counter("data_sent", "bytes", 812'331, t),
               counter("data_received", "bytes", 31'004'211, t),
               counter("iterations", "", 2321, t),
               trend("iteration_duration", "ms", 331, 0.4, 2321),
               {.name = "vus", .kind = "gauge", .unit = "", .value = 0.0, .min = 0.0, .max = 9.0},
               gauge("vus_max", "", 9),
               rate("checks", 6079, 11),
               trend("ttft", "ms", 24.1, 0.69, 1890),
               trend("icl", "ms", 3.4, 0.82, 133'871),
               trend("tpot", "ms", 3.6, 0.31, 1884),
               trend("e2e", "ms", 289, 0.46, 1884),
               trend("stream_chunks", "", 71, 0.12, 1884),
               trend("chunks_per_second", "1/s", 241, 0.3, 1884),
               rate("burst_gaps", 1204, 132'667),
               counter("stalls", "", 3, t),
               counter("output_tokens", "tokens", 134'012, t),
               gauge("output_tokens_per_second", "1/s", 1482.4),
               rate("stream_failed", 6, 1884),
               counter("stream_findings", "", 14, t),
               trend("client_lag", "ms", 0.021, 0.6, 135'000),
               trend("loop_lag", "ms", 0.04, 0.5, 420)};
  s.failures = {{"timed_out", "no answer within 120s", 4},
                {"stream_invalid", "error event: {\"error\":{\"message\":\"<overloaded> & \\\"busy\\\"\"}}", 6},
                {"http_error", "HTTP 503", 2}};
  s.findings = {
      {"error-event", "fatal", 6, "data: {\"error\":{\"message\":\"</script><b>overloaded\"}}", "chatcmpl-7f3a", 1842},
      {"keepalive-missing", "warning", 8, "nothing for 21.3 s", "", 96},
      {"finish-with-content", "note", 120, "{\"choices\":[...]}", "chatcmpl-1", 512}};
  s.buffering.emplace().scenarios = {
      {.scenario = "chat",
       .verdict = "none",
       .evidence = "1.02 tokens an event, 99 % of them alone, one each 3.4 ms (median)",
       .streams = 942,
       .chunks_per_stream = 71.2,
       .characters_per_chunk = 3.9,
       .tokens_per_chunk = 1.02,
       .events_per_read = 1.06,
       .burst_share = 0,
       .unsure_share = 0.01,
       .ttft_p50_ms = 24.1,
       .ttft_p95_ms = 75,
       .gap_p50_ms = 3.4,
       .gap_p95_ms = 13},
      {.scenario = "through-the-gateway",
       .verdict = "proxy buffers",
       .evidence = "98 % of the content events came in bursts of 8.0 (about 2.0 kB), 225 ms apart (median)",
       .streams = 942,
       .chunks_per_stream = 71.1,
       .characters_per_chunk = 3.9,
       .events_per_read = 8.8,
       .burst_share = 0.98,
       .chunks_per_burst = 8,
       .bytes_per_burst = 2040,
       .ttft_p50_ms = 251,
       .ttft_p95_ms = 301,
       .gap_p50_ms = 0,
       .gap_p95_ms = 225}};
  s.buffering->comparison = ComparisonResult{
      .direct = "chat",
      .via = "through-the-gateway",
      .layer = "between",
      .sentence =
          "The proxy between buffers: the direct way does not; via it the median TTFT is 227 ms longer, the "
          "median gap 3.4 ms shorter."};
  std::mt19937_64 random(3);
  std::normal_distribution<double> noise(0, 1);
  for (int i = 0; i <= 90; ++i) {
    SeriesPoint p;
    p.t_s = i;
    const double load = i < 20 ? i / 20.0 : i < 70 ? 1.0 : std::max(0.0, (90 - i) / 20.0);
    p.vus = std::ceil(8 * load) + 1;
    p.requests_per_s = std::max(0.0, 4 + 24 * load + 1.6 * noise(random));
    p.failures_per_s = i == 47 ? 5 : i == 48 ? 3 : i == 61 ? 4 : 0;
    p.output_tokens_per_s = std::max(0.0, 1750 * load + 60 * noise(random));
    const double slow = 1 + 0.9 * load + (i >= 46 && i <= 49 ? 1.4 : 0);
    if (i != 0 && i != 90) {
      p.duration_p50_ms = 150 * slow * std::exp(0.04 * noise(random));
      p.duration_p95_ms = *p.duration_p50_ms * 1.9 * std::exp(0.07 * noise(random));
      p.duration_p99_ms = *p.duration_p95_ms * 1.3 * std::exp(std::abs(0.15 * noise(random)));
      p.ttft_p50_ms = 12 * slow * std::exp(0.06 * noise(random));
      p.ttft_p95_ms = *p.ttft_p50_ms * 2.6 * std::exp(0.12 * noise(random));
      p.gap_p95_ms = 5.2 * slow * std::exp(0.1 * noise(random));
    }
    s.series.push_back(p);
  }
  s.histograms = {histogram("ttft", 24.1, 0.69, 1890), histogram("icl", 3.4, 0.82, 133'871),
                  histogram("http_req_duration", 290, 0.46, 2312)};
  s.ttft_split = TtftSplitResult{.requests = 1'884,
                                 .exceeded = 2,
                                 .sources = {"engine"},
                                 .whole = {"ttft", 30.64, 24.1, 74.9},
                                 .parts = {{"client", 0.052, 0.047, 0.091},
                                           {"network", 0.41, 0.22, 0.97},
                                           {"queue", 6.12, 0.31, 41.2},
                                           {"prefill", 23.94, 22.8, 31.6},
                                           {"output", 0.118, 0.1, 0.21}},
                                 .unsure = {}};
  s.instrument = {.events = 138'700,
                  .events_kernel_stamped = 138'611,
                  .gaps = 133'871,
                  .gaps_coalesced = 2204,
                  .client_lag_p99_ms = 0.087,
                  .loop_lag_p99_ms = 0.131,
                  .send_lag_p99_ms = 0.064,
                  .cpu_percent = 11.3,
                  .run_queue_wait_percent = 1.2,
                  .cpu_steal_percent = 0.1,
                  .threads = 1,
                  .verdict = "trusted",
                  .reason = ""};
  s.vllm_compat = {{"completed", 1884}, {"duration", t}, {"mean_ttft_ms", 30.6}, {"p99_ttft_ms", 119.9}};
  return s;
}

Summary gpu_summary() {
  Summary s = sample_summary();
  s.target = "engine: Llama-3.2-1B-Instruct on cuda (auto), started beside the run";
  s.engine = EngineResult{.model = "Llama-3.2-1B-Instruct",
                          .backend_wanted = "auto",
                          .backend = "cuda",
                          .device = "NVIDIA H100 80GB HBM3",
                          .gpu = "NVIDIA H100 80GB HBM3",
                          .gpu_memory_bytes = 85'520'809'984.0,
                          .gpu_power_limit_w = 700.0,
                          .samples = 89,
                          .throttled = {{"power cap", 12}, {"temperature", 1}}};
  std::mt19937_64 random(5);
  std::normal_distribution<double> noise(0, 1);
  struct Spread {
    double sum = 0, least = 1e300, most = 0;
    std::uint64_t count = 0;
    void add(double value) {
      sum += value;
      least = std::min(least, value);
      most = std::max(most, value);
      ++count;
    }
    MetricSummary metric(const std::string& name, const std::string& unit) const {
      MetricSummary m{.name = name, .kind = "trend", .unit = unit, .count = count};
      m.sum = sum;
      m.avg = sum / static_cast<double>(count);
      m.min = least;
      m.max = most;
      return m;
    }
  } use, memory, power, clock, temperature, kv, running, queued;
  std::uint64_t preemptions = 0;
  for (SeriesPoint& p : s.series) {
    if (p.t_s == 30 || p.t_s == 90) continue;  // an answer that did not come in time
    const double load = (p.vus - 1) / 8;
    use.add(*(p.gpu_utilization_percent = std::clamp(std::round(96 * load + 3 * noise(random)), 0.0, 100.0)));
    memory.add(*(p.gpu_memory_bytes = p.t_s < 3 ? 6.1e9 : 41.7e9));
    power.add(*(p.gpu_power_w = 118 + 440 * load + 15 * noise(random)));
    clock.add(*(p.gpu_clock_mhz = load > 0.9 ? 1755 + 15 * std::round(noise(random)) : 1980));
    temperature.add(*(p.gpu_temperature_c = std::round(38 + 22 * load)));
    kv.add(*(p.kv_cache_usage_percent = std::clamp(97 * load + 2 * noise(random), 0.0, 100.0)));
    running.add(*(p.engine_running = std::round(7 * load)));
    queued.add(*(p.engine_queued = load > 0.9 ? 1 : 0));
    p.engine_preemptions = p.t_s >= 46 && p.t_s <= 49 ? 3 : p.t_s == 61 ? 1 : 0;
    preemptions += static_cast<std::uint64_t>(*p.engine_preemptions);
  }
  const MetricSummary system[] = {use.metric("gpu_utilization", "%"),
                                  memory.metric("gpu_memory_used", "bytes"),
                                  power.metric("gpu_power", "W"),
                                  clock.metric("gpu_clock", "MHz"),
                                  temperature.metric("gpu_temperature", "°C"),
                                  kv.metric("kv_cache_usage", "%"),
                                  running.metric("engine_running", ""),
                                  queued.metric("engine_queued", ""),
                                  counter("engine_preemptions", "", preemptions, s.duration_s),
                                  counter("engine_steps", "", 24'117, s.duration_s)};
  s.metrics.insert(s.metrics.end(), std::begin(system), std::end(system));
  return s;
}

Summary small_summary() {
  Summary s;
  s.sluice_version = "0.1.0";
  s.name = "quick";
  s.scenario_file = "quick.yaml";
  s.started_at = "2026-11-22T03:19:55Z";
  s.duration_s = 3;
  s.target = "http://127.0.0.1:8000";
  s.outcome = "passed";
  s.scenarios = {{"one", "constant-vus", "1 VU for 3s", 6, 0, {}, 1}};
  MetricSummary duration = trend("http_req_duration", "ms", 4.2, 0.2, 6);
  duration.unsure = {50, 75, 90, 95, 99, 99.9};
  s.metrics = {counter("http_reqs", "", 6, 3), duration, rate("http_req_failed", 0, 6)};
  for (int i = 0; i < 3; ++i)
    s.series.push_back({.t_s = static_cast<double>(i),
                        .vus = 1,
                        .requests_per_s = 2,
                        .duration_p50_ms = 4.2,
                        .duration_p95_ms = 5,
                        .duration_p99_ms = 5.1});
  s.ttft_split =
      TtftSplitResult{.requests = 6,
                      .sources = {"llama.cpp timings", "Server-Timing"},
                      .whole = {"ttft", 2.4, 2.3, 3.1},
                      .parts = {{"client", 0.1, 0.1, 0.2}, {"network", 0.3, 0.3, 0.4}, {"prefill", 2, 2, 2.6}},
                      .unsure = {50, 95}};
  s.instrument.verdict = "trusted";
  s.stability = StabilityResult{.window_s = 10,
                                .windows = 3,
                                .tolerance = 0.05,
                                .ended_run = true,
                                .from_s = 20,
                                .to_s = 50,
                                .metrics = {{"http_req_duration{kind:chat} p(95)", "ms", 41.2, 0.021},
                                            {"http_reqs rate", "1/s", 20, 0.0},
                                            {"ttft avg", "ms"}}};
  s.buffering.emplace().scenarios = {
      {.verdict = "unknown", .evidence = "2 whole streams of 8 tokens and more: 3 are needed", .streams = 2}};
  return s;
}

}  // namespace sluice::reports
