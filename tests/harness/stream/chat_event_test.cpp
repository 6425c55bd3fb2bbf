#include "harness/stream/chat_event.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice {
namespace {

using Kind = ChatEvent::Kind;

struct Row {
  const char* name;
  std::string data;
  Kind kind;
  std::string text, finish;
};

TEST(ChatEventParser, KnowsWhatEachEventMainlyIs) {
  const std::vector<Row> rows{
      {"role", R"({"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]})",
       Kind::role, "", ""},
      {"role, null content", R"({"choices":[{"delta":{"role":"assistant","content":null}}]})", Kind::role, "", ""},
      {"content", R"({"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]})", Kind::content, "Hi",
       ""},
      {"role with content", R"({"choices":[{"delta":{"role":"assistant","content":"Hi"}}]})", Kind::content, "Hi", ""},
      {"escapes", R"({"choices":[{"delta":{"content":"a\n\u00e4\ud83d\ude00"}}]})", Kind::content,
       "a\n\xC3\xA4\xF0\x9F\x98\x80", ""},
      {"vLLM: finish with content",
       R"({"choices":[{"delta":{"content":"!"},"finish_reason":"stop","stop_reason":null}]})", Kind::content, "!",
       "stop"},
      {"reasoning", R"({"choices":[{"delta":{"reasoning":"hm"}}]})", Kind::reasoning, "", ""},
      {"reasoning_content", R"({"choices":[{"delta":{"reasoning_content":"hm","content":null}}]})", Kind::reasoning, "",
       ""},
      {"tool call",
       R"({"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","type":"function","function":{"name":"f","arguments":"{"}}]}}]})",
       Kind::tool_call, "", ""},
      {"finish", R"({"choices":[{"index":0,"delta":{},"finish_reason":"length"}]})", Kind::finish, "", "length"},
      {"SGLang: empty finish is none", R"({"choices":[{"delta":{"content":"a"},"finish_reason":""}]})", Kind::content,
       "a", ""},
      {"usage", R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}})", Kind::usage, "",
       ""},
      {"usage null", R"({"choices":[{"delta":{"content":"a"}}],"usage":null})", Kind::content, "a", ""},
      {"done", "[DONE]", Kind::done, "", ""},
      {"done with blanks", " [DONE] ", Kind::done, "", ""},
      {"error", R"({"error":{"message":"overloaded","type":"server_error"}})", Kind::error, "", ""},
      {"error as text", R"({"error":"overloaded"})", Kind::error, "", ""},
      {"error null", R"({"error":null,"choices":[{"delta":{"content":"a"}}]})", Kind::content, "a", ""},
      {"vLLM: old error", R"({"object":"error","message":"bad","code":400})", Kind::error, "", ""},
      {"text completion", R"({"object":"text_completion","choices":[{"index":0,"text":"Hi","finish_reason":null}]})",
       Kind::content, "Hi", ""},
      {"unstreamed answer",
       R"({"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]})",
       Kind::content, "Hi", "stop"},
      {"llama.cpp: timings", R"({"choices":[{"delta":{}}],"timings":{"prompt_n":1}})", Kind::other, "", ""},
      {"two choices", R"({"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]})",
       Kind::content, "ab", ""},
      {"odd types are absences",
       R"({"id":7,"choices":[{"index":"0","delta":{"content":5,"role":[]},"finish_reason":7}, 3]})", Kind::other, "",
       ""},
      {"choices no array", R"({"choices":{}})", Kind::other, "", ""},
  };
  ChatEventParser parser;
  for (const Row& row : rows) {
    const ChatEvent event = parser.parse(row.data);
    EXPECT_EQ(event.kind, row.kind) << row.name;
    EXPECT_EQ(event.text, row.text) << row.name;
    EXPECT_EQ(event.finish_reason, row.finish) << row.name;
  }
}

TEST(ChatEventParser, ReadsWhatStandsBesideTheText) {
  ChatEventParser parser;
  const ChatEvent event = parser.parse(
      R"({"id":"c-9","object":"chat.completion.chunk","created":17,"model":"m","choices":[{"index":2,"delta":{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\""}},{"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":3,"completion_tokens":5.0,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":2}}})");
  EXPECT_EQ(event.id, "c-9");
  EXPECT_EQ(event.model, "m");
  EXPECT_EQ(event.object, "chat.completion.chunk");
  EXPECT_EQ(event.created, 17);
  EXPECT_EQ(event.tool_text, "f{\"a\":1}");
  EXPECT_EQ(event.content_choices, 4u);
  EXPECT_EQ(event.finish_choices, 4u);
  EXPECT_EQ(event.role_choices, 4u);
  EXPECT_TRUE(event.has_usage);
  EXPECT_EQ(event.usage.prompt_tokens, 3);
  EXPECT_EQ(event.usage.completion_tokens, 5);
  EXPECT_EQ(event.usage.total_tokens, 8);
  EXPECT_EQ(event.usage.cached_tokens, 2);
}

TEST(ChatEventParser, TellsBadJsonFromBadUtf8) {
  ChatEventParser parser;
  const std::vector<std::pair<std::string, ChatEvent::Problem>> rows{
      {"", ChatEvent::Problem::invalid_json},
      {"{", ChatEvent::Problem::invalid_json},
      {R"({"choices":[})", ChatEvent::Problem::invalid_json},
      {R"({"a":1} x)", ChatEvent::Problem::invalid_json},
      {R"({"a":01})", ChatEvent::Problem::invalid_json},
      {R"({"skipped":{"deep":[tru]},"choices":[]})", ChatEvent::Problem::invalid_json},
      {R"([1])", ChatEvent::Problem::invalid_json},
      {"{\"a\":\"\xC3\"}", ChatEvent::Problem::invalid_utf8},
      {"{\"a\":\"\xED\xA0\x80\"}", ChatEvent::Problem::invalid_utf8},
  };
  for (const auto& [data, problem] : rows) {
    const ChatEvent event = parser.parse(data);
    EXPECT_EQ(event.kind, Kind::broken) << data;
    EXPECT_EQ(event.problem, problem) << data;
  }
}

TEST(ChatEventParser, SaysWhenAnIndexIsOutOfRange) {
  ChatEventParser parser;
  EXPECT_FALSE(parser.parse(R"({"choices":[{"index":127,"delta":{}}]})").index_out_of_range);
  EXPECT_TRUE(parser.parse(R"({"choices":[{"index":-1,"delta":{}}]})").index_out_of_range);
  EXPECT_TRUE(parser.parse(R"({"choices":[{"index":128,"delta":{}}]})").index_out_of_range);
}

TEST(ChatEventParser, CountsCodePoints) {
  EXPECT_EQ(count_code_points(""), 0u);
  EXPECT_EQ(count_code_points("abc"), 3u);
  EXPECT_EQ(count_code_points("\xC3\xA4\xE6\x97\xA5\xF0\x9F\x98\x80"), 3u);
}

}  // namespace
}  // namespace sluice
