#include "harness/stream/stream_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using testing_support::content_event;
using testing_support::done_event;
using testing_support::finish_event;
using testing_support::role_event;
using testing_support::usage_event;

std::string event(std::string_view json) { return "data: " + std::string(json) + "\n\n"; }

/// A chunk whose choice is given; the rest as the book has it.
std::string with_choice(std::string_view choice, std::string_view id = "c-1", std::string_view model = "m",
                        std::string_view object = "chat.completion.chunk", int created = 7) {
  return event(R"({"id":")" + std::string(id) + R"(","object":")" + std::string(object) + R"(","created":)" +
               std::to_string(created) + R"(,"model":")" + std::string(model) + R"(","choices":[)" +
               std::string(choice) + "]}");
}

struct Judged {
  std::set<std::string> rules;
  bool failed = false;
  std::vector<Finding> findings;
};

Judged judged(const std::string& stream, unsigned status = 200, std::string_view content_type = "text/event-stream",
              StreamEnd end = {}, std::string_view dialect = "openai", StreamRules::Api api = StreamRules::Api::chat) {
  StreamRules rules;
  SseParser parser;
  ChatEventParser chat;
  rules.begin(api, dialect);
  rules.header(status, content_type);
  parser.push(stream);
  while (const auto raw = parser.next()) rules.event(*raw, chat.parse(raw->data));
  end.partial_event = parser.has_partial();
  rules.end(end);
  Judged result;
  for (const Finding& finding : rules.findings()) result.rules.insert(std::string(info(finding.rule).name));
  result.failed = rules.failed();
  result.findings = rules.findings();
  return result;
}

const std::string kRole = role_event(), kA = content_event("a"), kB = content_event("b"), kStop = finish_event(),
                  kUsage = usage_event(3, 2), kDone = done_event();

struct Row {
  const char* name;
  std::string stream;
  std::set<std::string> want;
  bool failed;
};

TEST(StreamRules, FindsEachDeviationAndNothingElse) {
  const std::vector<Row> rows{
      {"by the book", kRole + kA + kB + kStop + kUsage + kDone, {}, false},
      {"without usage", kRole + kA + kStop + kDone, {}, false},
      {"no tokens, and usage says so", kRole + kStop + usage_event(3, 0) + kDone, {}, false},
      {"comments between", kRole + ":\n\n" + kA + ": keep-alive\n\n" + kStop + kDone, {}, false},
      {"error event", kRole + kA + event(R"({"error":{"message":"out of memory"}})"), {"error-event"}, true},
      {"named error event", kRole + kA + "event: error\ndata: {}\n\n", {"error-event"}, true},
      {"invalid json", kRole + kA + event("{oops") + kStop + kDone, {"invalid-json"}, true},
      {"invalid utf-8", kRole + kA + event("{\"a\":\"\xC3\"}") + kStop + kDone, {"invalid-utf8"}, true},
      {"no content", kRole + kStop + kDone, {"no-content"}, true},
      {"nothing at all", "", {"no-content", "no-finish", "no-done"}, true},
      {"no done", kRole + kA + kStop, {"no-done"}, true},
      {"done not closed by a blank line", kRole + kA + kStop + "data: [DONE]\n", {"truncated", "no-done"}, true},
      {"content after done",
       kRole + kA + kStop + kDone + kB,
       {"data-after-done", "done-not-last", "delta-after-finish"},
       false},
      {"usage after done", kRole + kA + kB + kStop + kDone + kUsage, {"data-after-done", "done-not-last"}, false},
      {"done twice", kRole + kA + kStop + kDone + kDone, {"done-twice"}, false},
      {"no finish", kRole + kA + kDone, {"no-finish"}, true},
      {"finish twice", kRole + kA + kStop + kStop + kDone, {"finish-twice"}, false},
      {"delta after finish", kRole + kA + kStop + kB + kDone, {"delta-after-finish"}, false},
      {"id changed",
       kRole + kA + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-2") + kStop + kDone,
       {"id-changed"},
       false},
      {"model changed",
       kRole + kA + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-1", "n") + kStop + kDone,
       {"model-changed"},
       false},
      {"created changed",
       kRole + kA + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-1", "m", "chat.completion.chunk", 8) +
           kStop + kDone,
       {"created-changed"},
       false},
      {"object wrong",
       kRole + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-1", "m", "chat.completion") + kStop + kDone,
       {"object-wrong"},
       false},
      {"index out of range",
       kRole + kA + with_choice(R"({"index":-1,"delta":{}})") + kStop + kDone,
       {"index-out-of-range"},
       false},
      {"role missing", kA + kStop + kDone, {"role-missing"}, false},
      {"role twice", kRole + kA + kRole + kStop + kDone, {"role-twice"}, false},
      {"role again for another choice",
       kRole + with_choice(R"({"index":1,"delta":{"role":"assistant"}})") + kA + kStop + kDone,
       {},
       false},
      {"finish with content",
       kRole + with_choice(R"({"index":0,"delta":{"content":"x"},"finish_reason":"stop"})") + kDone,
       {"finish-with-content"},
       false},
      {"finish as empty string",
       kRole + with_choice(R"({"index":0,"delta":{"content":"x"},"finish_reason":""})") + kStop + kDone,
       {"finish-empty-string"},
       false},
      {"usage: sum is wrong",
       kRole + kA + kStop +
           event(
               R"({"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":5}})") +
           kDone,
       {"usage-mismatch"},
       false},
      {"usage: more pieces than tokens",
       kRole + kA + kB + kStop + usage_event(3, 1) + kDone,
       {"usage-mismatch"},
       false},
      {"usage: nothing said, something streamed",
       kRole + kA + kStop + usage_event(3, 0) + kDone,
       {"usage-mismatch"},
       false},
      {"usage not last", kRole + kA + kUsage + kStop + kDone, {"usage-not-last"}, false},
      {"continuous usage is no last usage",
       kRole +
           event(
               R"({"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}})") +
           kA + kStop + kUsage + kDone,
       {},
       false},
      {"unfinished event", kRole + kA + kStop + kDone + "data: {", {"truncated"}, true},
  };
  for (const Row& row : rows) {
    const Judged result = judged(row.stream);
    EXPECT_EQ(result.rules, row.want) << row.name;
    EXPECT_EQ(result.failed, row.failed) << row.name;
  }
}

TEST(StreamRules, JudgesTheHeaderFirst) {
  EXPECT_EQ(judged("", 500).rules, (std::set<std::string>{"http-status"}));
  EXPECT_EQ(judged(kRole + kA + kStop + kDone, 200, "application/json").rules, (std::set<std::string>{"content-type"}));
  for (const char* fine : {"text/event-stream", "Text/Event-Stream; charset=utf-8", "text/event-stream ;x=y"}) {
    EXPECT_TRUE(judged(kRole + kA + kStop + kDone, 200, fine).rules.empty()) << fine;
  }
  EXPECT_EQ(judged(kRole + kA + kStop + kDone, 200, "text/event-streams").rules,
            (std::set<std::string>{"content-type"}));
}

TEST(StreamRules, TellsATruncatedStreamFromOneThatWeCut) {
  StreamEnd cut;
  cut.framing_whole = false;
  EXPECT_THAT(judged(kRole + kA, 200, "text/event-stream", cut).rules, testing::Contains("truncated"));
  cut.interrupted = true;
  const Judged ours = judged(kRole + kA, 200, "text/event-stream", cut);
  EXPECT_TRUE(ours.rules.empty());
  EXPECT_FALSE(ours.failed);
}

TEST(StreamRules, FindsAnEventThatIsTooLarge) {
  StreamEnd end;
  end.event_too_large = true;
  EXPECT_EQ(judged(kRole + kA, 200, "text/event-stream", end).rules, (std::set<std::string>{"event-too-large"}));
}

TEST(StreamRules, OwesNoEndMarkerWhereTheDialectHasNone) {
  EXPECT_EQ(judged(kRole + kA + kStop).rules, (std::set<std::string>{"no-done"}));
  EXPECT_TRUE(judged(kRole + kA + kStop, 200, "text/event-stream", {}, "raw").rules.empty());
}

TEST(StreamRules, KnowsTextCompletions) {
  const auto piece = [](const char* choice) { return with_choice(choice, "c-1", "m", "text_completion"); };
  const std::string stream = piece(R"({"index":0,"text":"a","finish_reason":null})") +
                             piece(R"({"index":0,"text":"","finish_reason":"stop"})") + kDone;
  EXPECT_TRUE(judged(stream, 200, "text/event-stream", {}, "openai", StreamRules::Api::completions).rules.empty());
}

TEST(StreamRules, KeepsTheFirstOffendingBytesAndTheirPlace) {
  const std::string before = kRole + kA;
  const Judged result = judged(before + event("{first\x01") + event("{second") + kStop + kDone);
  ASSERT_EQ(result.findings.size(), 1u);
  EXPECT_EQ(result.findings[0].bytes, "{first\\x01");
  EXPECT_EQ(result.findings[0].offset, before.size());
}

TEST(EscapeBytes, LeavesNothingThatATerminalOrAPageMinds) {
  EXPECT_EQ(escape_bytes("a\n\x1b[31m\xC3\xA4\xC3"), "a\\n\\x1b[31m\xC3\xA4\\xc3");
  EXPECT_EQ(escape_bytes("\xED\xA0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(escape_bytes("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace sluice
