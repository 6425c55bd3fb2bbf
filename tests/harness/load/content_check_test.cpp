// The checks of what was said, against a server that says it.
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "harness/load/run.h"
#include "harness/scenario/load_plan.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace testing_support;

std::string stream_of(const std::string& json_text) {
  return stream_head() +
         chunk(role_event() + content_event(json_text) + finish_event() + usage_event(3, 2) + done_event()) + chunk("");
}

/// One connection says these, one after the other.
Script says(const std::vector<std::string>& answers) {
  Script script;
  for (const std::string& bytes : answers) {
    script.push_back(await_request());
    script.push_back(send(bytes));
  }
  return script;
}

struct Passed {
  std::uint64_t passes = 0, fails = 0;
  bool operator==(const Passed&) const = default;
  friend void PrintTo(const Passed& p, std::ostream* out) { *out << p.passes << " passed, " << p.fails << " failed"; }
};

/// Of all checks of a scenario's iterations together. `flow`: its steps as YAML, `how`: its executor.
Passed checks_of(const ScriptedServer& server, const std::string& how, const std::string& flow) {
  LoadOptions load;
  load.environment = [](const std::string&) { return std::nullopt; };
  load.read_file = [](const std::string&) {
    return Result<std::string>(boost::system::in_place_value, "name\nAda\nGrace\nBarbara\nFrances\n");
  };
  const auto plan =
      read_plan("name: t\ntarget: {url: '" + server.url() +
                    "', model: m}\ndata: {names: {file: n.csv}}\nscenarios:\n  a:\n    " + how + "\n    flow:\n" + flow,
                "t.yaml", load);
  if (!plan) throw std::runtime_error(plan.error().text());
  RunControl control;
  const auto result = run(*plan, {}, control, {});
  if (!result) throw std::runtime_error(result.error().message);
  Passed sum;
  for (const auto& check : result->tally.checks()) {
    sum.passes += check.passes;
    sum.fails += check.fails;
  }
  return sum;
}

const std::string kOne = "executor: per-vu-iterations\n    iterations: 1";

TEST(ContentCheck, ReadsTheCodeOfAnAnswer) {
  struct Case {
    const char* text;  // as JSON has it
    const char* language;
    bool parses;
  };
  const Case cases[] = {
      {"print(\\\"Jay\\\")", "python", true},
      {"Here it is:\\n```python\\nfor i in range(3):\\n    print(i)\\n```\\nRun it.", "python", true},
      {"for i in range(3)\\n    print(i)", "python", false},
      {"Certainly! Here is the code", "python", false},
      {"{\\\"a\\\": [1, 2]}", "json", true},
      {"```json\\n{\\\"a\\\": 1}\\n```", "json", true},
      {"{\\\"a\\\": 1", "json", false},
  };
  for (const Case& c : cases) {
    ScriptedServer server({says({stream_of(c.text)})});
    const auto got = checks_of(
        server, kOne, std::string("      - chat: {prompt: hi}\n        check: [{code_parses: ") + c.language + "}]\n");
    EXPECT_EQ(got, (Passed{c.parses ? 1U : 0U, c.parses ? 0U : 1U})) << c.text;
  }
}

TEST(ContentCheck, ReadsTheBodyOfAPlainAnswer) {
  ScriptedServer server({says({answer("[1, 2]", "application/json")})});
  EXPECT_EQ(checks_of(server, kOne, "      - http: {get: /x}\n        check: {code_parses: json}\n"), (Passed{1, 0}));
}

TEST(ContentCheck, ComparesWithAnEarlierStep) {
  const std::string whole = answer(
      R"({"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})",
      "application/json");
  const std::string flow =
      "      - chat: {prompt: hi}\n        name: streamed\n      - chat: {prompt: hi, stream: false}\n        name: "
      "whole\n"
      "        check: [{same_text_as: streamed}]\n";
  ScriptedServer same({says({stream_of("hello"), whole})});
  EXPECT_EQ(checks_of(same, kOne, flow), (Passed{1, 0}));
  ScriptedServer other({says({stream_of("hello!"), whole})});
  EXPECT_EQ(checks_of(other, kOne, flow), (Passed{0, 1}));
  // A stream that failed has said nothing that could be compared.
  ScriptedServer broken({says({stream_head() + chunk(role_event() + content_event("hello")) + chunk(""), whole})});
  EXPECT_EQ(checks_of(broken, kOne, flow), (Passed{0, 1}));
}

TEST(ContentCheck, ComparesOnlyWithTheSameIteration) {
  ScriptedServer server({says({stream_of("a"), stream_of("a"), stream_of("b"), stream_of("b")})});
  EXPECT_EQ(checks_of(server, "executor: per-vu-iterations\n    iterations: 2",
                      "      - chat: {prompt: hi}\n        name: one\n      - chat: {prompt: hi}\n        name: two\n"
                      "        check: [{same_text_as: one}]\n"),
            (Passed{2, 0}));
}

TEST(ContentCheck, HoldsTheSameRequestsAgainstEachOtherWhoeverSendsThem) {
  const std::string flow = "      - chat: {prompt: '${names.name}'}\n        check: [{deterministic: true}]\n";
  // Sequential rows: iteration k asks for row k, so that iterations of two VUs over two names ask alike.
  const std::string how = "executor: per-vu-iterations\n    vus: 2\n    iterations: 2";
  const Script two = says({stream_of("x"), stream_of("x")});
  ScriptedServer alike({two, two});
  EXPECT_EQ(checks_of(alike, how, "      - chat: {prompt: hi}\n        check: [{deterministic: true}]\n"),
            (Passed{4, 0}));
  ScriptedServer different({two, says({stream_of("x"), stream_of("y")})});
  EXPECT_EQ(checks_of(different, how, "      - chat: {prompt: hi}\n        check: [{deterministic: true}]\n"),
            (Passed{3, 1}));
  ScriptedServer other_questions({says({stream_of("x"), stream_of("y")}), says({stream_of("z"), stream_of("w")})});
  EXPECT_EQ(checks_of(other_questions, how, flow), (Passed{4, 0}));
}

TEST(ContentCheck, FindsTheWordOfAnotherRequest) {
  const std::string flow =
      "      - chat: {prompt: '${names.name}'}\n        check: [{no_crosstalk: '${names.name}'}]\n";
  const std::string how = "executor: per-vu-iterations\n    vus: 1\n    iterations: 3";
  ScriptedServer clean({says({stream_of("Hi Ada"), stream_of("Hi Grace"), stream_of("Hi")})});
  EXPECT_EQ(checks_of(clean, how, flow), (Passed{3, 0}));
  ScriptedServer leaks({says({stream_of("Hi Ada"), stream_of("Hi Ada"), stream_of("Hi Barbara, or Grace")})});
  EXPECT_EQ(checks_of(leaks, how, flow), (Passed{1, 2}));
}

TEST(ContentCheck, HoldsRequestsToDifferentPathsForDifferent) {
  ScriptedServer server({says({answer("a"), answer("b"), answer("a"), answer("c")})});
  EXPECT_EQ(checks_of(server, "executor: per-vu-iterations\n    iterations: 2",
                      "      - http: {get: /a}\n        check: [{deterministic: true}]\n"
                      "      - http: {get: /b}\n        check: [{deterministic: true}]\n"),
            (Passed{3, 1}));
}

TEST(ContentCheck, FailsWhereTheWordIsNoneOrNotInItsRequest) {
  for (const char* const word : {"${uuid()}", "${iteration}", "${vu}-${names.name}"}) {
    ScriptedServer server({says({stream_of("Hi")})});
    EXPECT_EQ(checks_of(server, kOne,
                        std::string("      - chat: {prompt: 'say ${uuid()}'}\n        check: [{no_crosstalk: '") +
                            word + "'}]\n"),
              (Passed{0, 1}))
        << word;
  }
}

}  // namespace
}  // namespace sluice
