// One stream, recorded or asked for, by the rules of docs/streams.md.
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
#include "harness/base/dialect.h"
#include "harness/base/duration.h"
#include "harness/base/letters.h"
#include "harness/base/nearest.h"
#include "harness/cohost/probe.h"
#include "harness/load/program.h"
#include "harness/load/run.h"
#include "harness/metrics/buffering.h"
#include "harness/net/recorded_answer.h"
#include "harness/scenario/data_reader.h"
#include "harness/stream/recorded_stream.h"
#include "harness/verdict/judge.h"
#include "reports/format.h"

namespace sluice {

namespace {

namespace json = boost::json;

struct ApiInfo {
  StreamApi api;
  std::string_view name, path;  // of its requests
};
constexpr ApiInfo kApis[] = {{StreamApi::chat, "chat", "/chat/completions"},
                             {StreamApi::completions, "completions", "/completions"},
                             {StreamApi::messages, "messages", "/messages"},
                             {StreamApi::responses, "responses", "/responses"},
                             {StreamApi::raw, "raw", ""}};

constexpr std::size_t kSecretBytes = 4;  // what is shorter is no secret, and stands everywhere

std::string_view name_of(StreamApi api) { return kApis[static_cast<std::size_t>(api)].name; }

/// What the options say, read.
struct Wanted {
  Dialect dialect = Dialect::openai;
  std::optional<StreamApi> api;
  std::optional<Severity> fail_on;
  RuleSet noted;
  std::vector<std::pair<std::string, Template>> headers;
  std::vector<std::string> secrets;  // values of headers
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
    std::vector<std::string_view> names;
    std::optional<StreamApi> named;
    for (const ApiInfo& api : kApis) {
      if (api.api == StreamApi::raw) continue;  // a dialect, not an API
      names.push_back(api.name);
      if (api.name == options.api) named = api.api;
    }
    if (!named) return unknown("--api", options.api, names);
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
  for (const std::string& header : options.headers) {
    const std::size_t colon = header.find(':');
    // What is wrong may be a secret: it is not shown.
    if (colon == 0 || colon == std::string::npos || header.find_first_of("\r\n") != std::string::npos)
      return fail("--header: write 'Name: value'");
    std::string value = header.substr(colon + 1);
    value.erase(0, value.find_first_not_of(' '));
    wanted.headers.emplace_back(header.substr(0, colon), Template(value));
    for (std::size_t at = 0; at < value.size();) {  // "Bearer x": x alone as well
      const std::size_t end = std::min(value.find(' ', at), value.size());
      if (end - at >= kSecretBytes && !same_letters(value.substr(at, end - at), "bearer"))
        wanted.secrets.push_back(value.substr(at, end - at));
      at = end + 1;
    }
  }
  const auto timeout = parse_duration(options.timeout);
  if (!timeout) return fail(fmt::format("--timeout: {}", timeout.error().message));
  wanted.timeout = *timeout;
  return {boost::system::in_place_value, std::move(wanted)};
}

bool is_url(std::string_view source) { return source.starts_with("http://") || source.starts_with("https://"); }

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

Result<std::string> read_source(const std::string& source) {
  if (source != "-") return read_whole_file(source, kRecordedBytesMax);
  std::string bytes;
  std::vector<char> block(std::size_t{64} << 10);
  while (const std::size_t size = std::fread(block.data(), 1, block.size(), stdin)) {
    bytes.append(block.data(), size);
    if (bytes.size() > kRecordedBytesMax)
      return fail(fmt::format("standard input is longer than {} bytes", kRecordedBytesMax));
  }
  return {boost::system::in_place_value, std::move(bytes)};
}

Judged judge_recorded(const CheckStreamOptions& options, const Wanted& wanted) {
  const auto bytes = read_source(options.source);
  if (!bytes)
    return unjudged(kExitInvalid, fmt::format("{}: {}; a URL begins with http:// or https://", options.source,
                                              bytes.error().message));
  const auto recording = read_recording(*bytes);
  if (!recording) return unjudged(kExitInvalid, fmt::format("{}: {}", options.source, recording.error().message));
  Judged judged;
  judged.source = options.source == "-" ? "standard input" : options.source;
  judged.api = wanted.api.value_or(StreamApi::chat);
  judged.record = answer_of(*recording, judged.api, wanted.noted);
  if (!judged.record.judged) return unjudged(kExitInvalid, fmt::format("{}: holds no answer to judge", judged.source));
  return judged;
}

// ---- one request --------------------------------------------------------------------------------------------------

std::string body_of(StreamApi api, const CheckStreamOptions& options, const std::string& model) {
  json::object body{{"model", model}, {"stream", true}};
  const json::array messages{json::object{{"role", "user"}, {"content", options.prompt}}};
  switch (api) {
    case StreamApi::chat:
    case StreamApi::raw:
      body["messages"] = messages;
      body["max_tokens"] = options.max_tokens;
      body["stream_options"] = json::object{{"include_usage", true}};
      break;
    case StreamApi::completions:
      body["prompt"] = options.prompt;
      body["max_tokens"] = options.max_tokens;
      body["stream_options"] = json::object{{"include_usage", true}};
      break;
    case StreamApi::messages:
      body["messages"] = messages;
      body["max_tokens"] = options.max_tokens;
      break;
    case StreamApi::responses:
      body["input"] = options.prompt;
      body["max_output_tokens"] = options.max_tokens;
      break;
  }
  return json::serialize(body);
}

/// The API whose path the URL ends with.
std::optional<StreamApi> api_of_path(std::string_view path) {
  for (const ApiInfo& api : kApis)
    if (!api.path.empty() && path.ends_with(api.path)) return api.api;
  return std::nullopt;
}

Judged judge_live(const CheckStreamOptions& options, const Wanted& wanted) {
  const auto url = parse_url(options.source);
  if (!url) return unjudged(kExitInvalid, url.error().message);
  std::string path = url->target;
  const std::size_t mark = std::min(path.find('?'), path.size());
  const std::string query = path.substr(mark);
  path.resize(mark);
  while (path.ends_with('/')) path.pop_back();
  const auto asked = api_of_path(path);
  if (asked && wanted.api && *wanted.api != StreamApi::raw && *wanted.api != *asked)
    return unjudged(kExitInvalid, fmt::format("{}: is the path of {}, and {} are wanted: leave one of them out",
                                              options.source, name_of(*asked), name_of(*wanted.api)));
  Judged judged;
  judged.live = true;
  judged.api = wanted.api.value_or(asked.value_or(StreamApi::chat));
  std::string base = path;
  if (asked) base.resize(base.size() - kApis[static_cast<std::size_t>(*asked)].path.size());
  if (base.ends_with("/v1")) base.resize(base.size() - 3);
  if (!asked) {
    const StreamApi form = judged.api == StreamApi::raw ? StreamApi::chat : judged.api;
    path = base + "/v1" + std::string(kApis[static_cast<std::size_t>(form)].path);
  }
  path += query;
  const std::string server = fmt::format("{}://{}", url->endpoint.tls ? "https" : "http", url->endpoint.host_header);
  judged.source = server + path;
  if (const auto reached = can_connect(url->endpoint.host, url->endpoint.port,
                                       std::min<Nanoseconds>(wanted.timeout, std::chrono::seconds(10)));
      !reached)
    return unjudged(kExitUnreachable, fmt::format("{} cannot be reached: {}", server, reached.error().message));

  Plan plan;
  plan.name = "check-stream";
  plan.target.url = server;
  plan.target.headers = wanted.headers;
  plan.target.request_timeout = wanted.timeout;
  plan.target.tls_verify = !options.insecure;
  std::string model = options.model;
  if (model.empty()) {
    auto endpoint = parse_endpoint(server + base);
    if (!endpoint) return unjudged(kExitInvalid, endpoint.error().message);
    if (const auto resolved = resolve(*endpoint); !resolved)
      return unjudged(kExitUnreachable, resolved.error().message);
    auto tls = TlsContext::make(tls_options(plan.target));
    if (!tls) return unjudged(kExitInternal, tls.error().message);
    auto learnt = learn_model(plan, *endpoint, *tls);
    if (!learnt)
      return unjudged(kExitInvalid,
                      fmt::format("{}{}/v1/models does not say which model there is: give --model", server, base));
    model = std::move(*learnt);
  }

  SseStep sse;
  sse.api = judged.api;
  sse.request.method = "POST";
  sse.request.url = Template(path);
  sse.request.body = Template(body_of(judged.api, options, model));
  sse.request.content_type = "application/json";
  if (judged.api == StreamApi::messages) sse.request.headers.emplace_back("anthropic-version", Template("2023-06-01"));
  ScenarioPlan scenario;
  scenario.name = "stream";
  scenario.shape =
      PerVuIterations{.vus = 1, .iterations = 1, .max_duration = wanted.timeout + std::chrono::seconds(10)};
  scenario.conformance.dialect = wanted.dialect;
  scenario.conformance.allow = wanted.noted;
  scenario.flow.push_back(
      Step{.name = "stream", .verb = std::move(sse), .checks = {}, .tags = {}, .timeout = {}, .place = {}});
  plan.scenarios.push_back(std::move(scenario));

  RunOptions run_options;
  run_options.on_record = [&judged](const RequestRecord& record) { judged.record = record; };
  RunControl control;
  const auto driven = run(plan, run_options, control, {});
  if (!driven) return unjudged(kExitUnreachable, driven.error().message);
  if (judged.record.outcome == Outcome::connect_failed)
    return unjudged(kExitUnreachable, fmt::format("{} cannot be reached: {}", server, judged.record.error));
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

void print_json(const Judged& judged, const Wanted& wanted, const std::vector<Finding>& findings, int exit_code) {
  const RequestRecord& r = judged.record;
  const Figures figures = figures_of(judged);
  json::array list;
  for (const Finding& finding : findings)
    list.push_back(json::object{{"rule", info(finding.rule).name},
                                {"severity", severity_of(finding)},
                                {"count", finding.count},
                                {"offset", finding.offset},
                                {"bytes", masked(finding.bytes, wanted.secrets)}});
  json::object stream{{"id", masked(r.id, wanted.secrets)},
                      {"status", r.status},
                      {"events", r.events},
                      {"chunks", r.content.size()},
                      {"characters", figures.characters},
                      {"bytes", r.bytes_received},
                      {"finish_reason", masked(r.finish_reason, wanted.secrets)}};
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
  const json::object all{{"source", judged.source},    {"dialect", sluice::name_of(wanted.dialect)},
                         {"api", name_of(judged.api)}, {"verdict", exit_code == kExitPassed ? "pass" : "fail"},
                         {"exit_code", exit_code},     {"stream", std::move(stream)},
                         {"findings", std::move(list)}};
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
    if (!finding.bytes.empty()) fmt::print("           {}\n", masked(finding.bytes, wanted.secrets));
  }
  if (!findings.empty()) fmt::print("\n");
  const auto figure = [](std::string_view name, const std::string& value) { fmt::print("  {:<16} {}\n", name, value); };
  if (!r.id.empty()) figure("stream", masked(r.id, wanted.secrets));
  figure("HTTP status", std::to_string(r.status));
  figure("events", reports::format_count(r.events));
  figure("content events", reports::format_count(r.content.size()));
  figure("characters", reports::format_count(figures.characters));
  figure("finish reason", r.finish_reason.empty() ? "none" : masked(r.finish_reason, wanted.secrets));
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
  if (!r.error.empty()) figure("ended", masked(r.error, wanted.secrets));
  const auto counted = std::count_if(findings.begin(), findings.end(), [](const Finding& f) { return !f.noted; });
  std::string verdict = counted == 0 ? "clean" : fmt::format("{} rule{} broken", counted, counted == 1 ? "" : "s");
  if (failing > 0) verdict += fmt::format(", {} of severity {} or graver", failing, sluice::name_of(*wanted.fail_on));
  fmt::print("\n{}\n", verdict);
}

}  // namespace

int check_stream_command(const CheckStreamOptions& options) {
  const auto wanted = read_options(options);
  if (!wanted) return fmt::print(stderr, "sluice: {}\n", wanted.error().message), kExitInvalid;
  const Judged judged = is_url(options.source) ? judge_live(options, *wanted) : judge_recorded(options, *wanted);
  if (!judged.problem.empty()) {
    fmt::print(stderr, "sluice: {}\n", masked(judged.problem, wanted->secrets));
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
