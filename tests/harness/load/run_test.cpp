#include "harness/load/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "harness/base/stream_rule.h"
#include "harness/metrics/summarize.h"
#include "tests/harness/load/allocations.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::Contains;
using testing::HasSubstr;

constexpr std::array<std::string_view, 4> kNames{"vu", "iteration", "rows.text", "rows.other"};

Template text(std::string_view value) { return *Template::parse(value, kNames); }

Step chat_step(std::string_view prompt, bool stream = true) {
  ChatStep chat;
  chat.messages.push_back({Template("user"), text(prompt)});
  chat.stream = stream;
  Step step;
  step.name = "chat";
  step.verb = std::move(chat);
  return step;
}

Step http_step(std::string_view url, std::string method = "GET") {
  HttpStep http;
  http.method = std::move(method);
  http.url = text(url);
  Step step;
  step.name = "http";
  step.verb = std::move(http);
  return step;
}

Step sleep_step(Nanoseconds from, Nanoseconds to) {
  Step step;
  step.name = "sleep";
  step.verb = SleepStep{from, to};
  return step;
}

Step with_check(Step step, std::string_view condition) {
  Check check;
  check.text = condition;
  check.condition = *Expression::parse(condition, kResponseNames);
  step.checks.push_back(std::move(check));
  return step;
}

Plan plan_of(const std::string& url, std::vector<Step> flow, LoadShape shape) {
  Plan plan;
  plan.name = "test";
  plan.file = "test.yaml";
  plan.target.url = url;
  plan.target.model = "m";
  plan.target.request_timeout = 5s;
  ScenarioPlan scenario;
  scenario.name = "main";
  scenario.shape = std::move(shape);
  scenario.graceful_stop = 2s;
  scenario.flow = std::move(flow);
  plan.scenarios.push_back(std::move(scenario));
  return plan;
}

RunResult ran(const Plan& plan, const RunOptions& options = {}) {
  RunControl control;
  auto result = run(plan, options, control, {});
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

Script repeated(const std::string& bytes, int times, std::chrono::milliseconds delay = 0ms) {
  Script script;
  for (int i = 0; i < times; ++i) {
    script.push_back(await_request());
    script.push_back(send(bytes, delay));
  }
  return script;
}

const std::string kStream = stream_head() +
                            chunk(role_event() + content_event("print(") + content_event("1)") + finish_event() +
                                  usage_event(3, 2) + done_event()) +
                            chunk("");

std::uint64_t requests(const Tally& tally) { return tally.figure(Metric::http_reqs).sum; }
std::uint64_t iterations(const Tally& tally) { return tally.figure(Metric::iterations).sum; }

TEST(Run, DrivesStreamsAndCountsThem) {
  ScriptedServer server({repeated(kStream, 1000, 10ms)});
  Plan plan =
      plan_of(server.url(), {with_check(with_check(chat_step("hi"), "text contains \"print(\""), "chunks == 3")},
              ConstantVus{4, 500ms});
  const RunResult result = ran(plan);
  const Tally& tally = result.tally;
  EXPECT_GE(requests(tally), 40u);
  EXPECT_LE(requests(tally), 210u);
  EXPECT_EQ(tally.figure(Metric::http_req_failed).passes, 0u);
  EXPECT_EQ(tally.figure(Metric::stream_failed).passes, 0u);
  EXPECT_EQ(tally.figure(Metric::ttft).histogram.count(), requests(tally));
  EXPECT_GE(*tally.aggregate(Metric::ttft, Aggregation::min), 9.0);
  EXPECT_EQ(tally.figure(Metric::output_tokens).sum, 2 * requests(tally));
  EXPECT_EQ(iterations(tally), requests(tally));
  EXPECT_EQ(tally.checks().at(0).passes, requests(tally));
  EXPECT_EQ(tally.checks().at(1).fails, requests(tally));
  EXPECT_EQ(tally.vus().peak, 4u);
  EXPECT_EQ(tally.vus().now, 0u);
  EXPECT_GT(tally.figure(Metric::loop_lag).histogram.count(), 10u);
  EXPECT_EQ(result.facts.end, RunEnd::completed);
  EXPECT_EQ(server.connections(), 4) << "each VU keeps its connection";
  EXPECT_THAT(server.requests().front(), HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(
      server.requests().front(),
      HasSubstr(
          R"({"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}})"));
}

/// The value of the header x-request-id; empty when there is none, "(twice)" when there are two.
std::string request_id(const std::string& request) {
  constexpr std::string_view kName = "\r\nx-request-id: ";
  const std::size_t at = request.find(kName);
  if (at == std::string::npos) return {};
  if (request.find(kName, at + 1) != std::string::npos) return "(twice)";
  const std::size_t from = at + kName.size();
  return request.substr(from, request.find("\r\n", from) - from);
}

TEST(Run, GivesEachRequestToAModelAnIdOfItsOwn) {
  ScriptedServer server({repeated(kStream, 1000)});
  for (const bool varies : {false, true}) {
    const std::size_t before = server.requests().size();
    Plan plan = plan_of(server.url(), {chat_step(varies ? "${iteration}" : "hi"), chat_step("then")},
                        PerVuIterations{4, 5, 10s});
    plan.threads = 2;
    std::mutex mutex;
    std::set<std::string> recorded;
    RunOptions options;
    options.on_record = [&](const RequestRecord& record) {
      const std::lock_guard lock(mutex);
      recorded.insert(record.request_id);
    };
    ran(plan, options);
    std::set<std::string> sent;
    const std::vector<std::string> requests = server.requests();
    for (std::size_t i = before; i < requests.size(); ++i) sent.insert(request_id(requests[i]));
    EXPECT_EQ(sent.size(), 40u) << "all differ";
    EXPECT_EQ(sent, recorded);
    const std::string& one = *sent.begin();
    EXPECT_EQ(one.size(), 32u);
    EXPECT_EQ(one.find_first_not_of("0123456789abcdef"), std::string::npos) << one;
  }
}

TEST(Run, LeavesAnIdThatTheScenarioSets) {
  ScriptedServer server({repeated(kStream, 10)});
  Plan plan = plan_of(server.url(), {chat_step("hi"), http_step("/x")}, PerVuIterations{1, 1, 10s});
  std::vector<std::string> recorded;
  RunOptions options;
  options.on_record = [&](const RequestRecord& record) { recorded.push_back(record.request_id); };
  ran(plan, options);
  plan.target.headers.emplace_back("x-request-id", Template("mine"));
  ran(plan, options);
  const std::vector<std::string> requests = server.requests();
  ASSERT_EQ(requests.size(), 4u);
  EXPECT_EQ(request_id(requests[1]), "") << "a plain request has none of ours";
  EXPECT_EQ(request_id(requests[2]), "mine");
  EXPECT_EQ(request_id(requests[3]), "mine");
  EXPECT_EQ(recorded[2], "mine");
}

TEST(Run, GivesTheSameCountsOnAnyNumberOfThreads) {
  // Each VU fits in one iteration of its own: the sums can only be those of the schedule.
  for (const std::uint32_t threads : {1U, 2U, 3U}) {
    ScriptedServer server({repeated(answer("ok"), 1000)});
    Plan plan = plan_of(server.url(), {http_step("/x"), sleep_step(400ms, 400ms)}, ConstantVus{7, 200ms});
    plan.threads = threads;
    const RunResult result = ran(plan);
    EXPECT_EQ(requests(result.tally), 7u) << threads;
    EXPECT_EQ(iterations(result.tally), 7u) << threads;
    EXPECT_EQ(result.facts.threads, threads);
  }
}

TEST(Run, StartsEachVuWhenTheRampSaysSo) {
  ScriptedServer server({repeated(answer("ok"), 10)});
  Plan plan =
      plan_of(server.url(), {http_step("/x"), sleep_step(10s, 10s)}, RampingVus{0, {{400ms, 4}, {100ms, 4}}, 0s});
  plan.scenarios[0].graceful_stop = 0s;
  plan.threads = 2;
  std::mutex mutex;
  std::vector<Instant> starts;
  RunOptions options;
  options.on_record = [&](const RequestRecord& record) {
    const std::lock_guard lock(mutex);
    starts.push_back(record.started_at);
  };
  const Instant before = now();
  const RunResult result = ran(plan, options);
  ASSERT_EQ(starts.size(), 4u);
  std::sort(starts.begin(), starts.end());
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const Instant planned = result.tally.origin() + static_cast<Instant>(i + 1) * 100'000'000;
    EXPECT_GE(starts[i], planned) << "never before its time";
    EXPECT_LT(starts[i], planned + 90'000'000) << i;
  }
  EXPECT_LT(Nanoseconds(now() - before), 3s) << "the sleep was cut";
  EXPECT_EQ(result.tally.scenarios().at(0).interrupted, 4u);
}

TEST(Run, LetsAnIterationFinishWithinItsGrace) {
  ScriptedServer server({repeated(answer("ok"), 100, 300ms)});
  Plan plan = plan_of(server.url(), {http_step("/x")}, ConstantVus{2, 100ms});
  const RunResult result = ran(plan);
  EXPECT_EQ(requests(result.tally), 2u);
  EXPECT_EQ(result.tally.scenarios().at(0).interrupted, 0u);
  EXPECT_EQ(result.tally.figure(Metric::http_req_failed).passes, 0u);
}

TEST(Run, CutsWhatOutlastsItsGraceWithoutCallingItAFailure) {
  ScriptedServer server({{await_request()}});
  Plan plan = plan_of(server.url(), {chat_step("hi")}, ConstantVus{2, 100ms});
  plan.scenarios[0].graceful_stop = 100ms;
  const Instant before = now();
  const RunResult result = ran(plan);
  EXPECT_LT(Nanoseconds(now() - before), 2s);
  EXPECT_EQ(result.tally.scenarios().at(0).interrupted, 2u);
  EXPECT_EQ(result.tally.figure(Metric::http_req_failed).passes, 0u);
  EXPECT_EQ(result.tally.figure(Metric::stream_failed).passes, 0u);
}

TEST(Run, CountsFailures) {
  ScriptedServer server({repeated(answer("no", "text/plain", 500), 1000, 5ms)});
  const RunResult result =
      ran(plan_of(server.url(), {with_check(http_step("/x"), "status == 200")}, ConstantVus{1, 200ms}));
  EXPECT_EQ(result.tally.figure(Metric::http_req_failed).passes, requests(result.tally));
  EXPECT_EQ(result.tally.checks().at(0).fails, requests(result.tally));
  EXPECT_EQ(result.tally.errors().size(), 1u);
}

TEST(Run, EndsInTimeWhenNobodyListens) {
  std::string url;
  {
    ScriptedServer gone(std::vector<Script>(1));
    url = gone.url();
  }
  const Instant before = now();
  const RunResult result = ran(plan_of(url, {http_step("/x")}, ConstantVus{3, 200ms}));
  EXPECT_LT(Nanoseconds(now() - before), 2s);
  EXPECT_GT(requests(result.tally), 0u);
  EXPECT_EQ(result.tally.figure(Metric::connect_failed).passes, requests(result.tally));
}

TEST(Run, StopsGracefullyWhenTold) {
  ScriptedServer server({repeated(answer("ok"), 1000, 50ms)});
  const Plan plan = plan_of(server.url(), {http_step("/x")}, ConstantVus{2, 1h});
  RunControl control;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(200ms);
    control.stop_gracefully();
  });
  const Instant before = now();
  const auto result = run(plan, {}, control, {});
  ASSERT_TRUE(result);
  EXPECT_LT(Nanoseconds(now() - before), 3s);
  EXPECT_EQ(result->facts.end, RunEnd::interrupted_by_user);
  EXPECT_EQ(result->tally.scenarios().at(0).interrupted, 0u) << "what was under way was finished";
  EXPECT_GT(requests(result->tally), 0u);
}

TEST(Run, StopsAtOnceWhenTold) {
  ScriptedServer server({{await_request()}});
  Plan plan = plan_of(server.url(), {chat_step("hi")}, ConstantVus{2, 1h});
  plan.scenarios[0].graceful_stop = 1h;
  RunControl control;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(100ms);
    control.stop_gracefully();
    std::this_thread::sleep_for(100ms);
    control.stop_now();
  });
  const Instant before = now();
  const auto result = run(plan, {}, control, {});
  ASSERT_TRUE(result);
  EXPECT_LT(Nanoseconds(now() - before), 3s);
  EXPECT_EQ(result->tally.scenarios().at(0).interrupted, 2u);
}

TEST(Run, WakesVusThatWaitForTheirTimeWhenItStops) {
  ScriptedServer server({repeated(answer("ok"), 10)});
  Plan plan = plan_of(server.url(), {http_step("/x")}, RampingVus{0, {{1h, 3}}, 0s});
  RunControl control;
  control.stop_gracefully();
  const Instant before = now();
  const auto result = run(plan, {}, control, {});
  ASSERT_TRUE(result);
  EXPECT_LT(Nanoseconds(now() - before), 2s);
  EXPECT_EQ(requests(result->tally), 0u);
}

TEST(Run, IsAbortedByAThresholdThatSaysSo) {
  ScriptedServer server({repeated(answer("no", "text/plain", 500), 10000, 5ms)});
  Plan plan = plan_of(server.url(), {http_step("/x")}, ConstantVus{1, 1h});
  Threshold threshold;
  threshold.text = "rate < 0.01";
  threshold.metric = Metric::http_req_failed;
  threshold.aggregation = Aggregation::rate;
  threshold.comparison = Comparison::less;
  threshold.limit = 0.01;
  threshold.abort_on_fail = true;
  plan.thresholds.push_back(threshold);
  const Instant before = now();
  const RunResult result = ran(plan);
  EXPECT_LT(Nanoseconds(now() - before), 4s);
  EXPECT_EQ(result.facts.end, RunEnd::aborted_by_threshold);
  EXPECT_EQ(result.aborted_by, 0u);
}

TEST(Run, TellsItsProgressEverySecond) {
  ScriptedServer server({repeated(kStream, 10000, 5ms)});
  const Plan plan = plan_of(server.url(), {chat_step("hi")}, ConstantVus{2, 1500ms});
  RunControl control;
  std::vector<Progress> told;
  const auto result = run(plan, {}, control, [&](const Progress& progress) { told.push_back(progress); });
  ASSERT_TRUE(result);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].vus, 2u);
  EXPECT_GT(told[0].requests, 50u);
  EXPECT_GT(told[0].output_tokens_per_s, 100);
  EXPECT_GT(told[0].ttft_p95_ms.value_or(0), 4);
  EXPECT_EQ(told[0].planned, 1500ms);
}

TEST(Run, FillsHolesFromTheDataTheVuAndTheIteration) {
  ScriptedServer server({repeated(kStream, 1000, 2ms)});
  Plan plan = plan_of(server.url(), {chat_step("${vu}/${iteration}: ${rows.text}")}, ConstantVus{2, 200ms});
  DataSet rows;
  rows.name = "rows";
  rows.fields = {"text"};
  rows.rows = {{"say \"a\"\n"}, {"b"}, {"c"}};
  plan.data.push_back(rows);
  ran(plan);
  std::set<std::string> contents;
  for (const std::string& request : server.requests()) {
    const std::size_t from = request.find("\"content\":\"") + 11;
    contents.insert(request.substr(from, request.find("\"}]", from) - from));
  }
  // In order over VUs and iterations: turn = iteration * 2 + (vu - 1).
  EXPECT_THAT(contents, Contains("1/0: say \\\"a\\\"\\n"));
  EXPECT_THAT(contents, Contains("2/0: b"));
  EXPECT_THAT(contents, Contains("1/1: c"));
  EXPECT_THAT(contents, Contains("2/1: say \\\"a\\\"\\n"));
}

TEST(Run, DrawsTheSameRandomRowsForTheSameSeed) {
  const auto drawn = [](std::uint64_t seed, std::uint32_t threads) {
    ScriptedServer server({repeated(answer("ok"), 20)});
    Plan plan =
        plan_of(server.url(), {http_step("/${vu}/${rows.text}"), sleep_step(400ms, 400ms)}, ConstantVus{12, 100ms});
    plan.seed = seed;
    plan.threads = threads;
    DataSet rows;
    rows.name = "rows";
    rows.fields = {"text"};
    for (int i = 0; i < 100; ++i) rows.rows.push_back({std::to_string(i)});
    rows.order = DataSet::Order::random;
    plan.data.push_back(rows);
    ran(plan);
    std::set<std::string> lines;
    for (const std::string& request : server.requests()) lines.insert(request.substr(0, request.find('\r')));
    return lines;
  };
  const auto first = drawn(1, 1);
  EXPECT_EQ(first.size(), 12u);
  EXPECT_EQ(first, drawn(1, 2));
  EXPECT_NE(first, drawn(2, 1));
}

TEST(Run, MeasuresGroupsAndSleeps) {
  ScriptedServer server({repeated(answer("ok"), 1000)});
  Step group;
  group.name = "outer";
  GroupStep steps;
  steps.name = "outer";
  steps.steps = {http_step("/x"), sleep_step(20ms, 30ms)};
  group.verb = std::move(steps);
  const RunResult result = ran(plan_of(server.url(), {group}, ConstantVus{1, 300ms}));
  const auto& durations = result.tally.figure(Metric::group_duration).histogram;
  EXPECT_EQ(durations.count(), iterations(result.tally));
  EXPECT_GE(durations.min(), 20'000'000u);
  EXPECT_GE(iterations(result.tally), 3u);
  EXPECT_LE(iterations(result.tally), 16u);
}

TEST(Run, SendsTheTargetsHeadersToTheTargetOnly) {
  ScriptedServer target({repeated(answer("ok"), 100, 5ms)});
  ScriptedServer other({repeated(answer("ok"), 100, 5ms)});
  Plan plan = plan_of(target.url() + "/base", {http_step("/x?y=1", "POST"), http_step(other.url() + "/z")},
                      ConstantVus{1, 50ms});
  plan.target.headers.emplace_back("Authorization", Template("Bearer s3cret"));
  plan.target.headers.emplace_back("X-Evil", Template("a\r\nInjected: b"));
  ran(plan);
  EXPECT_THAT(target.requests().front(), HasSubstr("POST /base/x?y=1 HTTP/1.1\r\n"));
  EXPECT_THAT(target.requests().front(), HasSubstr("\r\nAuthorization: Bearer s3cret\r\n"));
  EXPECT_THAT(target.requests().front(), HasSubstr("\r\nContent-Length: 0\r\n"));
  EXPECT_THAT(target.requests().front(), testing::Not(HasSubstr("\nInjected")));
  EXPECT_THAT(other.requests().front(), HasSubstr("GET /z HTTP/1.1\r\n"));
  EXPECT_THAT(other.requests().front(), testing::Not(HasSubstr("s3cret")));
}

TEST(Run, AScenarioWithAUrlAsksItsOwnServerWithItsOwnHeaders) {
  ScriptedServer target({repeated(answer("ok"), 100, 5ms)});
  ScriptedServer other({repeated(kStream, 100, 5ms)});
  Plan plan = plan_of(target.url(), {chat_step("hi"), http_step("/x"), http_step(target.url() + "/z")},
                      PerVuIterations{1, 1, 5s});
  plan.target.headers.emplace_back("Authorization", Template("Bearer s3cret"));
  plan.scenarios[0].url = other.url() + "/via";
  plan.scenarios[0].headers.emplace_back("X-Key", Template("of the other"));
  ran(plan);
  const auto asked = other.requests();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_THAT(asked[0], HasSubstr("POST /via/v1/chat/completions HTTP/1.1\r\nX-Key: of the other\r\nHost: 127.0.0.1:"));
  EXPECT_THAT(asked[1], HasSubstr("GET /via/x HTTP/1.1\r\nX-Key: of the other\r\n"));
  for (const std::string& request : asked) EXPECT_THAT(request, testing::Not(HasSubstr("s3cret")));
  ASSERT_EQ(target.requests().size(), 1u);
  EXPECT_THAT(target.requests()[0], HasSubstr("GET /z HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n"));
  EXPECT_THAT(target.requests()[0], testing::Not(HasSubstr("X-Key")));
}

TEST(Run, AScenariosHeadersWinOverTheTargetsOnTheSameServer) {
  ScriptedServer server({repeated(answer("ok"), 100)});
  Plan plan = plan_of(server.url(), {http_step("/x")}, PerVuIterations{1, 1, 5s});
  plan.target.headers = {{"Authorization", Template("Bearer all")}, {"X-All", Template("1")}};
  plan.scenarios[0].headers = {{"authorization", Template("Bearer own")}};
  plan.scenarios[0].url = server.url() + "/base";
  ran(plan);
  EXPECT_THAT(server.requests().front(),
              HasSubstr("GET /base/x HTTP/1.1\r\nauthorization: Bearer own\r\nX-All: 1\r\nHost: "));
}

TEST(Run, TellsWhichOfTwoWaysHoldsBack) {
  std::string burst;
  Script even, held;
  for (int turn = 0; turn < 3; ++turn) {
    even.push_back(await_request());
    even.push_back(send(stream_head() + chunk(role_event())));
    held.push_back(await_request());
    held.push_back(send(stream_head() + chunk(role_event())));
    for (int i = 0; i < 12; ++i) {
      const std::string event = chunk(content_event("word"));
      even.push_back(send(event, 25ms));
      burst += event;
      if (i % 6 != 5) continue;
      held.push_back(send(burst, 150ms));
      burst.clear();
    }
    const std::string end = chunk(finish_event() + usage_event(3, 12) + done_event()) + chunk("");
    even.push_back(send(end));
    held.push_back(send(end));
  }
  ScriptedServer direct({even}), via({held});
  Plan plan = plan_of(direct.url(), {chat_step("hi")}, PerVuIterations{1, 3, 30s});
  plan.scenarios.push_back(plan.scenarios[0]);
  plan.scenarios[1].name = "via";
  plan.scenarios[1].url = via.url();
  plan.compare = ComparePlan{.direct = 0, .via = 1};
  const reports::Summary summary = summarize(plan, ran(plan).tally, {});
  ASSERT_TRUE(summary.buffering);
  const auto& found = summary.buffering->scenarios;
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].verdict, "none") << found[0].evidence;
  EXPECT_EQ(found[1].verdict, "proxy buffers") << found[1].evidence;
  EXPECT_EQ(found[1].chunks_per_burst, 6.0);
  EXPECT_GT(found[1].bytes_per_burst.value_or(0), 600);
  ASSERT_TRUE(summary.buffering->comparison);
  EXPECT_EQ(summary.buffering->comparison->layer, "between") << summary.buffering->comparison->sentence;
}

TEST(Run, AsksTheTargetForItsModelWhenNoneIsNamed) {
  ScriptedServer server({{await_request(), send(answer(R"({"object":"list","data":[{"id":"tiny","object":"model"}]})",
                                                       "application/json"))},
                         repeated(kStream, 100, 5ms)});
  Plan plan = plan_of(server.url(), {chat_step("hi")}, ConstantVus{1, 50ms});
  plan.target.model.clear();
  ran(plan);
  EXPECT_THAT(server.requests().at(0), HasSubstr("GET /v1/models "));
  EXPECT_THAT(server.requests().at(1), HasSubstr(R"("model":"tiny")"));
}

TEST(Run, SaysWhatItCannotDrive) {
  const auto error = [](const Plan& plan) {
    RunControl control;
    const auto result = run(plan, {}, control, {});
    return result ? std::string("it ran") : result.error().message;
  };
  EXPECT_THAT(error(plan_of("nonsense", {http_step("/")}, ConstantVus{1, 1s})), HasSubstr("'nonsense' is not a URL"));
  EXPECT_THAT(error(plan_of("http://no-such-host.invalid", {http_step("/")}, ConstantVus{1, 1s})),
              HasSubstr("no-such-host.invalid"));
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < 4'000'000'000) {
    EXPECT_THAT(error(plan_of("http://127.0.0.1:1", {http_step("/")}, ConstantVus{4'000'000'000, 1s})),
                HasSubstr("open files"));
  }
  Plan nameless = plan_of("http://127.0.0.1:1", {chat_step("hi")}, ConstantVus{1, 1s});
  nameless.target.model.clear();
  EXPECT_THAT(error(nameless), HasSubstr("target.model"));
}

TEST(Run, KeepsTheExamplesOfFindings) {
  const std::string bad =
      stream_head() + chunk(role_event() + content_event("a") + "data: {oops\n\n" + done_event()) + chunk("");
  ScriptedServer server({repeated(bad, 100, 5ms)});
  const RunResult result = ran(plan_of(server.url(), {chat_step("hi")}, ConstantVus{1, 50ms}));
  const Tally::RuleCount& count = result.tally.findings(StreamRule::invalid_json);
  EXPECT_EQ(count.found, requests(result.tally));
  ASSERT_TRUE(count.first);
  EXPECT_EQ(count.first->finding.bytes, "{oops");
  EXPECT_EQ(count.first->finding.offset, (role_event() + content_event("a")).size());
  EXPECT_EQ(count.first->stream_id, "c-1");
}

TEST(Run, JudgesAnSseStepByTheApiOfItsDialect) {
  const auto event = [](const std::string& type, const std::string& more = "") {
    return "event: " + type + "\ndata: {\"type\":\"" + type + "\"" + more + "}\n\n";
  };
  const std::string bytes =
      stream_head() +
      chunk(
          event(
              "message_start",
              R"(,"message":{"id":"msg_1","role":"assistant","model":"m","usage":{"input_tokens":5,"output_tokens":1}})") +
          event("content_block_start", R"(,"index":0,"content_block":{"type":"text","text":""})") +
          event("content_block_delta", R"(,"index":0,"delta":{"type":"text_delta","text":"Hi"})") +
          event("content_block_stop", R"(,"index":0)") +
          event("message_delta", R"(,"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3})") +
          event("message_stop")) +
      chunk("");
  struct Row {
    Dialect dialect;
    std::optional<StreamApi> api;
    std::uint64_t judged, output_tokens;
  };
  for (const Row& row : {Row{Dialect::anthropic, std::nullopt, 1, 3}, Row{Dialect::openai, StreamApi::messages, 1, 3},
                         Row{Dialect::openai, std::nullopt, 0, 0}}) {
    ScriptedServer server({repeated(bytes, 1)});
    Step step;
    step.name = "ask";
    SseStep sse;
    sse.request.method = "POST";
    sse.request.url = Template("/v1/messages");
    sse.api = row.api;
    step.verb = std::move(sse);
    Plan plan = plan_of(server.url(), {std::move(step)}, PerVuIterations{1, 1, 5s});
    plan.scenarios[0].conformance.dialect = row.dialect;
    const RunResult result = ran(plan);
    EXPECT_EQ(result.tally.scenarios()[0].streams, row.judged);
    EXPECT_EQ(result.tally.figure(Metric::output_tokens).sum, row.output_tokens);
    EXPECT_EQ(result.tally.figure(Metric::stream_failed).passes, 0u);
    EXPECT_EQ(result.tally.aggregate(Metric::stream_findings, Aggregation::count), 0);
  }
}

// ---- memory -------------------------------------------------------------------------------------------------------

TEST(Run, AllocatesNothingPerRequestWhenItIsAlwaysTheSame) {
  const std::string whole = answer(
      R"({"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]})",
      "application/json");
  struct Case {
    const char* name;
    Step step;
    std::string said;
  };
  const std::vector<Case> cases{{"plain", http_step("/"), answer("hello")},
                                {"plain, checked", with_check(http_step("/"), "status == 200"), answer("hello")},
                                {"chat", chat_step("hi", false), whole},
                                {"stream", chat_step("hi"), kStream},
                                {"stream, checked", with_check(chat_step("hi"), "text contains \"print(\""), kStream}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    ScriptedServer server({repeated(c.said, 800)});
    const Plan plan = plan_of(server.url(), {c.step}, ConstantVus{1, 20s});
    RunControl control;
    // All of the one load thread; read when it has ended.
    int seen = 0, failed = 0, allocating = 0;
    std::uint64_t allocations = 0;
    RunOptions options;
    options.on_record = [&](const RequestRecord& record) {
      const std::uint64_t before = std::exchange(allocations, allocations_of_this_thread());
      if (++seen > 200 && seen <= 700 && allocations != before) ++allocating;
      if (record.outcome != Outcome::ok && record.outcome != Outcome::interrupted) ++failed;
      if (seen == 700) control.stop_now();
    };
    ASSERT_TRUE(run(plan, options, control, {}));
    ASSERT_GE(seen, 700);
    EXPECT_EQ(failed, 0);
    EXPECT_GT(allocations, 0u);
    // A time of a size that has not been seen yet makes its histogram a block, once: so a few may, but not each.
    EXPECT_LE(allocating, 50);
  }
}

}  // namespace
}  // namespace sluice
