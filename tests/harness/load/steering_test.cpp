// What flows do with their answers: each verb against a server that plays a script, from the file to the bytes.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "harness/load/run.h"
#include "harness/load/setup.h"
#include "harness/scenario/load_plan.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::ElementsAre;
using testing::HasSubstr;

Plan plan_of(const std::string& url, const std::string& steps, const std::string& top = "",
             const std::string& load = "executor: constant-vus\n    duration: 100ms") {
  std::string flow;
  std::istringstream lines(steps);
  for (std::string line; std::getline(lines, line);) flow += "      " + line + "\n";
  LoadOptions options;
  options.environment = [](const std::string&) { return std::nullopt; };
  auto plan = read_plan(fmt::format("name: t\ntarget: {{url: '{}', model: m, request_timeout: 5s}}\n{}\nscenarios:\n  "
                                    "main:\n    {}\n    flow:\n{}",
                                    url, top, load, flow),
                        "t.yaml", options);
  if (!plan) throw std::runtime_error(plan.error().text());
  return std::move(*plan);
}

/// The flow, once. Its variables, or why it failed.
Result<FlowVariables> once(const Plan& plan) {
  const RunControl control;
  return run_once(plan, plan.scenarios[0].flow, "flow", RunOptions{}, control, RunControl::State::stopping_gracefully);
}

std::string shown(const Result<FlowVariables>& variables, std::string_view name) {
  if (!variables) return variables.error().message;
  std::string out;
  append_value(variables->find(name), out);
  return out;
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

std::vector<std::string> paths(const ScriptedServer& server) {
  std::vector<std::string> paths;
  for (const std::string& request : server.requests()) {
    const std::size_t from = request.find(' ') + 1;
    paths.push_back(request.substr(from, request.find(' ', from) - from));
  }
  return paths;
}

std::string body_of(const std::string& request) { return request.substr(request.find("\r\n\r\n") + 4); }

std::string chat_stream(const std::string& content) {
  return stream_head() +
         chunk(role_event() + content_event(content) + finish_event() + usage_event(3, 2) + done_event()) + chunk("");
}

TEST(Steering, CapturesFeedTheStepsAfterThem) {
  const std::string body = R"({"id": 41, "name": "Jay", "tags": [{"k": "a"}]})";
  const std::string said =
      "HTTP/1.1 200 OK\r\nX-Next: /page/2\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  ScriptedServer server({repeated(said, 3)});
  const auto variables = once(plan_of(server.url(), R"x(- http: {get: /items}
  capture: {id: $.id, tag: "$.tags[*].k", next: {header: x-next}, word: {regex: '"name": "(\w+)"'}, all: {text: true}, none: {json: $.x, default: "-"}}
  check: [id == 41, tag == "a", body contains word]
- set: {sum: id + 1, greeting: "Hi ${word}", long: len(all)}
- http: {post: "${next}", json: {id: "${id}", sum: "${sum}", text: "${greeting}", none: "${none}"}}
- http: {get: "/last/${id % 10}"})x"));
  EXPECT_EQ(shown(variables, "sum"), "42");
  EXPECT_EQ(shown(variables, "long"), std::to_string(body.size()));
  EXPECT_THAT(paths(server), ElementsAre("/items", "/page/2", "/last/1"));
  EXPECT_EQ(body_of(server.requests().at(1)), R"({"id":41,"sum":42,"text":"Hi Jay","none":"-"})");
}

TEST(Steering, AnAddressThatIsAHoleStaysOnItsServer) {
  ScriptedServer server({repeated(answer("ok"), 10)});
  EXPECT_EQ(shown(once(plan_of(server.url(),
                               "- set: {next: \"" + server.url() + "/a?b=${vu}\"}\n- http: {get: \"${next}\"}")),
                  "x"),
            "");
  EXPECT_THAT(paths(server), ElementsAre("/a?b=1"));
  for (const char* other : {"http://127.0.0.1:1/a", "a", "https://127.0.0.1/a", ""}) {
    EXPECT_EQ(shown(once(plan_of(server.url(),
                                 fmt::format("- set: {{next: \"'{}'\"}}\n- http: {{get: \"${{next}}\"}}", other))),
                    "x"),
              "flow: 'GET ${next}': its address is neither a path nor one on its server");
  }
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST(Steering, ACaptureThatFindsNothingEndsTheIterationAsFailed) {
  ScriptedServer server({repeated(answer(R"({"secret": "hunter2"})"), 100, 2ms)});
  Plan plan = plan_of(server.url(), "- http: {get: /a}\n  capture: {token: $.token}\n- http: {get: \"/b/${token}\"}");
  const RunResult result = ran(plan);
  const auto paths_seen = paths(server);
  EXPECT_TRUE(std::all_of(paths_seen.begin(), paths_seen.end(), [](const auto& path) { return path == "/a"; }));
  EXPECT_GT(result.tally.figure(Metric::iterations_failed).sum, 0u);
  EXPECT_EQ(result.tally.figure(Metric::iterations_failed).sum, result.tally.figure(Metric::iterations).sum);
  ASSERT_EQ(result.tally.errors().size(), 1u);
  const auto& [outcome, text] = result.tally.errors().begin()->first;
  EXPECT_EQ(outcome, Outcome::flow_failed);
  EXPECT_EQ(text, "capture 'token': nothing at $.token in the answer of 'GET /a'");
  EXPECT_EQ(result.tally.figure(Metric::http_req_failed).passes, 0u);
}

TEST(Steering, IfRepeatChooseSetAndFailDoWhatTheySay) {
  ScriptedServer server({repeated(answer("ok"), 40)});
  const auto variables = once(plan_of(server.url(), R"(- set: {n: 0}
- repeat: 3
  steps:
    - set: {n: n + 1}
    - http: {get: "/round/${n}"}
- repeat: {while: n < 5}
  steps: [{set: {n: n + 1}}]
- repeat: {times: "${n - 3}", while: "true"}
  steps: [{http: {get: /twice}}]
- if: status == 200 and n == 5
  then: [{http: {get: /then}}]
  else: [{http: {get: /else}}]
- if: n != 5
  then: [{http: {get: /never}}]
- if: body contains "ok"
  then: [{set: {seen: "true"}}]
- choose:
    - {weight: 0, steps: [{http: {get: /zero}}]}
    - {weight: 1, steps: [{http: {get: /one}}]}
- group: g
  steps:
    - if: n > 100
      then: [{sleep: 1s}]
      else: [{http: {get: /inner}}])"));
  EXPECT_EQ(shown(variables, "n"), "5");
  EXPECT_EQ(shown(variables, "seen"), "true");
  EXPECT_THAT(paths(server),
              ElementsAre("/round/1", "/round/2", "/round/3", "/twice", "/twice", "/then", "/one", "/inner"));
  EXPECT_EQ(shown(once(plan_of(server.url(), "- fail: enough\n- http: {get: /after}")), ""), "flow: enough");
  EXPECT_EQ(server.requests().size(), 8u);
  EXPECT_THAT(
      shown(once(plan_of(server.url(), "- set: {x: \"'a'\"}\n- repeat: \"${x}\"\n  steps: [{sleep: 1ms}]")), ""),
      HasSubstr("repeat: ${x} is no whole number"));
  EXPECT_THAT(shown(once(plan_of(server.url(), "- repeat: {while: 1 == 1}\n  steps: [{set: {x: 1}}]")), ""),
              HasSubstr("its while still holds after 1000000 rounds"));
  EXPECT_THAT(shown(once(plan_of(server.url(),
                                 "- set: {x: \"'aaaaaaaaaa'\"}\n- repeat: 30\n  steps: [{set: {x: \"${x}${x}\"}}]")),
                    ""),
              HasSubstr("set: 'x' would be longer than 1048576 bytes"));
}

TEST(Steering, ChoosesByWeight) {
  ScriptedServer server({repeated(answer("ok"), 400)});
  const auto variables = once(plan_of(server.url(), R"(- set: {a: 0, b: 0}
- repeat: 2000
  steps:
    - choose:
        - {weight: 3, steps: [{set: {a: a + 1}}]}
        - {weight: 1, steps: [{set: {b: b + 1}}]})"));
  const double a = std::stod(shown(variables, "a")), b = std::stod(shown(variables, "b"));
  EXPECT_EQ(a + b, 2000);
  EXPECT_NEAR(a, 1500, 100);
}

TEST(Steering, TheSameSeedGivesTheSameRequestsOnAnyNumberOfThreads) {
  const auto drawn = [](std::uint64_t seed, std::uint32_t threads) {
    ScriptedServer server({repeated(answer("ok"), 40)});
    Plan plan = plan_of(server.url(), R"(- set: {id: uuid()}
- repeat: "${random_int(1, 4)}"
  steps:
    - choose:
        - steps: [{http: {get: "/a/${vu}/${id}/${random_string(5)}"}}]
        - steps: [{http: {get: "/b/${vu}/${random_choice('x', 'y')}"}}]
    - sleep: {mean: 1ms, max: 5ms}
- sleep: 600ms)",
                        "", "executor: constant-vus\n    vus: 12\n    duration: 100ms");
    plan.seed = seed;
    plan.threads = threads;
    ran(plan);
    auto all = paths(server);
    std::sort(all.begin(), all.end());
    return all;
  };
  const auto first = drawn(1, 1);
  EXPECT_GE(first.size(), 12u);
  EXPECT_EQ(std::set<std::string>(first.begin(), first.end()).size() > 12, true) << "rounds draw anew";
  EXPECT_EQ(first, drawn(1, 4));
  EXPECT_NE(first, drawn(2, 1));
}

TEST(Steering, AConversationKeepsTheServersAnswers) {
  ScriptedServer server({{await_request(), send(chat_stream("Hello \\\"Jay\\\"")), await_request(),
                          send(chat_stream("Two")), await_request(), send(chat_stream("Other"))}});
  const auto variables = once(plan_of(
      server.url(), R"(- chat: {conversation: talk, system: Be brief., prompt: "I am ${random_choice('Jay', 'Kay')}"}
  capture: {greeting: {text: true}}
- chat: {conversation: talk, system: Be brief., prompt: "1 + 1?", max_tokens: "${1 + vu}"}
- chat: {conversation: other, prompt: "New: ${greeting}"})"));
  ASSERT_TRUE(variables) << variables.error().message;
  const auto requests = server.requests();
  const std::string first = body_of(requests.at(0));
  const std::string said = first.find("Jay") != std::string::npos ? "Jay" : "Kay";
  const std::string begin = R"({"model":"m","messages":[{"role":"system","content":"Be brief."},)"
                            R"({"role":"user","content":"I am )" +
                            said + R"("})";
  EXPECT_EQ(first, begin + R"(],"stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_EQ(body_of(requests.at(1)),
            begin + R"(,{"role":"assistant","content":"Hello \"Jay\""},{"role":"user","content":"1 + 1?"}],)"
                    R"("stream":true,"stream_options":{"include_usage":true},"max_tokens":2})");
  EXPECT_THAT(body_of(requests.at(2)), HasSubstr(R"("messages":[{"role":"user","content":"New: Hello \"Jay\""}])"));
}

TEST(Steering, AFailedRequestIsNoPartOfTheConversation) {
  ScriptedServer server(
      {{await_request(), send(answer("no", "text/plain", 500)), await_request(), send(chat_stream("Yes"))}});
  const auto variables =
      once(plan_of(server.url(), "- chat: {conversation: c, prompt: one}\n- chat: {conversation: c, prompt: two}"));
  EXPECT_EQ(shown(variables, ""), "flow: the step 'chat': HTTP status 500");
  EXPECT_THAT(body_of(server.requests().at(1)), HasSubstr(R"("messages":[{"role":"user","content":"two"}])"));
}

TEST(Steering, ACompletionIsAskedForAndRead) {
  const auto event = [](const std::string& text, const std::string& finish) {
    return "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"" + text +
           "\",\"finish_reason\":" + finish + "}]}\n\n";
  };
  ScriptedServer server(
      {{await_request(),
        send(stream_head() + chunk(event("a", "null") + event("b", "null") + event("", "\"stop\"") + done_event()) +
             chunk("")),
        await_request(),
        send(answer(R"({"id":"c","choices":[{"index":0,"text":"whole","finish_reason":"length"}]})",
                    "application/json"))}});
  const auto variables = once(plan_of(server.url(), R"(- completion: {prompt: "def f${vu}(", max_tokens: 5}
  check: [text == "ab", chunks == 2, finish_reason == stop]
- completion: {prompt: x, stream: false, model: "m${vu}"}
  capture: {got: {text: true}}
  check: finish_reason == length)"));
  EXPECT_EQ(shown(variables, "got"), "whole");
  EXPECT_THAT(paths(server), ElementsAre("/v1/completions", "/v1/completions"));
  EXPECT_EQ(body_of(server.requests().at(0)),
            R"({"model":"m","prompt":"def f1(","stream":true,"stream_options":{"include_usage":true},"max_tokens":5})");
  EXPECT_THAT(body_of(server.requests().at(1)), HasSubstr(R"({"model":"m1","prompt":"x","stream":false})"));
}

TEST(Steering, ServerSentEventsOfAnyKindAreContent) {
  const std::string events = "event: tick\ndata: one\n\n: comment\n\ndata: two\ndata: lines\n\ndata: [DONE]\n\n";
  ScriptedServer server(
      {{await_request(), send(stream_head() + chunk(events) + chunk("data: late\n\n")), close_connection(2s)},
       {
           await_request(),
           send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n"),
           close_connection(),
       },
       {await_request(), send(answer("{}", "application/json"))},
       {await_request(), send(stream_head() + chunk("data: x\n\n") + chunk(""))}});
  const std::string steps = R"(- sse: {post: /events, body: "q", until: "[DONE]"}
  check: [text contains "one", text contains "two", chunks == 2, events == 3, status == 200]
- sse: {get: "/${vu}"}
  check: [text == "x", chunks == 1]
  capture: {x: {text: true}})";
  const auto before = std::chrono::steady_clock::now();
  const auto variables = once(plan_of(server.url(), steps));
  EXPECT_EQ(shown(variables, "x"), "x");
  EXPECT_LT(std::chrono::steady_clock::now() - before, 1s) << "until ends it, not the connection's end";
  EXPECT_THAT(server.requests().at(0), HasSubstr("Accept: text/event-stream\r\n"));
  EXPECT_EQ(shown(once(plan_of(server.url(), "- sse: {get: /}")), ""),
            "flow: the step 'sse /': the answer is no stream of events");
  EXPECT_EQ(shown(once(plan_of(server.url(), "- sse: {get: /, until: end}")), ""),
            "flow: the step 'sse /': ended before the event that until: names");
}

TEST(Steering, AnAbandonedStreamIsInterruptedAndCountsInNoFailureRate) {
  Script endless{await_request(), send(stream_head() + chunk(role_event()))};
  for (int i = 0; i < 200; ++i) endless.push_back(send(chunk(content_event("a")), 10ms));
  ScriptedServer server({endless});
  Plan plan = plan_of(server.url(), R"(- chat: {prompt: a}
  name: by events
  abandon: {after_events: 4}
  check: events == 4
- chat: {prompt: b}
  name: by time
  abandon: {after: 100ms}
  check: chunks > 2
- sleep: 2s)");
  const RunResult result = ran(plan);
  const Tally& tally = result.tally;
  EXPECT_EQ(tally.figure(Metric::abandoned).sum, 2u);
  EXPECT_EQ(tally.figure(Metric::http_reqs).sum, 2u);
  EXPECT_EQ(tally.figure(Metric::ttft).histogram.count(), 2u);
  EXPECT_EQ(tally.figure(Metric::http_req_failed).passes + tally.figure(Metric::http_req_failed).fails, 0u);
  EXPECT_EQ(tally.figure(Metric::stream_failed).passes + tally.figure(Metric::stream_failed).fails, 0u);
  EXPECT_EQ(tally.checks().at(0).passes, 1u);
  EXPECT_EQ(tally.checks().at(1).passes, 1u);
  EXPECT_TRUE(tally.errors().empty());
  EXPECT_EQ(server.connections(), 2);
}

TEST(Steering, SleepsFollowTheirDistribution) {
  ScriptedServer server({repeated(answer("ok"), 1)});
  const auto before = std::chrono::steady_clock::now();
  const auto variables = once(plan_of(server.url(), R"(- repeat: 100
  steps: [{sleep: {mean: 2ms, max: 4ms}}]
- repeat: 50
  steps: [{sleep: {mean: 2ms, distribution: normal, deviation: 0s}}])"));
  const auto took = std::chrono::steady_clock::now() - before;
  ASSERT_TRUE(variables);
  EXPECT_GT(took, 200ms) << "an exponential time of mean 2 ms that is cut at 4 ms has a mean of 1.7 ms";
  EXPECT_LT(took, 2s);
}

// ---- setup --------------------------------------------------------------------------------------------------------

TEST(Steering, APauseBeforeTheFirstRequestIsNoLateness) {
  ScriptedServer server({repeated(answer("ok"), 100)});
  const Plan plan = plan_of(server.url(), "- sleep: 200ms\n- http: {get: /}", "",
                            "executor: constant-arrival-rate\n    rate: 20\n    duration: 300ms");
  const RunResult result = ran(plan);
  EXPECT_EQ(result.tally.figure(Metric::http_reqs).sum, 6u);
  EXPECT_LT(*result.tally.aggregate(Metric::http_req_duration_sched, Aggregation::max), 150);
}

TEST(Setup, MayAddToMetricsOfTheFilesOwn) {
  ScriptedServer server({repeated(answer("ok"), 10)});
  const Plan plan = plan_of(server.url(), "- metric: {size: 3}\n- http: {get: /}", "metrics: {size: {kind: trend}}");
  EXPECT_TRUE(once(plan));
}

TEST(Setup, WhatItCapturesIsSeenByEveryVu) {
  ScriptedServer server({repeated(answer(R"({"token": "t-1"})"), 40)});
  const Plan plan = plan_of(server.url(), "- http: {get: \"/${token}/${setup.token}/${vu}\"}\n- sleep: 400ms",
                            "setup:\n  - http: {post: /login}\n    capture: {token: $.token}",
                            "executor: constant-vus\n    vus: 3\n    duration: 100ms");
  const RunControl control;
  const auto variables =
      run_once(plan, plan.setup, "setup", RunOptions{}, control, RunControl::State::stopping_gracefully);
  ASSERT_TRUE(variables);
  RunOptions options;
  options.variables = &*variables;
  const RunResult result = ran(plan, options);
  EXPECT_EQ(result.tally.figure(Metric::http_reqs).sum, 3u) << "the setup's requests are not the load";
  auto all = paths(server);
  std::sort(all.begin(), all.end());
  EXPECT_THAT(all, ElementsAre("/login", "/t-1/t-1/1", "/t-1/t-1/2", "/t-1/t-1/3"));
}

TEST(Setup, SaysWhatFailedAndNoCapturedValue) {
  ScriptedServer server({repeated(answer(R"({"token": "hunter2"})", "application/json", 403), 1),
                         repeated(answer(R"({"token": "hunter2"})"), 3)});
  const auto failure = [&](const std::string& steps) { return shown(once(plan_of(server.url(), steps)), ""); };
  EXPECT_EQ(failure("- http: {post: /login}\n  capture: {token: $.token}"),
            "flow: the step 'POST /login': HTTP status 403");
  EXPECT_EQ(failure("- http: {post: /login}\n  capture: {token: $.token}\n  check: token == 'x'"),
            "flow: the step 'POST /login': the check does not hold: token == 'x'");
  EXPECT_EQ(failure("- http: {post: /login}\n  capture: {token: $.tokens}"),
            "flow: capture 'token': nothing at $.tokens in the answer of 'POST /login'");
}

}  // namespace
}  // namespace sluice
