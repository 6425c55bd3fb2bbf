#include "harness/stream/stream_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
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
std::string with_choice(std::string choice, std::string_view id = "c-1", std::string_view model = "m",
                        std::string_view object = "chat.completion.chunk", int created = 7) {
  if (choice.find("finish_reason") == std::string::npos) choice.insert(choice.size() - 1, R"(,"finish_reason":null)");
  return event(R"({"id":")" + std::string(id) + R"(","object":")" + std::string(object) + R"(","created":)" +
               std::to_string(created) + R"(,"model":")" + std::string(model) + R"(","choices":[)" + choice + "]}");
}

struct Judged {
  std::set<std::string> rules, noted;
  bool failed = false;
  std::vector<Finding> findings;
};

struct How {
  unsigned status = 200;
  std::string_view content_type = "text/event-stream";
  StreamEnd end = {};
  StreamApi api = StreamApi::chat;
  RuleSet allowed = {};
};

Judged judgement(const StreamRules& rules) {
  Judged result;
  for (const Finding& finding : rules.findings())
    (finding.noted ? result.noted : result.rules).insert(std::string(info(finding.rule).name));
  result.failed = rules.failed();
  result.findings = rules.findings();
  return result;
}

void feed(StreamRules& rules, const std::string& stream, StreamApi api = StreamApi::chat) {
  SseParser parser;
  ChatEventParser chat;
  parser.push(stream);
  while (const auto raw = parser.next()) rules.event(*raw, chat.parse(raw->data, api));
}

Judged judged(const std::string& stream, How how = {}) {
  StreamRules rules;
  SseParser parser;
  ChatEventParser chat;
  rules.begin(how.api, how.allowed);
  rules.header(how.status, how.content_type);
  parser.push(stream);
  while (const auto raw = parser.next()) rules.event(*raw, chat.parse(raw->data, how.api));
  how.end.partial_event = parser.has_partial();
  rules.end(how.end);
  return judgement(rules);
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
      {"another id, and the first again",
       kRole + kA + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-2") + kStop + kDone,
       {"interleaved"},
       true},
      {"another id that stays",
       kRole + kA + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-2") +
           with_choice(R"({"index":0,"delta":{},"finish_reason":"stop"})", "c-2") + kDone,
       {"id-changed"},
       false},
      {"another id each time",
       kRole + with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-2") +
           with_choice(R"({"index":0,"delta":{},"finish_reason":"stop"})", "c-3") + kDone,
       {"id-changed"},
       false},
      {"no finish_reason, not even null",
       kRole +
           event(
               R"({"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]})") +
           kStop + kDone,
       {"null-missing"},
       false},
      {"a long answer in one piece",
       kRole + content_event("one two three four five six seven eight") + kStop + usage_event(3, 8) + kDone,
       {"whole-answer-in-one-chunk"},
       false},
      {"a long answer in one piece, tokens unknown",
       kRole + content_event(std::string(40, 'x')) + kStop + kDone,
       {"whole-answer-in-one-chunk"},
       false},
      {"a short answer in one piece",
       kRole + content_event("Yes, of course.") + kStop + usage_event(3, 4) + kDone,
       {},
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
               R"({"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}})") +
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
  EXPECT_EQ(judged("", {.status = 500}).rules, (std::set<std::string>{"http-status"}));
  EXPECT_EQ(judged(kRole + kA + kStop + kDone, {.content_type = "application/json"}).rules,
            (std::set<std::string>{"content-type"}));
  for (const char* fine : {"text/event-stream", "Text/Event-Stream; charset=utf-8", "text/event-stream ;x=y"}) {
    EXPECT_TRUE(judged(kRole + kA + kStop + kDone, {.content_type = fine}).rules.empty()) << fine;
  }
  EXPECT_EQ(judged(kRole + kA + kStop + kDone, {.content_type = "text/event-streams"}).rules,
            (std::set<std::string>{"content-type"}));
}

TEST(StreamRules, TellsATruncatedStreamFromOneThatWeCut) {
  StreamEnd cut;
  cut.framing_whole = false;
  EXPECT_THAT(judged(kRole + kA, {.end = cut}).rules, testing::Contains("truncated"));
  cut.interrupted = true;
  const Judged ours = judged(kRole + kA, {.end = cut});
  EXPECT_TRUE(ours.rules.empty());
  EXPECT_FALSE(ours.failed);
}

TEST(StreamRules, FindsAnEventThatIsTooLarge) {
  StreamEnd end;
  end.event_too_large = true;
  EXPECT_EQ(judged(kRole + kA, {.end = end}).rules, (std::set<std::string>{"event-too-large"}));
}

TEST(StreamRules, OnlyNotesWhatIsAllowed) {
  RuleSet allowed;
  allowed.set(static_cast<std::size_t>(StreamRule::no_done)).set(static_cast<std::size_t>(StreamRule::role_twice));
  const Judged result = judged(kRole + kRole + kA + kStop + kStop, {.allowed = allowed});
  EXPECT_EQ(result.rules, (std::set<std::string>{"finish-twice"}));
  EXPECT_EQ(result.noted, (std::set<std::string>{"no-done", "role-twice"}));
  EXPECT_FALSE(result.failed);
  EXPECT_TRUE(judged(kRole + kA + kStop).failed);
}

TEST(StreamRules, KnowsTextCompletions) {
  const auto piece = [](const char* choice) { return with_choice(choice, "c-1", "m", "text_completion"); };
  const std::string stream = piece(R"({"index":0,"text":"a","finish_reason":null})") +
                             piece(R"({"index":0,"text":"","finish_reason":"stop"})") + kDone;
  EXPECT_TRUE(judged(stream, {.api = StreamApi::completions}).rules.empty());
}

TEST(StreamRules, OwesARawStreamNothingButTheTransport) {
  EXPECT_TRUE(judged("data: any\n\nevent: x\ndata: {thing\n\n", {.api = StreamApi::raw}).rules.empty());
  EXPECT_EQ(judged("data: \xC3\n\n", {.api = StreamApi::raw}).rules,
            (std::set<std::string>{"invalid-utf8", "no-content"}));
  EXPECT_EQ(judged("data: a\n", {.api = StreamApi::raw}).rules, (std::set<std::string>{"truncated", "no-content"}));
}

// ---- beside other streams -----------------------------------------------------------------------------------------

TEST(StreamRules, KnowsAnEventOfAnotherLiveStream) {
  const auto piece = [](const char* id) { return with_choice(R"({"index":0,"delta":{"content":"x"}})", id); };
  LiveStreams live;
  StreamRules ours, theirs;
  ours.begin(StreamApi::chat, {}, &live);
  theirs.begin(StreamApi::chat, {}, &live);
  feed(theirs, piece("theirs"));
  feed(ours, piece("ours") + piece("theirs"));  // and it stays so
  EXPECT_TRUE(ours.found(StreamRule::interleaved));
  EXPECT_FALSE(theirs.found(StreamRule::interleaved));
  theirs.end({});
  ours.begin(StreamApi::chat, {}, &live);
  feed(ours, piece("ours") + piece("theirs"));
  EXPECT_FALSE(ours.found(StreamRule::interleaved)) << "it is not live any more";
  ours.end({});
  EXPECT_TRUE(ours.found(StreamRule::id_changed));
}

TEST(StreamRules, KnowsAFirstEventThatBelongsToAnotherLiveStream) {
  const auto piece = [](const char* id) { return with_choice(R"({"index":0,"delta":{"content":"x"}})", id); };
  LiveStreams live;
  StreamRules ours, theirs;
  theirs.begin(StreamApi::chat, {}, &live);
  ours.begin(StreamApi::chat, {}, &live);
  feed(theirs, piece("theirs"));
  feed(ours, piece("theirs"));
  EXPECT_FALSE(ours.found(StreamRule::interleaved)) << "some servers give all streams one id";
  feed(ours, piece("ours"));
  EXPECT_TRUE(ours.found(StreamRule::interleaved));
}

TEST(StreamRules, LeavesTheLiveStreamsInAnyOrder) {
  LiveStreams live;
  std::vector<std::unique_ptr<StreamRules>> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(std::make_unique<StreamRules>());
    all.back()->begin(StreamApi::chat, {}, &live);
    feed(*all.back(), with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-" + std::to_string(i)));
  }
  for (const std::size_t gone : {2u, 0u, 2u}) all.erase(all.begin() + static_cast<std::ptrdiff_t>(gone));
  feed(*all[0], with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-3"));
  EXPECT_TRUE(all[0]->found(StreamRule::interleaved));
  feed(*all[1], with_choice(R"({"index":0,"delta":{"content":"x"}})", "c-4"));
  EXPECT_FALSE(all[1]->found(StreamRule::interleaved));
}

// ---- how the pieces came ------------------------------------------------------------------------------------------

/// A stream whose content comes as `bursts` says: so many events after so many milliseconds; the rest one by one.
std::set<std::string> with_bursts(const std::vector<std::pair<int, int>>& bursts, int singles) {
  StreamRules rules;
  rules.begin(StreamApi::chat);
  rules.header(200, "text/event-stream");
  std::string stream = kRole;
  for (const auto& [events, after_ms] : bursts) {
    for (int i = 0; i < events; ++i) stream += kA;
    rules.burst(static_cast<std::uint64_t>(events), std::chrono::milliseconds(after_ms), 100);
  }
  for (int i = 0; i < singles; ++i) stream += kA;
  feed(rules, stream + kStop + kDone);
  rules.end({});
  return judgement(rules).rules;
}

TEST(StreamRules, KnowsAProxyThatHoldsPiecesBack) {
  const std::set<std::string> buffering{"proxy-buffering"};
  EXPECT_EQ(with_bursts({{9, 200}, {8, 190}, {9, 210}}, 0), buffering);
  EXPECT_EQ(with_bursts({{9, 200}, {8, 190}, {9, 210}}, 20), buffering);
  EXPECT_TRUE(with_bursts({{9, 200}, {8, 190}, {9, 210}}, 40).empty()) << "most came one by one";
  EXPECT_TRUE(with_bursts({{9, 200}, {8, 190}}, 0).empty()) << "twice may be chance";
  EXPECT_EQ(with_bursts({{20, 900}}, 0), buffering) << "the whole answer at once";
  EXPECT_TRUE(with_bursts({{20, 60}}, 0).empty()) << "which a fast server does too";
  EXPECT_TRUE(with_bursts({}, 20).empty());
}

TEST(StreamRules, KnowsASilence) {
  StreamRules rules;
  rules.begin(StreamApi::chat);
  rules.silence(std::chrono::milliseconds(21'300), 77);
  rules.silence(std::chrono::milliseconds(30'000), 99);
  ASSERT_EQ(rules.findings().size(), 1u);
  EXPECT_EQ(rules.findings()[0].rule, StreamRule::keepalive_missing);
  EXPECT_EQ(rules.findings()[0].offset, 77u);
  EXPECT_EQ(rules.findings()[0].bytes, "nothing for 21.3 s");
  EXPECT_FALSE(rules.failed());
}

// ---- the APIs with named events -----------------------------------------------------------------------------------

std::string named(std::string_view json) {
  const std::size_t at = json.find(R"("type":")") + 8;
  return "event: " + std::string(json.substr(at, json.find('"', at) - at)) + "\n" + event(json);
}

TEST(StreamRules, FindsEachDeviationOfAMessagesStream) {
  const std::string start = named(
      R"({"type":"message_start","message":{"id":"msg_1","role":"assistant","model":"m","usage":{"input_tokens":3,"output_tokens":1}}})");
  const std::string open =
      named(R"({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}})");
  const std::string text =
      named(R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}})");
  const std::string close = named(R"({"type":"content_block_stop","index":0})");
  const auto finish = [](int tokens) {
    return named(R"({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":)" +
                 std::to_string(tokens) + "}}");
  };
  const std::string stop = named(R"({"type":"message_stop"})"), ping = named(R"({"type":"ping"})");
  const std::vector<Row> rows{
      {"by the book", start + ping + open + text + ping + text + close + finish(2) + stop, {}, false},
      {"an event of a type to come",
       start + named(R"({"type":"news"})") + open + text + close + finish(2) + stop,
       {},
       false},
      {"error",
       start + open + text + named(R"({"type":"error","error":{"type":"overloaded_error","message":"x"}})"),
       {"error-event"},
       true},
      {"no message_stop", start + open + text + close + finish(2), {"no-done"}, true},
      {"message_stop twice", start + open + text + close + finish(2) + stop + stop, {"done-twice"}, false},
      {"after message_stop",
       start + open + text + close + finish(2) + stop + ping,
       {"data-after-done", "done-not-last"},
       false},
      {"[DONE] as well",
       start + open + text + close + finish(2) + stop + kDone,
       {"data-after-done", "done-not-last", "object-wrong"},
       false},
      {"no stop_reason", start + open + text + close + stop, {"no-finish"}, true},
      {"stop_reason twice", start + open + text + close + finish(2) + finish(2) + stop, {"finish-twice"}, false},
      {"text after stop_reason", start + open + text + finish(2) + text + close + stop, {"delta-after-finish"}, false},
      {"no message_start", open + text + close + finish(2) + stop, {"role-missing"}, false},
      {"message_start twice", start + start + open + text + close + finish(2) + stop, {"role-twice"}, false},
      {"a block that was not opened", start + text + finish(2) + stop, {"index-out-of-range"}, false},
      {"more pieces than tokens",
       start + open + text + text + text + close + finish(2) + stop,
       {"usage-mismatch"},
       false},
      {"nothing said", start + finish(2) + stop, {"no-content"}, true},
      {"a name that is not the type",
       start + open + "event: delta\n" + text.substr(text.find("data:")) + close + finish(2) + stop,
       {"object-wrong"},
       false},
      {"no names", start + open + text.substr(text.find("data:")) + close + finish(2) + stop, {"object-wrong"}, false},
      {"not json",
       start + open + text + "event: ping\ndata: {oops\n\n" + close + finish(2) + stop,
       {"invalid-json"},
       true},
  };
  for (const Row& row : rows) {
    const Judged result = judged(row.stream, {.api = StreamApi::messages});
    EXPECT_EQ(result.rules, row.want) << row.name;
    EXPECT_EQ(result.failed, row.failed) << row.name;
  }
}

TEST(StreamRules, FindsEachDeviationOfAResponsesStream) {
  const auto whole = [](std::string_view type, std::string_view status, std::string_view more = "",
                        std::string_view id = "r-1") {
    return named(R"({"type":"response.)" + std::string(type) + R"(","response":{"id":")" + std::string(id) +
                 R"(","created_at":7,"model":"m","status":")" + std::string(status) + '"' + std::string(more) + "}}");
  };
  const std::string created = whole("created", "in_progress");
  const std::string text = named(R"({"type":"response.output_text.delta","output_index":0,"delta":"a"})");
  const std::string usage = R"(,"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5})";
  const std::string completed = whole("completed", "completed", usage);
  const std::vector<Row> rows{
      {"by the book", created + text + text + completed, {}, false},
      {"incomplete",
       created + text + whole("incomplete", "incomplete", R"(,"incomplete_details":{"reason":"max_output_tokens"})"),
       {},
       false},
      {"failed", created + text + whole("failed", "failed", R"(,"error":{"message":"x"})"), {"error-event"}, true},
      {"error", created + text + named(R"({"type":"error","message":"x"})"), {"error-event"}, true},
      {"no end", created + text, {"no-finish", "no-done"}, true},
      {"after the end",
       created + text + completed + text,
       {"data-after-done", "done-not-last", "delta-after-finish"},
       false},
      {"ended twice", created + text + completed + completed, {"done-twice", "finish-twice"}, false},
      {"no beginning", text + completed, {"role-missing"}, false},
      {"begun twice", created + created + text + completed, {"role-twice"}, false},
      {"another id", created + text + whole("completed", "completed", usage, "r-2"), {"id-changed"}, false},
      {"a wrong sum",
       created + text +
           whole("completed", "completed", R"(,"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":6})"),
       {"usage-mismatch"},
       false},
      {"nothing said", created + completed, {"no-content"}, true},
      {"no names",
       created + event(R"({"type":"response.output_text.delta","delta":"a"})") + completed,
       {"object-wrong"},
       false},
      {"a strange place",
       created + named(R"({"type":"response.output_text.delta","output_index":-1,"delta":"a"})") + completed,
       {"index-out-of-range"},
       false},
  };
  for (const Row& row : rows) {
    const Judged result = judged(row.stream, {.api = StreamApi::responses});
    EXPECT_EQ(result.rules, row.want) << row.name;
    EXPECT_EQ(result.failed, row.failed) << row.name;
  }
}

TEST(StreamRules, KeepsTheFirstOffendingBytesAndTheirPlace) {
  const std::string before = kRole + kA;
  const Judged result = judged(before + event("{first\x01") + event("{second") + kStop + kDone);
  ASSERT_EQ(result.findings.size(), 1u);
  EXPECT_EQ(result.findings[0].bytes, "{first\\x01");
  EXPECT_EQ(result.findings[0].offset, before.size());
  EXPECT_EQ(result.findings[0].count, 2u);
}

TEST(EscapeBytes, LeavesNothingThatATerminalOrAPageMinds) {
  EXPECT_EQ(escape_bytes("a\n\x1b[31m\xC3\xA4\xC3"), "a\\n\\x1b[31m\xC3\xA4\\xc3");
  EXPECT_EQ(escape_bytes("\xED\xA0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(escape_bytes("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace sluice
