#include "harness/metrics/summarize.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "harness/base/stream_rule.h"
#include "harness/metrics/buffering.h"
#include "harness/scenario/trace.h"

namespace sluice {

namespace {

constexpr std::size_t kFailuresShown = 20;
constexpr double kSeriesTicksPerMs = 1e6 / static_cast<double>(Series::kTick.count());

// ---- metrics --------------------------------------------------------------------------------------------------------

/// Lowest and highest number of VUs at the ends of the series' intervals.
std::pair<double, double> vus_range(const Series& series) {
  std::int64_t now = 0, lowest = INT64_MAX, highest = 0;
  for (const SeriesInterval& interval : series.intervals()) {
    now += interval.vus_change;
    lowest = std::min(lowest, now);
    highest = std::max(highest, now);
  }
  return {lowest == INT64_MAX ? 0 : static_cast<double>(lowest), static_cast<double>(highest)};
}

std::optional<reports::MetricSummary> metric_summary(const Tally& tally, FigureId id) {
  const FigureInfo& about = tally.layout().figures()[id];
  const MetricInfo metric = tally.layout().info(about.metric);
  const Figure& figure = tally.figure(id);
  reports::MetricSummary result;
  result.name = about.name();
  result.kind = kind_name(metric.kind);
  result.custom = is_custom(about.metric);
  if (result.custom && about.selector.empty()) result.rejected = tally.rejected(about.metric);
  const bool is_share = about.metric == Metric::availability || about.metric == Metric::goodput_rate;
  result.unit = is_share ? "share" : unit_name(metric.unit);
  // A metric of the file's own that was given nothing it could hold is shown, so that one sees why.
  const auto rejected_only = [&]() -> std::optional<reports::MetricSummary> {
    if (result.rejected == 0) return std::nullopt;
    return result;
  };
  switch (metric.kind) {
    case MetricKind::counter:
      if (figure.samples == 0) return rejected_only();
      result.count = figure.sum;
      if (result.custom) {  // may have fractions
        result.sum = tally.aggregate(id, Aggregation::count);
        result.count = static_cast<std::uint64_t>(std::llround(*result.sum));
      }
      result.rate = tally.aggregate(id, Aggregation::rate);
      return result;
    case MetricKind::gauge:
      result.value = tally.aggregate(id, Aggregation::value);
      if (!result.value) return rejected_only();
      if (about.metric == Metric::vus && about.selector.empty()) {
        result.min = vus_range(tally.series()).first;
        result.max = static_cast<double>(tally.vus().peak);
      }
      return result;
    case MetricKind::rate:
      result.rate = tally.aggregate(id, Aggregation::rate);
      if (!result.rate) return rejected_only();
      result.passes = figure.passes;
      result.fails = figure.fails;
      result.count = figure.passes + figure.fails;
      return result;
    case MetricKind::trend: {
      const Histogram& histogram = figure.histogram;
      if (histogram.count() == 0) return rejected_only();
      const double unit = ticks_per_unit(metric);
      result.count = histogram.count();
      result.sum = histogram.sum() / unit;
      result.avg = histogram.mean() / unit;
      result.min = static_cast<double>(histogram.min()) / unit;
      result.max = static_cast<double>(histogram.max()) / unit;
      result.stddev = histogram.standard_deviation() / unit;
      for (const double percentile : about.percentiles) {
        result.percentiles.emplace_back(percentile, histogram.quantile(percentile / 100) / unit);
        if (histogram.count() < samples_needed(percentile)) result.unsure.push_back(percentile);
      }
      return result;
    }
  }
  return std::nullopt;
}

std::vector<reports::MetricSummary> metric_summaries(const Tally& tally) {
  const auto& figures = tally.layout().figures();
  std::vector<FigureId> order(figures.size());
  for (FigureId id = 0; id < order.size(); ++id) order[id] = id;
  std::stable_sort(order.begin(), order.end(),
                   [&](FigureId a, FigureId b) { return figures[a].metric < figures[b].metric; });
  std::vector<reports::MetricSummary> results;
  for (const FigureId id : order)
    if (auto result = metric_summary(tally, id)) results.push_back(std::move(*result));
  return results;
}

// ---- histograms -----------------------------------------------------------------------------------------------------

/// Edges a person can read, some 20 to 40 of them, over what lies between the 0.5th and the 99.5th percentile: evenly
/// spaced when the values are of one size, by equal ratios when they span much. Strays widen the outermost buckets.
std::vector<double> edges_between(double low, double high) {
  std::vector<double> edges;
  if (high <= low) high = low + std::max(low * 0.01, 1e-3);
  if (low <= 0 || high / low < 8) {
    const double rough = (high - low) / 25;
    const double magnitude = std::pow(10.0, std::floor(std::log10(rough)));
    double step = magnitude * 10;
    for (const double nice : {1.0, 2.0, 2.5, 5.0})
      if (magnitude * nice >= rough) {
        step = magnitude * nice;
        break;
      }
    const double first = std::floor(low / step);
    for (int i = 0; i < 100; ++i) {
      edges.push_back((first + i) * step);
      if (edges.back() > high) break;
    }
  } else {
    const double decades = std::log10(high / low);
    const double each = decades < 1.5 ? 20 : decades < 3 ? 10 : 5;
    const double first = std::floor(std::log10(low) * each);
    for (int i = 0; i < 100; ++i) {
      edges.push_back(std::pow(10.0, (first + i) / each));
      if (edges.back() > high) break;
    }
  }
  return edges;
}

std::optional<reports::HistogramResult> histogram_result(const Tally& tally, Metric metric) {
  const Histogram& histogram = tally.figure(metric).histogram;
  if (histogram.count() == 0) return std::nullopt;
  const double unit = ticks_per_unit(metric);
  const auto edges = edges_between(histogram.quantile(0.005) / unit, histogram.quantile(0.995) / unit);
  reports::HistogramResult result{
      .metric = std::string(info(metric).name), .unit = std::string(unit_name(info(metric).unit)), .buckets = {}};
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) result.buckets.push_back({edges[i], edges[i + 1], 0});
  histogram.for_each([&](std::uint64_t from, std::uint64_t to, std::uint64_t times) {
    const double middle = (static_cast<double>(from) + static_cast<double>(to - 1)) / 2 / unit;
    const auto above = std::upper_bound(edges.begin(), edges.end(), middle) - edges.begin();
    const auto last = static_cast<std::ptrdiff_t>(result.buckets.size()) - 1;
    result.buckets[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(above - 1, 0, last))].count += times;
  });
  auto& first = result.buckets.front();
  auto& last = result.buckets.back();
  first.from = std::min(first.from, static_cast<double>(histogram.min()) / unit);
  const double beyond = static_cast<double>(histogram.max()) / unit;
  if (last.to <= beyond) last.to = std::nextafter(beyond, INFINITY);
  return result;
}

// ---- series ---------------------------------------------------------------------------------------------------------

std::vector<reports::SeriesPoint> series_points(const Series& series, double window_s) {
  const auto quantile_ms = [](const IntervalHistogram& histogram, double q) -> std::optional<double> {
    if (histogram.count() == 0) return std::nullopt;
    return histogram.quantile(q) / kSeriesTicksPerMs;
  };
  std::vector<reports::SeriesPoint> points;
  const double interval_s = std::chrono::duration<double>(series.interval()).count();
  std::int64_t vus = 0;
  for (std::size_t i = 0; i < series.intervals().size(); ++i) {
    const SeriesInterval& interval = series.intervals()[i];
    vus += interval.vus_change;
    reports::SeriesPoint point;
    point.t_s = static_cast<double>(i) * interval_s;
    // The last interval is seldom whole; a sliver of one would turn a handful of requests into a spike.
    const double length = std::clamp(window_s - point.t_s, interval_s / 4, interval_s);
    point.vus = static_cast<double>(vus);
    point.requests_per_s = static_cast<double>(interval.requests) / length;
    point.failures_per_s = static_cast<double>(interval.failures) / length;
    point.output_tokens_per_s = static_cast<double>(interval.output_tokens) / length;
    point.duration_p50_ms = quantile_ms(interval.duration, 0.5);
    point.duration_p95_ms = quantile_ms(interval.duration, 0.95);
    point.duration_p99_ms = quantile_ms(interval.duration, 0.99);
    point.ttft_p50_ms = quantile_ms(interval.ttft, 0.5);
    point.ttft_p95_ms = quantile_ms(interval.ttft, 0.95);
    point.gap_p95_ms = quantile_ms(interval.gap, 0.95);
    points.push_back(point);
  }
  return points;
}

/// Puts what was sampled into the intervals in which it happened; several samples of one interval are averaged.
void add_system(std::vector<reports::SeriesPoint>& points, const SystemSamples& system, const Tally& tally) {
  if (points.empty()) return;
  const auto interval_of = [&](const SystemSample& sample) -> std::optional<std::size_t> {
    const Instant since = middle_of(sample, system.period) - tally.series().origin();
    if (since < 0) return std::nullopt;
    const auto index = static_cast<std::size_t>(since / tally.series().interval().count());
    return index < points.size() ? std::optional(index) : std::nullopt;
  };
  struct Gauge {
    std::optional<double> SystemSample::*from;
    std::optional<double> reports::SeriesPoint::*to;
  };
  using Sample = SystemSample;
  using Point = reports::SeriesPoint;
  constexpr std::array<Gauge, 8> kGauges{{{&Sample::gpu_utilization_percent, &Point::gpu_utilization_percent},
                                          {&Sample::gpu_memory_bytes, &Point::gpu_memory_bytes},
                                          {&Sample::gpu_power_w, &Point::gpu_power_w},
                                          {&Sample::gpu_clock_mhz, &Point::gpu_clock_mhz},
                                          {&Sample::gpu_temperature_c, &Point::gpu_temperature_c},
                                          {&Sample::kv_cache_usage_percent, &Point::kv_cache_usage_percent},
                                          {&Sample::engine_running, &Point::engine_running},
                                          {&Sample::engine_queued, &Point::engine_queued}}};
  for (const Gauge& gauge : kGauges) {
    std::vector<double> seen(points.size());
    for (const SystemSample& sample : system.samples) {
      const auto index = interval_of(sample);
      if (!index || !(sample.*gauge.from)) continue;
      auto& mean = points[*index].*gauge.to;
      mean = mean.value_or(0) + (*(sample.*gauge.from) - mean.value_or(0)) / ++seen[*index];
    }
  }
  const SystemSample* before = nullptr;
  for (const SystemSample& sample : system.samples) {
    if (!sample.engine_preemptions) continue;
    if (before != nullptr && sample.at >= tally.series().origin()) {
      const std::uint64_t earlier = std::min(*before->engine_preemptions, *sample.engine_preemptions);
      auto& count = points[interval_of(sample).value_or(before == &system.samples.front() ? 0 : points.size() - 1)]
                        .engine_preemptions;
      count = count.value_or(0) + static_cast<double>(*sample.engine_preemptions - earlier);
    }
    before = &sample;
  }
}

std::optional<reports::EngineResult> engine_result(const RunFacts& facts) {
  if (!facts.system) return std::nullopt;
  const SystemSamples& system = *facts.system;
  reports::EngineResult result;
  result.model = system.engine.model;
  result.backend_wanted = facts.backend_wanted;
  result.backend = system.engine.backend;
  result.device = system.engine.device;
  if (system.gpu) {
    result.gpu = system.gpu->name;
    result.gpu_memory_bytes = system.gpu->memory_bytes;
    result.gpu_power_limit_w = system.gpu->power_limit_w;
  }
  result.samples =
      static_cast<std::uint64_t>(std::count_if(system.samples.begin(), system.samples.end(), [](const SystemSample& s) {
        return s.gpu_utilization_percent || s.gpu_memory_bytes || s.engine_running;
      }));
  for (const auto& [reason, samples] : system.throttle_reasons) result.throttled.push_back({reason, samples});
  return result;
}

// ---- the instrument -------------------------------------------------------------------------------------------------

std::optional<double> p99_ms(const Histogram& histogram) {
  if (histogram.count() == 0) return std::nullopt;
  return histogram.quantile(0.99) / 1e6;
}

bool reads_gaps(Metric metric) {
  return metric == Metric::icl || metric == Metric::itl || metric == Metric::burst_gaps || metric == Metric::stalls;
}

/// Latencies whose ends are content events, which carry the kernel's stamp where there is one.
bool stamped_by_events(Metric metric) {
  switch (metric) {
    case Metric::ttft:
    case Metric::ttft_sched:
    case Metric::ttfa:
    case Metric::ttft_network:
    case Metric::icl:
    case Metric::itl:
    case Metric::tpot:
    case Metric::e2e:
    case Metric::e2e_sched:
    case Metric::stream_duration:
      return true;
    default:
      return false;
  }
}

/// Of a server: not the harness's own lags, not what a server says itself, and nothing that contains a pause of the
/// scenario's.
bool is_latency(Metric metric) {
  switch (metric) {
    case Metric::client_lag:
    case Metric::loop_lag:
    case Metric::sched_lag:
    case Metric::send_lag:
    case Metric::ttft_client:
    case Metric::ttft_queue:
    case Metric::ttft_prefill:
    case Metric::ttft_output:
    case Metric::iteration_duration:
    case Metric::group_duration:
      return false;
    default:
      if (is_custom(metric)) return false;
      return info(metric).kind == MetricKind::trend && info(metric).unit == Unit::milliseconds;
  }
}

/// Of the time that the load threads had something to do, how much they waited for a core.
std::optional<double> run_queue_wait(const RunFacts& facts) {
  if (!facts.threads_cpu) return std::nullopt;
  const auto waited = static_cast<double>(facts.threads_cpu->waited.count());
  const double wanted = waited + static_cast<double>(facts.threads_cpu->ran.count());
  return wanted > 0 ? waited / wanted : 0;
}

/// What kept the harness from being in time, as far as the machine tells; else nothing.
std::string cause_of_limit(const Tally& tally, const RunFacts& facts) {
  constexpr double kStolen = 0.02, kWaited = 0.2, kBusy = 0.8;
  if (facts.cpu_stolen && *facts.cpu_stolen > kStolen)
    return fmt::format("; {:.0f} % of the machine's time went to others (steal): run it on a machine of its own",
                       *facts.cpu_stolen * 100);
  if (const auto waited = run_queue_wait(facts); waited && *waited > kWaited)
    return fmt::format(
        "; the load threads waited for a core {:.0f} % of the time that they had something to do: leave "
        "them cores of their own (harness_cores, engine_cores)",
        *waited * 100);
  if (facts.threads_cpu && tally.window_s() > 0) {
    const double busy = static_cast<double>(facts.threads_cpu->ran.count()) / 1e9 / tally.window_s() / facts.threads;
    if (busy > kBusy)
      return fmt::format("; the load threads were busy {:.0f} % of the time: use more (threads)", busy * 100);
  }
  return {};
}

/// Why the run is client-limited; empty when it can be trusted.
std::string client_limit(const Plan& plan, const Tally& tally, const RunFacts& facts) {
  constexpr double kShare = 0.05, kFloorMs = 0.05;
  const Tally::Trust& trust = tally.trust();
  const double unstamped =
      trust.events == 0 ? 1 : 1 - static_cast<double>(trust.events_kernel_stamped) / static_cast<double>(trust.events);
  const bool kernel_stamps = unstamped <= 0.05;
  if (facts.samples_dropped > 0)
    return fmt::format(
        "{} of {} samples were dropped: they came faster than they could be written. The figures of this report are "
        "whole, the files of samples are not",
        facts.samples_dropped, facts.samples);
  const auto send_lag = p99_ms(trust.own_send_lag);
  const auto client_lag = p99_ms(tally.figure(Metric::client_lag).histogram);
  const auto loop_lag = p99_ms(tally.figure(Metric::loop_lag).histogram);

  for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
    const Metric metric = plan.thresholds[i].metric;
    if (kernel_stamps && (reads_gaps(metric) || metric == Metric::tpot) && trust.gaps > 0) {
      const double share = static_cast<double>(trust.gaps_coalesced) / static_cast<double>(trust.gaps);
      if (reads_gaps(metric) && share > kShare)
        return fmt::format("{:.1f} % of the gaps that {} reads were coalesced: several events arrived in one read",
                           share * 100, info(metric).name);
    }
    if (stamped_by_events(metric) && trust.backlogs > 0)
      return fmt::format(
          "the receive buffers of {} streams filled up, so the server had to wait for the harness; {} cannot be "
          "trusted",
          trust.backlogs, info(metric).name);
    if (!is_latency(metric)) continue;
    const FigureId figure = tally.layout().figure_of_threshold(i);
    const auto median = tally.aggregate(figure, Aggregation::med);
    if (!median) continue;
    const double allowed = std::max(*median * kShare, kFloorMs);
    const auto exceeds = [&](std::string_view name, std::optional<double> lag) -> std::string {
      if (!lag || *lag <= allowed) return {};
      return fmt::format("p99 of {} is {:.3f} ms, more than {:.3f} ms (5 % of the median of {})", name, *lag, allowed,
                         tally.layout().figures()[figure].name());
    };
    if (auto reason = exceeds("send_lag", send_lag); !reason.empty()) return reason;
    if (stamped_by_events(metric) && kernel_stamps) continue;
    // A user-space stamp is late by whatever the event loop was late.
    if (auto reason = exceeds("client_lag", client_lag); !reason.empty()) return reason;
    if (auto reason = exceeds("loop_lag", loop_lag); !reason.empty()) return reason;
  }
  return {};
}

reports::Instrument instrument(const Plan& plan, const Tally& tally, const RunFacts& facts) {
  const Tally::Trust& trust = tally.trust();
  reports::Instrument result;
  result.events = trust.events;
  result.events_kernel_stamped = trust.events_kernel_stamped;
  result.gaps = trust.gaps;
  result.gaps_coalesced = trust.gaps_coalesced;
  result.client_lag_p99_ms = p99_ms(tally.figure(Metric::client_lag).histogram);
  result.loop_lag_p99_ms = p99_ms(tally.figure(Metric::loop_lag).histogram);
  result.send_lag_p99_ms = p99_ms(trust.own_send_lag);
  if (tally.window_s() > 0)
    result.cpu_percent = std::chrono::duration<double>(facts.cpu_time).count() / tally.window_s() * 100;
  result.threads = facts.threads;
  result.samples = facts.samples;
  result.samples_dropped = facts.samples_dropped;
  if (const auto waited = run_queue_wait(facts)) result.run_queue_wait_percent = *waited * 100;
  if (facts.cpu_stolen) result.cpu_steal_percent = *facts.cpu_stolen * 100;
  result.reason = client_limit(plan, tally, facts);
  if (!result.reason.empty()) result.reason += cause_of_limit(tally, facts);
  result.verdict = result.reason.empty() ? "trusted" : "client-limited";
  return result;
}

// ---- the time to the first content --------------------------------------------------------------------------------

std::optional<reports::TtftSplitResult> ttft_split_result(const Tally& tally) {
  const Tally::TtftSplitCount& split = tally.ttft_split();
  reports::TtftSplitResult result{.requests = split.ttft.count(), .exceeded = split.exceeded};
  if (result.requests == 0) return std::nullopt;
  for (std::size_t i = 0; i < split.requests.size(); ++i)
    if (split.requests[i] > 0) result.sources.emplace_back(source_name(static_cast<ServerTimes::Source>(i)));
  for (const double percentile : {50.0, 95.0})
    if (result.requests < samples_needed(percentile)) result.unsure.push_back(percentile);
  const auto part = [&](std::string_view name, const Histogram& histogram) -> reports::TtftPart {
    return {.name = std::string(name),
            .mean_ms = histogram.sum() / static_cast<double>(result.requests) / 1e6,
            .p50_ms = histogram.quantile(0.5) / 1e6,
            .p95_ms = histogram.quantile(0.95) / 1e6};
  };
  constexpr std::pair<std::string_view, Metric> kParts[] = {{"client", Metric::ttft_client},
                                                            {"network", Metric::ttft_network},
                                                            {"queue", Metric::ttft_queue},
                                                            {"prefill", Metric::ttft_prefill},
                                                            {"output", Metric::ttft_output}};
  for (const auto& [name, metric] : kParts)
    if (const Histogram& histogram = tally.figure(metric).histogram; histogram.count() > 0)
      result.parts.push_back(part(name, histogram));
  result.whole = part("ttft", split.ttft);
  return result;
}

// ---- the rest -------------------------------------------------------------------------------------------------------

std::map<std::string, double> vllm_compat(const Tally& tally) {
  const Tally::VllmFigures& vllm = tally.vllm();
  if (vllm.completed + vllm.failed == 0) return {};
  const double window = tally.window_s();
  std::map<std::string, double> block{{"duration", window},
                                      {"completed", static_cast<double>(vllm.completed)},
                                      {"failed", static_cast<double>(vllm.failed)},
                                      {"total_input_tokens", static_cast<double>(vllm.prompt_tokens)},
                                      {"total_output_tokens", static_cast<double>(vllm.output_tokens)},
                                      {"max_concurrent_requests", static_cast<double>(tally.vus().peak)}};
  if (window > 0) {
    block["request_throughput"] = static_cast<double>(vllm.completed) / window;
    block["output_throughput"] = static_cast<double>(vllm.output_tokens) / window;
    block["total_token_throughput"] = static_cast<double>(vllm.prompt_tokens + vllm.output_tokens) / window;
    if (const auto good = tally.aggregate(Metric::goodput, Aggregation::value)) block["request_goodput"] = *good;
  }
  const auto add = [&](const std::string& name, const Histogram& histogram) {
    if (histogram.count() == 0) return;
    block["mean_" + name + "_ms"] = histogram.mean() / 1e6;
    block["median_" + name + "_ms"] = histogram.quantile(0.5) / 1e6;
    block["std_" + name + "_ms"] = histogram.standard_deviation() / 1e6;
    block["p99_" + name + "_ms"] = histogram.quantile(0.99) / 1e6;
  };
  add("ttft", vllm.ttft);
  add("tpot", vllm.tpot);
  add("itl", vllm.itl);
  add("e2el", vllm.e2el);
  return block;
}

std::string plural(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string duration_text(Nanoseconds time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
  if (ms < 1000) return fmt::format("{}ms", ms);
  if (ms % 1000 != 0 && ms < 60'000) return fmt::format("{:g}s", static_cast<double>(ms) / 1000);
  const auto s = ms / 1000;
  std::string text;
  if (s >= 3600) text += fmt::format("{}h", s / 3600);
  if (s % 3600 >= 60) text += fmt::format("{}m", s % 3600 / 60);
  if (s % 60 != 0) text += fmt::format("{}s", s % 60);
  return text;
}

std::string rate_text(std::uint64_t micro, Nanoseconds unit) {
  const std::string number = fmt::format("{:g}", static_cast<double>(micro) / 1e6);
  return unit == std::chrono::seconds(1) ? number + "/s" : fmt::format("{} per {}", number, duration_text(unit));
}

/// The executor and what it does.
struct ShapeText {
  std::pair<std::string, std::string> operator()(const ConstantVus& shape) const {
    return {"constant-vus", fmt::format("{} for {}", plural(shape.vus, "VU"), duration_text(shape.duration))};
  }
  std::pair<std::string, std::string> operator()(const RampingVus& shape) const {
    Nanoseconds total{};
    std::uint32_t most = shape.start_vus;
    for (const Stage& stage : shape.stages) {
      total += stage.duration;
      most = std::max(most, stage.target);
    }
    return {"ramping-vus", fmt::format("{} over {}, up to {}", plural(shape.stages.size(), "stage"),
                                       duration_text(total), plural(most, "VU"))};
  }
  std::pair<std::string, std::string> operator()(const PerVuIterations& shape) const {
    return {"per-vu-iterations", fmt::format("{} of {} each, within {}", plural(shape.iterations, "iteration"),
                                             plural(shape.vus, "VU"), duration_text(shape.max_duration))};
  }
  std::pair<std::string, std::string> operator()(const SharedIterations& shape) const {
    return {"shared-iterations", fmt::format("{} shared by {}, within {}", plural(shape.iterations, "iteration"),
                                             plural(shape.vus, "VU"), duration_text(shape.max_duration))};
  }
  std::pair<std::string, std::string> operator()(const ArrivalRate& shape) const {
    using enum ArrivalRate::Executor;
    const std::string name = shape.executor == constant  ? "constant-arrival-rate"
                             : shape.executor == ramping ? "ramping-arrival-rate"
                             : shape.executor == poisson ? "poisson"
                                                         : "gamma";
    Nanoseconds total{};
    std::uint64_t most = shape.start_micro;
    for (const ArrivalRate::Stage& stage : shape.stages) {
      total += stage.duration;
      most = std::max(most, stage.target_micro);
    }
    const bool flat = shape.stages.size() == 1 && shape.stages[0].target_micro == shape.start_micro;
    std::string text = flat ? fmt::format("{} for {}", rate_text(most, shape.time_unit), duration_text(total))
                            : fmt::format("{} over {}, up to {}", plural(shape.stages.size(), "stage"),
                                          duration_text(total), rate_text(most, shape.time_unit));
    if (shape.executor == gamma) text += fmt::format(", burstiness {:g}", shape.burstiness);
    if (shape.max_vus > 0) text += fmt::format(", at most {}", plural(shape.max_vus, "VU"));
    return {name, text};
  }
  std::pair<std::string, std::string> operator()(const TraceReplay& shape) const {
    std::string text =
        fmt::format("{} for {}", plural(shape.trace->rows.size(), "recorded request"), duration_text(shape.duration));
    if (shape.speed != 1) text += fmt::format(", at {:g} times the speed", shape.speed);
    if (shape.max_vus > 0) text += fmt::format(", at most {}", plural(shape.max_vus, "VU"));
    return {"trace", text};
  }
  std::pair<std::string, std::string> operator()(const FindMax& shape) const {
    return {"find-max",
            fmt::format("from {:g} to {:g} {}, trials of {}", shape.start, shape.max,
                        shape.of == FindMax::Of::rate ? "iterations/s" : "VUs", duration_text(shape.trial))};
  }
  std::pair<std::string, std::string> operator()(const ExternallyControlled& shape) const {
    const std::string until = shape.duration.count() == 0 ? "until stopped" : "for " + duration_text(shape.duration);
    return {"externally-controlled",
            fmt::format("{} at first, at most {}, {}", plural(shape.vus, "VU"), shape.max_vus, until)};
  }
};

std::pair<std::string, std::string> shape_text(const ScenarioPlan& scenario) {
  auto text = std::visit(ShapeText{}, scenario.shape);
  if (scenario.start_time.count() > 0) text.second += ", from " + duration_text(scenario.start_time);
  return text;
}

template <class Values>
void add_percentiles(const Values& histogram, std::optional<double>& p50, std::optional<double>& p95,
                     std::optional<double>& p99) {
  if (histogram.count() == 0) return;
  p50 = histogram.quantile(0.5) / 1e6;
  p95 = histogram.quantile(0.95) / 1e6;
  p99 = histogram.quantile(0.99) / 1e6;
}

/// `seconds`: how long the load was measured; nothing of it: no rate.
template <class Values>
reports::LoadResult load_result(std::uint64_t requests, std::uint64_t failures, double seconds, const Values& duration,
                                const Values& ttft) {
  reports::LoadResult result{.requests = requests, .failures = failures};
  if (seconds > 0) result.requests_per_s = static_cast<double>(requests) / seconds;
  add_percentiles(duration, result.duration_p50_ms, result.duration_p95_ms, result.duration_p99_ms);
  add_percentiles(ttft, result.ttft_p50_ms, result.ttft_p95_ms, result.ttft_p99_ms);
  return result;
}

double seconds_of(Nanoseconds time) { return std::chrono::duration<double>(time).count(); }

void add_load(reports::ScenarioResult& result, const Tally& tally, std::uint32_t scenario) {
  const TallyLayout& layout = tally.layout();
  const Tally::ScenarioCount& count = tally.scenarios()[scenario];
  const Nanoseconds until(static_cast<std::int64_t>(std::llround(tally.window_s() * 1e9)));
  const Nanoseconds from = std::max({layout.starts_at(scenario), layout.counts_from(scenario), Nanoseconds{}});
  const Nanoseconds to = count.last_at == kNever ? from : Nanoseconds(count.last_at - tally.origin());
  if (layout.stage_slots() == 0) {  // the only scenario: its figures are the run's
    std::uint64_t requests = 0, failures = 0;
    for (const Tally::StepCount& step : tally.steps()) {
      requests += step.requests;
      failures += step.failures;
    }
    result.load = load_result(requests, failures, seconds_of(to - from),
                              tally.figure(Metric::http_req_duration).histogram, tally.figure(Metric::ttft).histogram);
    return;
  }
  Tally::StageCount all;
  const auto& ends = layout.stage_ends(scenario);
  const std::uint32_t slots = layout.slots_of(scenario);
  Nanoseconds stage_from = layout.starts_at(scenario);
  for (std::uint32_t i = 0; i < slots; ++i) {
    const Tally::StageCount& stage = tally.stages()[layout.first_slot(scenario) + i];
    all.requests += stage.requests;
    all.failures += stage.failures;
    all.duration.merge(stage.duration);
    all.ttft.merge(stage.ttft);
    if (slots < 2) continue;
    const Nanoseconds measured = std::min(ends[i], until) - std::max(stage_from, from);
    result.stages.push_back(
        {.from_s = seconds_of(stage_from),
         .to_s = seconds_of(ends[i]),
         .load = load_result(stage.requests, stage.failures, seconds_of(measured), stage.duration, stage.ttft)});
    stage_from = ends[i];
  }
  result.load = load_result(all.requests, all.failures, seconds_of(to - from), all.duration, all.ttft);
}

std::vector<reports::ScenarioResult> scenario_results(const Plan& plan, const Tally& tally) {
  std::vector<reports::ScenarioResult> results;
  for (std::size_t i = 0; i < plan.scenarios.size(); ++i) {
    auto [executor, description] = shape_text(plan.scenarios[i]);
    const Tally::ScenarioCount& count = tally.scenarios()[i];
    results.push_back({.name = plan.scenarios[i].name,
                       .executor = std::move(executor),
                       .description = std::move(description),
                       .iterations = count.iterations,
                       .interrupted = count.interrupted,
                       .dropped = count.dropped,
                       .vus_max = static_cast<std::uint32_t>(count.vus.peak),
                       .warmup_requests = count.warmup_requests});
    add_load(results.back(), tally, static_cast<std::uint32_t>(i));
  }
  return results;
}

std::vector<reports::StepResult> step_results(const Plan& plan, const Tally& tally) {
  std::vector<reports::StepResult> results;
  for (StepId id = 0; id < tally.layout().steps().size(); ++id) {
    const StepInfo& step = tally.layout().steps()[id];
    if (!step.is_request) continue;
    const Tally::StepCount& count = tally.steps()[id];
    reports::StepResult result{.scenario = plan.scenarios[step.scenario].name,
                               .group = step.group,
                               .name = step.name,
                               .count = count.requests,
                               .failures = count.failures};
    if (count.duration.count() > 0) {
      result.p50_ms = count.duration.quantile(0.5) / 1e6;
      result.p95_ms = count.duration.quantile(0.95) / 1e6;
      result.max_ms = static_cast<double>(count.duration.max()) / 1e6;
    }
    results.push_back(std::move(result));
  }
  return results;
}

/// Checks of the same name in the same group are one line, as in k6.
std::vector<reports::CheckResult> check_results(const Tally& tally) {
  const TallyLayout& layout = tally.layout();
  std::vector<reports::CheckResult> results;
  for (CheckId id = 0; id < layout.checks().size(); ++id) {
    const Tally::CheckCount& count = tally.checks()[id];
    const CheckInfo& check = layout.checks()[id];
    const std::string& group = layout.steps()[check.step].group;
    auto found = std::find_if(results.begin(), results.end(), [&](const reports::CheckResult& result) {
      return result.name == check.name && result.group == group;
    });
    if (found == results.end())
      results.push_back({.name = check.name, .group = group, .passes = count.passes, .fails = count.fails});
    else {
      found->passes += count.passes;
      found->fails += count.fails;
    }
  }
  return results;
}

std::vector<reports::FailureResult> failure_results(const Tally& tally) {
  std::vector<reports::FailureResult> results;
  for (const auto& [key, count] : tally.errors())
    results.push_back({.outcome = std::string(name_of(key.first)), .error = key.second, .count = count});
  std::stable_sort(results.begin(), results.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  if (results.size() <= kFailuresShown) return results;
  std::uint64_t rest = 0;
  for (std::size_t i = kFailuresShown; i < results.size(); ++i) rest += results[i].count;
  const std::size_t left = results.size() - kFailuresShown;
  results.resize(kFailuresShown);
  results.push_back({.outcome = "other", .error = plural(left, "further cause"), .count = rest});
  return results;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out;
}

/// The gravest first; what was only noted last.
std::vector<reports::FindingResult> finding_results(const Tally& tally) {
  std::vector<reports::FindingResult> results;
  const auto add = [&](const StreamRuleInfo& rule, bool noted) {
    const Tally::RuleCount& count = tally.findings(rule.rule);
    const std::uint64_t streams = noted ? count.noted : count.found;
    if (streams == 0) return;
    reports::FindingResult result{.rule = std::string(rule.name),
                                  .severity = std::string(noted ? "note" : name_of(rule.severity)),
                                  .count = streams};
    if (count.first && count.first->finding.noted == noted) {
      result.example = escaped(count.first->finding.bytes);
      result.stream_id = escaped(count.first->stream_id);
      result.offset = count.first->finding.offset;
    }
    results.push_back(std::move(result));
  };
  for (const Severity severity : {Severity::fatal, Severity::error, Severity::warning})
    for (const StreamRuleInfo& rule : kStreamRules)
      if (rule.severity == severity) add(rule, false);
  for (const StreamRuleInfo& rule : kStreamRules) add(rule, true);
  return results;
}

reports::BufferingResult buffering_result(const std::string& scenario, const ChunkFigures& f) {
  const auto ratio = [](std::uint64_t part, std::uint64_t all) {
    return all == 0 ? 0 : static_cast<double>(part) / static_cast<double>(all);
  };
  BufferingVerdict verdict = judge_buffering(f);
  reports::BufferingResult result{.scenario = scenario,
                                  .verdict = std::string(name_of(verdict.verdict)),
                                  .evidence = std::move(verdict.evidence),
                                  .streams = f.streams,
                                  .chunks_per_stream = ratio(f.chunks, f.streams),
                                  .characters_per_chunk = ratio(f.characters, f.chunks),
                                  .burst_share = ratio(f.burst_chunks, f.chunks),
                                  .unsure_share = ratio(f.unsure_chunks, f.chunks)};
  if (f.token_chunks > 0) result.tokens_per_chunk = ratio(f.tokens, f.token_chunks);
  if (f.reads > 0) result.events_per_read = ratio(f.events, f.reads);
  if (f.bursts > 0) {
    result.chunks_per_burst = ratio(f.burst_chunks, f.bursts);
    result.bytes_per_burst = ratio(f.burst_bytes, f.bursts);
  }
  const auto quantile_ms = [](const CompactHistogram& histogram, double q) -> std::optional<double> {
    if (histogram.count() == 0) return std::nullopt;
    return histogram.quantile(q) / 1e6;
  };
  result.ttft_p50_ms = quantile_ms(f.ttft, 0.5);
  result.ttft_p95_ms = quantile_ms(f.ttft, 0.95);
  result.gap_p50_ms = quantile_ms(f.gap, 0.5);
  result.gap_p95_ms = quantile_ms(f.gap, 0.95);
  return result;
}

std::optional<reports::BufferingReport> buffering_report(const Plan& plan, const Tally& tally) {
  reports::BufferingReport report;
  ChunkFigures all;
  for (std::size_t i = 0; i < plan.scenarios.size(); ++i) {
    const ChunkFigures& figures = tally.chunks()[i];
    if (figures.streams + figures.left_out == 0) continue;
    all.merge(figures);
    report.scenarios.push_back(buffering_result(plan.scenarios[i].name, figures));
  }
  if (plan.compare) {
    const auto& [direct, via] = *plan.compare;
    LayerVerdict verdict = compare_ways(tally.chunks()[direct], tally.chunks()[via]);
    report.comparison = reports::ComparisonResult{.direct = plan.scenarios[direct].name,
                                                  .via = plan.scenarios[via].name,
                                                  .layer = std::string(name_of(verdict.layer)),
                                                  .sentence = std::move(verdict.sentence)};
  } else if (report.scenarios.size() > 1) {
    report.scenarios.push_back(buffering_result("", all));
  }
  if (report.scenarios.empty() && !report.comparison) return std::nullopt;
  return report;
}

bool is_secret(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const std::string_view mark : {"TOKEN", "PASSWORD", "PASSWD", "SECRET", "KEY", "CREDENTIAL", "AUTH", "COOKIE"})
    if (upper.find(mark) != std::string::npos) return upper.find("MAX_TOKENS") == std::string::npos;
  return false;
}

/// "http://user:word@host" without what stands before the @.
std::string without_credentials(const std::string& url) {
  const auto scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const auto host = scheme + 3;
  const auto end = url.find_first_of("/?#", host);
  const auto at = url.rfind('@', end == std::string::npos ? url.size() : end);
  if (at == std::string::npos || at < host) return url;
  return url.substr(0, host) + url.substr(at + 1);
}

std::map<std::string, std::string> masked(const std::map<std::string, std::string>& variables) {
  std::map<std::string, std::string> result;
  for (const auto& [name, value] : variables)
    result[name] = is_secret(name) && !value.empty() ? "********" : without_credentials(value);
  return result;
}

}  // namespace

std::string utc_text(std::chrono::system_clock::time_point at) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(at);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)));
}

std::uint64_t samples_needed(double percentile) {
  if (percentile == 90) return 64;
  if (percentile == 95) return 130;
  if (percentile == 99) return 662;
  if (percentile == 99.9) return 6636;
  const double tail = std::min(percentile, 100 - percentile) / 100;
  if (tail <= 0) return 1;                                     // minimum and maximum are what they are
  return static_cast<std::uint64_t>(std::ceil(6.636 / tail));  // 2.576 squared: that many samples beyond the quantile
}

reports::Summary summarize(const Plan& plan, const Tally& tally, const RunFacts& facts) {
  reports::Summary summary;
  summary.sluice_version = facts.sluice_version;
  summary.name = plan.name;
  summary.scenario_file = plan.file;
  summary.started_at = utc_text(facts.started_at);
  summary.duration_s = tally.window_s();
  if (plan.until_decided) summary.decided = facts.ended_when_decided ? "early" : "late";  // conclude() may know better
  summary.warmup_s = seconds_of(tally.layout().measured_from());
  for (const auto& scenario : tally.scenarios()) summary.warmup_requests += scenario.warmup_requests;
  summary.seed = plan.seed;
  summary.target = without_credentials(facts.target);
  summary.host = facts.host;
  summary.os = facts.os;
  summary.cpu = facts.cpu;
  summary.variables = masked(plan.env);
  summary.scenarios = scenario_results(plan, tally);
  summary.steps = step_results(plan, tally);
  summary.checks = check_results(tally);
  summary.metrics = metric_summaries(tally);
  summary.failures = failure_results(tally);
  summary.findings = finding_results(tally);
  summary.buffering = buffering_report(plan, tally);
  summary.series_interval_s = std::chrono::duration<double>(tally.series().interval()).count();
  summary.series = series_points(tally.series(), tally.window_s());
  if (facts.system) add_system(summary.series, *facts.system, tally);
  summary.engine = engine_result(facts);
  for (const Metric metric : {Metric::ttft, Metric::icl, Metric::http_req_duration, Metric::stream_chunks})
    if (auto histogram = histogram_result(tally, metric)) summary.histograms.push_back(std::move(*histogram));
  summary.ttft_split = ttft_split_result(tally);
  summary.instrument = instrument(plan, tally, facts);
  summary.vllm_compat = vllm_compat(tally);
  return summary;
}

}  // namespace sluice
