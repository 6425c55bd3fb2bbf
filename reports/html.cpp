#include "reports/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>
#include <string_view>
#include <vector>

#include "reports/format.h"
#include "reports/json.h"
#include "reports/page/assets.h"

namespace sluice::reports {
namespace {

/// Text between tags or in a quoted attribute.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? ' ' : c;
    }
  }
  return out;
}

/// JSON that may stand in a script element: '<' occurs inside strings only, where it may be written otherwise.
std::string for_script(std::string_view json) {
  std::string out;
  for (const char c : json)
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  return out;
}

std::string mark(std::string_view verdict) {
  if (verdict == "pass") return R"(<span class="mark good">✓ pass</span>)";
  if (verdict == "fail") return R"(<span class="mark bad">✗ fail</span>)";
  return R"(<span class="mark open">? inconclusive</span>)";
}

std::string metric_name(std::string_view name) {
  const auto [base, selector] = split_name(name);
  if (selector.empty()) return escaped(base);
  return fmt::format("{}<span class=\"selector\">{}</span>", escaped(base), escaped(selector));
}

const MetricSummary* find_metric(const Summary& summary, std::string_view name) {
  const auto found = std::find_if(summary.metrics.begin(), summary.metrics.end(),
                                  [&](const MetricSummary& metric) { return metric.name == name; });
  return found == summary.metrics.end() ? nullptr : &*found;
}

std::string plural(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", format_count(count), noun, count == 1 ? "" : "s");
}

// ---- head -----------------------------------------------------------------------------------------------------------

struct Verdict {
  std::string_view tone;  // good, bad, open
  std::string title, detail;
};

Verdict verdict_of(const Summary& summary) {
  const auto count = [&](std::string_view verdict) {
    return static_cast<std::uint64_t>(std::count_if(summary.thresholds.begin(), summary.thresholds.end(),
                                                    [&](const auto& t) { return t.verdict == verdict; }));
  };
  const std::uint64_t failed = count("fail"), open = count("inconclusive"), all = summary.thresholds.size();
  std::string detail = all == 0                  ? "No thresholds were declared."
                       : failed == 0 && open > 0 ? fmt::format("{} of {} held", all - open, plural(all, "threshold"))
                       : failed == 0             ? fmt::format("All {} held", plural(all, "threshold"))
                                                 : fmt::format("{} of {} failed", failed, plural(all, "threshold"));
  if (all == 1 && open == 0) detail = failed == 0 ? "The threshold held" : "The threshold failed";
  const auto unproven = std::count_if(summary.thresholds.begin(), summary.thresholds.end(),
                                      [](const ThresholdResult& result) { return result.open; });
  if (open > 0) detail += fmt::format("; {} inconclusive", open);
  if (unproven > 0) detail += fmt::format("; {} unproven", unproven);
  if (all != 0) detail += ".";
  if (summary.outcome == "passed") return {"good", "✓ Passed", detail};
  if (summary.outcome == "aborted") return {"bad", "✗ Aborted", "A threshold stopped the run. " + detail};
  if (summary.outcome == "interrupted") return {"open", "! Interrupted", "Stopped by the user. " + detail};
  return {"bad", "✗ Failed", detail};
}

std::string date_text(std::string text) {  // 2026-11-22T03:19:55Z
  if (text.size() == 20 && text[10] == 'T' && text.back() == 'Z')
    text = text.substr(0, 10) + " " + text.substr(11, 5) + " UTC";
  return text;
}

std::string simulated_note(const std::string& why) {
  if (why.empty()) return {};
  return fmt::format("<div class=\"verdict open\" role=\"status\"><strong>Simulated</strong><span>{}</span></div>\n",
                     escaped(why));
}

std::string header(const Summary& summary) {
  const Verdict verdict = verdict_of(summary);
  const Instrument& instrument = summary.instrument;
  const bool trusted = instrument.verdict == "trusted";
  std::string out = "<header>\n<p class=\"name\">Sluice report</p>\n";
  out += fmt::format("<h1>{}</h1>\n<p class=\"facts\">",
                     escaped(summary.name.empty() ? std::string_view("Unnamed run") : std::string_view(summary.name)));
  for (const std::string& fact : {date_text(summary.started_at), format_seconds(summary.duration_s), summary.target})
    if (!fact.empty()) out += fmt::format("<span class=\"break\">{}</span>", escaped(fact));
  out += "</p>\n";
  out += fmt::format("<div class=\"verdict {}\" role=\"status\"><strong>{}</strong><span>{}</span>", verdict.tone,
                     verdict.title, escaped(verdict.detail));
  if (!instrument.verdict.empty())
    out += fmt::format("<span>{}</span>", trusted ? "The measurement can be trusted."
                                                  : "The harness itself limited this run: see <a "
                                                    "href=\"#instrument\">the instrument</a>.");
  return out + "</div>\n" + simulated_note(summary.simulated) + "</header>\n";
}

// ---- thresholds -----------------------------------------------------------------------------------------------------

/// How much of the allowance was used, where there is an upper limit: 0.4 is 40 %.
std::optional<double> share_used(const ThresholdResult& result) {
  const bool upper = result.expression.find('<') != std::string::npos;
  if (!result.actual || !upper || result.limit <= 0 || *result.actual < 0) return std::nullopt;
  return *result.actual / result.limit;
}

std::string thresholds(const Summary& summary) {
  std::string out = "<section aria-labelledby=\"thresholds\">\n<h2 id=\"thresholds\">Service levels</h2>\n";
  if (summary.thresholds.empty())
    return out + "<p class=\"soft\">This scenario declares no thresholds, so nothing was judged.</p>\n</section>\n";
  out +=
      "<table class=\"stack\"><caption>Each threshold of the scenario and what was measured</caption>\n"
      "<thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Metric</th><th scope=\"col\">Threshold</th>"
      "<th scope=\"col\" class=\"number\">Measured</th><th scope=\"col\" class=\"number\">Of the "
      "limit</th></tr></thead>\n"
      "<tbody>\n";
  for (const ThresholdResult& result : summary.thresholds) {
    out += fmt::format("<tr><td>{}</td><th scope=\"row\" class=\"break\">{}</th>", mark(result.verdict),
                       metric_name(result.metric));
    out += fmt::format("<td data-label=\"Threshold\"><span><code>{}</code>", escaped(result.expression));
    if (!result.reason.empty()) out += fmt::format("<span class=\"reason\">{}</span>", escaped(result.reason));
    if (const std::string advice = advice_of(result); !advice.empty())
      out += fmt::format("<span class=\"reason\">{}</span>", escaped(advice));
    if (result.windows && result.windows->judged > 0 && result.verdict == "pass")
      out += fmt::format("<span class=\"reason\">{}</span>", escaped(windows_text(*result.windows)));
    if (!result.source.empty()) out += fmt::format("<span class=\"reason\">{}</span>", escaped(result.source));
    if (result.aborted) out += "<span class=\"reason\">stopped the run</span>";
    out += fmt::format("</span></td><td class=\"number\" data-label=\"Measured\"><span>{}</span></td>",
                       result.actual ? escaped(format_value(*result.actual, result.unit)) : "no samples");
    if (const auto used = share_used(result)) {
      const double percent = *used * 100;
      const std::string text = percent >= 1000 ? fmt::format("{}×", format_number(std::round(percent / 100)))
                               : percent > 0 && percent < 1 ? std::string("&lt;1%")
                                                            : fmt::format("{:.0f}%", percent);
      out += fmt::format(
          "<td class=\"number\" data-label=\"Of the limit\"><span class=\"used\"><span class=\"bar{}\" "
          "aria-hidden=\"true\"><i style=\"width:{:.1f}%\"></i></span><span>{}</span></span></td>",
          result.verdict == "fail" ? " bad" : "", std::clamp(percent, 0.0, 100.0), text);
    } else {
      out += "<td class=\"number nothing\" data-label=\"Of the limit\"><span class=\"soft\">–</span></td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n</section>\n";
}

// ---- key figures ----------------------------------------------------------------------------------------------------

/// At most four digits: a figure to remember, the tables have the rest.
std::string glance(double value, std::string_view unit) {
  if (unit == "ms") {
    const double size = std::abs(value);
    const double step = size >= 1000 && size < 60'000 ? 10.0 : size >= 100 ? 1.0 : size >= 10 ? 0.1 : 0.01;
    return size < 1 ? format_ms(std::round(value * 1e3) / 1e3) : format_ms(std::round(value / step) * step);
  }
  const double size = std::abs(value);
  const double step = size >= 100 ? 1.0 : size >= 10 ? 0.1 : 0.01;
  return format_number(std::round(value / step) * step);
}

std::string tile(std::string_view name, const std::string& value, const std::string& detail) {
  return fmt::format("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", escaped(name), escaped(value),
                     escaped(detail));
}

std::string trend_tile(const Summary& summary, std::string_view metric, std::string_view name) {
  const MetricSummary* found = find_metric(summary, metric);
  if (found == nullptr) return "";
  const double* p95 = percentile_of(*found, 95);
  const double* p50 = percentile_of(*found, 50);
  if (p95 == nullptr || p50 == nullptr) return "";
  std::string value = glance(*p95, found->unit);
  if (is_unsure(*found, 95)) value = "[" + value + "]";
  return tile(name, value, "median " + glance(*p50, found->unit));
}

std::string key_figures(const Summary& summary) {
  std::string tiles;
  if (const MetricSummary* requests = find_metric(summary, "http_reqs"))
    tiles += tile("Requests per second", glance(requests->rate.value_or(0), ""), plural(requests->count, "request"));
  if (const MetricSummary* failed = find_metric(summary, "http_req_failed"))
    tiles += tile("Failed requests", format_share(failed->rate.value_or(0)),
                  fmt::format("{} of {}", format_count(failed->passes), format_count(failed->passes + failed->fails)));
  tiles += trend_tile(summary, "http_req_duration", "Request duration p95");
  tiles += trend_tile(summary, "ttft", "Time to first token p95");
  tiles += trend_tile(summary, "icl", "Gap between chunks p95");
  if (const MetricSummary* tokens = find_metric(summary, "output_tokens_per_second"); tokens && tokens->value) {
    const MetricSummary* total = find_metric(summary, "output_tokens");
    tiles += tile("Output tokens per second", glance(*tokens->value, ""),
                  total ? plural(total->count, "token") : std::string());
  }
  if (const MetricSummary* failed = find_metric(summary, "stream_failed"))
    tiles += tile("Failed streams", format_share(failed->rate.value_or(0)),
                  fmt::format("{} of {}", format_count(failed->passes), format_count(failed->passes + failed->fails)));
  if (const MetricSummary* checks = find_metric(summary, "checks"))
    tiles += tile("Checks that held", format_share(checks->rate.value_or(0)),
                  fmt::format("{} of {}", format_count(checks->passes), format_count(checks->passes + checks->fails)));
  if (tiles.empty()) return "";
  return "<section aria-labelledby=\"figures\">\n<h2 id=\"figures\">Key figures</h2>\n<dl class=\"tiles\">\n" + tiles +
         "</dl>\n</section>\n";
}

// ---- the time to the first token ------------------------------------------------------------------------------------

/// Where it went: a bar of the means, which add up, and a table.
std::string ttft_split(const Summary& summary) {
  if (!summary.ttft_split) return "";
  const TtftSplitResult& split = *summary.ttft_split;
  std::string bar, rows;
  const auto time = [&](double ms, double percentile) {
    const bool unsure = std::find(split.unsure.begin(), split.unsure.end(), percentile) != split.unsure.end();
    return unsure ? fmt::format("<span class=\"unsure\">[{}]</span>", escaped(format_ms(ms))) : escaped(format_ms(ms));
  };
  const auto row = [&](const TtftPart& part, const std::string& name, const std::string& share) {
    rows += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td><td "
        "class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        name, escaped(format_ms(part.mean_ms)), time(part.p50_ms, 50), time(part.p95_ms, 95), share);
  };
  for (const TtftPart& part : split.parts) {
    const double share = share_of(split, part);
    bar += fmt::format("<i class=\"part-{}\" style=\"flex-grow:{:.4f}\" title=\"{}: {}\"></i>", escaped(part.name),
                       share, escaped(part.name), escaped(format_ms(part.mean_ms)));
    row(part, fmt::format("<i class=\"key part-{0}\"></i>{0}", escaped(part.name)), format_share(share));
  }
  row(split.whole, escaped(split.whole.name), "");
  std::string doubt = split_doubt(split);
  if (!doubt.empty())
    doubt = fmt::format("<p class=\"note\">{}: their parts add up to more than ttft.</p>\n", escaped(doubt));
  return fmt::format(
      "<section aria-labelledby=\"split\">\n<h2 id=\"split\">Where the time to the first token went</h2>\n"
      "<div class=\"parts\" role=\"img\" aria-label=\"Shares of the mean; the figures are in the table "
      "below\">{}</div>\n<table class=\"split\"><caption>{}. The means add up; percentiles do not.</caption>"
      "<thead><tr><th scope=\"col\">Part</th><th scope=\"col\" class=\"number\">Mean</th><th scope=\"col\" "
      "class=\"number\">Median</th><th scope=\"col\" class=\"number\">p(95)</th><th scope=\"col\" "
      "class=\"number\">Share</th></tr></thead><tbody>\n{}</tbody></table>\n{}</section>\n",
      bar, escaped(split_origin(split)), rows, doubt);
}

// ---- charts ---------------------------------------------------------------------------------------------------------

std::string chart(std::string_view id, std::string_view title, std::string_view subtitle) {
  return fmt::format(
      "<figure><figcaption><h3>{1}</h3><span>{2}</span></figcaption>"
      "<div class=\"chart\" id=\"{0}\" role=\"img\" aria-label=\"Chart: {1}, {2}. The figures are in the tables "
      "below.\"></div></figure>\n",
      id, escaped(title), escaped(subtitle));
}

std::string charts(const Summary& summary) {
  const auto any = [&](auto member) {
    return std::any_of(summary.series.begin(), summary.series.end(),
                       [&](const SeriesPoint& point) { return static_cast<bool>(point.*member); });
  };
  const std::string every =
      summary.series_interval_s == 1 ? "each second" : fmt::format("each {:g} s", summary.series_interval_s);
  std::string figures;
  if (any(&SeriesPoint::duration_p50_ms)) figures += chart("chart-latency", "Request duration over time", every);
  if (any(&SeriesPoint::ttft_p50_ms)) figures += chart("chart-ttft", "Time to first token over time", every);
  if (!summary.series.empty()) figures += chart("chart-load", "Virtual users and requests over time", every);
  const bool tokens = std::any_of(summary.series.begin(), summary.series.end(),
                                  [](const SeriesPoint& point) { return point.output_tokens_per_s > 0; });
  if (tokens || any(&SeriesPoint::gap_p95_ms))
    figures += chart("chart-tokens", "Output tokens and gaps over time", every);
  if (any(&SeriesPoint::gpu_utilization_percent) || any(&SeriesPoint::gpu_power_w))
    figures += chart("chart-gpu", "GPU use and power over time", every);
  if (any(&SeriesPoint::gpu_memory_bytes) || any(&SeriesPoint::gpu_clock_mhz))
    figures += chart("chart-gpu-memory", "GPU memory and clock over time", every);
  if (any(&SeriesPoint::kv_cache_usage_percent))
    figures += chart("chart-kv", "KV cache and preemptions over time", every);
  if (any(&SeriesPoint::engine_running)) figures += chart("chart-engine", "Requests in the engine over time", every);
  struct Wanted {
    std::string_view metric, title, subtitle;
  };
  const std::array<Wanted, 4> wanted{{{"ttft", "Time to first token", "how many streams took how long"},
                                      {"icl", "Gaps between chunks", "how many gaps were how long"},
                                      {"http_req_duration", "Request duration", "how many requests took how long"},
                                      {"stream_chunks", "Chunks per stream", "how many streams had how many"}}};
  for (const Wanted& each : wanted) {
    const auto found = std::find_if(summary.histograms.begin(), summary.histograms.end(),
                                    [&](const HistogramResult& h) { return h.metric == each.metric; });
    if (found != summary.histograms.end() && !found->buckets.empty())
      figures += chart("histogram-" + std::string(each.metric), each.title, each.subtitle);
  }
  if (figures.empty()) return "";
  return "<section aria-labelledby=\"charts\">\n<h2 id=\"charts\">Over time, and how it spread</h2>\n"
         "<noscript><p class=\"note\">The charts need scripts, which are off here. All their figures are in the tables "
         "below.</p></noscript>\n<div class=\"charts\">\n" +
         figures + "</div>\n";
}

std::string optional_ms(const std::optional<double>& value) { return value ? escaped(format_ms(*value)) : "–"; }

/// What the charts show, as tables; closes the section that charts() began.
std::string chart_tables(const Summary& summary) {
  std::string out;
  if (!summary.series.empty()) {
    // Of the engine and its GPU only what was sampled.
    struct Sampled {
      std::string_view name, unit;
      std::optional<double> SeriesPoint::*value;
    };
    constexpr std::array<Sampled, 9> kSampled{{{"GPU use", "%", &SeriesPoint::gpu_utilization_percent},
                                               {"GPU memory", "bytes", &SeriesPoint::gpu_memory_bytes},
                                               {"GPU power", "W", &SeriesPoint::gpu_power_w},
                                               {"GPU clock", "MHz", &SeriesPoint::gpu_clock_mhz},
                                               {"GPU temperature", "°C", &SeriesPoint::gpu_temperature_c},
                                               {"KV cache", "%", &SeriesPoint::kv_cache_usage_percent},
                                               {"Running", "", &SeriesPoint::engine_running},
                                               {"Queued", "", &SeriesPoint::engine_queued},
                                               {"Preemptions", "", &SeriesPoint::engine_preemptions}}};
    std::vector<Sampled> sampled;
    std::copy_if(kSampled.begin(), kSampled.end(), std::back_inserter(sampled), [&](const Sampled& column) {
      return std::any_of(summary.series.begin(), summary.series.end(),
                         [&](const SeriesPoint& point) { return (point.*column.value).has_value(); });
    });
    out +=
        "<details><summary>The figures over time as a table</summary>\n<div class=\"scroll\" tabindex=\"0\" "
        "role=\"region\" aria-label=\"Figures over time\"><table><caption>One row an interval</caption><thead><tr>";
    for (const std::string_view name : {"Time", "VUs", "Requests/s", "Failures/s", "Tokens/s", "Duration p50",
                                        "Duration p95", "Duration p99", "TTFT p50", "TTFT p95", "Gap p95"})
      out += fmt::format("<th scope=\"col\" class=\"number\">{}</th>", name);
    for (const Sampled& column : sampled) out += fmt::format("<th scope=\"col\" class=\"number\">{}</th>", column.name);
    out += "</tr></thead><tbody>\n";
    for (const SeriesPoint& point : summary.series) {
      out += fmt::format("<tr><th scope=\"row\" class=\"number\">{:g} s</th>", point.t_s);
      for (const double value : {point.vus, point.requests_per_s, point.failures_per_s, point.output_tokens_per_s})
        out += fmt::format("<td class=\"number\">{}</td>", format_number(value));
      for (const auto& value : {point.duration_p50_ms, point.duration_p95_ms, point.duration_p99_ms, point.ttft_p50_ms,
                                point.ttft_p95_ms, point.gap_p95_ms})
        out += fmt::format("<td class=\"number\">{}</td>", optional_ms(value));
      for (const Sampled& column : sampled) {
        const auto& value = point.*column.value;
        out += fmt::format("<td class=\"number\">{}</td>", value ? format_value(*value, column.unit) : "–");
      }
      out += "</tr>\n";
    }
    out += "</tbody></table></div></details>\n";
  }
  for (const HistogramResult& histogram : summary.histograms) {
    out += fmt::format(
        "<details><summary>The histogram of {0} as a table</summary>\n<div class=\"scroll\" tabindex=\"0\" "
        "role=\"region\" aria-label=\"Histogram of {0}\"><table><caption>{0}, values from (included) to (not "
        "included)</caption><thead><tr><th scope=\"col\" class=\"number\">From</th><th scope=\"col\" "
        "class=\"number\">To</th><th scope=\"col\" class=\"number\">Samples</th></tr></thead><tbody>\n",
        escaped(histogram.metric));
    for (const Bucket& bucket : histogram.buckets)
      out +=
          fmt::format("<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
                      format_value(bucket.from, histogram.unit), format_value(bucket.to, histogram.unit),
                      format_count(bucket.count));
    out += "</tbody></table></div></details>\n";
  }
  return out;
}

// ---- metrics --------------------------------------------------------------------------------------------------------

std::string trend_cell(const MetricSummary& metric, double percentile) {
  const double* value = percentile_of(metric, percentile);
  if (value == nullptr) return "<td class=\"number\">–</td>";
  const std::string text = escaped(format_value(*value, metric.unit));
  if (is_unsure(metric, percentile)) return "<td class=\"number unsure\">[" + text + "]</td>";
  return "<td class=\"number\">" + text + "</td>";
}

std::string value_cell(const std::optional<double>& value, const std::string& unit) {
  return fmt::format("<td class=\"number\">{}</td>", value ? escaped(format_value(*value, unit)) : "–");
}

constexpr std::array<std::string_view, 8> kSections{"HTTP",      "WebSocket", "Custom",     "Streaming",
                                                    "Execution", "Network",   "Instrument", "System"};

/// Rows of one kind of table, by section.
template <class Keep, class Row>
std::string grouped_rows(const Summary& summary, int columns, Keep keep, Row row) {
  std::string out;
  for (const std::string_view section : kSections) {
    std::string rows;
    for (const MetricSummary& metric : summary.metrics)
      if (section_of(metric) == section && keep(metric)) rows += row(metric);
    if (rows.empty()) continue;
    out += fmt::format("<tbody class=\"part\"><tr><th scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>\n{}</tbody>\n",
                       columns, section, rows);
  }
  return out;
}

std::string metrics(const Summary& summary) {
  if (summary.metrics.empty()) return "";
  std::string out = "<section aria-labelledby=\"metrics\">\n<h2 id=\"metrics\">Metrics</h2>\n";

  // Beyond the usual percentiles: what thresholds asked for.
  std::vector<double> percentiles{50, 75, 90, 95, 99, 99.9};
  for (const MetricSummary& metric : summary.metrics)
    for (const auto& [q, value] : metric.percentiles)
      if (percentiles.size() < 12 && std::find(percentiles.begin(), percentiles.end(), q) == percentiles.end())
        percentiles.push_back(q);
  std::sort(percentiles.begin(), percentiles.end());

  const auto is_trend = [](const MetricSummary& metric) { return metric.kind == "trend"; };
  const std::string trends =
      grouped_rows(summary, static_cast<int>(percentiles.size()) + 5, is_trend, [&](const MetricSummary& metric) {
        std::string row = fmt::format("<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td>",
                                      metric_name(metric.name), format_count(metric.count));
        row += value_cell(metric.avg, metric.unit) + value_cell(metric.min, metric.unit);
        for (const double q : percentiles) row += trend_cell(metric, q);
        return row + value_cell(metric.max, metric.unit) + "</tr>\n";
      });
  if (!trends.empty()) {
    out +=
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Times and sizes\">\n"
        "<table class=\"metrics\"><caption>Times and sizes</caption><thead><tr><th scope=\"col\">Metric</th>";
    std::vector<std::string> heads{"Samples", "Average", "Min"};
    for (const double q : percentiles) heads.push_back(q == 50 ? "Median" : fmt::format("p{:g}", q));
    heads.emplace_back("Max");
    for (const std::string& head : heads) out += fmt::format("<th scope=\"col\" class=\"number\">{}</th>", head);
    out += "</tr></thead>\n" + trends + "</table></div>\n";
    const bool brackets = std::any_of(summary.metrics.begin(), summary.metrics.end(),
                                      [](const MetricSummary& metric) { return !metric.unsure.empty(); });
    if (brackets)
      out +=
          "<p class=\"note\">In brackets: too few samples for that percentile to be told with 99 % confidence.</p>\n";
  }

  const std::string others = grouped_rows(
      summary, 4, [&](const MetricSummary& metric) { return !is_trend(metric); },
      [](const MetricSummary& metric) {
        std::string value, detail, rate;
        if (metric.kind == "counter") {
          value = metric.unit == "bytes" ? format_bytes(static_cast<double>(metric.count))
                  : metric.sum           ? format_number(*metric.sum)
                                         : format_count(metric.count);
          if (metric.rate) rate = format_value(*metric.rate, metric.unit == "bytes" ? "bytes/s" : "1/s");
        } else if (metric.kind == "rate") {
          value = format_share(metric.rate.value_or(0));
          detail = fmt::format("{} of {}", format_count(metric.passes), format_count(metric.passes + metric.fails));
        } else {
          if (metric.value) value = format_value(*metric.value, metric.unit);
          if (metric.min && metric.max)
            detail =
                fmt::format("{} to {}", format_value(*metric.min, metric.unit), format_value(*metric.max, metric.unit));
        }
        return fmt::format(
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td>"
            "<td class=\"number\">{}</td></tr>\n",
            metric_name(metric.name), escaped(value), escaped(rate),
            escaped(metric.rejected > 0 ? fmt::format("{} rejected", format_count(metric.rejected)) : detail));
      });
  if (!others.empty())
    out +=
        "<div class=\"scroll apart\" tabindex=\"0\" role=\"region\" "
        "aria-label=\"Counts, shares and gauges\">\n<table class=\"metrics\"><caption>Counts, shares and "
        "gauges</caption><thead><tr><th scope=\"col\">Metric</th><th scope=\"col\" class=\"number\">Value</th>"
        "<th scope=\"col\" class=\"number\">Per second</th><th scope=\"col\" class=\"number\">Of what</th></tr>"
        "</thead>\n" +
        others + "</table></div>\n";
  return out + "</section>\n";
}

// ---- checks, failures, findings -------------------------------------------------------------------------------------

std::string checks(const Summary& summary) {
  if (summary.checks.empty()) return "";
  std::string out =
      "<section aria-labelledby=\"checks\">\n<h2 id=\"checks\">Checks</h2>\n<table class=\"stack\"><caption>How often "
      "each check held</caption><thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Check</th><th scope=\"col\" "
      "class=\"number\">Held</th><th scope=\"col\" class=\"number\">Failed</th></tr></thead><tbody>\n";
  for (const CheckResult& check : summary.checks) {
    const bool never = check.passes + check.fails == 0;
    const std::string verdict = never             ? R"(<span class="mark open">never evaluated</span>)"
                                : check.fails > 0 ? R"(<span class="mark bad">✗ failed</span>)"
                                                  : R"(<span class="mark good">✓ held</span>)";
    out +=
        fmt::format("<tr><td>{}</td><th scope=\"row\" class=\"break\"><code>{}</code>", verdict, escaped(check.name));
    if (!check.group.empty()) out += fmt::format("<span class=\"selector\">{}</span>", escaped(check.group));
    out += fmt::format(
        "</th><td class=\"number\" data-label=\"Held\"><span>{}</span></td><td class=\"number\" "
        "data-label=\"Failed\"><span>{}</span></td></tr>\n",
        format_count(check.passes), format_count(check.fails));
  }
  return out + "</tbody></table>\n</section>\n";
}

std::string loads(const Summary& summary) {
  const auto rows = load_rows(summary);
  if (rows.empty()) return "";
  struct Shown {
    std::string_view name;
    std::string (*cell)(const LoadResult&);
  };
  static constexpr auto time = [](const std::optional<double>& ms) { return ms ? format_ms(*ms) : std::string("–"); };
  static constexpr std::array<Shown, 9> kShown{
      {{"Requests", [](const LoadResult& load) { return format_count(load.requests); }},
       {"Per second",
        [](const LoadResult& load) {
          return load.requests_per_s ? format_number(*load.requests_per_s) : std::string("–");
        }},
       {"Failed", [](const LoadResult& load) { return format_count(load.failures); }},
       {"Median", [](const LoadResult& load) { return time(load.duration_p50_ms); }},
       {"p95", [](const LoadResult& load) { return time(load.duration_p95_ms); }},
       {"p99", [](const LoadResult& load) { return time(load.duration_p99_ms); }},
       {"TTFT median", [](const LoadResult& load) { return time(load.ttft_p50_ms); }},
       {"TTFT p95", [](const LoadResult& load) { return time(load.ttft_p95_ms); }},
       {"TTFT p99", [](const LoadResult& load) { return time(load.ttft_p99_ms); }}}};
  const bool streams =
      std::any_of(rows.begin(), rows.end(), [](const LoadRow& row) { return row.load->ttft_p50_ms.has_value(); });
  const std::size_t shown = streams ? kShown.size() : kShown.size() - 3;
  std::string out =
      "<section aria-labelledby=\"loads\">\n<h2 id=\"loads\">Scenarios and stages</h2>\n<table "
      "class=\"stack\"><caption>Requests by the scenario and the stage in which they were scheduled, and their "
      "duration</caption><thead><tr><th scope=\"col\">Part</th>";
  for (std::size_t i = 0; i < shown; ++i)
    out += fmt::format("<th scope=\"col\" class=\"number\">{}</th>", kShown[i].name);
  out += "</tr></thead><tbody>\n";
  for (const LoadRow& row : rows) {
    out += row.is_stage ? fmt::format("<tr><th scope=\"row\"><span class=\"selector\">{}</span></th>", row.name)
                        : fmt::format("<tr><th scope=\"row\" class=\"break\">{}</th>", escaped(row.name));
    for (std::size_t i = 0; i < shown; ++i)
      out += fmt::format("<td class=\"number\" data-label=\"{}\"><span>{}</span></td>", kShown[i].name,
                         kShown[i].cell(*row.load));
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n</section>\n";
}

std::string steps(const Summary& summary) {
  if (summary.steps.empty()) return "";
  std::string out =
      "<section aria-labelledby=\"steps\">\n<h2 id=\"steps\">Steps</h2>\n<table class=\"stack\"><caption>Requests of "
      "each "
      "step of the flow, and their duration</caption><thead><tr><th scope=\"col\">Step</th><th scope=\"col\" "
      "class=\"number\">Requests</th><th scope=\"col\" class=\"number\">Failed</th><th scope=\"col\" "
      "class=\"number\">Median</th><th scope=\"col\" class=\"number\">p95</th><th scope=\"col\" "
      "class=\"number\">Max</th></tr></thead><tbody>\n";
  const auto time = [](const std::optional<double>& ms) { return ms ? format_ms(*ms) : std::string("–"); };
  for (const StepResult& step : summary.steps)
    out += fmt::format(
        "<tr><th scope=\"row\" class=\"break\">{}<span class=\"selector\">{}{}</span></th><td class=\"number\" "
        "data-label=\"Requests\"><span>{}</span></td><td class=\"number\" "
        "data-label=\"Failed\"><span>{}</span></td><td "
        "class=\"number\" data-label=\"Median\"><span>{}</span></td><td class=\"number\" "
        "data-label=\"p95\"><span>{}</span></td><td class=\"number\" data-label=\"Max\"><span>{}</span></td></tr>\n",
        escaped(step.name), escaped(step.scenario), escaped(step.group), format_count(step.count),
        format_count(step.failures), time(step.p50_ms), time(step.p95_ms), time(step.max_ms));
  return out + "</tbody></table>\n</section>\n";
}

std::string failures(const Summary& summary) {
  std::string out = "<section aria-labelledby=\"failures\">\n<h2 id=\"failures\">Failures and findings</h2>\n";
  if (summary.failures.empty() && summary.findings.empty())
    return out + "<p class=\"soft\">No request failed, and no stream deviated from the protocol.</p>\n</section>\n";
  if (summary.failures.empty()) out += "<p class=\"soft\">No request failed.</p>\n";
  if (!summary.failures.empty()) {
    out +=
        "<table class=\"stack\"><caption>Failed requests by cause</caption><thead><tr><th scope=\"col\">Outcome</th>"
        "<th scope=\"col\">What happened</th><th scope=\"col\" class=\"number\">Requests</th></tr></thead><tbody>\n";
    for (const FailureResult& failure : summary.failures)
      out += fmt::format(
          "<tr><th scope=\"row\">{}</th><td class=\"break\">{}</td><td class=\"number\" "
          "data-label=\"Requests\"><span>{}</span></td></tr>\n",
          escaped(failure.outcome), escaped(failure.error), format_count(failure.count));
    out += "</tbody></table>\n";
  }
  if (!summary.findings.empty()) {
    out +=
        "<table class=\"stack findings\"><caption>Deviations from the streaming protocol</caption><thead><tr><th "
        "scope=\"col\">Rule</th><th scope=\"col\">Severity</th><th scope=\"col\">First example</th><th scope=\"col\" "
        "class=\"number\">Count</th></tr></thead><tbody>\n";
    for (const FindingResult& finding : summary.findings)
      out += fmt::format(
          "<tr><th scope=\"row\">{}</th><td data-label=\"Severity\"><span class=\"mark {}\">{}</span></td><td "
          "class=\"break\"><code>{}</code>{}</td><td class=\"number\" data-label=\"Count\"><span>{}</span></td></tr>\n",
          escaped(finding.rule),
          finding.severity == "note"      ? "soft"
          : finding.severity == "warning" ? "open"
                                          : "bad",
          escaped(finding.severity), escaped(finding.example),
          place_of(finding).empty() ? ""
                                    : fmt::format("<br><span class=\"soft\">{}</span>", escaped(place_of(finding))),
          format_count(finding.count));
    out += "</tbody></table>\n";
  }
  return out + "</section>\n";
}

std::string buffering_mark(std::string_view verdict) {
  const std::string_view tone = verdict == "none"                                    ? "good"
                                : verdict == "unknown" || verdict == "server merges" ? "open"
                                                                                     : "bad";
  return fmt::format("<span class=\"mark {}\">{}</span>", tone, escaped(verdict));
}

/// REQUIRES: summary.buffering.
std::string comparison(const Summary& summary) {
  if (!summary.buffering->comparison) return "";
  const ComparisonResult& ways = *summary.buffering->comparison;
  std::string out = fmt::format(
      "<table><caption>The same, asked in two ways</caption><thead><tr><th "
      "scope=\"col\">Figure</th><th scope=\"col\" class=\"number\">Direct<span class=\"selector\">{}</span></th><th "
      "scope=\"col\" class=\"number\">Via<span class=\"selector\">{}</span></th></tr></thead><tbody>\n",
      escaped(ways.direct), escaped(ways.via));
  for (const WaysRow& row : ways_rows(summary))
    out += fmt::format("<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
                       escaped(row.name), row.direct.empty() ? "–" : escaped(row.direct),
                       row.via.empty() ? "–" : escaped(row.via));
  return out + "</tbody></table>\n";
}

std::string buffering(const Summary& summary) {
  if (!summary.buffering) return "";
  std::string out = "<section aria-labelledby=\"buffering\">\n<h2 id=\"buffering\">Buffering</h2>\n";
  if (const auto& ways = summary.buffering->comparison)
    out += fmt::format("<p><strong>{}</strong></p>\n", escaped(ways->sentence));
  out +=
      "<table class=\"stack\"><caption>"
      "Whether something merges the pieces of answers or holds them back</caption><thead><tr><th "
      "scope=\"col\">Scenario</th><th scope=\"col\">Verdict</th><th scope=\"col\">Why</th><th scope=\"col\" "
      "class=\"number\">Streams</th><th scope=\"col\" class=\"number\">Chunks a stream</th><th scope=\"col\" "
      "class=\"number\">Tokens a chunk</th><th scope=\"col\" class=\"number\">In bursts</th></tr></thead><tbody>\n";
  for (const BufferingResult& result : summary.buffering->scenarios)
    out += fmt::format(
        "<tr><th scope=\"row\" class=\"break\">{}</th><td data-label=\"Verdict\"><span>{}</span></td><td>{}</td><td "
        "class=\"number\" data-label=\"Streams\"><span>{}</span></td><td class=\"number\" data-label=\"Chunks a "
        "stream\"><span>{:.1f}</span></td><td class=\"number\" data-label=\"Tokens a "
        "chunk\"><span>{}</span></td><td class=\"number\" data-label=\"In bursts\"><span>{}</span></td></tr>\n",
        escaped(result.scenario.empty() ? "all scenarios" : result.scenario), buffering_mark(result.verdict),
        escaped(result.evidence), format_count(result.streams), result.chunks_per_stream,
        result.tokens_per_chunk ? fmt::format("{:.2f}", *result.tokens_per_chunk) : std::string("–"),
        format_share(result.burst_share));
  return out + "</tbody></table>\n" + comparison(summary) + "</section>\n";
}

// ---- what was run, and with what ------------------------------------------------------------------------------------

class Facts {
 public:
  void add(std::string_view name, const std::string& value) {
    if (!value.empty()) list_ += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value));
  }
  std::string html() const { return "<dl class=\"facts-list\">\n" + list_ + "</dl>\n"; }

 private:
  std::string list_;
};

std::string scenarios(const Summary& summary) {
  std::string out = "<section aria-labelledby=\"scenario\">\n<h2 id=\"scenario\">Scenario and environment</h2>\n";
  if (!summary.scenarios.empty()) {
    out +=
        "<table class=\"stack\"><caption>Scenarios</caption><thead><tr><th scope=\"col\">Name</th><th "
        "scope=\"col\">Load</th><th scope=\"col\" class=\"number\">Most VUs</th><th scope=\"col\" "
        "class=\"number\">Iterations</th><th scope=\"col\" class=\"number\">Interrupted</th>"
        "<th scope=\"col\" class=\"number\">Dropped</th></tr></thead><tbody>\n";
    for (const ScenarioResult& scenario : summary.scenarios)
      out += fmt::format(
          "<tr><th scope=\"row\" class=\"break\">{}</th><td data-label=\"Load\"><span>{}: {}</span></td><td "
          "class=\"number\" data-label=\"Most VUs\"><span>{}</span></td><td class=\"number\" "
          "data-label=\"Iterations\"><span>{}</span></td><td class=\"number\" "
          "data-label=\"Interrupted\"><span>{}</span></td><td class=\"number\" "
          "data-label=\"Dropped\"><span>{}</span></td></tr>\n",
          escaped(scenario.name), escaped(scenario.executor), escaped(scenario.description),
          format_count(scenario.vus_max), format_count(scenario.iterations), format_count(scenario.interrupted),
          format_count(scenario.dropped.value_or(0)));
    out += "</tbody></table>\n";
  }
  Facts facts;
  facts.add("Scenario file", summary.scenario_file);
  facts.add("Started", summary.started_at);
  facts.add("Measured window", format_seconds(summary.duration_s));
  if (summary.warmup_requests > 0 || summary.warmup_s > 0)
    facts.add("Warm-up", fmt::format("{}, counted in nothing", plural(summary.warmup_requests, "request")));
  facts.add("Target", summary.target);
  facts.add("Seed", std::to_string(summary.seed));
  facts.add("Host", summary.host);
  facts.add("System", summary.os);
  facts.add("Processor", summary.cpu);
  for (const auto& [name, value] : summary.variables) facts.add(name, value.empty() ? "(empty)" : value);
  facts.add("Outcome", fmt::format("{}, exit code {}", summary.outcome, summary.exit_code));
  return out + facts.html() + "</section>\n";
}

std::string stability(const Summary& summary) {
  if (!summary.stability) return "";
  const StabilityResult& result = *summary.stability;
  std::string out = "<section aria-labelledby=\"stability\">\n<h2 id=\"stability\">Stability</h2>\n";
  out += fmt::format("<p>{} {}.{}</p>\n<ul>\n", result.from_s ? "✓" : "✗", escaped(stability_verdict(result)),
                     result.ended_run ? " That ended the run." : "");
  for (const StableMetricResult& metric : result.metrics)
    out += fmt::format("<li>{}: {}</li>\n", escaped(metric.metric), escaped(format_stable(metric)));
  return out + "</ul>\n</section>\n";
}

/// The trials of a search: a curve of what came of each load, and a table.
std::string search(const Summary& summary) {
  if (!summary.search) return "";
  const SearchResult& search = *summary.search;
  const std::vector<SearchTrial> trials = by_load(search);
  std::string out = "<section aria-labelledby=\"search\">\n<h2 id=\"search\">The search</h2>\n";
  out += fmt::format("<p><strong>{}</strong> of “{}” {}.</p>\n",
                     search.best ? escaped(format_load(search, *search.best)) : "No load", escaped(search.scenario),
                     escaped(search_verdict(search)));
  double load_max = 0, time_max = 0;
  for (const SearchTrial& trial : trials) {
    load_max = std::max(load_max, trial.load);
    time_max = std::max(time_max, trial.duration_p95_ms.value_or(0));
  }
  if (trials.size() > 1 && load_max > 0 && time_max > 0) {
    constexpr double kWidth = 640, kHeight = 200;
    const auto x = [&](const SearchTrial& trial) { return 20 + trial.load / load_max * (kWidth - 40); };
    const auto y = [&](const SearchTrial& trial) {
      return kHeight - 20 - *trial.duration_p95_ms / time_max * (kHeight - 40);
    };
    std::string points, marks;
    for (const SearchTrial& trial : trials) {
      if (!trial.duration_p95_ms) continue;
      points += fmt::format("{:.1f},{:.1f} ", x(trial), y(trial));
      marks += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" stroke=\"currentColor\" stroke-width=\"2\" "
          "fill=\"{}\"><title>{}: {}</title></circle>",
          x(trial), y(trial), trial.held ? "currentColor" : "none", escaped(format_load(search, trial.load)),
          escaped(format_value(*trial.duration_p95_ms, "ms")));
    }
    out += fmt::format(
        "<figure><svg width=\"100%\" viewBox=\"0 0 {0:.0f} {1:.0f}\" role=\"img\" aria-label=\"Duration of requests, "
        "95th percentile, by load\">"
        "<polyline points=\"{2}\" fill=\"none\" stroke=\"currentColor\" "
        "opacity=\"0.4\"/>{3}</svg><figcaption>http_req_duration, p(95), up to {4}, by load, up to {5}; filled: "
        "held</figcaption></figure>\n",
        kWidth, kHeight, points, marks, escaped(format_value(time_max, "ms")),
        escaped(fmt::format("{:.4g} {}", load_max, search.unit)));
  }
  out +=
      "<table class=\"stack\"><caption>Trials</caption><thead><tr><th scope=\"col\">Load</th><th "
      "scope=\"col\">Verdict</th><th "
      "scope=\"col\" class=\"number\">Iterations/s</th><th scope=\"col\" class=\"number\">Duration p(95)</th><th "
      "scope=\"col\" class=\"number\">TTFT p(95)</th></tr></thead><tbody>\n";
  const auto time = [](const std::optional<double>& ms) {
    return ms ? escaped(format_value(*ms, "ms")) : std::string("–");
  };
  for (const SearchTrial& trial : trials)
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th><td data-label=\"Verdict\"><span><span class=\"mark {}\">{}</span> "
        "{}</span></td><td "
        "class=\"number\" data-label=\"Iterations/s\"><span>{:.4g}</span></td><td class=\"number\" "
        "data-label=\"Duration "
        "p(95)\"><span>{}</span></td><td class=\"number\" data-label=\"TTFT p(95)\"><span>{}</span></td></tr>\n",
        escaped(format_load(search, trial.load)), trial.held ? "good" : "bad", trial.held ? "✓ held" : "✗ failed",
        escaped(trial.reason), trial.iterations_per_s, time(trial.duration_p95_ms), time(trial.ttft_p95_ms));
  return out + "</tbody></table>\n</section>\n";
}

std::string engine(const Summary& summary) {
  if (!summary.engine) return "";
  const EngineResult& engine = *summary.engine;
  Facts facts;
  facts.add("Engine", engine_name(engine));
  facts.add("Runs on", engine.device);
  facts.add("GPU", engine.gpu);
  if (engine.gpu_memory_bytes) facts.add("Memory of the GPU", format_bytes(*engine.gpu_memory_bytes));
  if (engine.gpu_power_limit_w) facts.add("Power limit", format_value(*engine.gpu_power_limit_w, "W"));
  for (const ThrottleResult& throttled : engine.throttled)
    facts.add("Slowed by " + throttled.reason,
              fmt::format("in {} of {}", format_count(throttled.samples), plural(engine.samples, "sample")));
  return "<section aria-labelledby=\"engine\">\n<h2 id=\"engine\">The engine</h2>\n" + facts.html() + "</section>\n";
}

std::string instrument(const Summary& summary) {
  const Instrument& instrument = summary.instrument;
  if (instrument.verdict.empty()) return "";
  const bool trusted = instrument.verdict == "trusted";
  std::string out = "<section aria-labelledby=\"instrument\">\n<h2 id=\"instrument\">The instrument</h2>\n";
  out += fmt::format("<p><span class=\"mark {}\">{} {}</span> {}</p>\n", trusted ? "good" : "bad", trusted ? "✓" : "✗",
                     escaped(instrument.verdict),
                     trusted ? "The harness's own delays are small beside every latency that a threshold reads."
                             : escaped(instrument.reason) + ".");
  Facts facts;
  const auto share = [](std::uint64_t part, std::uint64_t all) {
    if (all == 0) return std::string();
    return fmt::format("{} ({} of {})", format_share(static_cast<double>(part) / static_cast<double>(all)),
                       format_count(part), format_count(all));
  };
  const auto lag = [](const std::optional<double>& ms) { return ms ? format_ms(*ms) : std::string(); };
  facts.add("Client lag p99", lag(instrument.client_lag_p99_ms));
  facts.add("Event loop lag p99", lag(instrument.loop_lag_p99_ms));
  facts.add("Send lag p99", lag(instrument.send_lag_p99_ms));
  facts.add("Events stamped by the kernel", share(instrument.events_kernel_stamped, instrument.events));
  facts.add("Gaps coalesced", share(instrument.gaps_coalesced, instrument.gaps));
  if (const auto& known = instrument.calibration)
    facts.add(fmt::format("Error p99, calibrated {}", escaped(known->calibrated_at.substr(0, 10))),
              fmt::format("TTFT {:.0f} µs, gaps {:.0f} µs with {} streams (in user space {:.0f} and {:.0f} µs)",
                          known->ttft_p99_us, known->gap_p99_us, format_count(known->streams), known->user_ttft_p99_us,
                          known->user_gap_p99_us));
  facts.add("CPU of the harness", fmt::format("{:.0f}% of one core", instrument.cpu_percent));
  facts.add("Load threads", std::to_string(instrument.threads));
  if (const auto& waited = instrument.run_queue_wait_percent)
    facts.add("Waiting for a core", format_share(*waited / 100) + " of the time they had something to do");
  if (const auto& stolen = instrument.cpu_steal_percent)
    facts.add("CPU steal", format_share(*stolen / 100) + " of the machine");
  if (instrument.samples > 0)
    facts.add("Samples dropped",
              fmt::format("{} of {}", format_count(instrument.samples_dropped), format_count(instrument.samples)));
  return out + facts.html() + "</section>\n";
}

std::string_view part(std::string_view begin, std::string_view end) {
  const auto from = kPageAssets.find(begin) + begin.size();
  const auto to = end.empty() ? kPageAssets.size() : kPageAssets.find(end);
  return kPageAssets.substr(from, to - from);
}

}  // namespace

namespace {

/// Everything before the page's content; nothing may be loaded from anywhere: the page says so itself, and the browser
/// holds it to that.
std::string page_begin(std::string_view title) {
  std::string out = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  out +=
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
      "script-src 'unsafe-inline'; img-src data:\">\n";
  out += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  out += "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n";
  out += fmt::format("<title>{}</title>\n", escaped(title));
  out += part("<!-- style -->", "<!-- script -->");
  return out + "</head>\n<body>\n<main class=\"page\">\n";
}

std::string suite_requirements(const SuiteCase& each) {
  if (each.requirements.empty()) return {};
  std::string out =
      "<table class=\"stack\">\n<thead><tr><th scope=\"col\">Verdict</th><th scope=\"col\">Requirement</th>"
      "<th scope=\"col\">Goal</th><th scope=\"col\" class=\"number\">Actual</th></tr></thead>\n<tbody>\n";
  for (const RequirementResult& result : each.requirements) {
    out += fmt::format("<tr><td>{}</td><th scope=\"row\" class=\"break\">{}", mark(result.verdict),
                       metric_name(result.requirement));
    if (!result.cause.empty())
      out += fmt::format("<span class=\"reason\">Likely cause: {}</span>", escaped(result.cause));
    if (!result.suggestion.empty())
      out += fmt::format("<span class=\"reason\">Try: {}</span>", escaped(result.suggestion));
    out += fmt::format(
        "</th><td data-label=\"Goal\"><span><code>{}</code></span></td>"
        "<td class=\"number\" data-label=\"Actual\"><span>{}</span></td></tr>\n",
        escaped(result.goal), result.actual.empty() ? "no samples" : escaped(result.actual));
  }
  return out + "</tbody>\n</table>\n";
}

}  // namespace

std::string to_html(const SuiteSummary& suite) {
  std::string out = page_begin(fmt::format("{}: {}", suite.name, suite.outcome));
  const auto count = [&](std::string_view outcome) {
    return static_cast<std::uint64_t>(std::count_if(suite.cases.begin(), suite.cases.end(),
                                                    [&](const auto& each) { return each.outcome == outcome; }));
  };
  out += "<header>\n<p class=\"name\">Sluice suite</p>\n";
  out += fmt::format("<h1>{}</h1>\n<p class=\"facts\">", escaped(suite.name));
  for (const std::string& fact : {date_text(suite.started_at), format_seconds(suite.duration_s), suite.target})
    if (!fact.empty()) out += fmt::format("<span class=\"break\">{}</span>", escaped(fact));
  const bool passed = suite.outcome == "passed";
  out += fmt::format(
      "</p>\n<div class=\"verdict {}\" role=\"status\"><strong>{}</strong><span>{} of {} passed{}.</span></div>\n",
      passed ? "good" : "bad", passed ? "✓ Passed" : "✗ Failed", count("passed"), plural(suite.cases.size(), "case"),
      count("skipped") > 0 ? fmt::format("; {} skipped", count("skipped")) : "");
  out += simulated_note(suite.simulated) + "</header>\n";
  if (!suite.preflight.empty()) {
    out +=
        "<section aria-labelledby=\"preflight\">\n<h2 id=\"preflight\">Preflight</h2>\n<table class=\"stack\">\n<thead>"
        "<tr><th scope=\"col\">Verdict</th><th scope=\"col\">What</th><th scope=\"col\">Found</th></tr></thead>\n"
        "<tbody>\n";
    for (const PreflightResult& result : suite.preflight)
      out += fmt::format("<tr><td>{}</td><th scope=\"row\">{}</th><td data-label=\"Found\"><span>{}</span></td></tr>\n",
                         result.verdict == "skipped" ? "– unknown" : mark(result.verdict), escaped(result.name),
                         escaped(result.detail));
    out += "</tbody>\n</table>\n</section>\n";
  }
  out +=
      "<section aria-labelledby=\"cases\">\n<h2 id=\"cases\">Cases</h2>\n<table class=\"stack\">\n<thead><tr>"
      "<th scope=\"col\">Verdict</th><th scope=\"col\">Case</th><th scope=\"col\" class=\"number\">Requirements that "
      "hold</th><th scope=\"col\" class=\"number\">Took</th></tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < suite.cases.size(); ++i) {
    const SuiteCase& each = suite.cases[i];
    const auto held = std::count_if(each.requirements.begin(), each.requirements.end(),
                                    [](const auto& result) { return result.verdict == "pass"; });
    out += fmt::format(
        "<tr><td>{}</td><th scope=\"row\"><a href=\"#case-{}\">{}</a></th><td class=\"number\" "
        "data-label=\"Requirements "
        "that hold\"><span>{} of {}</span></td><td class=\"number\" data-label=\"Took\"><span>{}</span></td></tr>\n",
        each.outcome == "passed"    ? mark("pass")
        : each.outcome == "skipped" ? std::string("– skipped")
                                    : mark("fail"),
        i, escaped(each.name), held, each.requirements.size(),
        each.duration_s > 0 ? format_seconds(each.duration_s) : std::string());
  }
  out += "</tbody>\n</table>\n</section>\n";
  for (std::size_t i = 0; i < suite.cases.size(); ++i) {
    const SuiteCase& each = suite.cases[i];
    out += fmt::format("<section>\n<h2 id=\"case-{}\">{} {}</h2>\n", i,
                       each.outcome == "passed"    ? "✓"
                       : each.outcome == "skipped" ? "–"
                                                   : "✗",
                       escaped(each.name));
    out += fmt::format("<p class=\"soft\">{}", escaped(each.outcome));
    if (each.duration_s > 0) out += ", " + format_seconds(each.duration_s);
    if (!each.reason.empty()) out += ": " + escaped(each.reason);
    if (!each.folder.empty())
      out += fmt::format(", <a href=\"{}/report.html\">the whole report</a>", escaped(each.folder));
    out += "</p>\n" + suite_requirements(each) + "</section>\n";
  }
  out += fmt::format("<footer>Sluice {}. All of this page is also in suite.json.</footer>\n",
                     escaped(suite.sluice_version));
  return out + "</main>\n</body>\n</html>\n";
}

std::string to_html(const Summary& summary) {
  std::string out =
      page_begin(fmt::format("{}: {}", summary.name.empty() ? "Sluice report" : summary.name, summary.outcome));
  out += header(summary);
  out += thresholds(summary);
  out += search(summary);
  out += stability(summary);
  out += key_figures(summary);
  out += ttft_split(summary);
  const std::string figures = charts(summary);
  if (!figures.empty()) out += figures + chart_tables(summary) + "</section>\n";
  out += metrics(summary);
  out += loads(summary);
  out += steps(summary);
  out += checks(summary);
  out += failures(summary);
  out += buffering(summary);
  out += scenarios(summary);
  out += engine(summary);
  out += instrument(summary);
  out += fmt::format("<footer>Sluice {}. All figures of this page are also in summary.json.</footer>\n",
                     escaped(summary.sluice_version));
  out += "</main>\n<script type=\"application/json\" id=\"summary\">" + for_script(to_json(summary)) + "</script>\n";
  out += part("<!-- script -->", "");
  return out + "</body>\n</html>\n";
}

}  // namespace sluice::reports
