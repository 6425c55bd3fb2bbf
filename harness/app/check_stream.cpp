// Streams, recorded or asked for, by the rules of docs/streams.md.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/app/commands.h"
#include "harness/app/stream_request.h"
#include "harness/base/dialect.h"
#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"
#include "harness/load/run.h"
#include "harness/metrics/buffering.h"
#include "harness/net/recorded_answer.h"
#include "harness/scenario/data_reader.h"
#include "harness/stream/recorded_stream.h"
#include "harness/stream/recording.h"
#include "harness/verdict/judge.h"
#include "reports/format.h"

namespace sluice {

namespace {

namespace json = boost::json;

/// What the options say, read.
struct Wanted {
  Dialect dialect = Dialect::openai;
  std::optional<StreamApi> api;
  std::optional<Severity> fail_on;
  RuleSet noted;
  RequestHeaders headers;
  Nanoseconds timeout{};
};

template <class Names>
Error unknown(std::string_view option, std::string_view value, const Names& names) {
  return fail(fmt::format("{} {}: there is {}{}", option, value, fmt::join(names, ", "), did_you_mean(value, names)));
}

Result<Wanted> read_options(const CheckStreamOptions& options) {
  Wanted wanted;
  const auto dialect = dialect_named(options.dialect);
  if (!dialect) return unknown("--dialect", options.dialect, kDialects);
  wanted.dialect = *dialect;
  wanted.noted = known_deviations(*dialect);
  wanted.api = api_of(*dialect);
  if (!options.api.empty()) {
    const auto named = stream_api_named(options.api);
    if (!named) return unknown("--api", options.api, kStreamApiNames);
    if (wanted.api && wanted.api != named)
      return fail(fmt::format("--api {}: the dialect {} has another one", options.api, options.dialect));
    wanted.api = named;
  }
  const std::vector<std::string_view> severities{"fatal", "error", "warning", "none"};
  if (std::find(severities.begin(), severities.end(), options.fail_on) == severities.end())
    return unknown("--fail-on", options.fail_on, severities);
  for (const Severity severity : {Severity::fatal, Severity::error, Severity::warning})
    if (options.fail_on == sluice::name_of(severity)) wanted.fail_on = severity;
  for (const std::string& name : options.allow) {
    std::vector<std::string_view> names;
    for (const StreamRuleInfo& rule : kStreamRules) names.push_back(rule.name);
    const auto rule = stream_rule_named(name);
    if (!rule) return unknown("--allow", name, names);
    wanted.noted.set(static_cast<std::size_t>(*rule));
  }
  auto headers = read_headers(options.headers);
  if (!headers) return headers.error();
  wanted.headers = std::move(*headers);
  const auto timeout = parse_duration(options.timeout);
  if (!timeout) return fail(fmt::format("--timeout: {}", timeout.error().message));
  wanted.timeout = *timeout;
  return {boost::system::in_place_value, std::move(wanted)};
}

/// A judged stream, with the code to end with where it could not be judged.
struct Judged {
  RequestRecord record;
  std::string source;  // for people
  StreamApi api{};
  bool live = false;    // its times are true
  std::string problem;  // none of the stream's: why there is no record
  int exit_code = 0;
};

Judged unjudged(int exit_code, std::string problem) {
  Judged judged;
  judged.exit_code = exit_code;
  judged.problem = std::move(problem);
  return judged;
}

constexpr std::size_t kSourceBytesMax = limits::recording_bytes_max;
static_assert(kSourceBytesMax >= kRecordedBytesMax);

Result<std::string> read_source(const std::string& source) {
  if (source != "-") return read_whole_file(source, kSourceBytesMax);
  std::string bytes;
  std::vector<char> block(std::size_t{64} << 10);
  while (const std::size_t size = std::fread(block.data(), 1, block.size(), stdin)) {
    bytes.append(block.data(), size);
    if (bytes.size() > kSourceBytesMax)
      return fail(fmt::format("standard input is longer than {} bytes", kSourceBytesMax));
  }
  return {boost::system::in_place_value, std::move(bytes)};
}

std::string shown_source(const CheckStreamOptions& options) {
  return options.source == "-" ? "standard input" : options.source;
}

Judged judge_recorded(const CheckStreamOptions& options, const Wanted& wanted, std::string_view bytes) {
  if (bytes.size() > kRecordedBytesMax)
    return unjudged(kExitInvalid, fmt::format("{}: a stream of more than {} bytes", options.source, kRecordedBytesMax));
  const auto recording = read_recording(bytes);
  if (!recording) return unjudged(kExitInvalid, fmt::format("{}: {}", options.source, recording.error().message));
  Judged judged;
  judged.source = shown_source(options);
  judged.api = wanted.api.value_or(StreamApi::chat);
  judged.record = answer_of(*recording, judged.api, wanted.noted);
  if (!judged.record.judged) return unjudged(kExitInvalid, fmt::format("{}: holds no answer to judge", judged.source));
  return judged;
}

// ---- one request --------------------------------------------------------------------------------------------------

Judged judge_live(const CheckStreamOptions& options, const Wanted& wanted) {
  PlannedRequest planned = plan_request({.url = options.source,
                                         .api = wanted.api,
                                         .model = options.model,
                                         .prompt = options.prompt,
                                         .max_tokens = options.max_tokens,
                                         .headers = wanted.headers.headers,
                                         .timeout = wanted.timeout,
                                         .insecure = options.insecure});
  if (!planned.problem.empty()) return unjudged(planned.exit_code, planned.problem);
  Judged judged;
  judged.live = true;
  judged.api = planned.api;
  judged.source = planned.source;
  ScenarioPlan& scenario = planned.plan.scenarios.front();
  scenario.conformance.dialect = wanted.dialect;
  scenario.conformance.allow = wanted.noted;

  RunOptions run_options;
  run_options.on_record = [&judged](const RequestRecord& record) { judged.record = record; };
  RunControl control;
  const auto driven = run(planned.plan, run_options, control, {});
  if (!driven) return unjudged(kExitUnreachable, driven.error().message);
  if (judged.record.outcome == Outcome::connect_failed)
    return unjudged(kExitUnreachable, fmt::format("{} cannot be reached: {}", judged.source, judged.record.error));
  if (!judged.record.judged)
    return unjudged(kExitUnreachable, fmt::format("{} gave no answer: {}", judged.source, judged.record.error));
  return judged;
}

// ---- what is said of it -------------------------------------------------------------------------------------------

std::string_view severity_of(const Finding& finding) {
  return finding.noted ? "note" : sluice::name_of(info(finding.rule).severity);
}

/// The gravest first, and in the order in which they were seen.
std::vector<Finding> by_gravity(std::vector<Finding> findings) {
  const auto gravity = [](const Finding& finding) {
    return finding.noted ? -1 : static_cast<int>(info(finding.rule).severity);
  };
  std::stable_sort(findings.begin(), findings.end(),
                   [&](const Finding& a, const Finding& b) { return gravity(a) > gravity(b); });
  return findings;
}

/// What would show a header's value is hidden, wherever a server repeats it.
std::string masked(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets)
    for (std::size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += 8)
      text.replace(at, secret.size(), "********");
  return text;
}

struct Figures {
  std::uint64_t characters = 0;
  std::optional<double> ttft_ms, gap_p50_ms, gap_max_ms, duration_ms;
  std::optional<BufferingVerdict> buffering;  // none: its times are not known, or it was not whole
};

Figures figures_of(const Judged& judged) {
  const RequestRecord& r = judged.record;
  Figures figures;
  for (const ContentEvent& event : r.content) figures.characters += event.characters;
  if (!judged.live) return figures;
  const auto ms = [](Instant from, Instant to) { return static_cast<double>(to - from) / 1e6; };
  figures.duration_ms = ms(r.started_at, r.ended_at);
  if (r.content.empty()) return figures;
  if (r.outcome == Outcome::ok) {
    ChunkFigures chunks;
    chunks.add(r);
    figures.buffering = judge_buffering(chunks, 1);
  }
  figures.ttft_ms = ms(r.started_at, r.content.front().received_at);
  std::vector<double> gaps;
  for (std::size_t i = 1; i < r.content.size(); ++i)
    gaps.push_back(std::max(0.0, ms(r.content[i - 1].received_at, r.content[i].received_at)));
  if (gaps.empty()) return figures;
  std::sort(gaps.begin(), gaps.end());
  figures.gap_p50_ms = gaps[gaps.size() / 2];
  figures.gap_max_ms = gaps.back();
  return figures;
}

std::uint64_t count_at_or_above(const std::vector<Finding>& findings, const std::optional<Severity>& fail_on) {
  return static_cast<std::uint64_t>(std::count_if(findings.begin(), findings.end(), [&](const Finding& finding) {
    return fail_on && !finding.noted && info(finding.rule).severity >= *fail_on;
  }));
}

/// `stream` and `findings`.
json::object json_of(const Judged& judged, const Wanted& wanted, const std::vector<Finding>& findings) {
  const RequestRecord& r = judged.record;
  const Figures figures = figures_of(judged);
  json::array list;
  for (const Finding& finding : findings)
    list.push_back(json::object{{"rule", info(finding.rule).name},
                                {"severity", severity_of(finding)},
                                {"count", finding.count},
                                {"offset", finding.offset},
                                {"bytes", masked(finding.bytes, wanted.headers.secrets)}});
  json::object stream{{"id", masked(r.id, wanted.headers.secrets)},
                      {"status", r.status},
                      {"events", r.events},
                      {"chunks", r.content.size()},
                      {"characters", figures.characters},
                      {"bytes", r.bytes_received},
                      {"finish_reason", masked(r.finish_reason, wanted.headers.secrets)}};
  const auto add = [&stream](std::string_view name, const auto& value) {
    if (value) stream[name] = *value;
  };
  const auto tokens = [&](std::string_view name, std::int64_t count) {
    if (count >= 0) stream[name] = count;
  };
  tokens("prompt_tokens", r.prompt_tokens);
  tokens("output_tokens", r.output_tokens);
  tokens("cached_tokens", r.cached_tokens);
  add("ttft_ms", figures.ttft_ms);
  add("gap_p50_ms", figures.gap_p50_ms);
  add("gap_max_ms", figures.gap_max_ms);
  add("duration_ms", figures.duration_ms);
  if (figures.buffering) stream["buffering"] = name_of(figures.buffering->verdict);
  return {{"stream", std::move(stream)}, {"findings", std::move(list)}};
}

void print_json(const Judged& judged, const Wanted& wanted, const std::vector<Finding>& findings, int exit_code) {
  json::object all{{"source", judged.source},
                   {"dialect", sluice::name_of(wanted.dialect)},
                   {"api", name_of(judged.api)},
                   {"verdict", exit_code == kExitPassed ? "pass" : "fail"},
                   {"exit_code", exit_code}};
  for (auto& member : json_of(judged, wanted, findings)) all[member.key()] = std::move(member.value());
  fmt::print("{}\n", json::serialize(all));
}

void print_text(const Judged& judged, const Wanted& wanted, const std::vector<Finding>& findings,
                std::uint64_t failing) {
  const RequestRecord& r = judged.record;
  const Figures figures = figures_of(judged);
  fmt::print("{}: {} of dialect {}\n\n", judged.source, name_of(judged.api), sluice::name_of(wanted.dialect));
  for (const Finding& finding : findings) {
    fmt::print("  {:<8} {:<26} {:>6} x  first at byte {}\n", severity_of(finding), info(finding.rule).name,
               finding.count, finding.offset);
    if (!finding.bytes.empty()) fmt::print("           {}\n", masked(finding.bytes, wanted.headers.secrets));
  }
  if (!findings.empty()) fmt::print("\n");
  const auto figure = [](std::string_view name, const std::string& value) { fmt::print("  {:<16} {}\n", name, value); };
  if (!r.id.empty()) figure("stream", masked(r.id, wanted.headers.secrets));
  figure("HTTP status", std::to_string(r.status));
  figure("events", reports::format_count(r.events));
  figure("content events", reports::format_count(r.content.size()));
  figure("characters", reports::format_count(figures.characters));
  figure("finish reason", r.finish_reason.empty() ? "none" : masked(r.finish_reason, wanted.headers.secrets));
  std::string usage = "none";
  if (r.output_tokens >= 0 || r.prompt_tokens >= 0) {
    const auto count = [](std::int64_t tokens) { return tokens < 0 ? std::string("?") : std::to_string(tokens); };
    usage = fmt::format("{} of the prompt, {} of the answer", count(r.prompt_tokens), count(r.output_tokens));
    if (r.cached_tokens >= 0) usage += fmt::format(", {} from a cache", r.cached_tokens);
  }
  figure("tokens", usage);
  if (figures.ttft_ms) figure("TTFT", reports::format_ms(*figures.ttft_ms));
  if (figures.gap_p50_ms)
    figure("gaps", fmt::format("median {}, longest {}", reports::format_ms(*figures.gap_p50_ms),
                               reports::format_ms(*figures.gap_max_ms)));
  if (figures.buffering)
    figure("buffering", fmt::format("{}: {}", name_of(figures.buffering->verdict), figures.buffering->evidence));
  if (figures.duration_ms) figure("duration", reports::format_ms(*figures.duration_ms));
  if (!r.error.empty()) figure("ended", masked(r.error, wanted.headers.secrets));
  const auto counted = std::count_if(findings.begin(), findings.end(), [](const Finding& f) { return !f.noted; });
  std::string verdict = counted == 0 ? "clean" : fmt::format("{} rule{} broken", counted, counted == 1 ? "" : "s");
  if (failing > 0) verdict += fmt::format(", {} of severity {} or graver", failing, sluice::name_of(*wanted.fail_on));
  fmt::print("\n{}\n", verdict);
}

/// A recording of many streams: a line each, and how many are clean.
int check_recording(const CheckStreamOptions& options, const Wanted& wanted, const Recording& recording) {
  if (recording.streams.empty())
    return fmt::print(stderr, "sluice: {}: holds no stream that was recorded to its end\n", shown_source(options)),
           kExitInvalid;
  json::array streams;
  std::uint64_t clean = 0, failed = 0;
  for (const TimedStream& recorded : recording.streams) {
    Judged judged;
    judged.live = true;
    judged.api = wanted.api.value_or(api_of_path(recorded.path).value_or(StreamApi::chat));
    judged.record = answer_of(recorded, judged.api, wanted.noted);
    const std::vector<Finding> findings = by_gravity(judged.record.findings);
    if (count_at_or_above(findings, wanted.fail_on) > 0) ++failed;
    std::string said;
    for (const Finding& finding : findings)
      if (!finding.noted) said += (said.empty() ? "" : ", ") + std::string(info(finding.rule).name);
    if (said.empty()) ++clean;
    if (options.json) {
      json::object entry{{"number", recorded.number},
                         {"path", recorded.path},
                         {"api", name_of(judged.api)},
                         {"end", name_of(recorded.end)}};
      for (auto& member : json_of(judged, wanted, findings)) entry[member.key()] = std::move(member.value());
      streams.push_back(std::move(entry));
    } else {
      const Figures figures = figures_of(judged);
      fmt::print("{:>6}  {}  {}  {:<8}  {:>6} chunks  TTFT {:<10}  {}\n", recorded.number,
                 escape_bytes(recorded.path, 80), judged.record.status, name_of(recorded.end),
                 judged.record.content.size(), figures.ttft_ms ? reports::format_ms(*figures.ttft_ms) : "none",
                 said.empty() ? "clean" : said);
    }
  }
  const int exit_code = failed == 0 ? kExitPassed : kExitFailed;
  if (options.json) {
    const json::object all{{"source", shown_source(options)},
                           {"dialect", sluice::name_of(wanted.dialect)},
                           {"verdict", exit_code == kExitPassed ? "pass" : "fail"},
                           {"exit_code", exit_code},
                           {"unfinished", recording.unfinished},
                           {"streams", std::move(streams)}};
    fmt::print("{}\n", json::serialize(all));
    return exit_code;
  }
  std::string verdict = fmt::format("{} streams: {} clean", recording.streams.size(), clean);
  if (wanted.fail_on)
    verdict += fmt::format(", {} with findings of severity {} or graver", failed, sluice::name_of(*wanted.fail_on));
  if (recording.unfinished > 0)
    verdict += fmt::format("; {} not recorded to the end, and left out", recording.unfinished);
  fmt::print("\n{}\n", verdict);
  return exit_code;
}

}  // namespace

int check_stream_command(const CheckStreamOptions& options) {
  const auto wanted = read_options(options);
  if (!wanted) return fmt::print(stderr, "sluice: {}\n", wanted.error().message), kExitInvalid;
  std::optional<std::string> bytes;
  if (!is_url(options.source)) {
    auto read = read_source(options.source);
    if (!read)
      return fmt::print(stderr, "sluice: {}: {}; a URL begins with http:// or https://\n", options.source,
                        read.error().message),
             kExitInvalid;
    bytes = std::move(*read);
    if (is_recording(*bytes)) {
      const auto recording = read_recording_file(*bytes);
      if (!recording)
        return fmt::print(stderr, "sluice: {}: {}\n", options.source, recording.error().message), kExitInvalid;
      return check_recording(options, *wanted, *recording);
    }
  }
  const Judged judged = bytes ? judge_recorded(options, *wanted, *bytes) : judge_live(options, *wanted);
  if (!judged.problem.empty()) {
    fmt::print(stderr, "sluice: {}\n", masked(judged.problem, wanted->headers.secrets));
    return judged.exit_code;
  }
  const std::vector<Finding> findings = by_gravity(judged.record.findings);
  const std::uint64_t failing = count_at_or_above(findings, wanted->fail_on);
  const int exit_code = failing == 0 ? kExitPassed : kExitFailed;
  if (options.json)
    print_json(judged, *wanted, findings, exit_code);
  else
    print_text(judged, *wanted, findings, failing);
  return exit_code;
}

}  // namespace sluice
