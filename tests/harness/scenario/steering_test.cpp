// The verbs that steer a flow, and what stands beside a request, as the reader takes them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "harness/scenario/load_plan.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

LoadOptions quiet_options() {
  LoadOptions options;
  options.environment = [](const std::string&) { return std::nullopt; };
  options.read_file = [](const std::string&) {
    return Result<std::string>(boost::system::in_place_value, "{\"n\":5,\"text\":\"a\"}\n");
  };
  return options;
}

std::string around(const std::string& steps, const std::string& top = "") {
  std::string flow;
  std::istringstream lines(steps);
  for (std::string line; std::getline(lines, line);) flow += "      " + line + "\n";
  return fmt::format(
      "name: t\ntarget: {{url: 'http://h:1'}}\n{}\nscenarios:\n  a:\n    executor: constant-vus\n    duration: 1s\n"
      "    flow:\n{}",
      top, flow);
}

Plan plan_of(const std::string& text, const LoadOptions& options = quiet_options()) {
  auto plan = read_plan(text, "s.yaml", options);
  if (plan) return std::move(*plan);
  ADD_FAILURE() << plan.error().text();
  return {};
}

std::string problems_of(const std::string& text, const LoadOptions& options = quiet_options()) {
  const auto plan = read_plan(text, "s.yaml", options);
  return plan ? std::string() : plan.error().text();
}

TEST(Steering, ReadsEveryVerb) {
  const auto plan = plan_of(around(R"(- set: {n: 1, name: "user-${vu}", empty: "", big: n > 5}
- if: n == 1 and vu < 3
  then: [{sleep: 1s}]
  else: [{fail: "not one"}]
- repeat: 3
  steps: [{sleep: 1s}]
- repeat: {times: "${n + 1}", while: n < 5}
  steps: [{set: {n: n + 1}}]
- choose:
    - {weight: 3, steps: [{sleep: 1s}]}
    - steps: [{sleep: 2s}]
- sleep: {mean: 1s}
- sleep: {mean: 1s, distribution: normal, deviation: 200ms, max: 3s}
- completion: {prompt: "def ${name}", max_tokens: "${random_int(5, 10)}", stop: x}
  capture: {id: "$.a[0].b", code: {regex: 'c=(\d+)'}, whole: {regex: a+}, type: {header: Content-Type}, all: {text: true}, maybe: {json: $.x, default: none}}
  check: [id > 3, text contains code]
- sse: {post: /events, json: {q: "${id}"}, until: "[DONE]"}
  abandon: {after_events: 3, after: 500ms}
- chat: {conversation: talk, system: Be brief., prompt: hello}
- http: {get: "/items/${id + 1}?q=${lower(name)}"})"));
  const auto& flow = plan.scenarios.at(0).flow;
  ASSERT_EQ(flow.size(), 11u);
  EXPECT_EQ(std::get<SetStep>(flow[0].verb).assignments.size(), 4u);
  EXPECT_EQ(std::get<IfStep>(flow[1].verb).otherwise.size(), 1u);
  EXPECT_EQ(std::get<FailStep>(std::get<IfStep>(flow[1].verb).otherwise[0].verb).message, "not one");
  EXPECT_EQ(std::get<RepeatStep>(flow[2].verb).times->text(), "3");
  EXPECT_TRUE(std::get<RepeatStep>(flow[3].verb).condition);
  const auto& ways = std::get<ChooseStep>(flow[4].verb).ways;
  ASSERT_EQ(ways.size(), 2u);
  EXPECT_EQ(ways[0].weight, 3);
  EXPECT_EQ(ways[1].weight, 1);
  EXPECT_EQ(std::get<SleepStep>(flow[5].verb).distribution, SleepStep::Distribution::exponential);
  const auto& normal = std::get<SleepStep>(flow[6].verb);
  EXPECT_EQ(normal.deviation, milliseconds(200));
  EXPECT_EQ(normal.max, seconds(3));
  const auto& completion = std::get<CompletionStep>(flow[7].verb);
  EXPECT_EQ(completion.prompt.text(), "def ${name}");
  EXPECT_THAT(completion.options, ElementsAre(Pair("stop", R"(["x"])")));
  ASSERT_EQ(completion.live_options.size(), 1u);
  EXPECT_EQ(completion.live_options[0].second.text(), "${random_int(5, 10)}");
  const auto& captures = flow[7].captures;
  ASSERT_EQ(captures.size(), 6u);
  EXPECT_EQ(std::get<Capture::Pattern>(captures[1].from).group, 1u);
  EXPECT_EQ(std::get<Capture::Pattern>(captures[2].from).group, 0u) << "no group: the whole match";
  EXPECT_EQ(captures[5].otherwise, "none");
  EXPECT_EQ(flow[7].checks.size(), 2u);
  EXPECT_EQ(std::get<SseStep>(flow[8].verb).until, "[DONE]");
  EXPECT_EQ(flow[8].abandon->after_events, 3u);
  EXPECT_EQ(flow[8].abandon->after, milliseconds(500));
  EXPECT_EQ(std::get<ChatStep>(flow[9].verb).conversation, "talk");
}

TEST(Steering, SaysWhatMakesNoSense) {
  const std::pair<const char*, const char*> rows[] = {
      {"- if: vu == 1", "if: needs then: or else:"},
      {"- sleep: 1s\n  then: [{sleep: 1s}]", "then: belongs to an if"},
      {"- if: vu = 1\n  then: [{sleep: 1s}]", "s.yaml:10:16: if: vu = 1: write '==' instead of '='"},
      {"- if: \"it's\"\n  then: [{sleep: 1s}]", "s.yaml:10:16: if: it's: the text that starts here has no closing '"},
      {"- repeat: 0\n  steps: [{sleep: 1s}]", "repeat: 0 is out of bounds: 1 to 1000000"},
      {"- repeat: {}\n  steps: [{sleep: 1s}]", "repeat: needs times: or while:"},
      {"- repeat: 2", "repeat: needs steps: beside it"},
      {"- choose: []", "choose: must be a list of {weight, steps}"},
      {"- choose: [{weight: 0, steps: [{sleep: 1s}]}]", "choose: no weight is over 0"},
      {"- choose: [{weight: 1}]", "a way to choose needs steps:"},
      {"- set: {vu: 1}", "'vu' means something else in expressions"},
      {"- set: {status: 1}", "'status' means something else"},
      {"- set: {len: 1}", "'len' means something else"},
      {"- set: {a-b: 1}", "'a-b' is no name"},
      {"- set: {E: 1}", "'E' is a variable of env: already"},
      {"- set: {a: start}", "s.yaml:10:18: a: start: unknown name 'start'"},
      {"- set: {a: b + 1}", "unknown name 'b'"},
      {"- set: []", "set: must be a mapping"},
      {"- fail: \"${vu}\"", "fail: '${vu}' changes with each iteration"},
      {"- http: {get: /}\n  capture: {a: b}", "a: 'b': at character 1: a path begins with '$'"},
      {"- http: {get: /}\n  capture: {a: {}}", "capture 'a': one of json, regex, header and text is wanted"},
      {"- http: {get: /}\n  capture: {a: {regex: '('}}", "the pattern '(' is wrong at character 2"},
      {"- http: {get: /}\n  capture: {a: {regex: 'x', group: 1}}", "group: the pattern has 0 of them"},
      {"- http: {get: /}\n  capture: {a: {header: x, group: 1}}", "group: belongs to regex"},
      {"- sleep: 1s\n  capture: {a: $.b}", "capture: belongs to steps that send a request"},
      {"- http: {get: /}\n  abandon: {after: 1s}", "abandon: belongs to chat, completion and sse steps"},
      {"- chat: {prompt: a, stream: false}\n  abandon: {after: 1s}", "abandon: drops streams"},
      {"- chat: {prompt: a}\n  abandon: {}", "abandon: needs after_events: or after:"},
      {"- chat: {conversation: a b, prompt: a}", "conversation: a name of letters"},
      {"- chat: {conversation: a, messages: [{role: user, content: b}]}",
       "messages: a conversation is told by prompts"},
      {"- completion: {}", "completion needs prompt:"},
      {"- completion: {prompt: a, messages: []}", "unknown key 'messages'"},
      {"- sse: {}", "sse: needs get: or post:"},
      {"- sse: {get: /, json: {a: 1}}", "sse: GET sends no body"},
      {"- sleep: {mean: 1s, deviation: 1s}", "deviation: belongs to distribution: normal"},
      {"- sleep: {mean: 2s, max: 1s}", "max: is less than the mean"},
      {"- sleep: {mean: 2s, distribution: gaussian}", "distribution: unknown 'gaussian'"},
      {"- http: {get: \"/${later}\"}\n- set: {later: 1}", "variable 'later' is not set"},
      {"- http: {get: \"/${d.m}\"}", "get: no data has 'd.m'; did you mean 'd.n'?"},
      {"- http: {get: \"/${d.m + 1}\"}", "s.yaml:10:25: in ${d.m + 1}: unknown name 'd.m'; did you mean 'd.n'?"},
      {"- http:\n    get: /${1 + }", "s.yaml:11:23: in ${1 + }: the expression ends too early"},
      {"- http: {get: '/it''s/${1 + }'}", "s.yaml:10:35: in ${1 + }"},
      {"- http:\n    post: /\n    body: |\n      first\n        then ${1 + }", "s.yaml:14:26: in ${1 + }"},
      {"- http: {get: \"/${setup.token}\"}", "setup captures nothing named 'token'"},
  };
  for (const auto& [step, problem] : rows)
    EXPECT_THAT(problems_of(around(step, "env: {E: 1}\ndata: {d: {file: d.jsonl}}")), HasSubstr(problem)) << step;
}

TEST(Steering, VariablesOfTheFileAreConstantsInExpressions) {
  const auto plan = plan_of(around(R"(- chat: {prompt: "${N * 2} of ${upper(WORD)}", max_tokens: "${N + 1}"}
  check: [tokens < N, text contains WORD, finish_reason == stop])",
                                   "env: {N: 7, WORD: abc}"));
  const auto& step = plan.scenarios.at(0).flow.at(0);
  const auto& chat = std::get<ChatStep>(step.verb);
  EXPECT_EQ(chat.messages.at(0).content.text(), "14 of ABC");
  EXPECT_TRUE(chat.messages.at(0).content.is_static());
  EXPECT_THAT(chat.options, ElementsAre(Pair("max_tokens", "8")));
  EXPECT_EQ(step.checks.at(0).text, "tokens < N");
}

TEST(Steering, ASecretInAnExpressionIsInNoMessage) {
  auto options = quiet_options();
  options.overrides = {{"API_TOKEN", "hunter2"}};
  const auto text = problems_of(around(R"(- http: {get: "/${API_TOKEN +}"}
- http: {get: /}
  check: [status == API_TOKEN +, header.x + API_TOKEN == 1]
- http: {get: /}
  timeout: ${lower(API_TOKEN)})",
                                       "env: {API_TOKEN: ''}"),
                                options);
  EXPECT_THAT(text, HasSubstr("the expression ends too early"));
  EXPECT_THAT(text, HasSubstr("timeout: what ${lower(API_TOKEN)} stands for does not fit here"));
  EXPECT_THAT(text, testing::Not(HasSubstr("hunter2")));
}

TEST(Steering, AScenariosEnvWinsInItsFlow) {
  auto options = quiet_options();
  options.overrides = {{"MODEL", "given"}};
  const auto plan = plan_of(R"(name: t
target: {url: 'http://h:1'}
env: {MODEL: file, B: beta}
flows:
  ask: [{chat: {model: "${MODEL}", prompt: "${MODEL}-${WHO}"}}]
scenarios:
  a: {executor: constant-vus, duration: 1s, env: {MODEL: alpha, WHO: x}, flow: ask}
  b: {executor: constant-vus, duration: 1s, env: {MODEL: "${B}${MODEL}", WHO: y}, flow: ask}
  c: {executor: constant-vus, duration: 1s, flow: [{chat: {prompt: "${MODEL}"}}]}
)",
                            options);
  const auto prompt = [&](std::size_t scenario) {
    return std::get<ChatStep>(plan.scenarios.at(scenario).flow.at(0).verb).messages.at(0).content.text();
  };
  EXPECT_EQ(prompt(0), "alpha-x");
  EXPECT_EQ(prompt(1), "betagiven-y");
  EXPECT_EQ(prompt(2), "given");
  EXPECT_THAT(problems_of(R"(name: t
target: {url: 'http://h:1'}
flows:
  ask: [{slep: 1s}]
  unused: [{chat: {prompt: "${WHO}"}}]
scenarios:
  a: {executor: constant-vus, duration: 1s, env: {MODEL: a}, flow: ask}
  b: {executor: constant-vus, duration: 1s, env: {MODEL: b, vu: 1}, flow: ask}
)"),
              testing::StrEq("s.yaml:4:10: unknown key 'slep'; did you mean 'sleep'?\n"
                             "s.yaml:5:28: variable 'WHO' is not set: give it a default under env:, set it in the "
                             "environment, or pass -e WHO=...\n"
                             "s.yaml:8:61: 'vu' is the iteration's own and cannot be a variable\n"))
      << "a flow that is read twice has its problems once";
}

TEST(Steering, WhatSetupCapturesIsThereForAll) {
  const auto plan = plan_of(around(R"(- http: {get: "/${token}/${setup.token}", headers: {X: "${upper(token)}"}})",
                                   R"(setup:
  - http: {post: /login}
    capture: {token: $.token}
teardown:
  - http: {delete: "/${token}"})"));
  EXPECT_EQ(plan.setup.size(), 1u);
  EXPECT_EQ(plan.teardown.size(), 1u);
  EXPECT_EQ(std::get<HttpStep>(plan.scenarios.at(0).flow.at(0).verb).url.text(), "/${token}/${setup.token}");
}

TEST(Steering, ReadsChecksOfWhatWasSaid) {
  const auto plan = plan_of(around(R"(- chat: {prompt: hi}
  name: first
  check: {deterministic: true}
- chat: {prompt: "${rows.n}"}
  check:
    - status == 200
    - code_parses: python
    - same_text_as: first
    - no_crosstalk: ${rows.n}
- http: {get: /x}
  check: {code_parses: json})",
                                   "data: {rows: {file: d.jsonl}}"));
  const auto& flow = plan.scenarios.at(0).flow;
  EXPECT_TRUE(std::holds_alternative<Deterministic>(flow.at(0).checks.at(0).condition));
  const auto& checks = flow.at(1).checks;
  ASSERT_EQ(checks.size(), 4U);
  EXPECT_TRUE(std::holds_alternative<Expression>(checks[0].condition));
  EXPECT_EQ(std::get<CodeParses>(checks[1].condition).language, CodeParses::Language::python);
  EXPECT_EQ(std::get<SameTextAs>(checks[2].condition).step, "first");
  EXPECT_EQ(std::get<NoCrosstalk>(checks[3].condition).nonce.text(), "${rows.n}");
  EXPECT_EQ(checks[1].text, "code_parses: python");
  EXPECT_EQ(checks[3].text, "no_crosstalk: ${rows.n}");
  EXPECT_EQ(std::get<CodeParses>(flow.at(2).checks.at(0).condition).language, CodeParses::Language::json);
}

TEST(Steering, RefusesChecksOfWhatWasSaidThatCannotBe) {
  struct Case {
    const char* check;
    const char* problem;
  };
  const Case cases[] = {
      {"{code_parses: rust}", "code_parses"},
      {"{code_parse: json}", "unknown key 'code_parse'"},
      {"{code_parses: json, deterministic: true}", "or one of code_parses:, same_text_as:"},
      {"{same_text_as: frist}", "no step before this one is named 'frist'; did you mean 'first'?"},
      {"{deterministic: false}", "deterministic: true is wanted"},
      {"{no_crosstalk: Ada}", "a word that differs from request to request is wanted"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(problems_of(around(fmt::format(
                    "- chat: {{prompt: hi}}\n  name: first\n- chat: {{prompt: hi}}\n  check: [{}]", c.check))),
                HasSubstr(c.problem))
        << c.check;
  }
  EXPECT_THAT(problems_of(around("- websocket: {url: /ws}\n  check: [{deterministic: true}]")),
              HasSubstr("deterministic: belongs to chat, completion, http and sse steps"));
}

}  // namespace
}  // namespace sluice
