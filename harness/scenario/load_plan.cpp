#include "harness/scenario/load_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <set>

#include "harness/base/cores.h"
#include "harness/base/duration.h"
#include "harness/base/letters.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"
#include "harness/scenario/data_reader.h"
#include "harness/scenario/flow_reader.h"
#include "harness/scenario/http_reader.h"
#include "harness/scenario/load_reader.h"
#include "harness/scenario/plan_reader.h"
#include "harness/scenario/threshold_reader.h"
#include "harness/scenario/timeline.h"

namespace sluice {

namespace {

std::string base64(std::string_view bytes) {
  static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (std::size_t j = 0; j < 4; ++j) out += j <= bytes.size() - i ? digits[group >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

class Reader {
 public:
  Reader(const std::string& file, const LoadOptions& options) : file_(file), options_(options), problems_(file) {}

  PlanOrProblems read(std::string_view text) {
    const auto tree = read_yaml(text, problems_);
    if (tree) read_file(*tree, text);
    if (!problems_.empty()) return problems_.take();
    if (options_.time_scale != 1) scale_times(plan_, options_.time_scale);
    return std::move(plan_);
  }

 private:
  void read_file(const YamlNode& root, std::string_view text) {
    Section section(root, "file", "the scenario file", problems_);
    if (!section.is_mapping()) return;
    const auto* env = section.take("env");
    Variables variables(env ? &env->value : nullptr, options_.overrides, options_.environment, problems_, text);
    ScalarReader scalars(variables, problems_);
    scalars_ = &scalars;
    const ScenarioFiles files{std::filesystem::path(file_).parent_path().string(),
                              [this](const std::string& path, std::size_t bytes_max) {
                                return options_.read_file ? options_.read_file(path) : read_whole_file(path, bytes_max);
                              }};
    HttpReader http(scalars, problems_, files);
    http_ = &http;
    FlowReader flow_reader(scalars, problems_, files);
    flows_ = &flow_reader;

    plan_.file = file_;
    const auto* name = section.take("name");
    if (const auto value = scalars.text(name)) {
      plan_.name = *value;
      if (value->empty() || value->size() > 200)
        problems_.add(name->value.place, "name: 1 to 200 characters are wanted");
    }
    plan_.seed = options_.seed.value_or(scalars.whole(section.take("seed"), 0, kWholeMax).value_or(1));
    plan_.threads = options_.threads.value_or(
        static_cast<std::uint32_t>(scalars.whole(section.take("threads"), 1, limits::threads_max).value_or(1)));
    plan_.large_chunk_chars =
        static_cast<std::uint32_t>(scalars.whole(section.take("large_chunk_chars"), 1, 1'000'000).value_or(20));
    plan_.stall_factor = scalars.number(section.take("stall_factor"), 1, 1e6).value_or(10);
    const auto* warmup = section.take("warmup");
    plan_.warmup = scalars.duration(warmup).value_or(Nanoseconds{});
    if (const auto* target = section.take("target")) read_target(*target);
    if (const auto* conformance = section.take("conformance")) read_conformance(*conformance, plan_.conformance, true);
    if (const auto* data = section.take("data")) read_data_sets(*data, options_, plan_, scalars, problems_);
    if (const auto* metrics = section.take("metrics")) read_metrics(*metrics);
    flow_reader.set_metrics(plan_.metrics);
    if (const auto* setup = section.take("setup")) plan_.setup = flow_reader.read_setup(*setup);
    if (const auto* flows = section.take("flows")) flow_reader.read_flows(*flows);
    if (const auto* scenarios = section.take("scenarios")) read_scenarios(*scenarios);
    flow_reader.read_unused_flows();
    if (const auto* compare = section.take("compare")) read_compare(*compare);
    if (const auto* teardown = section.take("teardown")) plan_.teardown = flow_reader.read_teardown(*teardown);
    if (warmup) check_warmup(warmup->place);
    if (const auto* gates = section.take("gates")) read_gates(*gates);
    ThresholdReader judgement(plan_, scalars, problems_);
    if (const auto* thresholds = section.take("thresholds")) judgement.read_thresholds(*thresholds);
    if (const auto* stable = section.take("stable")) judgement.read_stable(*stable);
    const auto* until_decided = section.take("until_decided");
    plan_.until_decided = scalars_->duration(until_decided);
    if (plan_.until_decided && plan_.thresholds.empty())
      problems_.add(until_decided->place, "until_decided: there is no threshold that could be decided");
    deal_unique_rows(root, plan_);
    plan_.env = variables.shown();
    variables.report_unused_overrides();
    scalars_ = nullptr;
    flows_ = nullptr;
    http_ = nullptr;
  }

  // ---- target
  // ---------------------------------------------------------------------------------------------------------

  void read_target(const YamlMember& member) {
    Section section(member.value, "target", "target", problems_);
    if (!section.is_mapping()) return;
    Target& target = plan_.target;
    const auto* url = section.take("url");
    const auto url_value = scalars_->text(url);
    if (url_value) {
      target.url = *url_value;
      if (!target.url.empty()) check_url(*url, target.url);
    }
    if (const auto* engine = section.take("engine")) {
      auto read = read_engine(*engine);
      if (target.url.empty()) target.engine = std::move(read);
    } else if (target.url.empty() && (!url || url_value)) {
      problems_.add(member.place, url ? "target: url is empty, and there is no engine: to start instead"
                                      : "target: needs url: or engine:");
    }
    if (const auto dialect = scalars_->word(section.take("dialect"), "target"))
      target_dialect_ = dialect_named(*dialect);
    plan_.conformance.dialect = target_dialect_.value_or(Dialect::openai);
    if (const auto* headers = section.take("headers")) target.headers = read_headers(*headers, *scalars_, problems_);
    if (const auto* auth = section.take("auth")) read_auth(*auth, target.headers);
    target.model = scalars_->text(section.take("model")).value_or("");
    target.expect_models = read_texts(section.take("expect_models"));
    std::erase(target.expect_models, std::string());  // a variable that is not set
    target.expect_backend = scalars_->text(section.take("expect_backend")).value_or("");
    const auto* tls_verify = section.take("tls_verify");
    target.tls_verify = scalars_->truth(tls_verify).value_or(true);
    if (const auto* tls = section.take("tls")) {
      target.tls = http_->read_tls(*tls);
      if (target.tls.verify && tls_verify)
        problems_.add(tls_verify->place, "tls_verify: stands under tls: as verify: already");
    }
    target.cookies = http_->read_cookies(section.take("cookies"), "target").value_or(target.cookies);
    if (const auto redirects = scalars_->whole(section.take("redirects"), 0, limits::redirects_max))
      target.redirects = static_cast<std::uint32_t>(*redirects);
    target.compression = scalars_->truth(section.take("compression")).value_or(false);
    const auto* http = section.take("http");
    target.http2 = http_->read_version(http, "target").value_or(false);
    if (target.http2 && target.engine)
      problems_.add(http->place,
                    "http: h2 needs url: of a server that speaks it: the engine started beside the run does not");
    target.connect_timeout =
        scalars_->positive_duration(section.take("connect_timeout")).value_or(target.connect_timeout);
    target.request_timeout =
        scalars_->positive_duration(section.take("request_timeout")).value_or(target.request_timeout);
  }

  /// Cuts off what `url` need not have.
  void check_url(const YamlMember& member, std::string& url) {
    while (url.ends_with('/')) url.pop_back();
    if (url.ends_with("/v1")) url.resize(url.size() - 3);  // what other clients call a base URL has it; steps add it
    const auto parsed = boost::urls::parse_uri(url);
    if (parsed && parsed->has_userinfo())
      return problems_.add(member.value.place, "url: a user and a password stand under auth:");
    const bool good = parsed && (parsed->scheme() == "http" || parsed->scheme() == "https") &&
                      !parsed->encoded_host().empty() && !parsed->has_query() && !parsed->has_fragment();
    if (good && (!parsed->has_port() || parsed->port_number() != 0)) return;
    const auto filled = scalars_->filled(member.value, member.key);
    if (filled)
      scalars_->refuse(
          member.value, *filled, "url",
          "http:// or https:// with a host, perhaps a port and a path is wanted, as in http://127.0.0.1:8000");
  }

  std::optional<EngineTarget> read_engine(const YamlMember& member) {
    Section section(member.value, "engine", "engine", problems_);
    if (!section.is_mapping()) return std::nullopt;
    EngineTarget engine;
    const auto* model = section.take("model");
    engine.model = scalars_->text(model).value_or("");
    if (model && engine.model.empty()) problems_.add(model->value.place, "model: names no model");
    engine.backend = scalars_->word(section.take("backend"), "engine").value_or("auto");
    // The bounds are those of sluice-engine's options.
    engine.kv_mib = scalars_->whole(section.take("kv_mib"), 0, 1u << 22).value_or(0);
    engine.slots = scalars_->whole(section.take("slots"), 0, 65'536).value_or(0);
    engine.context = scalars_->whole(section.take("context"), 0, 1u << 24).value_or(0);
    engine.args = read_texts(section.take("args"));
    engine.engine_cores = read_cores(section.take("engine_cores"));
    engine.harness_cores = read_cores(section.take("harness_cores"));
    engine.ready_timeout = scalars_->positive_duration(section.take("ready_timeout")).value_or(engine.ready_timeout);
    return engine;
  }

  std::vector<std::string> read_texts(const YamlMember* member) {
    std::vector<std::string> texts;
    if (member == nullptr) return texts;
    if (!member->value.is_sequence())
      problems_.add(member->value.place, fmt::format("{}: must be a list", member->key));
    for (const auto& item : member->value.items) {
      if (auto value = scalars_->text(item, member->key)) texts.push_back(std::move(*value));
    }
    return texts;
  }

  std::string read_cores(const YamlMember* member) {
    const auto value = scalars_->text(member);
    if (!value || value->empty()) return {};
    if (const auto cores = parse_cores(*value); !cores) {
      problems_.add(member->value.place, fmt::format("{}: {}", member->key, cores.error().message));
    }
    return *value;
  }

  void read_auth(const YamlMember& member, std::vector<std::pair<std::string, Template>>& headers) {
    Section section(member.value, "auth", "auth", problems_);
    if (!section.is_mapping()) return;
    const auto bearer = scalars_->text(section.take("bearer")).value_or("");
    const auto* user_member = section.take("user");
    const auto user = scalars_->text(user_member).value_or("");
    const auto password = scalars_->text(section.take("password")).value_or("");
    if (user.find(':') != std::string::npos) problems_.add(user_member->value.place, "user: cannot contain ':'");
    const auto named = [](const auto& header) { return same_letters(header.first, "authorization"); };
    if (std::any_of(headers.begin(), headers.end(), named)) {
      problems_.add(member.place, "auth: makes the Authorization header, which stands under headers: already");
    }
    if (bearer.empty() && user.empty()) return;
    const auto value = bearer.empty() ? "Basic " + base64(user + ":" + password) : "Bearer " + bearer;
    if (value.find_first_of("\r\n") != std::string::npos)
      return problems_.add(member.place, "auth: a header has no line breaks");
    headers.emplace_back("Authorization", Template(value));
  }

  // ---- conformance

  /// `into` holds what applies to what is left out.
  void read_conformance(const YamlMember& member, Conformance& into, bool of_file) {
    Section section(member.value, "conformance", "conformance", problems_);
    if (!section.is_mapping()) return;
    const auto* dialect = section.take("dialect");
    if (const auto word = scalars_->word(dialect, "conformance")) {
      into.dialect = dialect_named(*word).value_or(into.dialect);
      if (of_file && target_dialect_ && *target_dialect_ != into.dialect)
        problems_.add(dialect->place, fmt::format("dialect: is {} under target: already: leave one of them out",
                                                  name_of(*target_dialect_)));
    }
    if (const auto fail_on = scalars_->word(section.take("fail_on"), "conformance")) {
      into.fail_on.reset();
      for (const Severity severity : {Severity::fatal, Severity::error, Severity::warning})
        if (*fail_on == name_of(severity)) into.fail_on = severity;
    }
    if (const auto* allow = section.take("allow")) read_allowed(*allow, into.allow);
    into.keepalive = scalars_->duration(section.take("keepalive")).value_or(into.keepalive);
  }

  void read_allowed(const YamlMember& member, RuleSet& into) {
    into.reset();
    if (!member.value.is_sequence())
      return problems_.add(member.value.place, "allow: must be a list of rules, such as [no-done, role-twice]");
    std::vector<std::string_view> names;
    for (const StreamRuleInfo& rule : kStreamRules) names.push_back(rule.name);
    for (const YamlNode& item : member.value.items) {
      const auto name = scalars_->text(item, "allow");
      if (!name) continue;
      if (const auto rule = stream_rule_named(*name)) {
        into.set(static_cast<std::size_t>(*rule));
        continue;
      }
      const bool near = nearest(*name, names).has_value();
      problems_.add(item.place, fmt::format("allow: no rule is named '{}'{}", *name,
                                            near ? did_you_mean(*name, names)
                                                 : fmt::format("; there is {}", fmt::join(names, ", "))));
    }
  }

  // ---- scenarios

  void read_scenarios(const YamlMember& member) {
    if (!member.value.is_mapping() || member.value.members.empty()) {
      return problems_.add(member.value.place, "scenarios: must be a mapping of names to scenarios, with at least one");
    }
    if (member.value.members.size() > limits::scenarios_max) {
      return problems_.add(member.value.place, fmt::format("more than {} scenarios", limits::scenarios_max));
    }
    std::uint64_t vus = 0;
    for (const auto& entry : member.value.members) {
      if (!is_word(entry.key))
        problems_.add(entry.place, fmt::format("'{}' is no name for a scenario: letters, digits, _ and -", entry.key));
      read_scenario(entry);
    }
    int controlled = 0, searches = 0;
    for (const auto& scenario : plan_.scenarios) {
      vus += most_vus(scenario.shape);
      if (std::holds_alternative<ExternallyControlled>(scenario.shape) && ++controlled > 1)
        problems_.add(scenario.place, "executor: one scenario of a file can be externally-controlled");
      if (std::holds_alternative<FindMax>(scenario.shape) && ++searches > 1)
        problems_.add(scenario.place, "executor: one scenario of a file can be find-max");
    }
    if (vus > limits::vus_max)
      problems_.add(member.place, fmt::format("{} VUs together: at most {} are run", vus, limits::vus_max));
  }

  void read_scenario(const YamlMember& entry) {
    Section section(entry.value, "scenario", fmt::format("scenario '{}'", entry.key), problems_);
    if (!section.is_mapping()) return;
    ScenarioPlan scenario;
    scenario.name = entry.key;
    scenario.place = entry.place;
    scenario.shape = read_load_shape(section, entry, file_, options_, *scalars_, problems_);
    const bool replays = std::holds_alternative<TraceReplay>(scenario.shape);
    scenario.start_time = scalars_->duration(section.take("start_time")).value_or(Nanoseconds{});
    const auto* warmup = section.take("warmup");
    scenario.warmup = scalars_->duration(warmup).value_or(Nanoseconds{});
    scenario.graceful_stop = scalars_->duration(section.take("graceful_stop")).value_or(scenario.graceful_stop);
    scenario.tags = read_tags(section.take("tags"), *scalars_, problems_);
    if (const auto* objectives = section.take("objectives")) scenario.objectives = read_objectives(*objectives);
    scenario.conformance = plan_.conformance;
    if (const auto* conformance = section.take("conformance"))
      read_conformance(*conformance, scenario.conformance, false);
    if (const auto* url = section.take("url")) {
      scenario.url = scalars_->text(url).value_or("");
      if (!scenario.url.empty()) check_url(*url, scenario.url);
    }
    if (const auto* headers = section.take("headers")) scenario.headers = read_headers(*headers, *scalars_, problems_);
    if (const auto* auth = section.take("auth")) read_auth(*auth, scenario.headers);
    scenario.cookies = http_->read_cookies(section.take("cookies"), "scenario");
    const auto* http = section.take("http");
    scenario.http2 = http_->read_version(http, "scenario");
    if (scenario.http2.value_or(false) && plan_.target.engine && scenario.url.empty())
      problems_.add(http->place,
                    "http: h2 needs a target with url: the engine started beside the run does not speak it");
    if (const auto* network = section.take("network")) {
      scenario.network = http_->read_network(*network);
      if (scenario.http2.value_or(plan_.target.http2))
        problems_.add(network->place,
                      "network: is of one connection a VU, which http: h2 has not: leave one of them out");
    }
    if (const auto large = scalars_->whole(section.take("large_chunk_chars"), 1, 1'000'000))
      scenario.large_chunk_chars = static_cast<std::uint32_t>(*large);
    const auto* env = section.take("env");
    if (env) scalars_->variables().push(env->value);
    if (const auto* flow = section.take("flow"))
      scenario.flow = flows_->read_flow(*flow, entry.key, env != nullptr || replays);
    scalars_->variables().pop();
    if (replays) forget_trace(*scalars_);
    plan_.scenarios.push_back(std::move(scenario));
    if (warmup) check_warmup(warmup->place);
  }

  void read_compare(const YamlMember& member) {
    Section section(member.value, "compare", "compare", problems_);
    if (!section.is_mapping()) return;
    const auto scenario_of = [&](std::string_view key) -> std::optional<std::uint32_t> {
      const auto* named = section.take(key);
      const auto name = scalars_->text(named);
      if (!name) return std::nullopt;
      std::vector<std::string_view> names;
      for (std::uint32_t i = 0; i < plan_.scenarios.size(); ++i) {
        if (plan_.scenarios[i].name == *name) return i;
        names.push_back(plan_.scenarios[i].name);
      }
      problems_.add(named->value.place, fmt::format("{}: no scenario is named '{}'{}", key, *name,
                                                    nearest(*name, names) ? did_you_mean(*name, names) : ""));
      return std::nullopt;
    };
    const auto direct = scenario_of("direct"), via = scenario_of("via");
    if (!direct || !via) return;
    if (*direct == *via)
      return problems_.add(member.place, "compare: direct and via name the same scenario: two are compared");
    plan_.compare = ComparePlan{.direct = *direct, .via = *via};
  }

  /// Warm-ups must leave something of each scenario read so far.
  void check_warmup(Place place) {
    for (const auto& scenario : plan_.scenarios) {
      const Nanoseconds length = planned_duration(scenario.shape);
      const Nanoseconds from = measured_from(plan_, scenario);
      if (length.count() == 0 || from < scenario.start_time + length) continue;
      return problems_.add(
          place, fmt::format("warmup: ends {} after the run's start, and scenario '{}' after {}: "
                             "nothing of it would be measured",
                             format_duration(from), scenario.name, format_duration(scenario.start_time + length)));
    }
  }

  void read_metrics(const YamlMember& member) {
    if (!member.value.is_mapping())
      return problems_.add(member.value.place, "metrics: must be a mapping of names to {kind: ...}");
    for (const auto& entry : member.value.members) {
      Section section(entry.value, "metric", fmt::format("metric '{}'", entry.key), problems_);
      if (!section.is_mapping()) continue;
      CustomMetric metric;
      metric.name = entry.key;
      const auto kind = scalars_->word(section.take("kind"), "metric");
      const auto* unit_member = section.take("unit");
      const auto unit = scalars_->word(unit_member, "metric");
      const bool letters =
          is_word(entry.key) && entry.key.find('-') == std::string::npos && (entry.key[0] < '0' || entry.key[0] > '9');
      if (!letters)
        problems_.add(entry.place, fmt::format("'{}' is no name for a metric: letters, digits and _", entry.key));
      if (metric_named(entry.key))
        problems_.add(entry.place, fmt::format("'{}' is a metric that Sluice measures itself", entry.key));
      for (const MetricKind known : {MetricKind::trend, MetricKind::counter, MetricKind::rate, MetricKind::gauge})
        if (kind == kind_name(known)) metric.kind = known;
      for (const Unit known : {Unit::milliseconds, Unit::bytes, Unit::characters, Unit::tokens})
        if (unit == unit_name(known)) metric.unit = known;
      if (unit == "percent") metric.unit = Unit::percent;
      if (kind == "rate" && unit && unit != "none")
        problems_.add(unit_member->value.place, "unit: a rate is a share, without a unit");
      plan_.metrics.push_back(std::move(metric));
    }
    if (plan_.metrics.size() > limits::custom_metrics_max) {
      problems_.add(member.place, fmt::format("metrics: more than {}", limits::custom_metrics_max));
      plan_.metrics.resize(limits::custom_metrics_max);
    }
  }

  void read_gates(const YamlMember& member) {
    Section section(member.value, "gates", "gates", problems_);
    if (!section.is_mapping()) return;
    plan_.gates.dropped_iterations = scalars_->word(section.take("dropped_iterations"), "gates") != "off";
    plan_.gates.achieved_rate = scalars_->word(section.take("achieved_rate"), "gates") != "off";
  }

  std::vector<Objective> read_objectives(const YamlMember& member) {
    std::vector<Objective> objectives;
    if (!member.value.is_mapping()) {
      problems_.add(member.value.place, "objectives: must be a mapping of metrics to durations");
      return objectives;
    }
    static constexpr std::array allowed{Metric::ttft,
                                        Metric::tpot,
                                        Metric::e2e,
                                        Metric::http_req_duration,
                                        Metric::ttfb,
                                        Metric::ttfe,
                                        Metric::ttfa,
                                        Metric::ttft_sched,
                                        Metric::e2e_done,
                                        Metric::e2e_sched,
                                        Metric::http_req_waiting,
                                        Metric::http_req_duration_sched};
    std::vector<std::string_view> names;
    names.reserve(allowed.size());
    for (const auto metric : allowed) names.push_back(info(metric).name);
    for (const auto& entry : member.value.members) {
      const auto metric = metric_named(entry.key);
      if (!metric || std::find(allowed.begin(), allowed.end(), *metric) == allowed.end()) {
        problems_.add(entry.place,
                      fmt::format("objectives: '{}' is not a time of one request{}", entry.key,
                                  nearest(entry.key, names) ? did_you_mean(entry.key, names)
                                                            : fmt::format("; there is {}", fmt::join(names, ", "))));
        continue;
      }
      const auto limit = scalars_->duration(entry.value, entry.key);
      if (limit) objectives.push_back({*metric, static_cast<double>(limit->count()) / 1e6});
    }
    return objectives;
  }

  std::string file_;
  const LoadOptions& options_;
  ProblemList problems_;
  ScalarReader* scalars_ = nullptr;  // while read_file() runs
  FlowReader* flows_ = nullptr;      // likewise
  HttpReader* http_ = nullptr;       // likewise
  std::optional<Dialect> target_dialect_;
  Plan plan_;
};

Nanoseconds scaled(Nanoseconds value, double factor) {
  if (value.count() == 0) return value;
  const double longest = static_cast<double>(std::chrono::duration_cast<Nanoseconds>(limits::duration_max).count());
  return Nanoseconds(
      std::max<std::int64_t>(1, std::llround(std::min(static_cast<double>(value.count()) * factor, longest))));
}

void scale_sleeps(std::vector<Step>& steps, double factor) {
  for (auto& step : steps) {
    if (auto* sleep = std::get_if<SleepStep>(&step.verb)) {
      sleep->from = scaled(sleep->from, factor);
      sleep->to = scaled(sleep->to, factor);
      sleep->mean = scaled(sleep->mean, factor);
      sleep->deviation = scaled(sleep->deviation, factor);
      if (sleep->max) sleep->max = scaled(*sleep->max, factor);
    }
    for_each_block(step, [factor](auto& block) { scale_sleeps(block, factor); });
  }
}

std::optional<std::string> from_process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

}  // namespace

PlanOrProblems read_plan(std::string_view text, const std::string& file, const LoadOptions& options) {
  LoadOptions complete = options;
  if (!complete.environment) complete.environment = from_process_environment;
  return Reader(file, complete).read(text);
}

PlanOrProblems load_plan(const std::string& file, const LoadOptions& options) {
  const auto text = read_whole_file(file, limits::scenario_bytes_max);
  if (!text) {
    ProblemList problems(file);
    problems.add({}, text.error().message);
    return problems.take();
  }
  return read_plan(*text, file, options);
}

void scale_times(Plan& plan, double factor) {
  for (auto& scenario : plan.scenarios) {
    std::visit(
        [factor](auto& shape) {
          if constexpr (requires { shape.duration; }) shape.duration = scaled(shape.duration, factor);
          if constexpr (requires { shape.speed; }) shape.speed /= factor;
          if constexpr (requires { shape.trial; }) shape.trial = scaled(shape.trial, factor);
          if constexpr (requires { shape.max_duration; }) shape.max_duration = scaled(shape.max_duration, factor);
          if constexpr (requires { shape.stages; }) {
            for (auto& stage : shape.stages) stage.duration = scaled(stage.duration, factor);
          }
        },
        scenario.shape);
    scenario.start_time = scaled(scenario.start_time, factor);
    scenario.warmup = scaled(scenario.warmup, factor);
    scale_sleeps(scenario.flow, factor);
  }
  scale_sleeps(plan.setup, factor);
  scale_sleeps(plan.teardown, factor);
  for (auto& threshold : plan.thresholds) {
    threshold.delay_abort_eval = scaled(threshold.delay_abort_eval, factor);
    threshold.over = scaled(threshold.over, factor);
  }
  if (plan.stable) plan.stable->window = scaled(plan.stable->window, factor);
  if (plan.until_decided) plan.until_decided = scaled(*plan.until_decided, factor);
  plan.warmup = scaled(plan.warmup, factor);
}

}  // namespace sluice
