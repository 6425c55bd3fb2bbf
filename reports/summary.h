// The result of a run as a value: everything the reports show, and nothing they must compute.
//
// Knows nothing of the rest of Sluice: last month's file renders like this second's. The JSON form has a version
// (`schema_version`); reading back what was written gives an equal value.
// Every member has an initialiser, so that who makes one may leave members out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice::reports {

inline constexpr int kSchemaVersion = 1;

/// Values of one metric, or of one metric under a tag selector. Which fields are set follows from `kind`, as in k6.
struct MetricSummary {
  std::string name = {};                // "http_req_duration" or "http_req_duration{kind:chat}"
  std::string kind = {};                // counter, gauge, rate, trend
  std::string unit = {};                // ms, bytes, tokens, characters, 1/s, share, or empty
  std::uint64_t count = 0;              // samples (trend), sum (counter), of rate: tries
  std::optional<double> rate = {};      // counter: per second; rate: share of passes 0..1
  std::uint64_t passes = 0, fails = 0;  // rate
  std::optional<double> value = {};     // gauge: last
  std::optional<double> sum = {}, avg = {}, min = {}, max = {}, stddev = {};
  std::vector<std::pair<double, double>> percentiles = {};  // (q in 0..100, value), ascending
  bool custom = false;                                      // declared by the scenario
  std::uint64_t rejected = 0;                               // what was given to it and is no number it can hold
  std::vector<double> unsure = {};  // those q with fewer samples than they need; shown in brackets
  bool operator==(const MetricSummary&) const = default;
};

/// Of a threshold that every window must hold: how many there were, and the one that came nearest to failing or failed
/// by most. Times count from the start of the measured window.
struct WindowsResult {
  double over_s = 0;
  std::uint64_t judged = 0, failed = 0;  // windows with a value; those of them that did not hold
  double worst_from_s = 0, worst_to_s = 0;
  bool operator==(const WindowsResult&) const = default;
};

struct ThresholdResult {
  std::string metric = {};  // with its selector
  std::string expression = {};
  std::string verdict = {};           // pass, fail, inconclusive
  std::optional<double> actual = {};  // in the metric's unit; none: no sample
  double limit = 0;
  std::string unit = {};
  std::string reason = {};                  // for people: "no samples", "p(95) 41 ms is over 20 ms"
  bool aborted = false;                     // it stopped the run
  bool open = false;                        // the samples prove neither, and --inconclusive has made it pass or fail
  std::string cause = {}, suggestion = {};  // of what has not passed: what the run shows of it; empty: nothing
  std::string source = {};                  // "default gate"; empty: the scenario's thresholds
  std::optional<std::uint64_t> min_samples = {};
  std::optional<double> low = {},
                        high = {};  // its 99 % bounds, in its unit; none: judged by its value, or too few samples
  std::optional<WindowsResult> windows = {};  // `actual` is then the worst window's
  bool operator==(const ThresholdResult&) const = default;
};

struct CheckResult {
  std::string name = {}, group = {};  // group: "::chat" or empty
  std::uint64_t passes = 0, fails = 0;
  bool operator==(const CheckResult&) const = default;
};

struct FindingResult {
  std::string rule = {}, severity = {};       // "note": known of the server's dialect, or allowed by the scenario
  std::uint64_t count = 0;                    // streams
  std::string example = {};                   // the first offending bytes, escaped, bounded
  std::optional<std::string> stream_id = {};  // of the stream they are from; empty: it names none
  std::optional<std::uint64_t> offset = {};   // where in that stream's bytes the event lies
  bool operator==(const FindingResult&) const = default;
};

struct FailureResult {
  std::string outcome = {}, error = {};  // "timed_out", "no answer within 120s"
  std::uint64_t count = 0;
  bool operator==(const FailureResult&) const = default;
};

/// One bucket of a histogram: values in [from, to).
struct Bucket {
  double from = 0, to = 0;
  std::uint64_t count = 0;
  bool operator==(const Bucket&) const = default;
};
struct HistogramResult {
  std::string metric = {}, unit = {};
  std::vector<Bucket> buckets = {};
  bool operator==(const HistogramResult&) const = default;
};

/// One point a second (or coarser for long runs: see interval_s).
struct SeriesPoint {
  double t_s = 0;  // since the start
  double vus = 0, requests_per_s = 0, failures_per_s = 0, output_tokens_per_s = 0;
  std::optional<double> duration_p50_ms = {}, duration_p95_ms = {}, duration_p99_ms = {}, ttft_p50_ms = {},
                        ttft_p95_ms = {}, gap_p95_ms = {};
  // Of the co-hosted engine and its GPU, sampled; absent where nothing was.
  std::optional<double> gpu_utilization_percent = {}, gpu_memory_bytes = {}, gpu_power_w = {}, gpu_clock_mhz = {},
                        gpu_temperature_c = {}, kv_cache_usage_percent = {}, engine_running = {}, engine_queued = {},
                        engine_preemptions = {};  // the last: how many within the interval
  bool operator==(const SeriesPoint&) const = default;
};

/// What the requests of a scenario, or of one of its stages, came to.
struct LoadResult {
  std::uint64_t requests = 0, failures = 0;  // interrupted ones are in neither
  std::optional<double> requests_per_s = {};
  std::optional<double> duration_p50_ms = {}, duration_p95_ms = {}, duration_p99_ms = {};  // http_req_duration
  std::optional<double> ttft_p50_ms = {}, ttft_p95_ms = {}, ttft_p99_ms = {};
  bool operator==(const LoadResult&) const = default;
};

/// A stage of a ramping executor: what was scheduled in it. They are numbered from 0, as the tag `stage` is.
struct StageResult {
  double from_s = 0, to_s = 0;  // since the start of the measured window: negative in the warm-up
  LoadResult load = {};
  bool operator==(const StageResult&) const = default;
};

struct ScenarioResult {
  std::string name = {}, executor = {}, description = {};  // "ramping-vus", "2 stages over 10s to 4 VUs"
  std::uint64_t iterations = 0, interrupted = 0;
  std::optional<std::uint64_t> dropped = {};  // none: of a version that had only closed models
  std::uint32_t vus_max = 0;
  std::uint64_t warmup_requests = 0;  // in none of the figures
  LoadResult load = {};
  std::vector<StageResult> stages = {};  // of executors with several
  bool operator==(const ScenarioResult&) const = default;
};

/// Requests of one step of a flow; a step that never ran is there with a count of 0.
struct StepResult {
  std::string scenario = {}, group = {}, name = {};             // group: "::ask" or empty
  std::uint64_t count = 0, failures = 0;                        // interrupted requests are in neither
  std::optional<double> p50_ms = {}, p95_ms = {}, max_ms = {};  // of http_req_duration
  bool operator==(const StepResult&) const = default;
};

/// How far the instrument can be trusted.
/// The harness's own error on this machine, as `sluice calibrate` has measured it.
struct CalibrationResult {
  std::string calibrated_at = {};                    // ISO 8601, UTC
  std::uint64_t streams = 0;                         // at a time
  double ttft_p99_us = 0, gap_p99_us = 0;            // by the kernel's stamps
  double user_ttft_p99_us = 0, user_gap_p99_us = 0;  // by user-space time
  bool operator==(const CalibrationResult&) const = default;
};

struct Instrument {
  std::uint64_t events = 0, events_kernel_stamped = 0, gaps = 0, gaps_coalesced = 0;
  std::optional<double> client_lag_p99_ms = {}, loop_lag_p99_ms = {}, send_lag_p99_ms = {};
  double cpu_percent = 0;  // of one core, the harness's own process
  /// Of the time that the load threads had something to do: waited for a core. Of the machine's: taken by a hypervisor.
  std::optional<double> run_queue_wait_percent = {}, cpu_steal_percent = {};
  std::uint32_t threads = 1;
  std::uint64_t samples = 0, samples_dropped = 0;  // for files of samples; dropped: not in every file
  std::string verdict = {};                        // trusted, client-limited
  std::string reason = {};
  std::optional<CalibrationResult> calibration = {};  // none: it was not calibrated
  bool operator==(const Instrument&) const = default;
};

struct ThrottleResult {
  std::string reason = {};    // "power cap"
  std::uint64_t samples = 0;  // in how many it was seen
  bool operator==(const ThrottleResult&) const = default;
};

/// The engine that was started beside the run, and its GPU. What was sampled of them stands in metrics and series.
struct EngineResult {
  std::string model = {}, backend_wanted = {};  // "tiny-coder", "auto"
  std::string backend = {}, device = {};        // what it runs on, as it says: "cpu"; empty: it says nothing
  std::string gpu = {};                         // the sampled GPU's name; empty: none was sampled
  std::optional<double> gpu_memory_bytes = {}, gpu_power_limit_w = {};
  std::uint64_t samples = 0;
  std::vector<ThrottleResult> throttled = {};
  bool operator==(const EngineResult&) const = default;
};

/// One load that a search for the highest has tried.
struct SearchTrial {
  double load = 0;
  bool held = false;
  std::string reason = {};  // why not
  std::uint64_t iterations = 0;
  double iterations_per_s = 0;
  std::optional<double> duration_p95_ms = {}, ttft_p95_ms = {};  // http_req_duration, ttft
  bool operator==(const SearchTrial&) const = default;
};

/// What executor find-max found. The rest of the summary is of the highest load that held, else of the lowest tried.
struct SearchResult {
  std::string scenario = {}, unit = {};  // "iterations/s" or "VUs"
  std::optional<double> best = {};       // none: no load held
  double precision = 0;                  // 0.05: the lowest that failed is at most 5 % above
  std::vector<SearchTrial> trials = {};  // in the order in which they ran
  bool operator==(const SearchResult&) const = default;
};

/// Over the stable windows; of a run that never was stable over the last ones.
struct StableMetricResult {
  std::string metric = {}, unit = {};               // "ttft p(95)"
  std::optional<double> mean = {}, deviation = {};  // the largest from the mean, as a share of it; none: no samples
  bool operator==(const StableMetricResult&) const = default;
};

/// Whether what was measured became stable: so many windows in a row whose values lie within a tolerance of their mean.
struct StabilityResult {
  double window_s = 0;
  std::uint64_t windows = 0;
  double tolerance = 0;                          // 0.05: 5 %
  bool required = false;                         // it fails the run not to become so
  bool ended_run = false;                        // before its time
  std::optional<double> from_s = {}, to_s = {};  // since the start of the measured window; none: never
  std::vector<StableMetricResult> metrics = {};
  bool operator==(const StabilityResult&) const = default;
};

/// How the streams of a scenario were cut into pieces, how these came, and whether something holds them back.
struct BufferingResult {
  std::string scenario = {};  // empty: all of them together
  std::string verdict = {};   // none, server merges, proxy buffers, whole answer at once, unknown
  std::string evidence = {};  // for people: the figures that decided
  std::uint64_t streams = 0;  // whole ones, long enough to tell
  double chunks_per_stream = 0, characters_per_chunk = 0;
  std::optional<double> tokens_per_chunk = {}, events_per_read = {};
  double burst_share = 0, unsure_share = 0;  // of the chunks: in bursts; together with others, and nobody knows why
  std::optional<double> chunks_per_burst = {}, bytes_per_burst = {};  // none: there was no burst
  std::optional<double> ttft_p50_ms = {}, ttft_p95_ms = {}, gap_p50_ms = {}, gap_p95_ms = {};
  bool operator==(const BufferingResult&) const = default;
};

/// The same asked in two ways, whose figures stand beside it.
struct ComparisonResult {
  std::string direct = {}, via = {};  // scenarios
  std::string layer = {};             // that holds back: nobody, server, between, unclear
  std::string sentence = {};
  bool operator==(const ComparisonResult&) const = default;
};

/// A part of the time to the first content, or all of it.
struct TtftPart {
  std::string name = {};  // client, network, queue, prefill, output; ttft
  double mean_ms = 0;     // over all the requests: those of the parts add up
  double p50_ms = 0, p95_ms = 0;
  bool operator==(const TtftPart&) const = default;
};

/// Where the time to the first content went, of the requests whose server has said it.
struct TtftSplitResult {
  std::uint64_t requests = 0;
  std::uint64_t exceeded = 0;             // of them: the server's times are longer than what was measured
  std::vector<std::string> sources = {};  // who says it: engine, vllm metrics, llama.cpp timings, Server-Timing
  TtftPart whole = {};
  std::vector<TtftPart> parts = {};  // those that any request has
  std::vector<double> unsure = {};   // 50, 95: of too few requests; shown in brackets
  bool operator==(const TtftSplitResult&) const = default;
};

struct BufferingReport {
  std::vector<BufferingResult> scenarios = {};  // those with streams; where they are several and not compared, all too
  std::optional<ComparisonResult> comparison = {};  // none: nobody asked
  bool operator==(const BufferingReport&) const = default;
};

struct Summary {
  int schema_version = kSchemaVersion;
  std::string sluice_version = {};
  std::string name = {}, scenario_file = {};
  std::string started_at = {};  // ISO 8601, UTC
  double duration_s = 0;        // of the measured window
  double warmup_s = 0;          // before it
  std::uint64_t warmup_requests = 0;
  std::uint64_t seed = 0;
  std::string target = {};     // URL without credentials, or "engine: tiny-coder (cpu ...)"
  std::string simulated = {};  // why the built-in scripted engine answered instead of the target; empty: it did not
  std::string host = {}, os = {}, cpu = {};
  std::map<std::string, std::string> variables = {};  // names of the file's env with values; secrets masked
  std::string outcome = {};                           // passed, failed, aborted, interrupted
  std::string decided =
      {};  // of a run until its thresholds are decided: early (before its time), late, never; else empty
  int exit_code = 0;

  std::vector<ScenarioResult> scenarios = {};
  std::vector<StepResult> steps = {};  // in the order of the file
  std::vector<ThresholdResult> thresholds = {};
  std::vector<CheckResult> checks = {};
  std::vector<MetricSummary> metrics = {};  // in the catalogue's order; those with samples, and their selections
  std::vector<FailureResult> failures = {};
  std::vector<FindingResult> findings = {};
  std::optional<BufferingReport> buffering = {};  // none: no stream was judged
  double series_interval_s = 1;
  std::vector<SeriesPoint> series = {};
  std::vector<HistogramResult> histograms = {};
  std::optional<EngineResult> engine = {};         // none: another server was tested
  std::optional<SearchResult> search = {};         // none: no load was searched for
  std::optional<StabilityResult> stability = {};   // none: nobody asked
  std::optional<TtftSplitResult> ttft_split = {};  // none: no server has said it
  Instrument instrument = {};
  std::map<std::string, double> vllm_compat = {};  // vllm bench serve's keys

  bool operator==(const Summary&) const = default;
};

}  // namespace sluice::reports
