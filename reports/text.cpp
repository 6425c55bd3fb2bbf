#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "reports/format.h"

namespace sluice::reports {
namespace {

enum class Ink { plain, bold, faint, good, bad, accent };

std::string cut(std::string_view text, std::size_t width) {
  if (columns(text) <= width) return std::string(text);
  std::string out;
  std::size_t used = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80 && ++used >= width) break;
    out += c;
  }
  return out + "…";
}

/// Text that knows how wide it is however it is coloured, and that cannot drive the terminal: control characters in
/// names, errors and examples are shown, not sent.
class Page {
 public:
  explicit Page(const TextOptions& options) : color_(options.color), width_(std::clamp(options.width, 80, 160)) {}

  std::size_t width() const { return static_cast<std::size_t>(width_); }

  /// What does not fit the line any more is cut.
  Page& put(std::string_view text, Ink ink = Ink::plain) {
    if (columns(text) > left()) return left() == 0 ? *this : put(cut(text, left()), ink);
    used_ += columns(text);
    if (color_ && ink != Ink::plain) out_ += escape(ink);
    for (const char c : text)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        out_ += '?';
      else
        out_ += c;
    if (color_ && ink != Ink::plain) out_ += "\x1b[0m";
    return *this;
  }
  /// Columns that the line still has.
  std::size_t left() const { return width() - used_; }
  Page& line() {
    while (!out_.empty() && out_.back() == ' ') out_.pop_back();
    out_ += '\n';
    used_ = 0;
    return *this;
  }
  /// A name, then dots up to `width` columns, then a colon.
  Page& dotted(std::string_view indent, std::string_view name, std::size_t width) {
    put(indent);
    const std::size_t used = columns(indent) + columns(name);
    put(name);
    put(std::string(used + 1 < width ? width - used : 1, '.'), Ink::faint);
    return put(": ");
  }
  void heading(std::string_view text) { line().put("  ").put("█ ", Ink::accent).put(text, Ink::bold).line().line(); }
  std::string take() { return std::move(out_); }

 private:
  static std::string_view escape(Ink ink) {
    switch (ink) {
      case Ink::plain:
        return "";
      case Ink::bold:
        return "\x1b[1m";
      case Ink::faint:
        return "\x1b[2m";
      case Ink::good:
        return "\x1b[32m";
      case Ink::bad:
        return "\x1b[31m";
      case Ink::accent:
        return "\x1b[36m";
    }
    return "";
  }
  bool color_;
  int width_;
  std::size_t used_ = 0;  // columns of the line being written
  std::string out_;
};

std::string padded(std::string text, std::size_t width) {
  const std::size_t used = columns(text);
  if (used < width) text.append(width - used, ' ');
  return text;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

/// As many lines as it needs, each behind `indent` columns.
void put_wrapped(Page& page, std::string_view text, std::size_t indent, Ink ink = Ink::plain) {
  page.put(std::string(indent - 1, ' '));
  for (const std::string_view word : words_of(text)) {
    if (columns(word) + 1 > page.left()) page.line().put(std::string(indent - 1, ' '));
    page.put(" ").put(word, ink);
  }
  page.line();
}

void print_simulated(Page& page, const std::string& why) {
  if (why.empty()) return;
  page.put("  ").put("SIMULATED", Ink::bad).line();
  put_wrapped(page, why, 2, Ink::bad);
}

void print_thresholds(Page& page, const Summary& summary) {
  if (summary.thresholds.empty()) return;
  page.heading("THRESHOLDS");
  std::string_view above;
  for (const ThresholdResult& result : summary.thresholds) {
    if (result.metric != above) {
      if (!above.empty()) page.line();
      page.put("    ").put(result.metric, Ink::bold).line();
      above = result.metric;
    }
    const bool pass = result.verdict == "pass", unsure = result.verdict == "inconclusive";
    page.put("    ").put(pass     ? "✓ pass"
                         : unsure ? "? open"
                                  : "✗ FAIL",
                         pass     ? Ink::good
                         : unsure ? Ink::accent
                                  : Ink::bad);
    page.put(fmt::format("  '{}' ", result.expression));
    if (result.actual)
      page.put(fmt::format("{}={}", left_side(result.expression), format_value(*result.actual, result.unit)),
               Ink::accent);
    else
      page.put(result.reason.empty() ? "no samples" : result.reason, Ink::bad);
    const bool too_few = result.actual && result.reason.starts_with("not enough samples");
    if (too_few) page.put("  " + result.reason, Ink::bad);
    if (result.windows && result.windows->judged > 0 && !too_few)
      page.put("  " + windows_text(*result.windows), result.windows->failed > 0 ? Ink::bad : Ink::faint);
    if (!result.source.empty()) page.put("  " + result.source, Ink::faint);
    if (result.aborted) page.put("  stopped the run", Ink::bad);
    if (!result.source.empty() && !pass) page.line().put("            ").put(result.reason, Ink::bad);
    if (result.open) page.put("  unproven", Ink::accent);
    if ((unsure || result.open) && !result.reason.empty())
      page.line().put("            ").put(result.reason, Ink::faint);
    if (const std::string advice = advice_of(result); !advice.empty()) {
      page.line();
      put_wrapped(page, advice, 12, Ink::faint);
    } else {
      page.line();
    }
  }
}

void print_checks(Page& page, const Summary& summary) {
  if (summary.checks.empty()) return;
  page.heading("CHECKS");
  std::uint64_t passes = 0, fails = 0;
  for (const CheckResult& result : summary.checks) {
    passes += result.passes;
    fails += result.fails;
  }
  const double tries = static_cast<double>(std::max<std::uint64_t>(passes + fails, 1));
  const auto total = [&](std::string_view name, std::uint64_t count) {
    page.dotted("    ", name, 24);
    page.put(
        fmt::format("{:<9}  {} out of {}", format_share(static_cast<double>(count) / tries), count, passes + fails));
    page.line();
  };
  total("checks_succeeded", passes);
  total("checks_failed", fails);
  page.line();
  std::string_view group;
  for (const CheckResult& result : summary.checks) {
    if (result.group != group) {
      group = result.group;
      if (!group.empty()) page.put("    ").put(group, Ink::faint).line();
    }
    const bool never = result.passes + result.fails == 0, good = result.fails == 0;
    page.put(group.empty() ? "    " : "      ");
    page.put(never ? "- " : good ? "✓ " : "✗ ", never ? Ink::faint : good ? Ink::good : Ink::bad);
    page.put(cut(result.name, page.width() - 30));
    if (never)
      page.put("  never evaluated", Ink::faint);
    else if (good)
      page.put(fmt::format("  {}", result.passes), Ink::faint);
    else
      page.put(fmt::format("  {} of {} failed", result.fails, result.passes + result.fails), Ink::bad);
    page.line();
  }
}

struct Column {
  std::string name;
  std::vector<std::string> cells;  // a row each; empty: none
  std::size_t width = 0;
};

std::string trend_cell(const MetricSummary& metric, double percentile) {
  const double* value = percentile_of(metric, percentile);
  if (value == nullptr) return "";
  const std::string text = format_value(*value, metric.unit);
  return is_unsure(metric, percentile) ? "[" + text + "]" : text;
}

/// The columns of the trends, as many as the page has room for; the dearest stay.
std::vector<Column> trend_columns(const std::vector<MetricSummary>& metrics, std::size_t room) {
  struct Wanted {
    std::string name;
    int rank;  // 0: the last to go
    std::optional<double> percentile;
  };
  const std::array<Wanted, 7> all{{{"avg", 2, {}},
                                   {"min", 6, {}},
                                   {"med", 1, 50.0},
                                   {"max", 3, {}},
                                   {"p(90)", 5, 90.0},
                                   {"p(95)", 0, 95.0},
                                   {"p(99)", 4, 99.0}}};
  std::vector<std::pair<int, Column>> columns_of;
  for (const Wanted& wanted : all) {
    Column column{.name = wanted.name, .cells = {}};
    for (const MetricSummary& metric : metrics) {
      std::string cell;
      if (metric.kind == "trend") {
        if (wanted.percentile)
          cell = trend_cell(metric, *wanted.percentile);
        else if (const auto& value = wanted.name == "avg" ? metric.avg : wanted.name == "min" ? metric.min : metric.max)
          cell = format_value(*value, metric.unit);
      }
      column.width = std::max(column.width, columns(cell));
      column.cells.push_back(std::move(cell));
    }
    column.width += wanted.name.size() + 2;  // "avg=", one space
    columns_of.emplace_back(wanted.rank, std::move(column));
  }
  const auto used = [&] {
    std::size_t sum = 0;
    for (const auto& [rank, column] : columns_of) sum += column.width;
    return sum;
  };
  while (columns_of.size() > 2 && used() > room + 1)
    columns_of.erase(std::max_element(columns_of.begin(), columns_of.end(),
                                      [](const auto& a, const auto& b) { return a.first < b.first; }));
  std::vector<Column> result;
  result.reserve(columns_of.size());
  for (auto& [rank, column] : columns_of) result.push_back(std::move(column));
  return result;
}

std::string plain_value(const MetricSummary& metric) {
  if (metric.kind == "counter") {
    const auto sum = static_cast<double>(metric.count);
    std::string text = metric.unit == "bytes" ? format_bytes(sum)
                       : metric.sum           ? format_number(*metric.sum)
                                              : format_count(metric.count);
    if (metric.rate)
      text = padded(text, 9) + "  " +
             (metric.unit == "bytes" ? format_bytes(*metric.rate) : format_number(*metric.rate)) + "/s";
    return text;
  }
  if (metric.kind == "rate")
    return fmt::format("{}  {} out of {}", padded(format_share(metric.rate.value_or(0)), 9), metric.passes,
                       metric.passes + metric.fails);
  std::string text = metric.value ? format_value(*metric.value, metric.unit) : "";
  if (metric.min && metric.max)
    text = padded(text, 9) + fmt::format("  min={} max={}", format_value(*metric.min, metric.unit),
                                         format_value(*metric.max, metric.unit));
  return text;
}

void print_metrics(Page& page, const Summary& summary) {
  std::vector<MetricSummary> shown;  // what is of the system stands under ENGINE
  std::copy_if(summary.metrics.begin(), summary.metrics.end(), std::back_inserter(shown),
               [](const MetricSummary& metric) { return section_of(metric) != "System"; });
  if (shown.empty()) return;
  page.heading("METRICS");
  // Selections stand beneath their metric, as in k6: "  { kind:chat }".
  std::vector<std::string> names;
  std::size_t width = 24;
  for (const MetricSummary& metric : shown) {
    const auto [base, selector] = split_name(metric.name);
    std::string name(base);
    if (!selector.empty()) name = "  { " + std::string(selector.substr(1, selector.size() - 2)) + " }";
    names.push_back(cut(name, 48));
    width = std::max(width, columns(names.back()) + 7);
  }
  width = std::min(width, page.width() / 2);
  const std::vector<Column> trends = trend_columns(shown, page.width() - width - 2);

  bool first = true;
  for (const std::string_view section :
       {"HTTP", "WebSocket", "Streaming", "Custom", "Execution", "Network", "Instrument"}) {
    bool begun = false;
    for (std::size_t row = 0; row < shown.size(); ++row) {
      const MetricSummary& metric = shown[row];
      if (section_of(metric) != section) continue;
      if (!begun) {
        if (!first) page.line();
        page.put("    ").put(section, Ink::bold).line();
        begun = true;
        first = false;
      }
      page.dotted("    ", names[row], width);
      if (metric.kind == "trend") {
        for (const Column& column : trends) {
          page.put(column.name + "=", Ink::faint);
          page.put(padded(column.cells[row], column.width - column.name.size() - 1), Ink::accent);
        }
      } else {
        page.put(plain_value(metric), Ink::accent);
      }
      if (metric.rejected > 0) page.put(fmt::format("  {} rejected", metric.rejected), Ink::bad);
      page.line();
    }
  }
}

/// Where the time to the first token went. The means add up; medians and percentiles do not.
void print_ttft_split(Page& page, const Summary& summary) {
  if (!summary.ttft_split) return;
  const TtftSplitResult& split = *summary.ttft_split;
  page.heading("TIME TO FIRST TOKEN");
  page.put("    ").put(split_origin(split), Ink::faint).line();
  std::vector<TtftPart> rows = split.parts;
  rows.push_back(split.whole);
  constexpr std::size_t kName = 12, kNumber = 11, kShare = 9, kBar = 20;
  const auto right = [&](const std::string& text, std::size_t width, Ink ink) {
    const std::size_t used = columns(text);
    page.put(std::string(used < width ? width - used : 1, ' ')).put(text, ink);
  };
  const auto time = [&](double ms, std::optional<double> percentile) {
    const bool unsure =
        percentile && std::find(split.unsure.begin(), split.unsure.end(), *percentile) != split.unsure.end();
    return unsure ? "[" + format_ms(ms) + "]" : format_ms(ms);
  };
  page.put(std::string(4 + kName, ' '));
  for (const char* name : {"mean", "med", "p(95)"}) right(name, kNumber, Ink::faint);
  right("share", kShare, Ink::faint);
  page.line();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const TtftPart& row = rows[i];
    const bool is_whole = i + 1 == rows.size();
    page.put("    ").put(padded(cut(row.name, kName), kName), is_whole ? Ink::bold : Ink::plain);
    right(time(row.mean_ms, {}), kNumber, Ink::accent);
    right(time(row.p50_ms, 50.0), kNumber, Ink::plain);
    right(time(row.p95_ms, 95.0), kNumber, Ink::plain);
    if (!is_whole) {
      const double share = share_of(split, row);
      right(format_share(share), kShare, Ink::faint);
      std::string bar = "  ";
      const auto filled = static_cast<std::size_t>(share * kBar + 0.5);
      for (std::size_t block = 0; block < std::max<std::size_t>(filled, share > 0 ? 1 : 0); ++block) bar += "▪";
      page.put(bar, Ink::accent);
    }
    page.line();
  }
  if (const std::string doubt = split_doubt(split); !doubt.empty()) page.put("    ").put(doubt, Ink::bad).line();
}

/// What executor find-max tried, the lowest load first.
void print_search(Page& page, const Summary& summary) {
  if (!summary.search) return;
  const SearchResult& search = *summary.search;
  page.heading("SEARCH");
  page.put("    ");
  if (search.best) {
    page.put(format_load(search, *search.best), Ink::good);
  } else {
    page.put("no load", Ink::bad);
  }
  page.put(" " + search_verdict(search)).line();
  for (const SearchTrial& trial : by_load(search)) {
    page.put("    ").put(trial.held ? "✓" : "✗", trial.held ? Ink::good : Ink::bad);
    page.put(" " + padded(format_load(search, trial.load), 19), Ink::bold);
    page.put(fmt::format("{:>6.4g}/s", trial.iterations_per_s));
    if (trial.duration_p95_ms) page.put("  p(95)=" + format_value(*trial.duration_p95_ms, "ms"));
    if (trial.ttft_p95_ms) page.put("  ttft p(95)=" + format_value(*trial.ttft_p95_ms, "ms"));
    if (!trial.reason.empty()) page.line().put("      " + trial.reason, Ink::faint);
    page.line();
  }
}

void print_stability(Page& page, const Summary& summary) {
  if (!summary.stability) return;
  const bool stable = summary.stability->from_s.has_value();
  page.heading("STABILITY");
  page.put("    ").put(stable ? "✓ " : "✗ ", stable ? Ink::good : Ink::bad);
  page.put(stability_verdict(*summary.stability)).line();
  if (summary.stability->ended_run) page.put("      that ended the run", Ink::faint).line();
  std::size_t longest = 0;
  for (const StableMetricResult& metric : summary.stability->metrics)
    longest = std::max(longest, columns(metric.metric));
  for (const StableMetricResult& metric : summary.stability->metrics)
    page.put("      " + padded(metric.metric, longest + 2), Ink::bold).put(format_stable(metric), Ink::accent).line();
}

/// The engine beside the run, and what was sampled of it and its GPU. Lowest, mean and highest, no percentiles: there
/// is a sample a second, and they hang together.
void print_engine(Page& page, const Summary& summary) {
  std::vector<const MetricSummary*> sampled;
  for (const MetricSummary& metric : summary.metrics)
    if (section_of(metric) == "System") sampled.push_back(&metric);
  if (!summary.engine && sampled.empty()) return;
  page.heading("ENGINE");
  if (summary.engine) {
    const EngineResult& engine = *summary.engine;
    page.put("    ").put(engine_name(engine), Ink::bold);
    if (!engine.device.empty() && engine.device != engine.gpu) page.put("  " + engine.device, Ink::faint);
    page.line();
    if (!engine.gpu.empty()) {
      page.put("    ").put(engine.gpu);
      if (engine.gpu_memory_bytes) page.put(", " + format_bytes(*engine.gpu_memory_bytes), Ink::faint);
      if (engine.gpu_power_limit_w) page.put(fmt::format(", at most {:.0f} W", *engine.gpu_power_limit_w), Ink::faint);
      page.line();
    }
    for (const ThrottleResult& throttled : engine.throttled)
      page.put("    ")
          .put(fmt::format("slowed by {} in {} of {} samples", throttled.reason, throttled.samples, engine.samples),
               Ink::bad)
          .line();
    if (!sampled.empty()) page.line();
  }
  constexpr std::array<std::pair<std::string_view, std::optional<double> MetricSummary::*>, 3> kColumns{
      {{"avg", &MetricSummary::avg}, {"min", &MetricSummary::min}, {"max", &MetricSummary::max}}};
  std::size_t width = 0;
  for (const MetricSummary* metric : sampled)
    for (const auto& [name, member] : kColumns)
      if (metric->*member) width = std::max(width, columns(format_value(*(metric->*member), metric->unit)));
  for (const MetricSummary* metric : sampled) {
    page.dotted("    ", cut(metric->name, 40), 24);
    if (metric->kind == "trend") {
      for (const auto& [name, member] : kColumns) {
        if (!(metric->*member)) continue;
        page.put(fmt::format("{}=", name), Ink::faint);
        page.put(padded(format_value(*(metric->*member), metric->unit), width + 1), Ink::accent);
      }
    } else {
      page.put(plain_value(*metric), Ink::accent);
    }
    page.line();
  }
}

/// Only where there are several: the figures of a single step are those of the run.
void print_steps(Page& page, const Summary& summary) {
  if (summary.steps.size() < 2) return;
  page.heading("STEPS");
  for (const StepResult& step : summary.steps) {
    const std::string name = cut(fmt::format("{}{}  {}", step.scenario, step.group, step.name), page.width() - 56);
    page.put("    ").put(name).put(std::string(page.width() - 56 - columns(name) + 2, ' '));
    page.put(fmt::format("{:<8}", format_count(step.count)), step.count == 0 ? Ink::bad : Ink::plain);
    if (step.failures > 0) page.put(fmt::format("{} failed  ", step.failures), Ink::bad);
    if (step.p50_ms && step.p95_ms)
      page.put(fmt::format("med={} p(95)={}", format_ms(*step.p50_ms), format_ms(*step.p95_ms)), Ink::faint);
    page.line();
  }
}

/// Only where there are several: those of a single one are those of the run.
void print_loads(Page& page, const Summary& summary) {
  const auto rows = load_rows(summary);
  if (rows.empty()) return;
  page.heading("SCENARIOS AND STAGES");
  constexpr std::size_t kName = 26;
  std::vector<std::pair<int, Column>> columns_of;
  const auto add = [&](std::string name, int rank, auto cell) {
    Column column{.name = std::move(name), .cells = {}};
    bool any = false;
    for (const LoadRow& row : rows) {
      column.cells.push_back(cell(*row.load));
      any = any || !column.cells.back().empty();
      column.width = std::max(column.width, columns(column.cells.back()));
    }
    column.width = std::max(column.width, column.name.size()) + 2;
    if (any) columns_of.emplace_back(rank, std::move(column));
  };
  const auto time = [](const std::optional<double>& ms) { return ms ? format_ms(*ms) : std::string(); };
  add("requests", 0, [](const LoadResult& load) { return format_count(load.requests); });
  add("per s", 1,
      [](const LoadResult& load) { return load.requests_per_s ? format_number(*load.requests_per_s) : std::string(); });
  add("failed", 2, [](const LoadResult& load) { return format_count(load.failures); });
  add("med", 4, [&](const LoadResult& load) { return time(load.duration_p50_ms); });
  add("p(95)", 3, [&](const LoadResult& load) { return time(load.duration_p95_ms); });
  add("p(99)", 6, [&](const LoadResult& load) { return time(load.duration_p99_ms); });
  add("ttft med", 7, [&](const LoadResult& load) { return time(load.ttft_p50_ms); });
  add("ttft p(95)", 5, [&](const LoadResult& load) { return time(load.ttft_p95_ms); });
  add("ttft p(99)", 8, [&](const LoadResult& load) { return time(load.ttft_p99_ms); });
  const auto used = [&] {
    std::size_t sum = 4 + kName;
    for (const auto& [rank, column] : columns_of) sum += column.width;
    return sum;
  };
  while (columns_of.size() > 2 && used() > page.width())
    columns_of.erase(std::max_element(columns_of.begin(), columns_of.end(),
                                      [](const auto& a, const auto& b) { return a.first < b.first; }));
  const auto right = [&](const std::string& text, std::size_t width, Ink ink) {
    page.put(std::string(width - columns(text), ' ')).put(text, ink);
  };
  page.put("    ").put(std::string(kName, ' '));
  for (const auto& [rank, column] : columns_of) right(column.name, column.width, Ink::faint);
  page.line();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    page.put("    ").put(padded(cut((rows[i].is_stage ? "  " : "") + rows[i].name, kName), kName));
    for (const auto& [rank, column] : columns_of) right(column.cells[i], column.width, Ink::plain);
    page.line();
  }
}

void print_failures(Page& page, const Summary& summary) {
  if (!summary.failures.empty()) {
    page.heading("FAILURES BY CAUSE");
    for (const FailureResult& failure : summary.failures) {
      page.put("    ").put(fmt::format("{:>8}  ", failure.count), Ink::bad);
      page.put(padded(failure.outcome, 16)).put(cut(failure.error, page.width() - 32)).line();
    }
  }
  if (!summary.findings.empty()) {
    page.heading("STREAM FINDINGS");
    for (const FindingResult& finding : summary.findings) {
      page.put("    ").put(fmt::format("{:>8}  ", finding.count), finding.severity == "note"      ? Ink::faint
                                                                  : finding.severity == "warning" ? Ink::accent
                                                                                                  : Ink::bad);
      page.put(padded(finding.severity, 9)).put(finding.rule);
      const std::string place = place_of(finding);
      if (!place.empty()) page.put("  ").put(cut(place, page.width() - 40), Ink::faint);
      page.line();
      if (!finding.example.empty())
        page.put("              ").put(cut(finding.example, page.width() - 16), Ink::faint).line();
    }
  }
}

Ink ink_of_buffering(std::string_view verdict) {
  if (verdict == "none") return Ink::good;
  return verdict == "unknown" ? Ink::faint : verdict == "server merges" ? Ink::accent : Ink::bad;
}

void print_buffering(Page& page, const Summary& summary) {
  if (!summary.buffering) return;
  const auto& comparison = summary.buffering->comparison;
  page.heading("BUFFERING");
  for (const BufferingResult& result : summary.buffering->scenarios) {
    page.put("    ").put(result.scenario.empty() ? "all scenarios" : result.scenario, Ink::bold).put(": ");
    page.put(result.verdict, ink_of_buffering(result.verdict)).line();
    put_wrapped(page, result.evidence, 6, Ink::faint);
  }
  if (!comparison) return;
  constexpr std::size_t kName = 24, kCell = 24;
  page.line().put("    ").put(std::string(kName - 2, ' '));
  page.put(padded(cut("direct: " + comparison->direct, kCell - 2), kCell), Ink::bold);
  page.put(cut("via: " + comparison->via, kCell), Ink::bold).line();
  for (const WaysRow& row : ways_rows(summary)) {
    page.dotted("    ", row.name, kName);
    page.put(padded(row.direct.empty() ? "–" : row.direct, kCell), Ink::accent);
    page.put(row.via.empty() ? "–" : row.via, Ink::accent).line();
  }
  page.line();
  put_wrapped(page, comparison->sentence, 4, Ink::bold);
}

void print_instrument(Page& page, const Summary& summary) {
  const Instrument& instrument = summary.instrument;
  page.heading("INSTRUMENT");
  const bool trusted = instrument.verdict == "trusted";
  page.put("    ").put(instrument.verdict, trusted ? Ink::good : Ink::bad);
  page.line();
  if (!instrument.reason.empty()) put_wrapped(page, instrument.reason, 4);
  page.put("    ");
  std::vector<std::string> facts;
  const auto lag = [&](std::string_view name, const std::optional<double>& ms) {
    if (ms) facts.push_back(fmt::format("{} p99 {}", name, format_ms(*ms)));
  };
  lag("client lag", instrument.client_lag_p99_ms);
  lag("loop lag", instrument.loop_lag_p99_ms);
  lag("send lag", instrument.send_lag_p99_ms);
  const auto share = [&](std::string_view name, std::uint64_t part, std::uint64_t all) {
    if (all > 0)
      facts.push_back(fmt::format("{} {}", format_share(static_cast<double>(part) / static_cast<double>(all)), name));
  };
  share("of events stamped by the kernel", instrument.events_kernel_stamped, instrument.events);
  share("of gaps coalesced", instrument.gaps_coalesced, instrument.gaps);
  facts.push_back(fmt::format("CPU {:.0f}% of a core", instrument.cpu_percent));
  facts.push_back(fmt::format("{} thread{}", instrument.threads, instrument.threads == 1 ? "" : "s"));
  if (const auto& waited = instrument.run_queue_wait_percent)
    facts.push_back(fmt::format("{} of the time waiting for a core", format_share(*waited / 100)));
  if (const auto& stolen = instrument.cpu_steal_percent)
    facts.push_back(fmt::format("{} steal", format_share(*stolen / 100)));
  if (instrument.samples > 0)
    facts.push_back(fmt::format("{} of {} samples dropped", format_count(instrument.samples_dropped),
                                format_count(instrument.samples)));
  for (std::size_t i = 0; i < facts.size(); ++i) {
    const std::string fact = facts[i] + (i + 1 < facts.size() ? ", " : "");
    if (i > 0 && columns(fact) > page.left()) page.line().put("    ");
    page.put(fact, Ink::faint);
  }
  page.line();
  if (const auto& known = instrument.calibration)
    page.put(fmt::format("    calibrated {} with {} streams: error p99 {} of TTFT, {} of gaps",
                         known->calibrated_at.substr(0, 10), format_count(known->streams),
                         format_ms(known->ttft_p99_us / 1000), format_ms(known->gap_p99_us / 1000)),
             Ink::faint)
        .line();
}

void print_head(Page& page, const Summary& summary) {
  page.line().put("  ").put(summary.name.empty() ? summary.scenario_file : summary.name, Ink::bold);
  if (!summary.target.empty()) page.put("  ").put(summary.target, Ink::faint);
  page.line();
  print_simulated(page, summary.simulated);
  if (summary.warmup_requests > 0 || summary.warmup_s > 0)
    page.put(fmt::format("  warm-up: {} request{}, counted in nothing", format_count(summary.warmup_requests),
                         summary.warmup_requests == 1 ? "" : "s"))
        .line();
  for (const ScenarioResult& scenario : summary.scenarios) {
    page.put(fmt::format("  {}: {}, {}; {} iteration{}", scenario.name, scenario.executor, scenario.description,
                         format_count(scenario.iterations), scenario.iterations == 1 ? "" : "s"));
    if (scenario.interrupted > 0) page.put(fmt::format(", {} interrupted", scenario.interrupted));
    if (scenario.dropped.value_or(0) > 0) page.put(fmt::format(", {} dropped", format_count(*scenario.dropped)));
    page.line();
  }
}

void print_foot(Page& page, const Summary& summary) {
  const auto passed = std::count_if(summary.thresholds.begin(), summary.thresholds.end(),
                                    [](const ThresholdResult& result) { return result.verdict == "pass"; });
  page.line().put("  ");
  page.put(summary.outcome, summary.outcome == "passed" ? Ink::good : Ink::bad);
  page.put(fmt::format(" after {}", format_seconds(summary.duration_s)));
  if (summary.decided == "early") page.put(", early: every threshold is decided");
  if (!summary.thresholds.empty())
    page.put(fmt::format(", {} of {} thresholds passed", passed, summary.thresholds.size()));
  const auto open = std::count_if(summary.thresholds.begin(), summary.thresholds.end(),
                                  [](const ThresholdResult& result) { return result.verdict == "inconclusive"; });
  if (open > 0) page.put(fmt::format(", {} inconclusive", open), Ink::accent);
  const auto forced = std::count_if(summary.thresholds.begin(), summary.thresholds.end(),
                                    [](const ThresholdResult& result) { return result.open; });
  if (forced > 0) page.put(fmt::format(", {} unproven", forced), Ink::accent);
  page.put(fmt::format(", exit code {}", summary.exit_code)).line();
  if (summary.decided == "never")
    page.put("  not every threshold was decided in that time (until_decided): a longer run may tell", Ink::faint)
        .line();
  const bool brackets = std::any_of(summary.metrics.begin(), summary.metrics.end(),
                                    [](const MetricSummary& metric) { return !metric.unsure.empty(); });
  if (brackets) page.put("  [in brackets]: too few samples for that percentile", Ink::faint).line();
}

void print_requirement(Page& page, const RequirementResult& result) {
  const bool pass = result.verdict == "pass", unsure = result.verdict == "inconclusive";
  const std::size_t goal_width = 24, actual_width = 14;
  const std::size_t name_width = page.width() - goal_width - actual_width - 12;
  page.put("      ").put(pass ? "✓ " : unsure ? "? " : "✗ ", pass ? Ink::good : unsure ? Ink::accent : Ink::bad);
  page.put(padded(cut(result.requirement, name_width), name_width + 1));
  page.put(padded(cut(result.goal, goal_width), goal_width + 1));
  page.put(result.actual.empty() ? "no samples" : cut(result.actual, actual_width), pass ? Ink::plain : Ink::bad)
      .line();
  const std::string advice = advice_of(result);
  if (advice.empty()) return;
  put_wrapped(page, advice, 10, Ink::faint);
}

}  // namespace

std::string to_text(const SuiteSummary& suite, const TextOptions& options) {
  Page page(options);
  page.line().put("  ").put("suite " + suite.name, Ink::bold);
  if (!suite.target.empty()) page.put("  ").put(suite.target, Ink::faint);
  page.line();
  print_simulated(page, suite.simulated);
  if (!suite.preflight.empty()) page.heading("PREFLIGHT");
  for (const PreflightResult& result : suite.preflight) {
    const bool pass = result.verdict == "pass", fail = result.verdict == "fail";
    page.put("    ").put(pass ? "✓ " : fail ? "✗ " : "- ", pass ? Ink::good : fail ? Ink::bad : Ink::faint);
    page.put(padded(result.name, 16));
    page.put(result.detail, fail ? Ink::bad : Ink::faint).line();
  }
  page.heading("REQUIREMENTS");
  std::size_t passed = 0, failed = 0, skipped = 0;
  for (const SuiteCase& each : suite.cases) {
    const bool pass = each.outcome == "passed", left_out = each.outcome == "skipped";
    ++(pass ? passed : left_out ? skipped : failed);
    page.put("    ").put(pass ? "✓ " : left_out ? "- " : "✗ ", pass ? Ink::good : left_out ? Ink::faint : Ink::bad);
    page.put(each.name, Ink::bold);
    if (each.duration_s > 0) page.put("  " + format_seconds(each.duration_s), Ink::faint);
    if (!pass && each.outcome != "failed") page.put("  " + each.outcome, left_out ? Ink::faint : Ink::bad);
    page.line();
    if (!each.reason.empty()) put_wrapped(page, each.reason, 6, Ink::faint);
    for (const RequirementResult& result : each.requirements) print_requirement(page, result);
  }
  page.line().put("  ").put(suite.outcome, suite.outcome == "passed" ? Ink::good : Ink::bad);
  page.put(
      fmt::format(" after {}: {} of {} cases passed", format_seconds(suite.duration_s), passed, suite.cases.size()));
  if (failed > 0) page.put(fmt::format(", {} failed", failed), Ink::bad);
  if (skipped > 0) page.put(fmt::format(", {} skipped", skipped));
  page.put(fmt::format(", exit code {}", suite.exit_code)).line();
  return page.take();
}

std::string to_text(const Summary& summary, const TextOptions& options) {
  Page page(options);
  print_head(page, summary);
  print_thresholds(page, summary);
  print_search(page, summary);
  print_stability(page, summary);
  print_checks(page, summary);
  print_loads(page, summary);
  print_steps(page, summary);
  print_metrics(page, summary);
  print_ttft_split(page, summary);
  print_engine(page, summary);
  print_failures(page, summary);
  print_buffering(page, summary);
  print_instrument(page, summary);
  print_foot(page, summary);
  return page.take();
}

}  // namespace sluice::reports
