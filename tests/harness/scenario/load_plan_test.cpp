#include "harness/scenario/load_plan.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "harness/base/limits.h"
#include "harness/scenario/keys.h"
#include "harness/scenario/timeline.h"
#include "harness/scenario/trace.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::StartsWith;

const std::string kSource = SLUICE_SOURCE_DIR;

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// With no environment, and data files from a map.
LoadOptions quiet_options(std::map<std::string, std::string> files = {}) {
  LoadOptions options;
  options.environment = [](const std::string&) { return std::nullopt; };
  options.read_file = [files](const std::string& path) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return fail("there is no such file");
    return {boost::system::in_place_value, found->second};
  };
  return options;
}

Plan plan_of(const std::string& text, const LoadOptions& options = quiet_options()) {
  auto plan = read_plan(text, "dir/s.yaml", options);
  if (!plan) {
    ADD_FAILURE() << plan.error().text();
    return {};
  }
  return std::move(*plan);
}

std::string problems_of(const std::string& text, const LoadOptions& options = quiet_options()) {
  const auto plan = read_plan(text, "s.yaml", options);
  return plan ? std::string() : plan.error().text();
}

// A whole scenario around some steps, some lines of a scenario, or some lines at the top.
std::string around(const std::string& steps, const std::string& scenario = "executor: constant-vus\n    duration: 1s",
                   const std::string& top = "") {
  std::string flow;
  std::istringstream lines(steps);
  for (std::string line; std::getline(lines, line);) flow += "      " + line + "\n";
  return fmt::format("name: t\ntarget: {{url: 'http://h:1'}}\n{}\nscenarios:\n  a:\n    {}\n    flow:\n{}", top,
                     scenario, flow);
}
const std::string kStep = "- chat: {prompt: hello}";

const ChatStep& chat_of(const Plan& plan, std::size_t step = 0) {
  return std::get<ChatStep>(plan.scenarios.at(0).flow.at(step).verb);
}

// ---- what is wrong
// ----------------------------------------------------------------------------------------------------

TEST(LoadPlan, NamesEveryProblemOfAFileFullOfMistakes) {
  const auto golden = kSource + "/tests/harness/scenario/golden/";
  const auto plan = read_plan(file_text(golden + "mistakes.yaml"), "mistakes.yaml", quiet_options());
  ASSERT_FALSE(plan);
  const auto text = plan.error().text();
  if (std::getenv("UPDATE_GOLDEN")) std::ofstream(golden + "mistakes.txt") << text;
  EXPECT_EQ(text, file_text(golden + "mistakes.txt"));
  EXPECT_THAT(text, Not(HasSubstr("verysecret")));
  const auto problems = plan.error();  // a copy: error() returns by value
  EXPECT_TRUE(std::is_sorted(problems.list.begin(), problems.list.end(),
                             [](const auto& a, const auto& b) { return a.place.line < b.place.line; }));
}

TEST(LoadPlan, RefusesWhatIsNotStrictYaml) {
  struct Row {
    const char *text, *problem;
  };
  const Row rows[] = {
      {"", "s.yaml:1:1: the file is empty"},
      {"# only a comment\n", "s.yaml:1:1: the file is empty"},
      {"[a, b]", "s.yaml:1:1: the scenario file must be a mapping"},
      {"name: a\nname: b\n", "s.yaml:2:1: duplicate key 'name': it stands in line 1 already"},
      {"a: &x 1\n", "s.yaml:1:4: anchors (&x) are not taken here"},
      {"a: &x 1\nb: *x\n", "s.yaml:2:4: aliases (*name) are not taken here"},
      {"name: a\n---\nname: b\n", "s.yaml:2:1: a scenario file is one YAML document"},
      {"name: !!str a\n", "s.yaml:1:7: tags (tag:yaml.org,2002:str) are not taken here"},
      {"name: \"a\n", "s.yaml:1:7: the text that starts here has no closing quote"},
      {"name: 'a''\n", "s.yaml:1:7: the text that starts here has no closing quote"},
      {"name: a\n\ttarget: b\n", "s.yaml:2:"},
      {"name: {a: ${X}}\n", "s.yaml:1:12: ${X} inside {...} or [...] needs quotes: write \"${X}\""},
      {"name: [a, ${X}, b]\n", "s.yaml:1:12: ${X} inside {...} or [...] needs quotes: write \"${X}\""},
      {"name: [a\n", "s.yaml:"},
      {"? [a]\n: b\n", "s.yaml:1:3: a key must be text"},
      {"name: \xff\n", "s.yaml:1:7: this byte is not UTF-8 text"},
      {"name: a\nx: \xed\xa0\x80\n", "s.yaml:2:4: this byte is not UTF-8 text"},
      {"name:\n", "s.yaml:1:1: name: has no value"},
  };
  for (const auto& [text, problem] : rows) EXPECT_THAT(problems_of(text), HasSubstr(problem)) << text;
  EXPECT_THAT(problems_of(std::string("name: a\0b", 9)), HasSubstr("s.yaml:1:8: this byte is not UTF-8 text"));
}

TEST(LoadPlan, DepthAndSizeHaveBounds) {
  std::string deep = "a: ";
  for (int i = 0; i < 100'000; ++i) deep += "[";
  EXPECT_THAT(problems_of(deep), Not(IsEmpty()));
  std::string nested;
  for (int i = 0; i < 60; ++i) nested += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(problems_of(nested), HasSubstr("nested too deeply"));
  EXPECT_THAT(problems_of("name: " + std::string(limits::scenario_bytes_max, 'x')),
              HasSubstr("at most 1048576 are read"));
  std::string many = "name: [";
  for (std::size_t i = 0; i <= limits::scenario_nodes_max; ++i) many += "1,";
  EXPECT_THAT(problems_of(many + "1]"), HasSubstr("more than 100000 values"));
  std::string wrong;
  for (int i = 0; i < 1000; ++i) wrong += fmt::format("zz{}zz: 1\n", i);
  const auto plan = read_plan(wrong, "s.yaml", quiet_options());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().list.size(), limits::problems_max + 1);
  EXPECT_THAT(plan.error().list.back().message, HasSubstr("more problems"));
}

TEST(LoadPlan, RefusesWhatWouldBeReadDifferentlyElsewhere) {
  for (const auto* value : {"yes", "no", "on", "off", "True", "1", "''", "~x"}) {
    EXPECT_THAT(problems_of(around(fmt::format("- chat: {{prompt: a, stream: {}}}", value))),
                HasSubstr("is neither true nor false"))
        << value;
  }
  for (const auto* value : {"0x10", "0o7", "010", "1_000", "1e2", "-1", "1.5", ".inf", "+5", "99999999999999999999"}) {
    EXPECT_THAT(problems_of(around(fmt::format("- chat: {{prompt: a, max_tokens: {}}}", value))),
                HasSubstr("max_tokens: "))
        << value;
  }
  for (const auto* value : {".nan", ".inf", "-.inf", "nan", "0x1p3", "1_0", "hot", "2.5"}) {
    EXPECT_THAT(problems_of(around(fmt::format("- chat: {{prompt: a, temperature: {}}}", value))),
                HasSubstr("temperature: "))
        << value;
  }
  for (const auto* value : {"yes", "0x10", ".nan", "010", "1_000"}) {
    EXPECT_THAT(problems_of(around(fmt::format("- http: {{post: /, json: {{a: {}}}}}", value))),
                HasSubstr("read differently"))
        << value;
  }
}

TEST(LoadPlan, RefusesStepsThatMakeNoSense) {
  struct Row {
    const char *step, *problem;
  };
  const Row rows[] = {
      {"- chat: {}", "chat: needs prompt: or messages:"},
      {"- chat: {prompt: a, messages: [{role: user, content: b}]}", "chat: has prompt and messages"},
      {"- chat: {messages: [{role: usr, content: b}]}", "role: unknown 'usr'; did you mean 'user'?"},
      {"- chat: {messages: []}", "messages: must be a list of {role, content}"},
      {"- chat: {prompt: a, stream: false, include_usage: true}", "include_usage: belongs to streams"},
      {"- chat: {prompt: a, body: {stream: true}}", "'stream' is a key of the step itself"},
      {"- chat: {prompt: a, seed: 1, body: {seed: 2}}", "'seed' is a key of the step itself"},
      {"- chat: {prompt: a, check: status == 200}", "check: stands beside chat:"},
      {"- chat: hello", "chat must be a mapping"},
      {"- chat: {prompt: a}\n  http: {get: /}", "this has more: make them steps of their own"},
      {"- check: status == 200", "a step needs one of chat, completion, http"},
      {"- sleep: 1s\n  check: status == 200", "check: belongs to steps that send a request"},
      {"- sleep: 10", "sleep: '10' is not a duration"},
      {"- sleep: 1s..x", "sleep: 'x' is not a duration"},
      {"- group: a", "a group needs steps:"},
      {"- group: a::b\n  steps: [{sleep: 1s}]", "group: a name without '::' is wanted"},
      {"- chat: {prompt: a}\n  steps: [{sleep: 1s}]", "steps: belongs to a group"},
      {"- http: {}", "http: needs one of get, post"},
      {"- http: {get: /, json: {a: 1}}", "json: GET sends no body"},
      {"- http: {post: /, json: {a: 1}, body: x}", "http: has json and body"},
      {"- http: {get: /a b}", "a URL has no blanks"},
      {"- http: {get: /, headers: {Content-Length: 5}}", "Content-Length: this header is Sluice's own"},
      {"- http: {get: /, headers: {'a b': 5}}", "'a b' is no name of a header"},
      {"- http: {get: /, headers: {a: 1, A: 2}}", "A: this header stands twice"},
      {"- http: {get: /, headers: {a: \"x\\r\\ny: z\"}}", "a header has no line breaks"},
      {"- http: {get: /}\n  timeout: 0s", "timeout: must be longer than 0s"},
      {"- http: {get: /}\n  tags: {scenario: x}", "'scenario' is a tag that Sluice sets itself"},
      {"- websocket: {}", "websocket needs url:"},
      {"- http.post('/x'): {}", "write http: {post: ...}"},
      {"- chat: {prompt: \"${vu}\"}\n  check: chunks > ${vu}", "check: write vu instead of ${vu}"},
      {"- http: {get: /}\n  timeout: ${vu}s", "timeout: '${vu}s' changes with each iteration"},
      {"[]", "must be a list of at least one step"},
  };
  for (const auto& [step, problem] : rows) EXPECT_THAT(problems_of(around(step)), HasSubstr(problem)) << step;
}

TEST(LoadPlan, RefusesLoadsThatMakeNoSense) {
  struct Row {
    const char *scenario, *problem;
  };
  const Row rows[] = {
      {"executor: constant-vus", "scenario 'a' needs duration:"},
      {"executor: ramping-vus", "scenario 'a' needs stages:"},
      {"executor: constant-vus\n    duration: 10",
       "duration: '10' is not a duration: write a number and us, ms, s, m or h"},
      {"executor: constant-vus\n    duration: 0s", "duration: must be longer than 0s"},
      {"executor: constant-vus\n    duration: 1s\n    vus: 0", "vus: 0 is out of bounds: 1 to 100000"},
      {"executor: constant-vus\n    duration: 1s\n    stages: []", "stages: belongs to executor: ramping-vus"},
      {"executor: ramping-vus\n    duration: 1s\n    stages: [{duration: 1s, target: 1}]",
       "duration: belongs to executor: constant-vus"},
      {"executor: ramping-vus\n    stages: []", "stages: must be a list of 1 to 1000"},
      {"executor: ramping-vus\n    stages: [{duration: 1s, target: 0}]", "no target is over 0, so nothing would run"},
      {"executor: ramping-vus\n    stages: [{duration: 0s, target: 1}]", "stages: last no time at all"},
      {"executor: ramping-vus\n    stages: [{duration: 720h, target: 1}, {duration: 720h, target: 1}]",
       "stages: last longer than 720h"},
      {"executor: rampingVUs", "executor: unknown 'rampingVUs'; did you mean 'ramping-vus'?"},
      {"executor: shared-iterations\n    vus: 3\n    iterations: 2", "2 iterations are too few for 3 VUs to share"},
      {"executor: per-vu-iterations\n    duration: 1s",
       "duration: belongs to executor: constant-vus, constant-arrival-rate, poisson, gamma, externally-controlled"},
      {"executor: constant-arrival-rate", "scenario 'a' needs rate:"},
      {"executor: constant-arrival-rate\n    rate: 0\n    duration: 1s", "rate: must be over 0"},
      {"executor: constant-arrival-rate\n    rate: 0.0000001\n    duration: 1s", "choose a longer time_unit"},
      {"executor: constant-arrival-rate\n    rate: 2\n    duration: 1s\n    when_busy: waits", "did you mean 'wait'?"},
      {"executor: ramping-arrival-rate\n    stages: [{duration: 1s, target: 0}]", "no target is over 0"},
      {"executor: poisson", "scenario 'a' needs rate: and duration:, or stages:"},
      {"executor: poisson\n    rate: 2", "scenario 'a' needs duration:"},
      {"executor: poisson\n    start_rate: 2\n    rate: 2\n    duration: 1s", "start_rate: goes with stages:"},
      {"executor: gamma\n    rate: 2\n    duration: 1s", "scenario 'a' needs burstiness:"},
      {"executor: externally-controlled\n    vus: 4\n    max_vus: 2", "2 are fewer than the 4 to begin with"},
      {"executor: constant-vus\n    duration: 1s\n    gracefulStop: 1s", "here it is written 'graceful_stop'"},
      {"executor: constant-vus\n    duration: 1s\n    startVUs: 1", "here it is written 'start_vus'"},
      {"executor: constant-vus\n    duration: 1s\n    exec: x", "name a flow instead"},
      {"executor: constant-vus\n    duration: 1s\n    objectives: {icl: 1s}", "'icl' is not a time of one request"},
      {"vus: 1", "scenario 'a' needs executor:"},
  };
  for (const auto& [scenario, problem] : rows)
    EXPECT_THAT(problems_of(around(kStep, scenario)), HasSubstr(problem)) << scenario;
  std::string crowd = around(kStep);
  for (int i = 0; i < 3; ++i) {
    crowd += fmt::format("  b{}: {{executor: constant-vus, vus: 50000, duration: 1s, flow: [{{sleep: 1s}}]}}\n", i);
  }
  EXPECT_THAT(problems_of(crowd), HasSubstr("150001 VUs together: at most 100000 are run"));
}

TEST(LoadPlan, ReadsArrivalRatesExactly) {
  const auto shape_of = [](const std::string& scenario) {
    const auto plan = plan_of(around(kStep, scenario));
    return std::get<ArrivalRate>(plan.scenarios.at(0).shape);
  };
  const ArrivalRate constant = shape_of(
      "executor: constant-arrival-rate\n    rate: 0.1\n    duration: 30s\n    time_unit: 1m\n    max_vus: 7\n    "
      "pre_allocated_vus: 3\n    when_busy: wait");
  EXPECT_EQ(constant.executor, ArrivalRate::Executor::constant);
  EXPECT_EQ(constant.start_micro, 100'000u);
  EXPECT_EQ(constant.time_unit, std::chrono::minutes(1));
  EXPECT_EQ(constant.max_vus, 7u);
  EXPECT_TRUE(constant.wait_when_busy);
  ASSERT_EQ(constant.stages.size(), 1u);
  EXPECT_EQ(constant.stages[0].target_micro, 100'000u);
  const ArrivalRate gamma =
      shape_of("executor: gamma\n    burstiness: 0.5\n    start_rate: 2\n    stages: [{duration: 1s, target: 2.5}]");
  EXPECT_EQ(gamma.burstiness, 0.5);
  EXPECT_EQ(gamma.start_micro, 2'000'000u);
  EXPECT_EQ(gamma.stages.at(0).target_micro, 2'500'000u);
  EXPECT_FALSE(gamma.wait_when_busy);
}

TEST(LoadPlan, ReadsWhenTheRunIsStable) {
  const std::string minute = "executor: constant-vus\n    duration: 1m";
  const auto plan = plan_of(around(kStep, minute, "stable: {metric: ttft p(95)}"));
  ASSERT_TRUE(plan.stable);
  EXPECT_EQ(plan.stable->windows, 3u);
  EXPECT_EQ(plan.stable->window, seconds(10));
  EXPECT_EQ(plan.stable->tolerance, 0.05);
  EXPECT_FALSE(plan.stable->required);
  ASSERT_EQ(plan.stable->metrics.size(), 1u);
  EXPECT_EQ(plan.stable->metrics[0].metric, Metric::ttft);
  EXPECT_EQ(plan.stable->metrics[0].percentile, 95);
  const auto more = plan_of(around(kStep, minute,
                                   "stable: {metric: ['ttft{scenario:a} avg', http_reqs rate], window: 5s, windows: 4, "
                                   "tolerance: 0.1, required: true}"));
  ASSERT_EQ(more.stable->metrics.size(), 2u);
  EXPECT_EQ(more.stable->metrics[0].selector, (Tags{{"scenario", "a"}}));
  EXPECT_EQ(more.stable->metrics[1].aggregation, Aggregation::rate);
  EXPECT_EQ(more.stable->tolerance, 0.1);
  EXPECT_TRUE(more.stable->required);
  struct Row {
    const char *stable, *problem;
  };
  const Row rows[] = {
      {"{window: 1s}", "stable needs metric:"},
      {"{metric: ttft}", "metric: 'ttft': a metric and an aggregation are wanted, as in ttft p(95)"},
      {"{metric: tftt p(95)}", "did you mean 'ttft'?"},
      {"{metric: ttft p95}", "'p95' is written p(95)"},
      {"{metric: ttft rate}", "'rate' does not fit ttft, a trend"},
      {"{metric: 'ttft{x:y} avg'}", "nothing has the tag 'x'"},
      {"{metric: vus value}", "stable: vus is not kept by windows"},
      {"{metric: []}", "metric: the list is empty"},
      {"{metric: ttft avg, windows: 1}", "windows: 1 is out of bounds"},
      {"{metric: ttft avg, window: 0s}", "window: must be longer than 0s"},
      {"{metric: ttft avg, window: 30s}",
       "stable: the time of 3 windows of 30s is longer than the 1m that the load is measured"},
      {"{metric: ttft avg, window: 1ms}", "at most 2000 are kept"},
      {"{metric: ttft avg, tolerance: 0}", "tolerance: '0' is no share of the mean: write 5% or 0.05"},
      {"{metric: ttft avg, tolerance: 200%}", "'200%' is no share"},
      {"{metric: ttft avg, tolerance: five}", "'five' is no share"},
  };
  for (const auto& [stable, problem] : rows)
    EXPECT_THAT(problems_of(around(kStep, minute, fmt::format("stable: {}", stable))), HasSubstr(problem)) << stable;
}

const std::map<std::string, std::string> kTraces{
    {"dir/t.csv", "Timestamp,Request tokens,Response tokens\n10,3,4\n20,5,6\n40,7,8\n"},
    {"dir/t.jsonl", "{\"at\":0,\"prompt\":\"a\",\"user\":1}\n{\"at\":1,\"prompt\":\"b\"}\n"},
    {"dir/long.csv", "Timestamp,Request tokens,Response tokens\n0,3,4\n9999999,5,6\n"},
    {"dir/empty.csv", "Timestamp,Request tokens,Response tokens\n"}};
std::map<std::string, std::string> traces_beside() {
  std::map<std::string, std::string> files;
  for (const auto& [path, bytes] : kTraces) files[path.substr(4)] = bytes;
  return files;
}
constexpr const char* kAsTold = "- chat: {prompt: \"${trace.prompt}\", max_tokens: \"${trace.output_tokens}\"}";

TEST(LoadPlan, ReadsATraceAsAnOpenModelOfTheLengthThatItHas) {
  const auto plan =
      plan_of(around(kAsTold, "executor: trace\n    file: t.csv\n    speed: 2\n    max_vus: 7\n    when_busy: wait"),
              quiet_options(kTraces));
  const LoadShape& shape = plan.scenarios.at(0).shape;
  const auto& replay = std::get<TraceReplay>(shape);
  ASSERT_EQ(replay.trace->rows.size(), 3u);
  EXPECT_EQ(replay.trace->rows[2].at, seconds(30));
  EXPECT_EQ(replay.trace->rows[2].output_tokens, 8);
  EXPECT_TRUE(replay.wait_when_busy);
  EXPECT_EQ(most_vus(shape), 7u);
  EXPECT_TRUE(is_open(shape));
  EXPECT_EQ(planned_duration(shape) / milliseconds(1), 22'500) << "a mean gap after the last, at twice the speed";

  const auto part =
      plan_of(around(kAsTold, "executor: trace\n    file: t.csv\n    from: 15s\n    to: 40s\n    limit: 5"),
              quiet_options(kTraces));
  const auto& window = std::get<TraceReplay>(part.scenarios.at(0).shape);
  ASSERT_EQ(window.trace->rows.size(), 1u);
  EXPECT_EQ(window.trace->rows[0].at, seconds(5));
  EXPECT_EQ(planned_duration(part.scenarios.at(0).shape) / milliseconds(1), 6000) << "a second more";
  const auto cut_short =
      plan_of(around(kAsTold, "executor: trace\n    file: t.csv\n    to: 25s"), quiet_options(kTraces));
  EXPECT_EQ(planned_duration(cut_short.scenarios.at(0).shape) / milliseconds(1), 15'000) << "until `to`";

  Plan scaled = plan;
  scale_times(scaled, 0.1);
  const auto& quick = std::get<TraceReplay>(scaled.scenarios.at(0).shape);
  EXPECT_DOUBLE_EQ(quick.speed, 20);
  EXPECT_EQ(planned_duration(quick) / milliseconds(1), 2'250);
}

TEST(LoadPlan, ATraceSharesANamedFlowWithAnother) {
  const std::string text = "name: n\ntarget: {url: 'http://h'}\nflows:\n  as_told:\n    " + std::string(kAsTold) +
                           "\nscenarios:\n  a: {executor: trace, file: t.csv, flow: as_told}\n"
                           "  b: {executor: trace, file: t.csv, speed: 2, flow: as_told}\n";
  EXPECT_EQ(plan_of(text, quiet_options(kTraces)).scenarios.size(), 2u);
  EXPECT_THAT(problems_of(text + "  c: {executor: constant-vus, duration: 1s, flow: as_told}\n",
                          quiet_options(traces_beside())),
              HasSubstr("no data has 'trace.prompt'"));
}

TEST(LoadPlan, RefusesTracesThatCannotBeReplayed) {
  struct Row {
    const char *scenario, *step, *problem;
  };
  const Row rows[] = {
      {"executor: trace", kStep.c_str(), "scenario 'a' needs file:"},
      {"executor: trace\n    file: no.csv", kAsTold, "s.yaml:7:11: file: no.csv: there is no such file"},
      {"executor: trace\n    file: empty.csv", kAsTold, "empty.csv: has no requests"},
      {"executor: trace\n    file: t.csv\n    format: mooncke", kAsTold, "did you mean 'mooncake'?"},
      {"executor: trace\n    file: t.csv\n    speed: 0", kAsTold, "speed: 0 is out of bounds"},
      {"executor: trace\n    file: t.csv\n    from: 50s", kAsTold,
       "from: no request lies there: they came from 10s to 40s"},
      {"executor: trace\n    file: t.csv\n    to: 10s", kAsTold, "to: no request lies there"},
      {"executor: trace\n    file: t.csv\n    from: 20s\n    to: 20s", kAsTold,
       "to: 20s is not after 20s, where the window begins"},
      {"executor: trace\n    file: t.csv\n    rate: 5", kAsTold, "rate: belongs to executor: constant-arrival-rate"},
      {"executor: trace\n    file: long.csv", kAsTold, "file: lasts longer than 720h: from: and to: take a part"},
      {"executor: trace\n    file: t.csv", "- chat: {prompt: \"${trace.promt}\"}", "did you mean 'trace.prompt'?"},
      {"executor: trace\n    file: t.jsonl", "- chat: {prompt: \"${trace.user}\"}",
       "line 2 of the data file has no 'trace.user'"},
      {"executor: constant-vus\n    duration: 1s\n    speed: 2", kStep.c_str(), "speed: belongs to executor: trace"},
  };
  for (const auto& [scenario, step, problem] : rows)
    EXPECT_THAT(problems_of(around(step, scenario), quiet_options(traces_beside())), HasSubstr(problem)) << scenario;
  EXPECT_THAT(problems_of(around(kAsTold, "executor: trace\n    file: t.csv") + "data: {trace: {file: t.jsonl}}\n",
                          quiet_options(traces_beside())),
              HasSubstr("another name is wanted for the data 'trace'"));
}

TEST(LoadPlan, RefusesTargetsThatCannotBe) {
  struct Row {
    const char *target, *problem;
  };
  const Row rows[] = {
      {"{}", "target: needs url: or engine:"},
      {"{url: ''}", "target: url is empty, and there is no engine: to start instead"},
      {"{url: h:1}", "url: http:// or https:// with a host"},
      {"{url: 'ftp://h'}", "url: http:// or https:// with a host"},
      {"{url: 'http://h:1?x=1'}", "url: http:// or https:// with a host"},
      {"{url: 'http://u:p@h:1'}", "url: a user and a password stand under auth:"},
      {"{url: 'http://h', headers: {authorization: x}, auth: {bearer: y}}", "auth: makes the Authorization header"},
      {"{url: 'http://h', auth: {user: 'a:b'}}", "user: cannot contain ':'"},
      {"{engine: {}}", "engine needs model:"},
      {"{engine: {model: a, backend: gpu}}", "backend: unknown 'gpu'"},
      {"{engine: {model: a, engine_cores: 3-1}}", "'3-1' is not a list of cores"},
      {"{engine: {model: a, kv_mib: 1.5}}", "kv_mib: "},
      {"{engine: {model: a, kv_mib: -1}}", "kv_mib: "},
      {"{engine: {model: a, slots: many}}", "slots: "},
      {"{engine: {model: a, context: 99999999}}", "context: "},
      {"{engine: {model: a, args: x}}", "args: must be a list"},
      {"{url: 'http://h', dialect: anthropics}", "dialect: unknown 'anthropics'"},
      {"{url: 'http://h', request_timeout: 0s}", "request_timeout: must be longer than 0s"},
  };
  for (const auto& [target, problem] : rows) {
    const auto text = fmt::format(
        "name: t\ntarget: {}\nscenarios: {{a: {{executor: constant-vus, duration: 1s, flow: [{{sleep: 1s}}]}}}}\n",
        target);
    EXPECT_THAT(problems_of(text), HasSubstr(problem)) << target;
  }
}

/// Two scenarios with lines of their own, and what compares them.
std::string two_ways(const std::string& direct, const std::string& via, const std::string& compare) {
  return fmt::format(
      "name: t\ntarget: {{url: 'http://h', auth: {{bearer: s3cret}}}}\nlarge_chunk_chars: 30\nenv: {{VIA: ''}}\n"
      "flows: {{ask: [{{chat: {{prompt: a}}}}]}}\nscenarios:\n"
      "  one: {{executor: constant-vus, duration: 1s, flow: ask{}}}\n"
      "  two: {{executor: constant-vus, duration: 1s, flow: ask{}}}\ncompare: {}\n",
      direct, via, compare);
}

TEST(LoadPlan, ComparesTwoScenariosThatMayAskServersOfTheirOwn) {
  const Plan plan = plan_of(two_ways("",
                                     ", url: 'http://proxy:80/base/v1/', headers: {X-Way: via}, auth: {bearer: other}, "
                                     "large_chunk_chars: 7",
                                     "{direct: one, via: two}"));
  ASSERT_EQ(plan.scenarios.size(), 2u);
  EXPECT_EQ(plan.scenarios[0].url, "");
  EXPECT_THAT(plan.scenarios[0].headers, IsEmpty());
  EXPECT_EQ(plan.scenarios[0].large_chunk_chars, std::nullopt);
  EXPECT_EQ(plan.scenarios[1].url, "http://proxy:80/base") << "/v1 is what steps add";
  ASSERT_EQ(plan.scenarios[1].headers.size(), 2u);
  EXPECT_EQ(plan.scenarios[1].headers[1].second.text(), "Bearer other");
  EXPECT_EQ(plan.scenarios[1].large_chunk_chars, 7u);
  EXPECT_EQ(plan.large_chunk_chars, 30u);
  ASSERT_TRUE(plan.compare);
  EXPECT_EQ(plan.compare->direct, 0u);
  EXPECT_EQ(plan.compare->via, 1u);
  EXPECT_EQ(plan_of(two_ways("", ", url: '${VIA}'", "{direct: two, via: one}")).scenarios[1].url, "");
}

TEST(LoadPlan, RefusesWaysThatCannotBeCompared) {
  struct Row {
    const char *via, *compare, *problem;
  };
  const Row rows[] = {
      {"", "{direct: one, via: too}", "s.yaml:9:29: via: no scenario is named 'too'; did you mean 'two'?"},
      {"", "{direct: one, via: one}", "compare: direct and via name the same scenario"},
      {"", "{direct: one}", "compare needs via:"},
      {"", "{direct: one, via: two, third: one}", "unknown key 'third' in compare; it has direct, via"},
      {"", "one", "compare must be a mapping"},
      {", url: 'ftp://h'", "{direct: one, via: two}", "url: http:// or https:// with a host"},
      {", url: 'http://u:p@h'", "{direct: one, via: two}", "url: a user and a password stand under auth:"},
      {", headers: {Authorization: a}, auth: {bearer: b}", "{direct: one, via: two}",
       "auth: makes the Authorization header, which stands under headers: already"},
      {", large_chunk_chars: 0", "{direct: one, via: two}", "large_chunk_chars: 0 is out of bounds: 1 to 1000000"},
  };
  for (const Row& row : rows)
    EXPECT_THAT(problems_of(two_ways("", row.via, row.compare)), HasSubstr(row.problem)) << row.via << row.compare;
}

TEST(LoadPlan, RefusesConformanceThatCannotBe) {
  struct Row {
    const char *target, *file, *scenario, *problem;
  };
  const Row rows[] = {
      {"", "{dialect: vlm}", "{}", "s.yaml:3:24: dialect: unknown 'vlm'; did you mean 'vllm'?"},
      {", dialect: vllm", "{dialect: sglang}", "{}", "dialect: is vllm under target: already: leave one of them out"},
      {"", "{fail_on: fatals}", "{}", "fail_on: unknown 'fatals'"},
      {"", "{allow: no-done}", "{}", "allow: must be a list of rules, such as [no-done, role-twice]"},
      {"", "{allow: [no_done]}", "{}", "s.yaml:3:23: allow: no rule is named 'no_done'; did you mean 'no-done'?"},
      {"", "{allow: [everything]}", "{}", "allow: no rule is named 'everything'; there is http-status, content-type"},
      {"", "{keepalive: 15}", "{}", "keepalive: '15' is not a duration"},
      {"", "{rules: []}", "{}", "unknown key 'rules' in conformance; it has dialect, fail_on, allow, keepalive"},
      {"", "{}", "{fail_on: often}", "fail_on: unknown 'often'"},
  };
  for (const auto& row : rows) {
    const auto text = fmt::format(
        "name: t\ntarget: {{url: 'http://h'{}}}\nconformance: {}\nscenarios:\n  a: {{executor: constant-vus, duration: "
        "1s, "
        "conformance: {}, flow: [{{sleep: 1s}}]}}\n",
        row.target, row.file, row.scenario);
    EXPECT_THAT(problems_of(text), HasSubstr(row.problem)) << row.file << row.scenario;
  }
  EXPECT_THAT(
      problems_of(
          "name: t\ntarget: {url: 'http://h'}\nscenarios:\n  a:\n    executor: constant-vus\n    duration: 1s\n"
          "    flow:\n      - sse: {post: /x, api: chats}\n      - sse: {post: /x, api: chat, until: '[DONE]'}\n"),
      AllOf(HasSubstr("api: unknown 'chats'"), HasSubstr("until: a stream of an API ends with that API's own event")));
}

TEST(LoadPlan, ReadsHowStreamsAreJudged) {
  const auto plan = plan_of(R"(
name: judged
target: {url: "http://h", dialect: vllm}
conformance: {fail_on: error, allow: [no-done, role-twice], keepalive: 30s}
scenarios:
  as_the_file: {executor: constant-vus, duration: 1s, flow: [{chat: {prompt: a}}]}
  its_own:
    executor: constant-vus
    duration: 1s
    conformance: {dialect: anthropic, fail_on: none, allow: [], keepalive: 0s}
    flow: [{sse: {post: /v1/messages, api: messages}}]
)");
  const Conformance& file = plan.scenarios[0].conformance;
  EXPECT_EQ(file.dialect, Dialect::vllm);
  EXPECT_EQ(file.fail_on, Severity::error);
  EXPECT_EQ(file.allow.count(), 2u);
  EXPECT_TRUE(file.allow.test(static_cast<std::size_t>(StreamRule::role_twice)));
  EXPECT_EQ(file.keepalive, std::chrono::seconds(30));
  const Conformance& own = plan.scenarios[1].conformance;
  EXPECT_EQ(own.dialect, Dialect::anthropic);
  EXPECT_EQ(own.fail_on, std::nullopt);
  EXPECT_TRUE(own.allow.none());
  EXPECT_EQ(own.keepalive, Nanoseconds(0));
  EXPECT_EQ(std::get<SseStep>(plan.scenarios[1].flow[0].verb).api, StreamApi::messages);
  const auto plain = plan_of(
      "name: t\ntarget: {url: 'http://h'}\nscenarios: {a: {executor: constant-vus, duration: 1s, flow: [{sleep: "
      "1s}]}}\n");
  EXPECT_EQ(plain.conformance.dialect, Dialect::openai);
  EXPECT_EQ(plain.conformance.fail_on, std::nullopt);
  EXPECT_EQ(plain.conformance.keepalive, std::chrono::seconds(15));
}

TEST(Schema, KnowsEveryRule) {
  for (const StreamRuleInfo& rule : kStreamRules)
    EXPECT_THAT(scenario_schema(), HasSubstr('"' + std::string(rule.name) + '"'));
}

// ---- what is right
// ----------------------------------------------------------------------------------------------------

TEST(LoadPlan, ReadsTheDesignsExample) {
  auto options = quiet_options({{"dir/data/prompts.jsonl", "{\"text\":\"say hi\"}\n{\"text\":\"say ho\"}\n"}});
  options.overrides = {{"API_TOKEN", "s3cret"}};
  const auto plan = plan_of(R"(
name: streaming
env:
  BASE_URL: http://127.0.0.1:8000
  TTFT_THRESHOLD: 2s
target:
  url: ${BASE_URL}/
  dialect: vllm
  headers: {Authorization: "Bearer ${API_TOKEN}"}
data:
  prompts: {file: data/prompts.jsonl, order: random, seed: 7}
scenarios:
  chat:
    executor: ramping-vus
    stages:
      - {duration: 1m, target: 5}
      - {duration: 30s, target: 0}
    tags: {kind: chat}
    objectives: {ttft: 2s, tpot: 50ms}
    flow:
      - chat: {prompt: "${prompts.text}", max_tokens: 150, temperature: 0}
        check:
          - status == 200
          - text contains "print("
          - chunks in 50..100
          - finish_reason == stop
      - sleep: 1s..3s
thresholds:
  ttft: p(95) < ${TTFT_THRESHOLD}
  http_req_duration{kind:chat}: [p(50)<1500, p(95)<3000, p(99)<5000]
  http_req_failed: rate < 1%
  checks: {threshold: rate > 0.99, abort_on_fail: true, delay_abort_eval: 10s}
)",
                            options);
  EXPECT_EQ(plan.name, "streaming");
  EXPECT_EQ(plan.target.url, "http://127.0.0.1:8000");
  EXPECT_EQ(plan.conformance.dialect, Dialect::vllm);
  EXPECT_EQ(plan.scenarios.front().conformance.dialect, Dialect::vllm);
  ASSERT_EQ(plan.target.headers.size(), 1u);
  EXPECT_EQ(plan.target.headers[0].second.text(), "Bearer s3cret");
  EXPECT_THAT(plan.env, ElementsAre(Pair("BASE_URL", "http://127.0.0.1:8000"), Pair("TTFT_THRESHOLD", "2s")));
  ASSERT_EQ(plan.data.size(), 1u);
  EXPECT_THAT(plan.data[0].rows, ElementsAre(ElementsAre("say hi"), ElementsAre("say ho")));
  EXPECT_EQ(plan.data[0].seed, 7u);
  EXPECT_EQ(plan.data[0].order, DataSet::Order::random);

  ASSERT_EQ(plan.scenarios.size(), 1u);
  const auto& scenario = plan.scenarios[0];
  const auto& ramp = std::get<RampingVus>(scenario.shape);
  ASSERT_EQ(ramp.stages.size(), 2u);
  EXPECT_EQ(ramp.stages[0].duration, minutes(1));
  EXPECT_EQ(ramp.stages[1].target, 0u);
  EXPECT_EQ(ramp.graceful_ramp_down, seconds(30));
  EXPECT_THAT(scenario.tags, ElementsAre(Pair("kind", "chat")));
  ASSERT_EQ(scenario.objectives.size(), 2u);
  EXPECT_EQ(scenario.objectives[1].metric, Metric::tpot);
  EXPECT_EQ(scenario.objectives[1].limit_ms, 50);

  ASSERT_EQ(scenario.flow.size(), 2u);
  EXPECT_EQ(scenario.flow[0].name, "chat");
  EXPECT_EQ(scenario.flow[0].place.line, 21);
  const auto& chat = chat_of(plan);
  ASSERT_EQ(chat.messages.size(), 1u);
  EXPECT_EQ(chat.messages[0].role.text(), "user");
  EXPECT_EQ(chat.messages[0].content.text(), "${prompts.text}");
  EXPECT_FALSE(chat.messages[0].content.is_static());
  EXPECT_TRUE(chat.stream);
  EXPECT_TRUE(chat.include_usage);
  EXPECT_THAT(chat.options, ElementsAre(Pair("max_tokens", "150"), Pair("temperature", "0")));
  ASSERT_EQ(scenario.flow[0].checks.size(), 4u);
  EXPECT_EQ(scenario.flow[0].checks[1].text, "text contains \"print(\"");
  EXPECT_EQ(std::get<SleepStep>(scenario.flow[1].verb).from, seconds(1));
  EXPECT_EQ(std::get<SleepStep>(scenario.flow[1].verb).to, seconds(3));

  ASSERT_EQ(plan.thresholds.size(), 6u);
  EXPECT_EQ(plan.thresholds[0].text, "p(95) < 2s");
  EXPECT_EQ(plan.thresholds[0].limit, 2000);
  EXPECT_EQ(plan.thresholds[2].percentile, 95);
  EXPECT_THAT(plan.thresholds[2].selector, ElementsAre(Pair("kind", "chat")));
  EXPECT_EQ(plan.thresholds[4].limit, 0.01);
  EXPECT_TRUE(plan.thresholds[5].abort_on_fail);
  EXPECT_EQ(plan.thresholds[5].delay_abort_eval, seconds(10));
}

TEST(LoadPlan, ReadsEveryStep) {
  const auto plan = plan_of(around(R"(- group: browse
  steps:
    - http: {post: /api/items, json: {name: "x \"y\"", n: 5, f: 1.5, yes: true, none: null, list: [1, two], quoted: "7", vu: "${vu}"}, headers: {X-Trace: "t-${iteration}"}}
      name: make
      tags: {b: "2", a: "1"}
      timeout: 5s
      check: status in [200, 201]
    - http: {put: /raw, body: plain text}
    - http: {delete: "http://other:9/x", headers: {Content-Type: a/b}}
- chat:
    system: be brief
    messages:
      - {role: user, content: one}
      - {role: assistant, content: two}
      - {role: user, content: three}
    model: m-${vu}
    stream: false
    max_tokens: 5
    temperature: 0.70
    top_p: 0.9
    top_k: 40
    min_p: 0.05
    presence_penalty: -1
    frequency_penalty: 1
    repetition_penalty: 1.1
    seed: 3
    stop: [a, "b\n"]
    body: {ignore_eos: true, logit_bias: {"5": -100}}
- chat: {prompt: again, stop: x}
- chat: {prompt: and again})"));
  const auto& flow = plan.scenarios.at(0).flow;
  ASSERT_EQ(flow.size(), 4u);
  const auto& group = std::get<GroupStep>(flow[0].verb);
  EXPECT_EQ(group.name, "browse");
  ASSERT_EQ(group.steps.size(), 3u);
  const auto& made = group.steps[0];
  EXPECT_EQ(made.name, "make");
  EXPECT_THAT(made.tags, ElementsAre(Pair("a", "1"), Pair("b", "2")));
  EXPECT_EQ(made.timeout, seconds(5));
  EXPECT_EQ(made.checks.size(), 1u);
  const auto& http = std::get<HttpStep>(made.verb);
  EXPECT_EQ(http.method, "POST");
  EXPECT_EQ(http.content_type, "application/json");
  EXPECT_EQ(http.body.text(),
            R"({"name":"x \"y\"","n":5,"f":1.5,"yes":true,"none":null,"list":[1,"two"],"quoted":"7","vu":${vu}})");
  EXPECT_EQ(http.headers.at(0).second.text(), "t-${iteration}");
  EXPECT_EQ(group.steps[1].name, "PUT /raw");
  EXPECT_EQ(std::get<HttpStep>(group.steps[1].verb).content_type, "text/plain; charset=utf-8");
  EXPECT_EQ(std::get<HttpStep>(group.steps[2].verb).content_type, "");

  const auto& chat = chat_of(plan, 1);
  ASSERT_EQ(chat.messages.size(), 4u);
  EXPECT_EQ(chat.messages[0].role.text(), "system");
  EXPECT_EQ(chat.messages[2].content.text(), "two");
  EXPECT_EQ(chat.model.text(), "m-${vu}");
  EXPECT_FALSE(chat.stream);
  EXPECT_THAT(chat.options, ElementsAre(Pair("max_tokens", "5"), Pair("temperature", "0.7"), Pair("top_p", "0.9"),
                                        Pair("top_k", "40"), Pair("min_p", "0.05"), Pair("presence_penalty", "-1"),
                                        Pair("frequency_penalty", "1"), Pair("repetition_penalty", "1.1"),
                                        Pair("seed", "3"), Pair("stop", R"(["a","b\n"])"), Pair("ignore_eos", "true"),
                                        Pair("logit_bias", R"({"5":-100})")));
  EXPECT_EQ(flow[1].name, "chat");
  EXPECT_EQ(flow[2].name, "chat (2)") << "each step has its own row in reports";
  EXPECT_EQ(flow[3].name, "chat (3)");
  EXPECT_THAT(chat_of(plan, 2).options, ElementsAre(Pair("stop", R"(["x"])")));
}

TEST(LoadPlan, FlowsHaveNames) {
  const auto text = [](const char* flow) {
    return fmt::format(
        "name: t\ntarget: {{url: 'http://h'}}\nflows:\n  shared: [{{sleep: 1s}}, {{sleep: 2s}}]\nscenarios:\n"
        "  a: {{executor: constant-vus, duration: 1s, flow: {}}}\n  b: {{executor: constant-vus, duration: 1s, flow: "
        "shared}}\n",
        flow);
  };
  const auto plan = plan_of(text("shared"));
  EXPECT_EQ(plan.scenarios.at(0).flow.size(), 2u);
  EXPECT_EQ(plan.scenarios.at(1).flow.size(), 2u);
  EXPECT_THAT(problems_of(text("sharde")), HasSubstr("nothing under flows: is named 'sharde'; did you mean 'shared'?"));
}

TEST(LoadPlan, AnEngineIsATargetAndAUrlWins) {
  const auto target = [](const std::string& lines, LoadOptions options = quiet_options()) {
    return plan_of("name: t\nenv: {BASE_URL: ''}\ntarget:\n" + lines +
                       "\nscenarios: {a: {executor: constant-vus, duration: 1s, flow: [{sleep: 1s}]}}\n",
                   options)
        .target;
  };
  const std::string both =
      "  url: ${BASE_URL}\n  engine: {model: tiny, backend: cpu, args: [--threads, 2], engine_cores: 0-1, "
      "harness_cores: '3', ready_timeout: 5s, kv_mib: 4, slots: 8}";
  const auto started = target(both);
  ASSERT_TRUE(started.engine);
  EXPECT_EQ(started.engine->model, "tiny");
  EXPECT_EQ(started.engine->backend, "cpu");
  EXPECT_THAT(started.engine->args, ElementsAre("--threads", "2"));
  EXPECT_EQ(started.engine->engine_cores, "0-1");
  EXPECT_EQ(started.engine->kv_mib, 4u);
  EXPECT_EQ(started.engine->slots, 8u);
  EXPECT_EQ(started.engine->context, 0u) << "the engine's own choice";
  EXPECT_EQ(started.engine->ready_timeout, seconds(5));
  auto options = quiet_options();
  options.overrides = {{"BASE_URL", "https://api.example/base/v1/"}};
  const auto remote = target(both, options);
  EXPECT_FALSE(remote.engine);
  EXPECT_EQ(remote.url, "https://api.example/base") << "without /v1, which steps add";

  EXPECT_EQ(target("  url: http://h\n  auth: {bearer: tok}").headers.at(0).second.text(), "Bearer tok");
  EXPECT_EQ(target("  url: http://h\n  auth: {user: Aladdin, password: 'open sesame'}").headers.at(0).second.text(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
  EXPECT_EQ(target("  url: http://h\n  auth: {user: a, password: b}").headers.at(0).second.text(), "Basic YTpi");
  EXPECT_EQ(target("  url: http://h\n  auth: {user: ab, password: b}").headers.at(0).second.text(), "Basic YWI6Yg==");
  EXPECT_TRUE(target("  url: http://h\n  auth: {bearer: '', user: '', password: ''}").headers.empty());
}

// ---- variables
// --------------------------------------------------------------------------------------------------------

std::string named(const std::string& env, const std::string& name, const LoadOptions& options) {
  return plan_of("name: " + name + "\n" + env +
                     "target: {url: 'http://h'}\nscenarios: {a: {executor: constant-vus, duration: 1s, flow: [{sleep: "
                     "1s}]}}\n",
                 options)
      .name;
}

TEST(Variables, TheCommandLineWinsOverTheEnvironmentAndThatOverTheFile) {
  auto options = quiet_options();
  EXPECT_EQ(named("env: {A: file}\n", "${A}", options), "file");
  options.environment = [](const std::string& name) {
    return name == "A" ? std::optional<std::string>("environment") : std::nullopt;
  };
  EXPECT_EQ(named("env: {A: file}\n", "${A}", options), "environment");
  EXPECT_EQ(named("", "${A}", options), "environment") << "no default is needed";
  options.overrides = {{"A", "command line"}};
  EXPECT_EQ(named("env: {A: file}\n", "${A}", options), "command line");
  options.overrides = {};
  options.environment = [](const std::string&) { return std::optional<std::string>(""); };
  EXPECT_EQ(named("env: {A: file}\n", "${A}", options), "file")
      << "an empty value in the environment counts as not set";
}

TEST(Variables, FillTextAndEachOther) {
  const auto options = quiet_options();
  EXPECT_EQ(named("env: {A: x, B: 'y${A}y', C: 'z${B}z'}\n", "'<${C}-${A}>'", options), "<zyxyz-x>");
  EXPECT_EQ(named("env: {A: '$${B}'}\n", "${A}", options), "${B}") << "what a variable holds is not read again";
  EXPECT_EQ(named("", "costs $5 and $${A}", options), "costs $5 and ${A}");
  EXPECT_EQ(named("env: {A: 5}\n", "${A}", options), "5");
}

TEST(Variables, SayWhatIsWrong) {
  const auto around_env = [](const std::string& env, const std::string& name) {
    return "name: " + name + "\nenv: " + env +
           "\ntarget: {url: 'http://h'}\nscenarios: {a: {executor: constant-vus, duration: 1s, flow: [{sleep: 1s}]}}\n";
  };
  EXPECT_THAT(problems_of(around_env("{BASE_URL: x}", "${BASE_ULR}")),
              HasSubstr("s.yaml:1:7: variable 'BASE_ULR' is not set: give it a default under env:, set it in the "
                        "environment, or pass -e BASE_ULR=...; "
                        "did you mean 'BASE_URL'?"));
  EXPECT_THAT(problems_of(around_env("{A: \"${B}\", B: \"${C}\", C: \"${A}\"}", "x")),
              HasSubstr("the default of 'A' leads back to itself"));
  EXPECT_THAT(problems_of(around_env("{}", "a${B")), HasSubstr("'${' has no '}'"));
  EXPECT_THAT(problems_of(around_env("{}", "a${B c}")), HasSubstr("s.yaml:1:12: in ${B c}: 'c' is left over"));
  EXPECT_THAT(problems_of(around_env("{a b: 1}", "x")), HasSubstr("'a b' is no name of a variable"));
  EXPECT_THAT(problems_of(around_env("{vu: 1}", "x")), HasSubstr("'vu' is the iteration's own"));
  EXPECT_THAT(problems_of(around_env("{A: [1]}", "x")), HasSubstr("the default of 'A' must be one value"));
  EXPECT_THAT(problems_of(around_env("5", "x")), HasSubstr("env: must be a mapping"));
  auto options = quiet_options();
  options.overrides = {{"TTFT_TRESHOLD", "1s"}};
  EXPECT_EQ(problems_of(around_env("{TTFT_THRESHOLD: 2s}", "x"), options),
            "s.yaml: -e TTFT_TRESHOLD: this scenario has no such variable; did you mean 'TTFT_THRESHOLD'?\n");
}

TEST(Variables, CannotGrowWithoutBound) {
  std::string env = "env:\n  V0: xxxxxxxxxx\n";
  for (int i = 1; i < 15; ++i) {
    std::string ten;
    for (int j = 0; j < 10; ++j) ten += fmt::format("${{V{}}}", i - 1);
    env += fmt::format("  V{}: {}\n", i, ten);
  }
  EXPECT_THAT(problems_of("name: t\n" + env), HasSubstr("longer than 65536 bytes"));
  std::string chain = "env:\n";
  for (int i = 900; i > 0; --i) chain += fmt::format("  V{:04}: ${{V{:04}}}\n", i, i - 1);
  EXPECT_THAT(problems_of("name: t\n" + chain + "  V0000: x\n"), HasSubstr("goes through too many other variables"));
}

TEST(Variables, SecretsAreNotShown) {
  auto options = quiet_options();
  options.overrides = {{"API_TOKEN", "hunter2"}};
  const auto plan = plan_of(
      "name: t\nenv: {API_TOKEN: '', MAX_TOKENS: 5, TEST_PASSWORD: pw, EMPTY_KEY: '', HEADER: \"Bearer ${API_TOKEN}\", "
      "URL: 'http://u:pw@h:1/x'}\n"
      "target: {url: 'http://h'}\nscenarios: {a: {executor: constant-vus, duration: 1s, flow: [{sleep: 1s}]}}\n",
      options);
  EXPECT_THAT(plan.env,
              ElementsAre(Pair("API_TOKEN", "***"), Pair("EMPTY_KEY", ""), Pair("HEADER", "***"),
                          Pair("MAX_TOKENS", "5"), Pair("TEST_PASSWORD", "***"), Pair("URL", "http://***@h:1/x")));
  const auto text = problems_of(
      around(
          "- chat: {prompt: a, max_tokens: \"${API_TOKEN}\", temperature: \"${API_TOKEN}\", stream: \"${API_TOKEN}\"}\n"
          "  timeout: ${API_TOKEN}\n  check: status == ${API_TOKEN}",
          "executor: ${API_TOKEN}\n    duration: 1s",
          "env: {API_TOKEN: x}\nthresholds: {ttft: \"p(95) < ${API_TOKEN}\"}\ndata: {d: {file: \"a\", order: "
          "\"${API_TOKEN}\"}}"),
      options);
  EXPECT_THAT(text,
              AllOf(HasSubstr("max_tokens: what ${API_TOKEN} stands for does not fit here"), HasSubstr("timeout: what"),
                    HasSubstr("check: what"), HasSubstr("executor: what"), HasSubstr("ttft: what")));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
}

TEST(Variables, StandWhereverAScalarStands) {
  auto options = quiet_options();
  const auto plan = plan_of(
      around("- chat: {prompt: a, max_tokens: \"${N}\", stream: \"${YES}\", body: {n: \"${N}\", s: \"x${N}\"}}\n  "
             "check: chunks in ${N}..${N}\n  timeout: ${D}",
             "executor: constant-vus\n    duration: ${D}\n    vus: ${N}\n    start_time: ${D}",
             "env: {N: 7, D: 1500ms, YES: true}\nthresholds: {ttft: \"avg < ${D}\", checks: \"rate > 0.${N}\"}"),
      options);
  EXPECT_EQ(std::get<ConstantVus>(plan.scenarios[0].shape).vus, 7u);
  EXPECT_EQ(std::get<ConstantVus>(plan.scenarios[0].shape).duration, milliseconds(1500));
  EXPECT_EQ(plan.scenarios[0].start_time, milliseconds(1500));
  EXPECT_THAT(chat_of(plan).options, ElementsAre(Pair("max_tokens", "7"), Pair("n", "7"), Pair("s", "\"x7\"")));
  EXPECT_EQ(plan.scenarios[0].flow[0].checks[0].text, "chunks in 7..7");
  EXPECT_EQ(plan.thresholds[0].limit, 1500);
  EXPECT_EQ(plan.thresholds[1].limit, 0.7);
}

// ---- windows, warm-up, gates ----------------------------------------------------------------------------------------

const std::string kMinute = "executor: constant-vus\n    duration: 1m";

TEST(Thresholds, TakeWindowsAndANumberOfSamples) {
  const auto plan = plan_of(around(kStep,
                                   "executor: ramping-vus\n    stages: [{duration: 40s, target: 2}, {duration: "
                                   "20s, target: 0}]\n    warmup: 5s",
                                   "warmup: 10s\nthresholds:\n  ttft{stage:1}: {threshold: p(95) < 2s, over: 10s, "
                                   "min_samples: 30}\n  http_reqs: count > 1"));
  EXPECT_EQ(plan.warmup, seconds(10));
  EXPECT_EQ(plan.scenarios[0].warmup, seconds(5));
  EXPECT_EQ(plan.thresholds[0].over, seconds(10));
  EXPECT_EQ(plan.thresholds[0].min_samples, 30u);
  EXPECT_THAT(plan.thresholds[0].selector, ElementsAre(Pair("stage", "1")));
  EXPECT_EQ(plan.thresholds[1].over, seconds(0));
  EXPECT_EQ(plan.thresholds[1].min_samples, 0u);
}

TEST(Thresholds, RefuseWindowsThatCannotBeJudged) {
  struct Row {
    const char* top;
    const char* problem;
  };
  const Row rows[] = {
      {"thresholds: {ttft: {threshold: max < 1s, over: 61s}}",
       "over: a window of 1m1s is longer than the 1m that the load is measured"},
      {"warmup: 30s\nthresholds: {ttft: {threshold: max < 1s, over: 31s}}", "longer than the 30s"},
      {"thresholds: {ttft: {threshold: max < 1s, over: 0s}}", "over: must be longer than 0s"},
      {"thresholds: {ttft: {threshold: max < 1s, over: 10}}", "over: "},
      {"thresholds: {ttft: {threshold: max < 1s, over: 10ms}}", "makes 9001 windows with those before; at most 2000"},
      {"thresholds: {ttft: [{threshold: max < 1s, over: 50ms}, {threshold: max < 2s, over: 100ms}]}", "makes 2702"},
      {"thresholds: {vus: {threshold: value < 10, over: 10s}}", "over: vus is not kept by windows"},
      {"thresholds: {ttft: {threshold: max < 1s, min_samples: 0}}", "min_samples: 0 is out of bounds"},
      {"thresholds: {'ttft{stage:0}': max < 1s}", "nothing has the tag 'stage'"},
      {"warmup: 60s", "warmup: ends 1m after the run's start, and scenario 'a' after 1m: nothing"},
      {"gates: {achieved_rate: 'no'}", "achieved_rate: unknown 'no'"},
      {"gates: {rate: off}", "unknown key 'rate'"},
  };
  for (const auto& [top, problem] : rows)
    EXPECT_THAT(problems_of(around(kStep, kMinute, top)), HasSubstr(problem)) << top;
  EXPECT_THAT(problems_of(around(kStep, kMinute + "\n    warmup: 2m")), HasSubstr("warmup: ends 2m after"));
  EXPECT_THAT(problems_of(around(kStep, "executor: ramping-vus\n    stages: [{duration: 1m, target: 5}]",
                                 "thresholds: {'vus{stage:0}': value < 1, 'ttft{stage:1}': max < 1s}")),
              AllOf(HasSubstr("vus is not kept by stage"), HasSubstr("nothing has the tag stage:1; there is 0")));
}

TEST(CustomMetrics, AreDeclaredAndGivenSamplesByAStep) {
  const std::string declared = "metrics: {queue: {kind: trend, unit: ms}, good: {kind: rate}}\n";
  const auto plan = plan_of(around("- chat: {prompt: a}\n- metric: {queue: \"${iteration}\", good: true}", kMinute,
                                   declared + "thresholds: {queue: p(95) < 2s, 'good{scenario:a}': rate > 90%}"));
  ASSERT_EQ(plan.metrics.size(), 2u);
  EXPECT_EQ(plan.metrics[0].name, "queue");
  EXPECT_EQ(plan.metrics[0].unit, Unit::milliseconds);
  EXPECT_EQ(plan.metrics[1].kind, MetricKind::rate);
  const auto& step = std::get<MetricStep>(plan.scenarios[0].flow[1].verb);
  ASSERT_EQ(step.samples.size(), 2u);
  EXPECT_EQ(step.samples[1].first, custom_metric(1));
  EXPECT_EQ(plan.thresholds[0].metric, custom_metric(0));
  EXPECT_EQ(plan.thresholds[0].limit, 2000);
  EXPECT_EQ(plan.thresholds[1].limit, 0.9);

  struct Row {
    const char *steps, *top, *problem;
  };
  const Row rows[] = {
      {"- chat: {prompt: a}", "metrics: {ttft: {kind: trend}}", "'ttft' is a metric that Sluice measures itself"},
      {"- chat: {prompt: a}", "metrics: {a-b: {kind: trend}}", "'a-b' is no name for a metric"},
      {"- chat: {prompt: a}", "metrics: {m: {kind: sum}}", "kind: unknown 'sum'"},
      {"- chat: {prompt: a}", "metrics: {m: {unit: ms}}", "needs kind:"},
      {"- chat: {prompt: a}", "metrics: {m: {kind: rate, unit: ms}}", "unit: a rate is a share"},
      {"- chat: {prompt: a}", "metrics: [m]", "metrics: must be a mapping"},
      {"- metric: {quue: 1}", "metrics: {queue: {kind: trend}}",
       "metric: no 'quue' stands under metrics:; did you mean 'queue'?"},
      {"- metric: {queue: many}", "metrics: {queue: {kind: trend}}", "queue: what is given is not a number"},
      {"- metric: {queue: true}", "metrics: {queue: {kind: trend}}", "queue: what is given is not a number"},
      {"- metric: queue", "metrics: {queue: {kind: trend}}", "metric: must be a mapping"},
      {"- metric: {m: 1}\n  check: status == 200", "metrics: {m: {kind: trend}}", "check: belongs to"},
      {"- metric: {m: 1}", "metrics: {m: {kind: trend}}\nthresholds: {m: rate < 1}", "'rate' does not fit m, a trend"},
      {"- metric: {m: 1}", "metrics: {m: {kind: trend}}\nthresholds: {'m{status:200}': max < 1}",
       "status belongs to requests"},
      {"- metric: {m: 1}", "metrics: {m: {kind: counter}}\nthresholds: {mm: count < 1}", "did you mean 'm'"},
  };
  for (const auto& [steps, top, problem] : rows)
    EXPECT_THAT(problems_of(around(steps, kMinute, top)), HasSubstr(problem)) << steps << " " << top;
}

TEST(Gates, AreOnUnlessTheFileSaysOff) {
  const auto plan = plan_of(around(kStep));
  EXPECT_TRUE(plan.gates.dropped_iterations && plan.gates.achieved_rate);
  const auto off = plan_of(around(kStep, kMinute, "gates: {dropped_iterations: off, achieved_rate: on}"));
  EXPECT_FALSE(off.gates.dropped_iterations);
  EXPECT_TRUE(off.gates.achieved_rate);
}

// ---- data
// -------------------------------------------------------------------------------------------------------------

TEST(LoadPlan, HolesNameFieldsThatEveryRowHas) {
  const auto options = quiet_options({{"d.jsonl", "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2}\n"}});
  const auto with = [&](const std::string& prompt) {
    return problems_of(around("- chat: {prompt: \"" + prompt + "\"}", "executor: constant-vus\n    duration: 1s",
                              "data: {d: {file: d.jsonl}}"),
                       options);
  };
  EXPECT_EQ(with("${d.a}"), "");
  EXPECT_THAT(with("${d.b}"), HasSubstr("prompt: line 3 of the data file has no 'd.b'"));
  EXPECT_THAT(with("${d.c}"), HasSubstr("prompt: no data has 'd.c'; did you mean 'd.a'?"));
  EXPECT_THAT(with("${e.a}"), HasSubstr("no data has 'e.a'"));
}

const std::string kOneSecond = "executor: constant-vus\n    duration: 1s";

TEST(LoadPlan, DataComesFromFilesOfAllFormats) {
  const auto options = quiet_options({
      {"dir/a.json", R"([{"q": {"text": "hi", "n": 2}}])"},
      {"dir/b.json", R"([{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}])"},
      {"dir/c.json", R"(["one", "two", "three"])"},
  });
  const auto plan = plan_of(around("- chat: {prompt: \"${a.q.text} ${b.prompt} ${c.text}\"}", kOneSecond,
                                   "data:\n  a: {file: a.json}\n  b: {file: b.json, format: sharegpt}\n"
                                   "  c: {file: c.json, limit: 2}"),
                            options);
  ASSERT_EQ(plan.data.size(), 3u);
  EXPECT_THAT(plan.data[0].fields, ElementsAre("q", "q.text", "q.n"));
  EXPECT_THAT(plan.data[1].rows, ElementsAre(ElementsAre("q", "a")));
  EXPECT_EQ(plan.data[2].rows.size(), 2u);
}

TEST(LoadPlan, DataIsGenerated) {
  const auto with = [](const std::string& generate) {
    return around("- chat: {prompt: \"${g.text} ${g.tokens}\"}", kOneSecond,
                  "data: {g: {generate: {" + generate + "}}}");
  };
  const auto plan = plan_of(with("prompts: 4, tokens: 20..30, seed: 3, prefix_tokens: 5"), quiet_options());
  ASSERT_EQ(plan.data.size(), 1u);
  EXPECT_THAT(plan.data[0].fields, ElementsAre("text", "tokens"));
  EXPECT_EQ(plan.data[0].rows.size(), 4u);
  const auto problems = [&](const std::string& generate) { return problems_of(with(generate), quiet_options()); };
  EXPECT_THAT(problems("prompts: 4"), HasSubstr("tokens"));
  EXPECT_THAT(problems("prompts: 4, tokens: 9..3"), HasSubstr("'9..3' is no number of tokens: write 512, or 100..500"));
  EXPECT_THAT(problems("prompts: 4, tokens: 0"), HasSubstr("'0' is no number of tokens"));
  EXPECT_THAT(problems("prompts: 4, tokens: 10, prefix_tokens: 11"),
              HasSubstr("prefix_tokens: 11 are more than the 10 of the shortest prompt"));
  EXPECT_THAT(problems("prompts: 2000000, tokens: 1000"), HasSubstr("at most 33554432 tokens together"));
}

TEST(LoadPlan, DataIsAFileOrGenerated) {
  const auto problems = [](const std::string& data) {
    return problems_of(around("- chat: {prompt: a}", kOneSecond, "data: {d: {" + data + "}}"),
                       quiet_options({{"d.txt", "a\n"}, {"e.json", "[{\"conversations\": []}]"}}));
  };
  EXPECT_EQ(problems("file: d.txt, order: unique, at_end: wrap"), "");
  EXPECT_THAT(problems("order: random"), HasSubstr("data 'd': needs file: or generate:"));
  EXPECT_THAT(problems("file: d.txt, generate: {prompts: 1, tokens: 1}"), HasSubstr("has file and generate"));
  EXPECT_THAT(problems("generate: {prompts: 1, tokens: 1}, limit: 3"), HasSubstr("limit: is for files"));
  EXPECT_THAT(problems("file: d.txt, at_end: wrap"), HasSubstr("at_end: is for order: unique"));
  EXPECT_THAT(problems("file: e.json, format: sharegpt"),
              HasSubstr("e.json has no conversation with a human turn and an answer"));
}

TEST(LoadPlan, UniqueRowsAreDealtToTheScenariosThatReadThem) {
  const auto plan = plan_of(
      "name: n\ntarget: {url: http://h}\n"
      "data:\n  d: {file: d.txt, order: unique}\n  dd: {file: d.txt, order: unique}\n"
      "flows:\n  shared: [{chat: {prompt: \"${d.text}\"}}]\n"
      "scenarios:\n"
      "  a: {executor: constant-vus, duration: 1s, flow: [{chat: {prompt: \"${dd.text}\"}}]}\n"
      "  b: {executor: constant-vus, duration: 1s, flow: shared}\n"
      "  c: {executor: constant-vus, duration: 1s, flow: [{chat: {prompt: no d. here}}]}\n"
      "  e: {executor: constant-vus, duration: 1s, flow: [{http: {get: \"/${d.text}\"}}]}\n",
      quiet_options({{"dir/d.txt", "a\n"}}));
  EXPECT_THAT(plan.data[0].dealt_to, ElementsAre(1u, 3u));
  EXPECT_THAT(plan.data[1].dealt_to, ElementsAre(0u));
}

TEST(LoadPlan, ASecretInAUrlIsShownAsWritten) {
  auto options = quiet_options();
  options.overrides["API_TOKEN"] = "hunter2";
  const auto plan =
      plan_of(around("- http: {get: \"/a?key=${API_TOKEN}\"}", kOneSecond, "env: {API_TOKEN: \"\"}"), options);
  const auto& step = plan.scenarios[0].flow[0];
  const auto& http = std::get<HttpStep>(step.verb);
  EXPECT_EQ(http.url.text(), "/a?key=hunter2");
  EXPECT_EQ(http.shown_url, "/a?key=${API_TOKEN}");
  const auto events = plan_of(around("- sse: {get: \"/a?key=${API_TOKEN}\"}"), options).scenarios.at(0).flow.at(0);
  EXPECT_EQ(events.name, "sse /a?key=${API_TOKEN}");
  EXPECT_EQ(step.name, "GET /a?key=${API_TOKEN}");
}

// ---- times
// ------------------------------------------------------------------------------------------------------------

TEST(ScaleTimes, ShortensWhatPassesBetweenRequestsAndNothingElse) {
  auto options = quiet_options();
  options.time_scale = 0.1;
  const auto plan =
      plan_of(around("- group: g\n  steps:\n    - sleep: 1s..3s\n- chat: {prompt: a}\n  timeout: 10s",
                     "executor: ramping-vus\n    stages: [{duration: 1m, target: 5}, {duration: 0s, target: 2}]\n    "
                     "start_time: 20s\n    graceful_stop: 7s",
                     "thresholds: {checks: {threshold: rate > 0.9, abort_on_fail: true, delay_abort_eval: 10s}}"),
              options);
  const auto& scenario = plan.scenarios[0];
  EXPECT_EQ(std::get<RampingVus>(scenario.shape).stages[0].duration, seconds(6));
  EXPECT_EQ(std::get<RampingVus>(scenario.shape).stages[1].duration, seconds(0)) << "a jump stays a jump";
  EXPECT_EQ(scenario.start_time, seconds(2));
  EXPECT_EQ(scenario.graceful_stop, seconds(7));
  const auto& sleep = std::get<SleepStep>(std::get<GroupStep>(scenario.flow[0].verb).steps[0].verb);
  EXPECT_EQ(sleep.from, milliseconds(100));
  EXPECT_EQ(sleep.to, milliseconds(300));
  EXPECT_EQ(scenario.flow[1].timeout, seconds(10));
  EXPECT_EQ(plan.thresholds[0].delay_abort_eval, seconds(1));
}

TEST(ScaleTo, StretchesStagesAndTargets) {
  const auto ramp = [](const std::string& scale_to) {
    return std::get<RampingVus>(
        plan_of(around(kStep,
                       "executor: ramping-vus\n    start_vus: 1\n    stages: [{duration: 1m, target: 2}, {duration: "
                       "3m, target: 8}, {duration: 0s, target: 0}]\n    scale_to: " +
                           scale_to))
            .scenarios.at(0)
            .shape);
  };
  const auto same = ramp("{duration: 4m, vus: 8}");
  EXPECT_EQ(same.stages[0].duration, minutes(1));
  EXPECT_EQ(same.stages[1].target, 8u);
  const auto half = ramp("{duration: 2m}");
  EXPECT_EQ(half.stages[0].duration, seconds(30));
  EXPECT_EQ(half.stages[1].duration, seconds(90));
  EXPECT_EQ(half.stages[2].duration, seconds(0));
  const auto low = ramp("{vus: 3}");
  EXPECT_EQ(low.start_vus, 1u) << "rounded up, so that who was there stays there";
  EXPECT_EQ(low.stages[0].target, 1u);
  EXPECT_EQ(low.stages[1].target, 3u);
  EXPECT_EQ(low.stages[2].target, 0u);
}

TEST(LoadPlan, TheCommandLineSetsSeedAndThreads) {
  auto options = quiet_options();
  const auto text = around(kStep, "executor: constant-vus\n    duration: 1s", "seed: 5\nthreads: 2");
  EXPECT_EQ(plan_of(text).seed, 5u);
  EXPECT_EQ(plan_of(text).threads, 2u);
  options.seed = 9;
  options.threads = 3;
  EXPECT_EQ(plan_of(text, options).seed, 9u);
  EXPECT_EQ(plan_of(text, options).threads, 3u);
}

// ---- the files of the project
// -----------------------------------------------------------------------------------------

TEST(Scenarios, EachFileOfTheProjectIsValid) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSource + "/scenarios")) {
    if (entry.path().extension() != ".yaml") continue;
    ++files;
    LoadOptions options;
    options.environment = [](const std::string&) { return std::nullopt; };
    const auto plan = load_plan(entry.path().string(), options);
    if (!plan) {
      ADD_FAILURE() << plan.error().text();
      continue;
    }
    EXPECT_TRUE(plan->target.engine) << entry.path() << " runs without anything else";
    EXPECT_FALSE(plan->thresholds.empty()) << entry.path();
    if (!plan->env.contains("BASE_URL")) continue;  // it is about the engine itself
    options.overrides = {{"BASE_URL", "http://127.0.0.1:1"}};
    const auto remote = load_plan(entry.path().string(), options);
    ASSERT_TRUE(remote) << entry.path();
    EXPECT_EQ(remote->target.url, "http://127.0.0.1:1") << entry.path();
  }
  EXPECT_GE(files, 6u);
}

TEST(Scenarios, TheExamplesOfTheDocumentsAreValid) {
  const std::map<std::string, std::string> files{
      {"p.jsonl", "{\"text\":\"a\"}"},
      {"data/prompts.jsonl", "{\"text\":\"a\"}"},
      {"data/names.csv", "name\nAda\n"},
      {"data/mooncake_trace.jsonl", "{\"timestamp\":0,\"input_length\":1,\"output_length\":1,\"hash_ids\":[1]}"}};
  std::size_t examples = 0;
  for (const char* document : {"/docs/scenarios.md", "/README.md"}) {
    const auto text = file_text(kSource + document);
    const std::string fence = "```yaml\n";
    for (auto at = text.find(fence); at != std::string::npos; at = text.find(fence, at + 1)) {
      const auto from = at + fence.size();
      std::string example = text.substr(from, text.find("\n```", from) + 1 - from);
      if (example.starts_with("- "))
        example = around(example, "executor: constant-vus\n    duration: 1s", "data: {prompts: {file: p.jsonl}}");
      if (example.starts_with("data:")) example = around(kStep) + example;
      if (example.starts_with("thresholds:")) {
        example = around("- chat: {prompt: a}\n  tags: {kind: long}", kMinute) +
                  "  rush: {executor: constant-vus, duration: 1m, flow: [{sleep: 1s}]}\n" + example;
      }
      ++examples;
      EXPECT_EQ(problems_of(example, quiet_options(files)), "") << document << ":\n" << example;
    }
  }
  EXPECT_GE(examples, 9u);
}

TEST(Scenarios, LoadAndStreamingHaveTheStagesThatWereAskedFor) {
  const auto stages = [](const char* file) {
    LoadOptions options;
    options.environment = [](const std::string&) { return std::nullopt; };
    std::vector<std::pair<std::int64_t, std::uint32_t>> out;
    const auto plan = load_plan(kSource + "/scenarios/" + file, options);
    if (!plan) return out;
    for (const auto& stage : std::get<RampingVus>(plan->scenarios.at(0).shape).stages) {
      out.emplace_back(std::chrono::duration_cast<minutes>(stage.duration).count(), stage.target);
    }
    return out;
  };
  EXPECT_THAT(stages("load.yaml"), ElementsAre(Pair(2, 2u), Pair(5, 8u), Pair(3, 12u), Pair(1, 20u), Pair(2, 0u)));
  EXPECT_THAT(stages("streaming.yaml"), ElementsAre(Pair(1, 2u), Pair(4, 5u), Pair(2, 8u), Pair(1, 0u)));
}

TEST(Scenarios, MissingFilesAreAProblem) {
  EXPECT_EQ(load_plan("/nowhere/x.yaml").error().text(), "/nowhere/x.yaml: there is no such file\n");
  EXPECT_EQ(load_plan("/tmp").error().text(), "/tmp: this is a folder\n");
}

TEST(LoadPlan, ThresholdsOnWhatIsSampledAreJudgedAtTheEndOfARunWithItsOwnEngine) {
  const auto with = [](const std::string& target, const std::string& threshold) {
    return fmt::format(
        "name: t\ntarget: {}\nscenarios: {{a: {{executor: constant-vus, duration: 1s, flow: [{{sleep: 1s}}]}}}}\n"
        "thresholds:\n  {}\n",
        target, threshold);
  };
  const std::string engine = "{engine: {model: a}}";
  const auto plan = plan_of(with(engine, "kv_cache_usage: [max < 90%, avg < 50]"));
  ASSERT_EQ(plan.thresholds.size(), 2u);
  EXPECT_EQ(plan.thresholds[0].limit, 90);
  EXPECT_EQ(plan.thresholds[1].limit, 50);
  EXPECT_EQ(plan_of(with(engine, "gpu_memory_used: max < 70GB")).thresholds[0].limit, 70e9);
  EXPECT_THAT(problems_of(with(engine, "engine_preemptions: {threshold: count < 1, abort_on_fail: true}")),
              HasSubstr("abort_on_fail: engine_preemptions is known only at the end of the run"));
  EXPECT_THAT(problems_of(with(engine, "'gpu_power{scenario:a}': max < 700")),
              HasSubstr("gpu_power is of the whole engine: it has no tags"));
  EXPECT_THAT(problems_of(with("{url: 'http://h:1'}", "gpu_power: max < 700")),
              HasSubstr("gpu_power is sampled of an engine that the run starts"));
}

// ---- the schema
// -------------------------------------------------------------------------------------------------------

TEST(Schema, TheCommittedOneIsTheReaders) {
  const auto path = kSource + "/scenarios/schema.json";
  if (std::getenv("UPDATE_GOLDEN")) std::ofstream(path) << scenario_schema();
  EXPECT_EQ(file_text(path), scenario_schema()) << "run `sluice schema > scenarios/schema.json`";
}

TEST(Schema, EveryTableIsReachedAndEveryKeyIsNamedOnce) {
  std::set<std::string> reached{"file"};
  for (const auto& section : scenario_sections()) {
    std::set<std::string_view> names;
    for (const auto& key : section.keys) {
      EXPECT_TRUE(names.insert(key.name).second) << section.name << "." << key.name;
      EXPECT_FALSE(key.help.empty()) << key.name;
      for (auto at = key.shape.find("section:"); at != std::string_view::npos;
           at = key.shape.find("section:", at + 1)) {
        const auto rest = key.shape.substr(at + 8);
        reached.insert(std::string(rest.substr(0, rest.find_first_of("|)"))));
      }
    }
  }
  std::set<std::string> all;
  for (const auto& section : scenario_sections()) all.insert(std::string(section.name));
  EXPECT_EQ(reached, all);
}

}  // namespace
}  // namespace sluice
