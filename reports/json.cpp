#include "reports/json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>

#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <concepts>
#include <initializer_list>
#include <set>
#include <stdexcept>
#include <type_traits>

namespace sluice::reports {

void throw_exception_from_error(const ReadError& error, const boost::source_location&) {
  throw std::logic_error("unchecked error: " + error.message);
}

namespace {

namespace json = boost::json;
namespace dom = simdjson::dom;

constexpr std::size_t kTextBytesMax = 256u << 20;  // a run of days is some megabytes

// ---- the form: one description for writing and reading
// ----------------------------------------------------------------

template <class T>
concept Described = requires(T& value) {
  value == value;
}
&&std::is_class_v<T>&& std::is_aggregate_v<T>;

template <class Form, class T>
void describe_series(Form& form, T& point) {
  form("t_s", point.t_s);
  form("vus", point.vus);
  form("requests_per_s", point.requests_per_s);
  form("failures_per_s", point.failures_per_s);
  form("output_tokens_per_s", point.output_tokens_per_s);
  form("duration_p50_ms", point.duration_p50_ms);
  form("duration_p95_ms", point.duration_p95_ms);
  form("duration_p99_ms", point.duration_p99_ms);
  form("ttft_p50_ms", point.ttft_p50_ms);
  form("ttft_p95_ms", point.ttft_p95_ms);
  form("gap_p95_ms", point.gap_p95_ms);
  form("gpu_utilization_percent", point.gpu_utilization_percent);
  form("gpu_memory_bytes", point.gpu_memory_bytes);
  form("gpu_power_w", point.gpu_power_w);
  form("gpu_clock_mhz", point.gpu_clock_mhz);
  form("gpu_temperature_c", point.gpu_temperature_c);
  form("kv_cache_usage_percent", point.kv_cache_usage_percent);
  form("engine_running", point.engine_running);
  form("engine_queued", point.engine_queued);
  form("engine_preemptions", point.engine_preemptions);
}

template <class Form>
void describe(Form& form, MetricSummary& m) {
  form("kind", m.kind, {"counter", "gauge", "rate", "trend"});
  form("unit", m.unit);
  form("count", m.count);
  form("rate", m.rate);
  form("passes", m.passes);
  form("fails", m.fails);
  form("value", m.value);
  form("sum", m.sum);
  form("avg", m.avg);
  form("min", m.min);
  form("max", m.max);
  form("stddev", m.stddev);
  form.percentiles("percentiles", m.percentiles);
  form("unsure", m.unsure);
  form("custom", m.custom);
  form("rejected", m.rejected);
}

template <class Form>
void describe(Form& form, WindowsResult& w) {
  form("over_s", w.over_s);
  form("judged", w.judged);
  form("failed", w.failed);
  form("worst_from_s", w.worst_from_s);
  form("worst_to_s", w.worst_to_s);
}

template <class Form>
void describe(Form& form, ThresholdResult& t) {
  form("metric", t.metric);
  form("expression", t.expression);
  form("verdict", t.verdict, {"pass", "fail", "inconclusive"});
  form("actual", t.actual);
  form("limit", t.limit);
  form("unit", t.unit);
  form("reason", t.reason);
  form("aborted", t.aborted);
  form("open", t.open);
  form("cause", t.cause);
  form("suggestion", t.suggestion);
  form("source", t.source);
  form("min_samples", t.min_samples);
  form("low", t.low);
  form("high", t.high);
  form("windows", t.windows);
}

template <class Form>
void describe(Form& form, CheckResult& c) {
  form("name", c.name);
  form("group", c.group);
  form("passes", c.passes);
  form("fails", c.fails);
}

template <class Form>
void describe(Form& form, FindingResult& f) {
  form("rule", f.rule);
  form("severity", f.severity, {"fatal", "error", "warning", "note"});
  form("count", f.count);
  form("example", f.example);
  form("stream_id", f.stream_id);
  form("offset", f.offset);
}

template <class Form>
void describe(Form& form, FailureResult& f) {
  form("outcome", f.outcome);
  form("error", f.error);
  form("count", f.count);
}

template <class Form>
void describe(Form& form, Bucket& b) {
  form("from", b.from);
  form("to", b.to);
  form("count", b.count);
}

template <class Form>
void describe(Form& form, HistogramResult& h) {
  form("metric", h.metric);
  form("unit", h.unit);
  form("buckets", h.buckets);
}

template <class Form>
void describe(Form& form, SeriesPoint& p) {
  describe_series(form, p);
}

template <class Form>
void describe_load(Form& form, LoadResult& l) {
  form("requests", l.requests);
  form("failures", l.failures);
  form("requests_per_s", l.requests_per_s);
  form("duration_p50_ms", l.duration_p50_ms);
  form("duration_p95_ms", l.duration_p95_ms);
  form("duration_p99_ms", l.duration_p99_ms);
  form("ttft_p50_ms", l.ttft_p50_ms);
  form("ttft_p95_ms", l.ttft_p95_ms);
  form("ttft_p99_ms", l.ttft_p99_ms);
}

template <class Form>
void describe(Form& form, StageResult& s) {
  form("from_s", s.from_s);
  form("to_s", s.to_s);
  describe_load(form, s.load);
}

template <class Form>
void describe(Form& form, ScenarioResult& s) {
  form("name", s.name);
  form("executor", s.executor);
  form("description", s.description);
  form("iterations", s.iterations);
  form("interrupted", s.interrupted);
  form("dropped", s.dropped);
  form("vus_max", s.vus_max);
  form("warmup_requests", s.warmup_requests);
  describe_load(form, s.load);
  form("stages", s.stages);
}

template <class Form>
void describe(Form& form, StepResult& s) {
  form("scenario", s.scenario);
  form("group", s.group);
  form("name", s.name);
  form("count", s.count);
  form("failures", s.failures);
  form("p50_ms", s.p50_ms);
  form("p95_ms", s.p95_ms);
  form("max_ms", s.max_ms);
}

template <class Form>
void describe(Form& form, CalibrationResult& c) {
  form("calibrated_at", c.calibrated_at);
  form("streams", c.streams);
  form("ttft_p99_us", c.ttft_p99_us);
  form("gap_p99_us", c.gap_p99_us);
  form("user_ttft_p99_us", c.user_ttft_p99_us);
  form("user_gap_p99_us", c.user_gap_p99_us);
}

template <class Form>
void describe(Form& form, Instrument& i) {
  form("verdict", i.verdict, {"", "trusted", "client-limited"});
  form("reason", i.reason);
  form("events", i.events);
  form("events_kernel_stamped", i.events_kernel_stamped);
  form("gaps", i.gaps);
  form("gaps_coalesced", i.gaps_coalesced);
  form("client_lag_p99_ms", i.client_lag_p99_ms);
  form("loop_lag_p99_ms", i.loop_lag_p99_ms);
  form("send_lag_p99_ms", i.send_lag_p99_ms);
  form("cpu_percent", i.cpu_percent);
  form("run_queue_wait_percent", i.run_queue_wait_percent);
  form("cpu_steal_percent", i.cpu_steal_percent);
  form("threads", i.threads);
  form("samples", i.samples);
  form("samples_dropped", i.samples_dropped);
  form("calibration", i.calibration);
}

template <class Form>
void describe(Form& form, ThrottleResult& t) {
  form("reason", t.reason);
  form("samples", t.samples);
}

template <class Form>
void describe(Form& form, SearchTrial& t) {
  form("load", t.load);
  form("held", t.held);
  form("reason", t.reason);
  form("iterations", t.iterations);
  form("iterations_per_s", t.iterations_per_s);
  form("duration_p95_ms", t.duration_p95_ms);
  form("ttft_p95_ms", t.ttft_p95_ms);
}

template <class Form>
void describe(Form& form, SearchResult& s) {
  form("scenario", s.scenario);
  form("unit", s.unit);
  form("best", s.best);
  form("precision", s.precision);
  form("trials", s.trials);
}

template <class Form>
void describe(Form& form, StableMetricResult& m) {
  form("metric", m.metric);
  form("unit", m.unit);
  form("mean", m.mean);
  form("deviation", m.deviation);
}

template <class Form>
void describe(Form& form, StabilityResult& s) {
  form("window_s", s.window_s);
  form("windows", s.windows);
  form("tolerance", s.tolerance);
  form("required", s.required);
  form("ended_run", s.ended_run);
  form("from_s", s.from_s);
  form("to_s", s.to_s);
  form("metrics", s.metrics);
}

template <class Form>
void describe(Form& form, EngineResult& e) {
  form("model", e.model);
  form("backend_wanted", e.backend_wanted);
  form("backend", e.backend);
  form("device", e.device);
  form("gpu", e.gpu);
  form("gpu_memory_bytes", e.gpu_memory_bytes);
  form("gpu_power_limit_w", e.gpu_power_limit_w);
  form("samples", e.samples);
  form("throttled", e.throttled);
}

template <class Form>
void describe(Form& form, BufferingResult& b) {
  form("scenario", b.scenario);
  form("verdict", b.verdict, {"none", "server merges", "proxy buffers", "whole answer at once", "unknown"});
  form("evidence", b.evidence);
  form("streams", b.streams);
  form("chunks_per_stream", b.chunks_per_stream);
  form("characters_per_chunk", b.characters_per_chunk);
  form("tokens_per_chunk", b.tokens_per_chunk);
  form("events_per_read", b.events_per_read);
  form("burst_share", b.burst_share);
  form("unsure_share", b.unsure_share);
  form("chunks_per_burst", b.chunks_per_burst);
  form("bytes_per_burst", b.bytes_per_burst);
  form("ttft_p50_ms", b.ttft_p50_ms);
  form("ttft_p95_ms", b.ttft_p95_ms);
  form("gap_p50_ms", b.gap_p50_ms);
  form("gap_p95_ms", b.gap_p95_ms);
}

template <class Form>
void describe(Form& form, ComparisonResult& c) {
  form("direct", c.direct);
  form("via", c.via);
  form("layer", c.layer, {"nobody", "server", "between", "unclear"});
  form("sentence", c.sentence);
}

template <class Form>
void describe(Form& form, TtftPart& p) {
  form("name", p.name);
  form("mean_ms", p.mean_ms);
  form("p50_ms", p.p50_ms);
  form("p95_ms", p.p95_ms);
}

template <class Form>
void describe(Form& form, TtftSplitResult& t) {
  form("requests", t.requests);
  form("exceeded", t.exceeded);
  form("sources", t.sources);
  form("whole", t.whole);
  form("parts", t.parts);
  form("unsure", t.unsure);
}

template <class Form>
void describe(Form& form, BufferingReport& b) {
  form("scenarios", b.scenarios);
  form("comparison", b.comparison);
}

template <class Form>
void describe(Form& form, Summary& s) {
  form("schema_version", s.schema_version);
  form("sluice_version", s.sluice_version);
  form("name", s.name);
  form("scenario_file", s.scenario_file);
  form("started_at", s.started_at);
  form("duration_s", s.duration_s);
  form("warmup_s", s.warmup_s);
  form("warmup_requests", s.warmup_requests);
  form("seed", s.seed);
  form("target", s.target);
  form("simulated", s.simulated);
  form("host", s.host);
  form("os", s.os);
  form("cpu", s.cpu);
  form("variables", s.variables);
  form("outcome", s.outcome, {"", "passed", "failed", "aborted", "interrupted"});
  form("decided", s.decided, {"", "early", "late", "never"});
  form("exit_code", s.exit_code);
  form("scenarios", s.scenarios);
  form("steps", s.steps);
  form("thresholds", s.thresholds);
  form("checks", s.checks);
  form.by_name("metrics", s.metrics);
  form("failures", s.failures);
  form("findings", s.findings);
  form("buffering", s.buffering);
  form("engine", s.engine);
  form("search", s.search);
  form("stability", s.stability);
  form("ttft_split", s.ttft_split);
  form("instrument", s.instrument);
  form("vllm_compat", s.vllm_compat);
  form("histograms", s.histograms);
  form("series_interval_s", s.series_interval_s);
  form("series", s.series);
}

template <class Form>
void describe(Form& form, RequirementResult& r) {
  form("requirement", r.requirement);
  form("goal", r.goal);
  form("actual", r.actual);
  form("verdict", r.verdict);
  form("cause", r.cause);
  form("suggestion", r.suggestion);
}

template <class Form>
void describe(Form& form, SuiteCase& c) {
  form("name", c.name);
  form("file", c.file);
  form("outcome", c.outcome);
  form("reason", c.reason);
  form("folder", c.folder);
  form("duration_s", c.duration_s);
  form("exit_code", c.exit_code);
  form("requirements", c.requirements);
}

template <class Form>
void describe(Form& form, PreflightResult& p) {
  form("name", p.name);
  form("verdict", p.verdict);
  form("detail", p.detail);
}

template <class Form>
void describe(Form& form, SuiteSummary& s) {
  form("schema_version", s.schema_version);
  form("sluice_version", s.sluice_version);
  form("name", s.name);
  form("started_at", s.started_at);
  form("duration_s", s.duration_s);
  form("target", s.target);
  form("simulated", s.simulated);
  form("outcome", s.outcome);
  form("exit_code", s.exit_code);
  form("preflight", s.preflight);
  form("cases", s.cases);
}

using Choices = std::initializer_list<std::string_view>;

// ---- writing --------------------------------------------------------------------------------------------------------

class Writer {
 public:
  template <class T>
  void operator()(std::string_view name, T& member, Choices = {}) {
    if constexpr (requires { member.has_value(); }) {
      if (!member) return;
      object_.emplace(name, value(*member));
    } else {
      object_.emplace(name, value(member));
    }
  }
  void percentiles(std::string_view name, std::vector<std::pair<double, double>>& values) {
    json::object list;
    for (const auto& [q, v] : values) list.emplace(fmt::format("p{}", q), number(v));
    object_.emplace(name, std::move(list));
  }
  void by_name(std::string_view name, std::vector<MetricSummary>& metrics) {
    json::object list;
    for (MetricSummary& metric : metrics) list.emplace(metric.name, value(metric));
    object_.emplace(name, std::move(list));
  }
  json::object take() { return std::move(object_); }

 private:
  static json::value number(double v) { return std::isfinite(v) ? json::value(v) : json::value(nullptr); }

  template <class T>
  static json::value value(T& v) {
    if constexpr (std::is_same_v<T, double>) {
      return number(v);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      return json::value(v);
    } else if constexpr (requires { typename T::mapped_type; }) {
      json::object map;
      for (auto& [key, mapped] : v) map.emplace(key, value(mapped));
      return map;
    } else if constexpr (requires { v.push_back(v.front()); }) {
      json::array list;
      for (auto& element : v) list.push_back(value(element));
      return list;
    } else {
      Writer inner;
      describe(inner, v);
      return inner.take();
    }
  }

  json::object object_;
};

bool is_flat(const json::value& value) {
  const auto scalar = [](const json::value& v) { return !v.is_object() && !v.is_array(); };
  if (value.is_array()) return std::all_of(value.get_array().begin(), value.get_array().end(), scalar);
  if (value.is_object())
    return std::all_of(value.get_object().begin(), value.get_object().end(),
                       [&](const auto& member) { return scalar(member.value()); });
  return true;
}

/// One line for what holds only scalars, as a point of the series does; else a line a member.
void print(const json::value& value, std::string& out, std::size_t depth) {
  const auto line = [&](std::size_t indent) { out.append("\n").append(2 * indent, ' '); };
  const bool flat = is_flat(value) && depth > 0;
  const auto list = [&](const auto& members, char open, char close, auto print_member) {
    out += open;
    bool first = true;
    for (const auto& member : members) {
      if (!first) out += flat ? ", " : ",";
      first = false;
      if (!flat) line(depth + 1);
      print_member(member);
    }
    if (!flat && !first) line(depth);
    out += close;
  };
  if (value.is_double())
    out += fmt::format("{}", value.get_double());  // the shortest text that reads back as the same number
  else if (value.is_array())
    list(value.get_array(), '[', ']', [&](const json::value& element) { print(element, out, depth + 1); });
  else if (value.is_object())
    list(value.get_object(), '{', '}', [&](const json::key_value_pair& member) {
      out += json::serialize(json::string(member.key()));
      out += ": ";
      print(member.value(), out, depth + 1);
    });
  else
    out += json::serialize(value);
}

// ---- reading --------------------------------------------------------------------------------------------------------

/// Thrown inside this file only.
struct Refusal {
  std::string message;
};

[[noreturn]] void refuse(const std::string& path, std::string_view what) {
  throw Refusal{fmt::format("{}: {}", path.empty() ? "the file" : path, what)};
}

/// A name from the file, for a message: bounded, without control characters.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 60)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  if (text.size() > 60) out += "...";
  return out;
}

class Reader {
 public:
  Reader(dom::object object, std::string path) : object_(object), path_(std::move(path)) {}

  template <class T>
  void operator()(std::string_view name, T& member, Choices choices = {}) {
    const std::string path = path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
    dom::element element;
    const bool there = object_.at_key(name).get(element) == simdjson::SUCCESS;
    if constexpr (requires { member.has_value(); }) {
      member.reset();
      if (there && !element.is_null()) read(element, member.emplace(), path);
    } else {
      if (!there) refuse(path, "missing");
      read(element, member, path);
    }
    if constexpr (std::is_same_v<T, std::string>) {
      if (choices.size() != 0 && std::find(choices.begin(), choices.end(), member) == choices.end())
        refuse(path, fmt::format("'{}' is none of {}", shown(member), listed(choices)));
    }
  }

  void percentiles(std::string_view name, std::vector<std::pair<double, double>>& values) {
    const std::string path = fmt::format("{}.{}", path_, name);
    for (const auto& [key, element] : object_at(name, path)) {
      double q = -1;
      std::string_view digits = key;
      if (digits.starts_with('p')) {
        // The number's text goes through the same exact reader as every other number.
        dom::parser parser;
        dom::element number;
        if (parser.parse(digits.data() + 1, digits.size() - 1).get(number) == simdjson::SUCCESS &&
            number.get(q) != simdjson::SUCCESS)
          q = -1;
      }
      if (!(q >= 0 && q <= 100)) refuse(path, fmt::format("'{}' is not p and a number from 0 to 100", shown(key)));
      if (!values.empty() && values.back().first >= q) refuse(path, "percentiles must ascend");
      double value = 0;
      read(element, value, fmt::format("{}.{}", path, shown(key)));
      values.emplace_back(q, value);
    }
  }

  void by_name(std::string_view name, std::vector<MetricSummary>& metrics) {
    std::set<std::string, std::less<>> seen;
    for (const auto& [key, element] : object_at(name, std::string(name))) {
      if (!seen.emplace(key).second) refuse(std::string(name), fmt::format("'{}' stands twice", shown(key)));
      MetricSummary& metric = metrics.emplace_back();
      read(element, metric, fmt::format("{}.{}", name, shown(key)));
      metric.name = key;
    }
  }

 private:
  static std::string listed(Choices choices) {
    std::string text;
    for (const std::string_view choice : choices)
      if (!choice.empty()) text.append(text.empty() ? "" : ", ").append(choice);
    return text;
  }

  dom::object object_at(std::string_view name, const std::string& path) {
    dom::element element;
    if (object_.at_key(name).get(element) != simdjson::SUCCESS) refuse(path, "missing");
    dom::object object;
    if (element.get(object) != simdjson::SUCCESS) refuse(path, "an object is wanted");
    return object;
  }

  template <class T>
  static void read(dom::element element, T& into, const std::string& path) {
    if constexpr (std::is_same_v<T, std::string>) {
      std::string_view text;
      if (element.get(text) != simdjson::SUCCESS) refuse(path, "a string is wanted");
      into = text;
    } else if constexpr (std::is_same_v<T, bool>) {
      if (element.get(into) != simdjson::SUCCESS) refuse(path, "true or false is wanted");
    } else if constexpr (std::is_same_v<T, double>) {
      if (element.get(into) != simdjson::SUCCESS) refuse(path, "a number is wanted");
    } else if constexpr (std::is_integral_v<T>) {
      std::int64_t number = 0;
      std::uint64_t large = 0;
      if (element.get(number) == simdjson::SUCCESS && std::in_range<T>(number))
        into = static_cast<T>(number);
      else if (element.get(large) == simdjson::SUCCESS && std::in_range<T>(large))
        into = static_cast<T>(large);
      else
        refuse(path, fmt::format("a whole number{} is wanted", std::is_unsigned_v<T> ? ", not negative," : ""));
    } else if constexpr (requires { typename T::mapped_type; }) {
      dom::object object;
      if (element.get(object) != simdjson::SUCCESS) refuse(path, "an object is wanted");
      into.clear();
      for (const auto& [key, mapped] : object)
        read(mapped, into[std::string(key)], fmt::format("{}.{}", path, shown(key)));
    } else if constexpr (requires { into.push_back(into.front()); }) {
      dom::array array;
      if (element.get(array) != simdjson::SUCCESS) refuse(path, "an array is wanted");
      into.clear();
      for (const dom::element inner : array) {
        const std::string place = fmt::format("{}[{}]", path, into.size());
        read(inner, into.emplace_back(), place);
      }
    } else {
      dom::object object;
      if (element.get(object) != simdjson::SUCCESS) refuse(path, "an object is wanted");
      Reader inner(object, path);
      describe(inner, into);
    }
  }

  dom::object object_;
  std::string path_;
};

void check_version(dom::object object) {
  std::int64_t version = 0;
  if (object.at_key("schema_version").get(version) != simdjson::SUCCESS)
    refuse("", "not a Sluice summary: it has no schema_version");
  if (version != kSchemaVersion)
    refuse("schema_version",
           fmt::format("{} is not a version this program reads: it reads {}", version, kSchemaVersion));
}

}  // namespace

namespace {

template <class T>
std::string written(T copy) {  // describe() serves reading too, so it takes what may be written to
  Writer writer;
  describe(writer, copy);
  std::string out;
  print(writer.take(), out, 0);
  return out + '\n';
}

}  // namespace

std::string to_json(const Summary& summary) { return written(summary); }
std::string to_json(const SuiteSummary& suite) { return written(suite); }

boost::system::result<Summary, ReadError> from_json(std::string_view text) {
  if (text.size() > kTextBytesMax) return ReadError{fmt::format("the file is larger than {} MiB", kTextBytesMax >> 20)};
  try {
    dom::parser parser;
    dom::element root;
    if (const auto error = parser.parse(text.data(), text.size()).get(root); error != simdjson::SUCCESS)
      return ReadError{fmt::format("not JSON: {}", simdjson::error_message(error))};
    dom::object object;
    if (root.get(object) != simdjson::SUCCESS) return ReadError{"not a Sluice summary: an object is wanted"};
    check_version(object);
    Summary summary;
    Reader reader(object, "");
    describe(reader, summary);
    return summary;
  } catch (const Refusal& refusal) {
    return ReadError{refusal.message};
  } catch (const std::bad_alloc&) {
    return ReadError{"the file needs more memory than there is"};
  }
}

}  // namespace sluice::reports
