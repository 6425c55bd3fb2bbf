#include "reports/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace sluice::reports {
namespace {

/// Two decimals at most, zeros at the end left out.
std::string trimmed(double value, int decimals = 2) {
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

}  // namespace

std::string format_ms(double ms) {
  const double size = std::abs(ms);
  if (!std::isfinite(ms)) return "n/a";
  if (size == 0) return "0s";
  if (size < 0.001) return trimmed(ms * 1e6) + "ns";
  if (size < 1) return trimmed(ms * 1e3) + "µs";
  if (size < 1000) return trimmed(ms) + "ms";
  if (size < 60'000) return trimmed(ms / 1000) + "s";
  if (size > 1e15) return fmt::format("{:.4g}s", ms / 1000);  // beyond all runs: a foreign file's
  const auto seconds = static_cast<std::int64_t>(std::llround(size / 1000));
  const std::string sign = ms < 0 ? "-" : "";
  if (seconds < 3600) return fmt::format("{}{}m{}s", sign, seconds / 60, seconds % 60);
  return fmt::format("{}{}h{}m{}s", sign, seconds / 3600, seconds % 3600 / 60, seconds % 60);
}

std::string format_bytes(double bytes) {
  constexpr std::array<std::string_view, 6> units{"B", "kB", "MB", "GB", "TB", "PB"};
  if (!std::isfinite(bytes)) return "n/a";
  std::size_t unit = 0;
  while (std::abs(bytes) >= 999.5 && unit + 1 < units.size()) {
    bytes /= 1000;
    ++unit;
  }
  return fmt::format("{} {}",
                     unit > 0 && std::abs(bytes) < 9.95 ? fmt::format("{:.1f}", bytes) : fmt::format("{:.0f}", bytes),
                     units[unit]);
}

std::string format_number(double value) {
  if (!std::isfinite(value)) return "n/a";
  if (value == std::floor(value) && std::abs(value) < 1e15) return fmt::format("{:.0f}", value == 0 ? 0.0 : value);
  const double size = std::abs(value);
  if (size >= 1e15 || size < 1e-4) return fmt::format("{:.4g}", value);
  const int digits = std::max(0, 4 - static_cast<int>(std::floor(std::log10(size))));
  return trimmed(value, std::min(digits, 6));
}

std::string format_count(std::uint64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits.size() > 4) text += ' ';
    text += digits[i];
  }
  return text;
}

std::string format_share(double share) {
  // Neither 0 nor all may appear by rounding: 1 failure in a million is not 0.00%.
  if (share > 0 && share < 0.00005) return "<0.01%";
  if (share < 1 && share > 0.99995) return ">99.99%";
  return fmt::format("{:.2f}%", share * 100);
}

std::string format_value(double value, std::string_view unit) {
  if (unit == "ms") return format_ms(value);
  if (unit == "bytes") return format_bytes(value);
  if (unit == "bytes/s") return format_bytes(value) + "/s";
  if (unit == "share") return format_share(value);
  if (unit == "1/s") return format_number(value) + "/s";
  if (unit == "%") return trimmed(value, std::abs(value) < 10 ? 2 : 1) + "%";
  if (unit == "W" || unit == "MHz") return trimmed(value, 0) + " " + std::string(unit);
  if (unit == "°C") return trimmed(value, 0) + " °C";
  return format_number(value);
}

std::string format_percentile(double percentile) {
  return percentile == 50 ? "med" : fmt::format("p({:g})", percentile);
}

std::string format_seconds(double seconds) { return format_ms(std::round(seconds * 10) * 100); }

std::string_view section_of(const MetricSummary& metric) {
  if (metric.custom) return "Custom";
  const std::string_view name = split_name(metric.name).base;
  const auto any_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (name.starts_with("http_") || any_of({"connect_failed", "timed_out", "availability"})) return "HTTP";
  if (name.starts_with("data_")) return "Network";
  if (name.starts_with("ws_")) return "WebSocket";
  if (any_of({"client_lag", "loop_lag", "sched_lag", "send_lag"})) return "Instrument";
  if (any_of({"iterations", "iteration_duration", "iterations_failed", "dropped_iterations", "vus", "vus_max",
              "group_duration", "checks"}))
    return "Execution";
  if (name.starts_with("gpu_") || name.starts_with("engine_") || name == "kv_cache_usage") return "System";
  return "Streaming";
}

MetricName split_name(std::string_view name) {
  const auto brace = name.find('{');
  if (brace == std::string_view::npos) return {name, {}};
  return {name.substr(0, brace), name.substr(brace)};
}

const double* percentile_of(const MetricSummary& metric, double percentile) {
  for (const auto& [q, value] : metric.percentiles)
    if (q == percentile) return &value;
  return nullptr;
}

bool is_unsure(const MetricSummary& metric, double percentile) {
  return std::find(metric.unsure.begin(), metric.unsure.end(), percentile) != metric.unsure.end();
}

std::string_view left_side(std::string_view expression) {
  const auto end = expression.find_first_of("<>=!");
  std::string_view left = expression.substr(0, end);
  while (!left.empty() && left.back() == ' ') left.remove_suffix(1);
  return left;
}

std::vector<RequirementResult> requirements_of(const Summary& summary) {
  std::vector<RequirementResult> list;
  for (const ThresholdResult& result : summary.thresholds) {
    list.push_back({.requirement = result.metric,
                    .goal = result.expression,
                    .actual = result.actual ? format_value(*result.actual, result.unit) : std::string(),
                    .verdict = result.verdict,
                    .cause = result.cause.empty() && result.verdict == "inconclusive" ? result.reason : result.cause,
                    .suggestion = result.suggestion});
  }
  for (const CheckResult& check : summary.checks) {
    const std::uint64_t tries = check.passes + check.fails;
    if (tries == 0) continue;  // its step never ran
    list.push_back({.requirement = "check: " + check.name,
                    .goal = "always",
                    .actual = fmt::format("{} of {}", format_count(check.passes), format_count(tries)),
                    .verdict = check.fails == 0 ? "pass" : "fail"});
  }
  return list;
}

namespace {

std::string advice(const std::string& cause, const std::string& suggestion) {
  if (suggestion.empty()) return cause;
  return fmt::format("{}{}try: {}", cause, cause.empty() ? "" : "; ", suggestion);
}

}  // namespace

std::string advice_of(const ThresholdResult& result) { return advice(result.cause, result.suggestion); }
std::string advice_of(const RequirementResult& result) { return advice(result.cause, result.suggestion); }

std::string windows_text(const WindowsResult& windows) {
  const auto time = [](double s) { return fmt::format("{:g}s", s); };
  if (windows.judged == 1) return fmt::format("in {} to {}", time(windows.worst_from_s), time(windows.worst_to_s));
  return fmt::format("in the worst of {} windows, {} to {}{}", windows.judged, time(windows.worst_from_s),
                     time(windows.worst_to_s), windows.failed > 1 ? fmt::format("; {} failed", windows.failed) : "");
}

std::string place_of(const FindingResult& finding) {
  if (!finding.offset) return {};
  const std::string stream =
      finding.stream_id && !finding.stream_id->empty() ? "stream " + *finding.stream_id : "a stream without an id";
  return fmt::format("{}, byte {}", stream, *finding.offset);
}

std::vector<LoadRow> load_rows(const Summary& summary) {
  std::vector<LoadRow> rows;
  for (const ScenarioResult& scenario : summary.scenarios) {
    rows.push_back({scenario.name, false, &scenario.load});
    for (std::size_t i = 0; i < scenario.stages.size(); ++i) {
      const StageResult& stage = scenario.stages[i];
      rows.push_back({fmt::format("stage {}, {:.4g}s to {:.4g}s", i, stage.from_s, stage.to_s), true, &stage.load});
    }
  }
  if (rows.size() < 2) rows.clear();
  return rows;
}

std::string engine_name(const EngineResult& engine) {
  std::string text = engine.model.empty() ? "the engine" : engine.model;
  if (!engine.backend.empty()) text += " on " + engine.backend;
  if (!engine.backend_wanted.empty() && engine.backend_wanted != engine.backend)
    text += " (" + engine.backend_wanted + ")";
  return text;
}

std::string format_load(const SearchResult& search, double load) {
  return fmt::format("{:.6g} {}", load, load == 1 && search.unit == "VUs" ? "VU" : search.unit);
}

std::string search_verdict(const SearchResult& search) {
  if (!search.best) return "held every threshold";
  const bool any_failed =
      std::any_of(search.trials.begin(), search.trials.end(), [](const SearchTrial& trial) { return !trial.held; });
  if (!any_failed) return "held, and nothing above it was allowed to be tried";
  return fmt::format("is the highest load that held, to within {:g} %", search.precision * 100);
}

std::string stability_verdict(const StabilityResult& stability) {
  const std::string rule =
      fmt::format("{} windows of {:g} s{} within {:g} % of their mean", stability.windows, stability.window_s,
                  stability.from_s ? "" : " in a row", stability.tolerance * 100);
  if (!stability.from_s) return "never stable: no " + rule;
  return fmt::format("stable from {:g} s to {:g} s: {}", *stability.from_s, stability.to_s.value_or(*stability.from_s),
                     rule);
}

std::string format_stable(const StableMetricResult& metric) {
  if (!metric.mean) return "no samples in every window";
  return fmt::format("{}{}", format_value(*metric.mean, metric.unit),
                     metric.deviation ? fmt::format(" ± {:.2g} %", *metric.deviation * 100) : "");
}

std::vector<SearchTrial> by_load(const SearchResult& search) {
  std::vector<SearchTrial> trials = search.trials;
  std::sort(trials.begin(), trials.end(), [](const SearchTrial& a, const SearchTrial& b) { return a.load < b.load; });
  return trials;
}

std::vector<WaysRow> ways_rows(const Summary& summary) {
  if (!summary.buffering || !summary.buffering->comparison) return {};
  const BufferingReport& report = *summary.buffering;
  const auto of = [&](const std::string& name) -> const BufferingResult* {
    for (const BufferingResult& result : report.scenarios)
      if (result.scenario == name) return &result;
    return nullptr;
  };
  const BufferingResult *direct = of(report.comparison->direct), *via = of(report.comparison->via);
  std::vector<WaysRow> rows;
  const auto add = [&](std::string name, auto cell) {
    WaysRow row{.name = std::move(name), .direct = {}, .via = {}};
    if (direct != nullptr) row.direct = cell(*direct);
    if (via != nullptr) row.via = cell(*via);
    if (!row.direct.empty() || !row.via.empty()) rows.push_back(std::move(row));
  };
  const auto add_value = [&](std::string name, std::string_view unit, std::optional<double> BufferingResult::*value) {
    add(std::move(name), [&](const BufferingResult& b) { return b.*value ? format_value(*(b.*value), unit) : ""; });
  };
  add("Verdict", [](const BufferingResult& b) { return b.verdict; });
  add("Streams", [](const BufferingResult& b) { return format_count(b.streams); });
  add_value("TTFT median", "ms", &BufferingResult::ttft_p50_ms);
  add_value("TTFT p95", "ms", &BufferingResult::ttft_p95_ms);
  add_value("Gap median", "ms", &BufferingResult::gap_p50_ms);
  add_value("Gap p95", "ms", &BufferingResult::gap_p95_ms);
  add("Chunks a stream", [](const BufferingResult& b) { return fmt::format("{:.1f}", b.chunks_per_stream); });
  add("Tokens a chunk", [](const BufferingResult& b) {
    return b.tokens_per_chunk ? fmt::format("{:.2f}", *b.tokens_per_chunk) : std::string();
  });
  add("Events a read", [](const BufferingResult& b) {
    return b.events_per_read ? fmt::format("{:.2f}", *b.events_per_read) : std::string();
  });
  add("Chunks in bursts", [](const BufferingResult& b) { return format_share(b.burst_share); });
  return rows;
}

std::string split_origin(const TtftSplitResult& split) {
  std::string sources;
  for (const std::string& source : split.sources) sources += (sources.empty() ? "" : ", ") + source;
  return fmt::format("Of {} stream{}; source: {}", format_count(split.requests), split.requests == 1 ? "" : "s",
                     sources);
}

std::string split_doubt(const TtftSplitResult& split) {
  if (split.exceeded == 0) return {};
  return fmt::format("In {} of them the server's times are longer than what was measured",
                     format_count(split.exceeded));
}

double share_of(const TtftSplitResult& split, const TtftPart& part) {
  double sum = 0;
  for (const TtftPart& each : split.parts) sum += each.mean_ms;
  const double share = part.mean_ms / sum;
  return share >= 0 && share <= 1 ? share : 0;  // of a foreign file it may be anything
}

std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace sluice::reports
