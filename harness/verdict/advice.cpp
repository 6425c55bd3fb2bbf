#include "harness/verdict/advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "reports/format.h"

namespace sluice {
namespace {

using reports::MetricSummary;
using reports::Summary;
using reports::ThresholdResult;

/// What a run has measured, of the part of it that a threshold is about.
class Figures {
 public:
  Figures(const Summary& summary, const std::string& metric) : summary_(summary) {
    const std::size_t brace = metric.find('{');
    if (brace != std::string::npos) selector_ = metric.substr(brace);
  }

  const MetricSummary* find(std::string_view name) const {
    const MetricSummary* whole = nullptr;
    for (const MetricSummary& metric : summary_.metrics) {
      if (metric.name == name) whole = &metric;
      if (!selector_.empty() && metric.name == fmt::format("{}{}", name, selector_)) return &metric;
    }
    return whole;
  }
  std::optional<double> p95(std::string_view name) const {
    const MetricSummary* metric = find(name);
    const double* value = metric == nullptr ? nullptr : reports::percentile_of(*metric, 95);
    return value == nullptr ? std::nullopt : std::optional(*value);
  }
  std::optional<double> avg(std::string_view name) const {
    const MetricSummary* metric = find(name);
    return metric == nullptr ? std::nullopt : metric->avg;
  }
  double count(std::string_view name) const {
    const MetricSummary* metric = find(name);
    return metric == nullptr ? 0 : static_cast<double>(metric->count);
  }

 private:
  const Summary& summary_;
  std::string selector_;
};

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> beginnings) {
  return std::any_of(beginnings.begin(), beginnings.end(), [&](auto beginning) { return text.starts_with(beginning); });
}

bool is_below(const ThresholdResult& result) { return result.actual && *result.actual < result.limit; }

std::string ms(double value) { return reports::format_ms(value); }

const reports::FailureResult* most_frequent_failure(const Summary& summary) {
  const auto found = std::max_element(summary.failures.begin(), summary.failures.end(),
                                      [](const auto& a, const auto& b) { return a.count < b.count; });
  return found == summary.failures.end() ? nullptr : &*found;
}

const reports::FindingResult* gravest_finding(const Summary& summary) {
  for (const std::string_view severity : {"fatal", "error", "warning"}) {
    for (const auto& finding : summary.findings) {
      if (finding.severity == severity) return &finding;
    }
  }
  return nullptr;
}

bool has_finding(const Summary& summary, std::string_view rule) {
  return std::any_of(summary.findings.begin(), summary.findings.end(),
                     [&](const auto& finding) { return finding.rule == rule && finding.severity != "note"; });
}

Advice of_failures(const Summary& summary) {
  const reports::FailureResult* failure = most_frequent_failure(summary);
  if (failure == nullptr) {
    if (const auto* finding = gravest_finding(summary))
      return {fmt::format("streams break the rule {}, {} of them", finding->rule, finding->count),
              "see its first bytes under findings, and docs/streams.md for the rule"};
    return {};
  }
  Advice advice{fmt::format("{} times: {}", failure->count, failure->error.empty() ? failure->outcome : failure->error),
                ""};
  const std::string_view outcome = failure->outcome, error = failure->error;
  if (outcome == "connect_failed") {
    advice.suggestion = "is the server there, and are its connections not exhausted?";
  } else if (outcome == "timed_out") {
    advice.suggestion = "less load, or a longer request_timeout if such answers are wanted";
  } else if (outcome == "http_error" && error.find("429") != std::string_view::npos) {
    advice.suggestion = "the server's queue is full: less load, or more sequences at once";
  } else if (outcome == "http_error" &&
             (error.find("401") != std::string_view::npos || error.find("403") != std::string_view::npos)) {
    advice.suggestion = "set target.auth, or the variable that it reads";
  } else if (outcome == "http_error") {
    advice.suggestion = "the server's log of that time tells more";
  } else if (outcome == "reset") {
    advice.suggestion = "the server, or a proxy's time limit, cut the answer";
  } else if (outcome == "stream_invalid") {
    advice.suggestion = "see findings for the first bytes that broke a rule";
  }
  return advice;
}

/// A latency to the first text: which part of it is the most?
Advice of_ttft(const Summary& summary, const Figures& figures) {
  struct Part {
    std::string_view metric, name, suggestion;
  };
  static constexpr Part kParts[] = {
      {"ttft_queue", "waiting in the server's queue", "more sequences at once, more replicas, or less load"},
      {"ttft_prefill", "reading the prompt", "shorter prompts, a prefix cache, or a faster device"},
      {"ttft_output", "between the first token and its first byte",
       "the server holds its first text back: lower the chunk policy's min_chars and max_delay"},
      {"ttft_network", "on the network", "look at connections, TLS and proxies between"},
  };
  const auto whole = figures.p95("ttft");
  const Part* most = nullptr;
  double longest = 0;
  for (const Part& part : kParts) {
    const auto value = figures.p95(part.metric);
    if (value && *value > longest) {
      longest = *value;
      most = &part;
    }
  }
  if (most != nullptr && whole && longest > *whole / 3)
    return {fmt::format("{} of the p95 of {} go into {}", ms(longest), ms(*whole), most->name),
            std::string(most->suggestion)};
  if (has_finding(summary, "whole-answer-in-one-chunk"))
    return {"the whole answer comes at once", "the server does not stream, or a proxy holds the answer back"};
  if (has_finding(summary, "proxy-buffering"))
    return {"events come in bursts after silences", "turn off buffering in the proxy (nginx: proxy_buffering off)"};
  if (figures.find("engine_queued") != nullptr && figures.avg("engine_queued").value_or(0) >= 1)
    return {"requests wait in the engine's queue", "more sequences at once (slots), or less load"};
  const auto connecting = figures.p95("http_req_connecting");
  if (connecting && whole && *connecting > *whole / 3)
    return {fmt::format("{} of it are spent connecting", ms(*connecting)), "keep connections open, or a closer server"};
  return {};
}

Advice of_gaps(const Summary& summary, const Figures& figures) {
  if (has_finding(summary, "proxy-buffering"))
    return {"events come in bursts after silences", "turn off buffering in the proxy (nginx: proxy_buffering off)"};
  if (figures.count("engine_preemptions") > 0)
    return {"the engine preempted sequences: its KV cache is too small for this load",
            "a larger KV cache (kv_mib), or fewer sequences at once"};
  if (const double stalls = figures.count("stalls"); stalls > 0)
    return {fmt::format("{:.0f} gaps are stalls, many times their stream's median", stalls),
            "prompts of others may hold decoding up: smaller prefill steps, or fewer sequences at once"};
  return {};
}

Advice of_chunks(const ThresholdResult& result, const Figures& figures) {
  const auto size = figures.avg("chunk_size");
  if (!size) return {};
  if (is_below(result)) {
    if (*size > 8)
      return {fmt::format("chunks are few and large: {:.0f} characters each", *size),
              "the chunk policy is too strict: lower min_chars and max_delay, or the server's stream interval"};
    return {fmt::format("the answers are short, at {:.1f} characters a chunk", *size),
            "a prompt that asks for more, or a higher max_tokens"};
  }
  return {fmt::format("chunks are many and small: {:.1f} characters each", *size),
          "let the server merge tokens: chunking with a higher min_chars, or its stream interval"};
}

Advice of_checks(const Summary& summary) {
  const reports::CheckResult* worst = nullptr;
  for (const auto& check : summary.checks) {
    if (check.fails > 0 && (worst == nullptr || check.fails > worst->fails)) worst = &check;
  }
  if (worst == nullptr) return {};
  Advice advice = most_frequent_failure(summary) != nullptr ? of_failures(summary) : Advice{};
  advice.cause = fmt::format("'{}' failed {} of {} times{}{}", worst->name, worst->fails, worst->fails + worst->passes,
                             advice.cause.empty() ? "" : "; requests failed ", advice.cause);
  return advice;
}

/// The one that the threshold's selector names, else the gravest.
const reports::FindingResult* finding_of(const Summary& summary, const std::string& metric) {
  const auto named = std::find_if(summary.findings.begin(), summary.findings.end(), [&](const auto& finding) {
    return metric.find("rule:" + finding.rule) != std::string::npos;
  });
  if (named != summary.findings.end()) return &*named;
  return metric.find("rule:") == std::string::npos ? gravest_finding(summary) : nullptr;
}

Advice by_figures(const Summary& summary, const ThresholdResult& result) {
  const Figures figures(summary, result.metric);
  const std::string_view name = std::string_view(result.metric).substr(0, result.metric.find('{'));
  if (!result.actual) {
    Advice advice = of_failures(summary);
    if (advice.cause.empty() && name.starts_with("ttft"))
      advice = {"no stream had any text", "is stream: true, and does the server stream?"};
    if (advice.cause.empty() && name == "itl")
      advice = {"the server tells no tokens while it streams",
                "stream_options: {continuous_usage_stats: true}, or icl"};
    if (advice.cause.empty()) advice.suggestion = "does a step measure it, and are the selector's tags right?";
    return advice;
  }
  if (result.verdict == "inconclusive" || result.open) return {"", "a longer run, or until_decided"};
  if (starts_with_any(name, {"ttf"})) return of_ttft(summary, figures);
  if (starts_with_any(name, {"icl", "itl", "tpot", "stalls", "burst_gaps", "fluidity"}))
    return of_gaps(summary, figures);
  if (name == "stream_chunks" || name == "stream_events" || name == "chunk_size" || name == "buffer_efficiency") {
    if (name == "stream_chunks" || name == "stream_events") return of_chunks(result, figures);
    const auto size = figures.avg("chunk_size");
    if (!size) return {};
    if (is_below(result))
      return {fmt::format("chunks are small: {:.1f} characters each", *size),
              "a higher min_chars in the chunk policy, or a lower large_chunk_chars here"};
    return {fmt::format("chunks are large: {:.0f} characters each", *size),
            "a lower max_chars in the chunk policy, or the server's stream interval"};
  }
  if (name == "http_req_failed" || name == "stream_failed" || name == "availability" || name == "connect_failed" ||
      name == "timed_out")
    return of_failures(summary);
  if (name == "stream_findings") {
    const auto* finding = finding_of(summary, result.metric);
    return finding == nullptr ? Advice{}
                              : Advice{fmt::format("{} stream{} broke the rule {}: {}", finding->count,
                                                   finding->count == 1 ? "" : "s", finding->rule, finding->example),
                                       "docs/streams.md has the rule; conformance: {allow: [...]} lets it be"};
  }
  if (name == "checks") return of_checks(summary);
  if (name == "dropped_iterations")
    return {"iterations that were due found every VU busy, or the server too slow",
            "a higher max_vus, or a lower rate"};
  if (name.starts_with("http_req_") || name.starts_with("e2e") || name == "stream_duration" ||
      name == "chunks_per_second") {
    Advice advice = of_ttft(summary, figures);
    const auto first = figures.p95("ttft"), all = figures.p95("stream_duration");
    if (first && all && *first > *all / 2 && !advice.cause.empty()) return advice;
    if (first && all && *first <= *all / 2)
      return {fmt::format("most of the time goes into writing the answer: p95 {} of which {} before its first text",
                          ms(*all), ms(*first)),
              "fewer sequences at once, a faster device, or shorter answers (max_tokens)"};
    return advice;
  }
  return {};
}

}  // namespace

Advice advice_for(const Summary& summary, const ThresholdResult& result) {
  Advice advice = by_figures(summary, result);
  // The harness's own lag is small: it explains what nothing else does.
  const bool time =
      starts_with_any(result.metric, {"ttf", "icl", "itl", "tpot", "e2e", "http_req_", "stream_duration"});
  if (advice.cause.empty() && time && result.verdict == "fail" && !result.open &&
      summary.instrument.verdict == "client-limited")
    advice = {"the harness was late itself", "mend that first: see the instrument"};
  return advice;
}

}  // namespace sluice
