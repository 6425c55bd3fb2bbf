// The executors end to end, over a real socket: who begins which iteration, and when.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "harness/load/run.h"
#include "harness/scenario/trace.h"
#include "tests/support/scripted_server.h"
#include "tests/support/timed_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;

constexpr std::uint64_t kOne = 1'000'000;

Plan plan_of(const std::string& url, LoadShape shape,
             std::string_view path = "/?vu=${vu}&it=${iteration}&row=${rows.n}") {
  constexpr std::array<std::string_view, 3> kNames{"vu", "iteration", "rows.n"};
  Plan plan;
  plan.name = "test";
  plan.file = "test.yaml";
  plan.target.url = url;
  plan.target.request_timeout = 5s;
  DataSet rows;
  rows.name = "rows";
  rows.fields = {"n"};
  for (int i = 0; i < 10'000; ++i) rows.rows.push_back({std::to_string(i)});
  plan.data.push_back(std::move(rows));
  ScenarioPlan scenario;
  scenario.name = "main";
  scenario.shape = std::move(shape);
  scenario.graceful_stop = 2s;
  HttpStep http;
  http.url = *Template::parse(path, kNames);
  Step step;
  step.name = "http";
  step.verb = std::move(http);
  scenario.flow.push_back(std::move(step));
  plan.scenarios.push_back(std::move(scenario));
  return plan;
}

RunResult ran(const Plan& plan, RunControl& control, const RunOptions& options = {}) {
  auto result = run(plan, options, control, {});
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
RunResult ran(const Plan& plan, const RunOptions& options = {}) {
  RunControl control;
  return ran(plan, control, options);
}

Script answering(int times, std::chrono::milliseconds delay = 0ms) {
  Script script;
  for (int i = 0; i < times; ++i) {
    script.push_back(await_request());
    script.push_back(send(answer("ok"), delay));
  }
  return script;
}

/// The values of a query's member over all requests, sorted.
std::vector<int> asked(const ScriptedServer& server, const std::string& name) {
  std::vector<int> values;
  for (const std::string& request : server.requests()) {
    const std::size_t at = request.find(name + "=");
    values.push_back(std::atoi(request.c_str() + at + name.size() + 1));
  }
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<int> count_to(int n) {
  std::vector<int> values(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = i;
  return values;
}

std::uint64_t sum(const RunResult& result, Metric metric) { return result.tally.figure(metric).sum; }

TEST(SharedIterations, AreDoneOnceEachByWhoeverIsFree) {
  for (const std::uint32_t threads : {1u, 3u}) {
    ScriptedServer server({answering(200, 30ms), answering(200)});  // the first VU is slow: the others do more
    Plan plan = plan_of(server.url(), SharedIterations{4, 100, 10s});
    plan.threads = threads;
    const RunResult result = ran(plan);
    EXPECT_EQ(sum(result, Metric::iterations), 100u);
    EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u);
    EXPECT_EQ(asked(server, "row"), count_to(100));
    EXPECT_EQ(asked(server, "it"), count_to(100)) << "iterations are the scenario's";
    EXPECT_EQ(result.tally.vus().peak, 4u);
  }
}

TEST(SharedIterations, ThoseThatTimeDidNotSufficeForAreDropped) {
  ScriptedServer server({answering(200, 50ms)});
  const RunResult result = ran(plan_of(server.url(), SharedIterations{2, 1000, 300ms}));
  const std::uint64_t done = sum(result, Metric::iterations);
  EXPECT_GT(done, 3u);
  EXPECT_LT(done, 20u);
  EXPECT_EQ(done + sum(result, Metric::dropped_iterations), 1000u);
  EXPECT_EQ(result.facts.end, RunEnd::completed);
}

TEST(PerVuIterations, EachVuDoesItsOwn) {
  ScriptedServer server({answering(200, 20ms), answering(200)});
  Plan plan = plan_of(server.url(), PerVuIterations{3, 5, 10s});
  plan.threads = 2;
  const RunResult result = ran(plan);
  EXPECT_EQ(sum(result, Metric::iterations), 15u);
  std::vector<int> vus;
  for (int vu = 1; vu <= 3; ++vu) vus.insert(vus.end(), 5, vu);
  EXPECT_EQ(asked(server, "vu"), vus);
  EXPECT_EQ(asked(server, "row"), count_to(15));
}

TEST(PerVuIterations, ThoseThatTimeDidNotSufficeForAreDropped) {
  ScriptedServer server({answering(200, 50ms)});
  const RunResult result = ran(plan_of(server.url(), PerVuIterations{2, 100, 300ms}));
  EXPECT_LT(sum(result, Metric::iterations), 20u);
  EXPECT_EQ(sum(result, Metric::iterations) + sum(result, Metric::dropped_iterations), 200u);
}

ArrivalRate at_rate(std::uint64_t per_s, Nanoseconds duration, std::uint32_t max_vus = 0) {
  return {.executor = ArrivalRate::Executor::constant,
          .start_micro = per_s * kOne,
          .stages = {{duration, per_s * kOne}},
          .max_vus = max_vus};
}

TEST(ArrivalRate, BeginsEachIterationWhenItIsDueOnAnyNumberOfThreads) {
  for (const std::uint32_t threads : {1u, 2u, 3u}) {
    ScriptedServer server({answering(1000)});
    Plan plan = plan_of(server.url(), at_rate(100, 500ms));
    plan.threads = threads;
    std::mutex mutex;
    std::vector<std::pair<Instant, Instant>> starts;  // scheduled, started
    RunOptions options;
    options.on_record = [&](const RequestRecord& record) {
      const std::lock_guard lock(mutex);
      starts.emplace_back(record.scheduled_at, record.started_at);
    };
    const RunResult result = ran(plan, options);
    EXPECT_EQ(sum(result, Metric::iterations), 50u);
    EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u);
    EXPECT_EQ(asked(server, "row"), count_to(50));
    std::sort(starts.begin(), starts.end());
    for (std::size_t i = 0; i < starts.size(); ++i) {
      EXPECT_EQ(starts[i].first - starts[0].first, static_cast<Instant>(i) * 10'000'000);
      EXPECT_GE(starts[i].second, starts[i].first) << "never early";
    }
    EXPECT_LE(server.connections(), 50);
  }
}

TEST(ArrivalRate, UsesAFreeVuAgainBeforeItMakesAnother) {
  ScriptedServer server({answering(1000)});
  const RunResult result = ran(plan_of(server.url(), at_rate(50, 1s)));
  EXPECT_EQ(sum(result, Metric::iterations), 50u);
  EXPECT_LE(server.connections(), 10) << "answers come at once: few VUs suffice";
}

TEST(ArrivalRate, DropsWhatFindsNoVuAndSaysHowMany) {
  ScriptedServer server({answering(1000, 100ms)});
  const RunResult result = ran(plan_of(server.url(), at_rate(100, 500ms, 2)));
  EXPECT_EQ(result.tally.vus().peak, 2u);
  EXPECT_GT(sum(result, Metric::dropped_iterations), 30u);
  EXPECT_EQ(sum(result, Metric::iterations) + sum(result, Metric::dropped_iterations), 50u);
  const Figure& availability = result.tally.figure(Metric::availability);
  EXPECT_EQ(availability.fails, sum(result, Metric::dropped_iterations)) << "who was turned away was not served";
}

TEST(ArrivalRate, ServesItsArrivalsAlsoWithFewerVusThanThreads) {
  ScriptedServer server({answering(1000)});
  Plan plan = plan_of(server.url(), at_rate(50, 400ms, 1));
  plan.threads = 3;
  const RunResult result = ran(plan);
  EXPECT_EQ(sum(result, Metric::iterations) + sum(result, Metric::dropped_iterations), 20u);
  EXPECT_GE(sum(result, Metric::iterations), 15u) << "a server that answers at once keeps nobody busy";
}

TEST(ArrivalRate, WaitsForNobodyWhileTheServerIsSlow) {
  // Each answer takes 200 ms, and yet the requests leave every 20 ms: on as many VUs as that takes.
  ScriptedServer server({answering(1000, 200ms)});
  const RunResult result = ran(plan_of(server.url(), at_rate(50, 600ms)));
  EXPECT_EQ(sum(result, Metric::iterations), 30u);
  EXPECT_GE(result.tally.vus().peak, 8u);
  EXPECT_LE(result.tally.vus().peak, 15u);
}

TEST(ArrivalRate, CutsWhatOutlastsItsGrace) {
  ScriptedServer server({answering(10, 3000ms)});
  Plan plan = plan_of(server.url(), at_rate(10, 300ms));
  plan.scenarios[0].graceful_stop = 100ms;
  const auto began = std::chrono::steady_clock::now();
  const RunResult result = ran(plan);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s);
  EXPECT_EQ(result.tally.scenarios()[0].interrupted, 3u);
  EXPECT_EQ(result.tally.figure(Metric::http_req_failed).passes, 0u);
}

TEST(ArrivalRate, StopsWhenTold) {
  ScriptedServer server({answering(10'000)});
  RunControl control;
  std::thread stopper([&] {
    while (server.requests().size() < 5) std::this_thread::yield();
    control.stop_gracefully();
  });
  const RunResult result = ran(plan_of(server.url(), at_rate(50, 30s)), control);
  stopper.join();
  EXPECT_LT(sum(result, Metric::iterations), 200u);
  EXPECT_EQ(result.facts.end, RunEnd::interrupted_by_user);
  EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u) << "what was never due was not dropped";
}

TEST(ArrivalRate, SendsTheSameRequestsForEveryNumberOfThreads) {
  std::vector<std::vector<int>> seen;
  for (const std::uint32_t threads : {1u, 4u}) {
    ScriptedServer server({answering(1000)});
    ArrivalRate rate = at_rate(100, 500ms);
    rate.executor = ArrivalRate::Executor::poisson;
    Plan plan = plan_of(server.url(), rate);
    plan.data[0].order = DataSet::Order::random;
    plan.threads = threads;
    ran(plan);
    seen.push_back(asked(server, "row"));
  }
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_GT(std::set<int>(seen[0].begin(), seen[0].end()).size(), 30u);
}

TEST(ExternallyControlled, VusComeAndGoAsTheyAreTold) {
  for (const std::uint32_t threads : {1u, 2u}) {
    ScriptedServer server({answering(100'000, 2ms)});
    Plan plan = plan_of(server.url(), ExternallyControlled{2, 6, 0s});
    plan.threads = threads;
    RunControl control;
    // Each order is given when the one before has shown: seen by the VUs that ask.
    const auto asking = [&](std::size_t from) {
      std::set<std::string> vus;
      const auto requests = server.requests();
      for (std::size_t i = std::min(from, requests.size()); i < requests.size(); ++i)
        vus.insert(requests[i].substr(0, requests[i].find('&')));
      return vus.size();
    };
    std::thread driver([&] {
      while (asking(0) < 2) std::this_thread::yield();
      control.set_vus(6);
      while (asking(0) < 6) std::this_thread::yield();
      control.set_paused(true);
      // It stands still when nothing has come for as long as dozens of answers take.
      for (std::size_t seen = 0; seen != server.requests().size();) {
        seen = server.requests().size();
        std::this_thread::sleep_for(100ms);  // the subject: nothing happens meanwhile
      }
      const std::size_t from = server.requests().size();
      control.set_vus(3);
      control.set_paused(false);
      while (asking(from) < 3) std::this_thread::yield();
      while (server.requests().size() < from + 30) std::this_thread::yield();
      EXPECT_EQ(asking(from), 3u);
      control.stop_gracefully();
    });
    const RunResult result = ran(plan, control);
    driver.join();
    EXPECT_EQ(result.tally.vus().peak, 6u);
    EXPECT_EQ(result.tally.vus().now, 0u);
    EXPECT_EQ(result.tally.scenarios()[0].interrupted, 0u) << "who is taken away ends what it has begun";
  }
}

TEST(ExternallyControlled, EndsByItselfAfterItsDuration) {
  ScriptedServer server({answering(10'000, 2ms)});
  const RunResult result = ran(plan_of(server.url(), ExternallyControlled{1, 3, 200ms}));
  EXPECT_GT(sum(result, Metric::iterations), 5u);
  EXPECT_EQ(result.tally.vus().peak, 1u);
  EXPECT_EQ(result.facts.end, RunEnd::completed);
}

TEST(Run, EndsOnceItIsStableAndDropsNothing) {
  ScriptedServer server({answering(10'000)});
  Plan plan = plan_of(server.url(), at_rate(50, 60s));
  StableMetric rate{.text = "http_reqs rate", .metric = Metric::http_reqs, .aggregation = Aggregation::rate};
  plan.stable = Stability{.metrics = {rate}, .window = 400ms, .windows = 3, .tolerance = 0.25};
  const RunResult result = ran(plan);
  EXPECT_TRUE(result.facts.ended_when_stable);
  EXPECT_TRUE(result.facts.stable_from.has_value());
  EXPECT_EQ(result.facts.end, RunEnd::completed);
  EXPECT_GE(sum(result, Metric::iterations), 60u) << "three windows";
  EXPECT_LT(sum(result, Metric::iterations), 1500u) << "of 3000; a busy machine may take longer to be stable";
  EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u);
}

TEST(Run, ThatIsNeverStableLastsAsLongAsPlanned) {
  ScriptedServer server({answering(1000)});
  Plan plan = plan_of(server.url(), at_rate(50, 2400ms));
  StableMetric rate{.text = "http_reqs rate", .metric = Metric::http_reqs, .aggregation = Aggregation::rate};
  // From 0 to 50 a second: no three windows are alike.
  plan.scenarios[0].shape = ArrivalRate{.executor = ArrivalRate::Executor::ramping, .stages = {{2400ms, 50 * kOne}}};
  plan.stable = Stability{.metrics = {rate}, .window = 400ms, .windows = 3, .tolerance = 0.05};
  const RunResult result = ran(plan);
  EXPECT_FALSE(result.facts.ended_when_stable);
  EXPECT_EQ(result.facts.stable_from, std::nullopt);
  EXPECT_EQ(sum(result, Metric::iterations), 60u);
}

TEST(Run, EndsOnceEveryThresholdIsDecidedAndDropsNothing) {
  ScriptedServer server({answering(20'000)});
  Plan plan = plan_of(server.url(), at_rate(200, 60s));
  Threshold failures;
  failures.metric = Metric::http_req_failed;
  failures.aggregation = Aggregation::rate;
  failures.comparison = Comparison::less;
  failures.limit = 0.05;
  plan.thresholds = {failures};
  plan.until_decided = 500ms;
  const RunResult result = ran(plan);
  EXPECT_TRUE(result.facts.ended_when_decided);
  EXPECT_EQ(result.facts.end, RunEnd::completed);
  EXPECT_GE(sum(result, Metric::iterations), 117u) << "0.95^117 is 0.0025, which the first look asks for";
  EXPECT_LT(sum(result, Metric::iterations), 6000u) << "of 12000";
  EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u);
}

/// A request every 10 ms, number k with k input tokens.
TraceReplay replay_of(int requests, double speed, std::uint32_t max_vus = 0) {
  auto trace = std::make_shared<Trace>();
  for (int i = 0; i < requests; ++i) {
    trace->rows.push_back({.at = i * Nanoseconds(10ms), .number = static_cast<std::uint32_t>(i), .input_tokens = i});
  }
  const auto length = std::chrono::duration<double, std::nano>(requests * 10ms) / speed;
  return {.trace = std::move(trace),
          .speed = speed,
          .duration = std::chrono::duration_cast<Nanoseconds>(length),
          .max_vus = max_vus};
}

Plan replay_plan(const std::string& url, const TraceReplay& replay) {
  Plan plan = plan_of(url, replay);
  constexpr std::array<std::string_view, 2> kNames{"trace.input_tokens", "trace.prompt"};
  auto& http = std::get<HttpStep>(plan.scenarios[0].flow[0].verb);
  http.method = "POST";
  http.url = Template("/");
  http.body = *Template::parse("row=${trace.input_tokens} ${trace.prompt}", kNames);
  return plan;
}

TEST(TraceReplay, BeginsEachRequestWhenItsRowSaysAndSendsTheSameOnAnyNumberOfThreads) {
  std::vector<std::vector<std::string>> sent;
  for (const std::uint32_t threads : {1u, 3u}) {
    ScriptedServer server({answering(1000)});
    Plan plan = replay_plan(server.url(), replay_of(40, 2));
    plan.threads = threads;
    std::mutex mutex;
    std::vector<Instant> due;
    RunOptions options;
    options.on_record = [&](const RequestRecord& record) {
      const std::lock_guard lock(mutex);
      due.push_back(record.scheduled_at);
      EXPECT_GE(record.started_at, record.scheduled_at) << "never early";
    };
    const RunResult result = ran(plan, options);
    EXPECT_EQ(sum(result, Metric::iterations), 40u);
    EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u);
    EXPECT_EQ(result.facts.planned_iterations, 40u);
    EXPECT_EQ(asked(server, "row"), count_to(40)) << "each turn has its row";
    std::sort(due.begin(), due.end());
    for (std::size_t i = 0; i < due.size(); ++i) EXPECT_EQ(due[i] - due[0], static_cast<Instant>(i) * 5'000'000);
    sent.emplace_back(server.requests());
    for (std::string& request : sent.back()) request.erase(0, request.find("row="));  // the port differs
    std::sort(sent.back().begin(), sent.back().end());
  }
  EXPECT_EQ(sent[0], sent[1]);
}

TEST(TraceReplay, DropsWhatFindsNoVuOrLetsItWait) {
  for (const bool waits : {false, true}) {
    ScriptedServer server({answering(1000, 30ms)});
    TraceReplay replay = replay_of(30, 1, 1);
    replay.wait_when_busy = waits;
    const RunResult result = ran(replay_plan(server.url(), replay));
    EXPECT_EQ(result.tally.vus().peak, 1u);
    EXPECT_EQ(sum(result, Metric::iterations) + sum(result, Metric::dropped_iterations), 30u);
    EXPECT_EQ(sum(result, Metric::dropped_iterations) == 0, waits);
  }
}

// The experiment that coordinated omission is known by: the server stands still once, for a tenth of the run. One in a
// hundred requests then waits for more than nine tenths of that, whatever the client's connections.
TEST(ArrivalRate, AServerThatStandsStillOnceShowsInTheTimesFromTheSchedule) {
  using enum ArrivalRate::Executor;
  constexpr std::uint64_t kRate = 250 * kOne;
  constexpr Nanoseconds kFreeze = 300ms;
  for (const bool few : {false, true}) {
    TimedServer server({.freeze_after = 1s, .freeze = kFreeze});
    Plan plan = plan_of(server.url(), ConstantVus{}, "/");
    const ScenarioPlan pattern = plan.scenarios[0];
    plan.scenarios.clear();
    for (const auto& [name, executor] :
         {std::pair{"constant", constant}, {"ramping", ramping}, {"poisson", poisson}, {"gamma", gamma}}) {
      ScenarioPlan scenario = pattern;
      scenario.name = name;
      ArrivalRate rate{.executor = executor, .start_micro = kRate, .stages = {{10 * kFreeze, kRate}}};
      rate.burstiness = executor == gamma ? 0.7 : 1;
      rate.max_vus = few ? 16 : 0;  // 64 connections together
      rate.wait_when_busy = few;
      scenario.shape = rate;
      plan.scenarios.push_back(std::move(scenario));
      Threshold threshold;
      threshold.metric = Metric::http_req_duration_sched;
      threshold.selector = {{"scenario", name}};
      threshold.aggregation = Aggregation::percentile;
      threshold.percentile = 99;
      plan.thresholds.push_back(threshold);
    }
    const RunResult result = ran(plan);
    EXPECT_EQ(sum(result, Metric::dropped_iterations), 0u);
    EXPECT_LE(result.tally.vus().peak, few ? 64u : 400u);
    for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
      const FigureId figure = result.tally.layout().figure_of_threshold(i);
      const double p99 = result.tally.aggregate(figure, Aggregation::percentile, 99).value_or(0);
      // Drawn arrivals fall into the freeze by chance too: 75 +- 9 of 750.
      const double tolerance = i < 2 ? 1 : 1.05;
      EXPECT_GT(p99, 0.85 / tolerance * 300) << plan.scenarios[i].name << (few ? ", few connections" : "");
      EXPECT_LT(p99, 0.96 * tolerance * 300) << plan.scenarios[i].name << (few ? ", few connections" : "");
    }
    if (few) {  // what a client that waits for its connections would have reported
      EXPECT_LT(*result.tally.aggregate(Metric::http_req_duration, Aggregation::percentile, 95), 50);
    }
  }
}

}  // namespace
}  // namespace sluice
