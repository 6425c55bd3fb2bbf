// Streams as the servers that people use write them, by their documentation: text, finish, usage and findings.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "harness/stream/chat_event.h"
#include "harness/stream/sse_parser.h"
#include "harness/stream/stream_rules.h"

namespace sluice {
namespace {

using Names = std::set<std::string>;

std::string recorded(const std::string& name) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR) + "/tests/support/streams/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Heard {
  std::string text, reasoning, tool_text, finish;
  std::uint64_t content_events = 0;
  ChatUsage usage;
  Names found, noted;
  bool failed = false;
};

Heard heard(const std::string& stream, Dialect dialect, StreamApi api) {
  Heard result;
  StreamRules rules;
  SseParser sse;
  ChatEventParser parser;
  rules.begin(api, known_deviations(dialect));
  rules.header(200, "text/event-stream");
  sse.push(stream);
  while (const auto raw = sse.next()) {
    const ChatEvent event = parser.parse(raw->data, api);
    rules.event(*raw, event);
    result.text += event.text;
    result.reasoning += event.reasoning;
    result.tool_text += event.tool_text;
    if (result.finish.empty()) result.finish = event.finish_reason;
    if (event.has_usage) {
      if (event.usage.prompt_tokens >= 0) result.usage.prompt_tokens = event.usage.prompt_tokens;
      if (event.usage.completion_tokens >= 0) result.usage.completion_tokens = event.usage.completion_tokens;
      if (event.usage.cached_tokens >= 0) result.usage.cached_tokens = event.usage.cached_tokens;
    }
  }
  StreamEnd end;
  end.partial_event = sse.has_partial();
  rules.end(end);
  result.content_events = rules.content_events();
  for (const Finding& finding : rules.findings())
    (finding.noted ? result.noted : result.found).insert(std::string(info(finding.rule).name));
  result.failed = rules.failed();
  return result;
}

struct Row {
  const char* file;
  Dialect dialect;
  StreamApi api;
  std::string text, reasoning, tool_text, finish;
  std::uint64_t content_events;
  std::int64_t prompt_tokens, output_tokens;
  Names found, noted;
};

TEST(Dialects, EachIsReadRightAndOnlyItsOwnDeviationsAreNoted) {
  const std::string weather = R"(get_weather{"location":"Paris"})";
  const std::vector<Row> rows{
      {"openai.sse",
       Dialect::openai,
       StreamApi::chat,
       "Gr\xC3\xBC\xC3\x9F dich \xF0\x9F\x91\x8B",
       "",
       "",
       "stop",
       3,
       19,
       4,
       {},
       {}},
      {"openai_tools.sse", Dialect::openai, StreamApi::chat, "", "", weather, "tool_calls", 4, -1, -1, {}, {}},
      {"openai_completion.sse",
       Dialect::openai,
       StreamApi::completions,
       "This is a test",
       "",
       "",
       "length",
       3,
       -1,
       -1,
       {},
       {}},
      {"vllm.sse",
       Dialect::vllm,
       StreamApi::chat,
       "def f():",
       "Short.",
       "",
       "stop",
       4,
       12,
       6,
       {},
       {"finish-with-content"}},
      {"vllm.sse",
       Dialect::openai,
       StreamApi::chat,
       "def f():",
       "Short.",
       "",
       "stop",
       4,
       12,
       6,
       {"finish-with-content"},
       {}},
      {"llamacpp.sse", Dialect::llamacpp, StreamApi::chat, "Hello!", "", "", "stop", 3, 11, 4, {}, {"created-changed"}},
      {"sglang.sse",
       Dialect::sglang,
       StreamApi::chat,
       "Paris.",
       "",
       "",
       "stop",
       3,
       9,
       3,
       {},
       {"created-changed", "finish-with-content", "finish-empty-string"}},
      {"sglang.sse",
       Dialect::openai,
       StreamApi::chat,
       "Paris.",
       "",
       "",
       "stop",
       3,
       9,
       3,
       {"created-changed", "finish-with-content", "finish-empty-string"},
       {}},
      {"anthropic.sse", Dialect::anthropic, StreamApi::messages, "Hello!", "", "", "end_turn", 2, 32, 15, {}, {}},
      {"anthropic_tools.sse",
       Dialect::anthropic,
       StreamApi::messages,
       "Okay, let's see:",
       "Weather, then.",
       R"(get_weather{"location": "San Francisco, CA"})",
       "tool_use",
       6,
       32,
       89,
       {},
       {}},
      {"anthropic_error.sse",
       Dialect::anthropic,
       StreamApi::messages,
       "Hello",
       "",
       "",
       "",
       1,
       32,
       1,
       {"error-event"},
       {}},
      {"responses.sse", Dialect::responses, StreamApi::responses, "Hi there!", "", "", "completed", 3, 37, 11, {}, {}},
      {"responses_incomplete.sse",
       Dialect::responses,
       StreamApi::responses,
       "Once upon",
       "",
       "",
       "max_output_tokens",
       2,
       37,
       11,
       {},
       {}},
      {"responses_tools.sse",
       Dialect::responses,
       StreamApi::responses,
       "",
       "",
       R"(get_weather{"city":"Paris"})",
       "completed",
       4,
       37,
       11,
       {},
       {}},
      {"responses_failed.sse",
       Dialect::responses,
       StreamApi::responses,
       "",
       "",
       "",
       "failed",
       0,
       -1,
       -1,
       {"error-event", "no-content"},
       {}},
  };
  for (const Row& row : rows) {
    const Heard result = heard(recorded(row.file), row.dialect, row.api);
    const std::string name = std::string(row.file) + " as " + std::string(name_of(row.dialect));
    EXPECT_EQ(result.text, row.text) << name;
    EXPECT_EQ(result.reasoning, row.reasoning) << name;
    EXPECT_EQ(result.tool_text, row.tool_text) << name;
    EXPECT_EQ(result.finish, row.finish) << name;
    EXPECT_EQ(result.content_events, row.content_events) << name;
    EXPECT_EQ(result.usage.prompt_tokens, row.prompt_tokens) << name;
    EXPECT_EQ(result.usage.completion_tokens, row.output_tokens) << name;
    EXPECT_EQ(result.found, row.found) << name;
    EXPECT_EQ(result.noted, row.noted) << name;
    EXPECT_EQ(result.failed, row.found.contains("error-event")) << name;
  }
}

TEST(Dialects, CountsTokensOfACacheAsPartOfThePrompt) {
  EXPECT_EQ(heard(recorded("anthropic.sse"), Dialect::anthropic, StreamApi::messages).usage.cached_tokens, 7);
  EXPECT_EQ(heard(recorded("responses.sse"), Dialect::responses, StreamApi::responses).usage.cached_tokens, 5);
}

TEST(Dialects, ReadEachAsAnyOtherWithoutHarm) {
  for (const char* file : {"openai.sse", "vllm.sse", "anthropic_tools.sse", "responses_tools.sse"})
    for (const auto api :
         {StreamApi::chat, StreamApi::completions, StreamApi::messages, StreamApi::responses, StreamApi::raw})
      heard(recorded(file), Dialect::openai, api);
}

TEST(Dialects, HaveNamesThatLeadBack) {
  for (const std::string_view name : kDialects) EXPECT_EQ(name_of(dialect_named(name).value()), name);
  EXPECT_FALSE(dialect_named("openais"));
}

TEST(StreamRule, NamesLeadBack) {
  for (const StreamRuleInfo& rule : kStreamRules) {
    EXPECT_EQ(stream_rule_named(rule.name), rule.rule);
    EXPECT_EQ(&info(rule.rule), &rule) << "the list is in the order of the enumeration";
  }
  EXPECT_FALSE(stream_rule_named("no_done"));
}

}  // namespace
}  // namespace sluice
