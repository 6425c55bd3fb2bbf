#include "harness/content/code_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "harness/base/limits.h"

namespace sluice {
namespace {

TEST(CodeText, TheCodeIsTheInsideOfTheFirstFence) {
  struct Row {
    const char* what;
    std::string_view answer, code;
  };
  const Row rows[] = {
      {"no fence", "x = 1\n", "x = 1\n"},
      {"nothing", "", ""},
      {"a fence", "Here:\n```\nx = 1\n```\nDone.", "x = 1\n"},
      {"a language", "```python\nx = 1\n```", "x = 1\n"},
      {"more after the language", "``` python title=\"a\"\nx\n```", "x\n"},
      {"tildes", "~~~py\nx\n~~~\n", "x\n"},
      {"backticks in the information of tildes", "~~~ a`b\nx\n~~~", "x\n"},
      {"the first of two", "```\na\n```\n```\nb\n```", "a\n"},
      {"unclosed", "```python\nx = 1\ny", "x = 1\ny"},
      {"unclosed and empty", "Here: \n```python", ""},
      {"empty", "```\n```", ""},
      {"CRLF", "a\r\n```py\r\nx\r\n```\r\n", "x\r\n"},
      {"a longer fence around a shorter", "````\n```\nx\n```\n````", "```\nx\n```\n"},
      {"a longer fence closes", "```\nx\n`````", "x\n"},
      {"the other kind does not close", "```\nx\n~~~\ny\n```", "x\n~~~\ny\n"},
      {"a fence with a language does not close", "```\nx\n```python\ny\n```", "x\n```python\ny\n"},
      {"blanks after the closing one", "```\nx\n``` \t\n", "x\n"},
      {"indented", "1. So:\n   ```py\n   x\n   ```\n", "   x\n"},
      {"two backticks are none", "``\nx\n``", "``\nx\n``"},
      {"code within a line is none", "```x```\ny", "```x```\ny"},
      {"a fence in the middle of a line is none", "a ```\nx\n", "a ```\nx\n"},
  };
  for (const auto& [what, answer, code] : rows) EXPECT_EQ(code_of(answer), code) << what;
}

TEST(CodeText, TheCodeIsAViewIntoTheAnswer) {
  const std::string answer = "a\n```\nx\n```\n";
  EXPECT_EQ(code_of(answer).data(), answer.data() + 6);
}

TEST(JsonSyntax, AcceptsOneValueOfAnyKind) {
  for (const char* text : {"{}", "[]", " {\"a\": [1, -2.5e3, true, false, null, \"\\u00e9\\n\"]}\n", "1", "\"a\"",
                           "null", "{\"a\":1,\"a\":2}", "\"größe\""})
    EXPECT_EQ(json_syntax_error(text), std::nullopt) << text;
}

TEST(JsonSyntax, RefusesTheRestAndSaysWhere) {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"", "line 1, column 1: "},
      {"  ", "line 1, column 3: "},
      {"{", "line 1, column 2: "},
      {"[1,]", "line 1, column 4: "},
      {"{\"a\": 1,\n \"b\" 2}", "line 2, column 6: "},
      {"{a: 1}", "line 1, column 2: "},
      {"{'a': 1}", "line 1, column 2: "},
      {"[1] [2]", "line 1, column 5: "},
      {"1 // one", "line 1, column 3: "},
      {"[01]", "line 1, column 3: "},
      {"[NaN]", "line 1, column 2: "},
      {"\"a", "line 1, column 3: "},
      {"\"\t\"", "line 1, column 2: "},
      {"\"\\x41\"", "line 1, column 3: "},
      {"[true, fals]", "line 1, column 8: "},
      {"Here: {}", "line 1, column 1: "},
  };
  for (const auto& [text, place] : rows)
    EXPECT_THAT(json_syntax_error(text).value_or("ok"), testing::StartsWith(std::string(place))) << text;
}

TEST(JsonSyntax, WantsUtf8) {
  EXPECT_NE(json_syntax_error("\"\xFF\""), std::nullopt);
  EXPECT_NE(json_syntax_error("\"\xED\xA0\x80\""), std::nullopt);  // half of a surrogate pair
}

TEST(JsonSyntax, NestingAndSizeAreBounded) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(json_syntax_error(nested(limits::json_text_depth_max)), std::nullopt);
  EXPECT_NE(json_syntax_error(nested(limits::json_text_depth_max + 1)), std::nullopt);
  const std::string text = '"' + std::string(limits::code_bytes_max - 2, 'a') + '"';
  EXPECT_EQ(json_syntax_error(text), std::nullopt);
  EXPECT_EQ(json_syntax_error(text + ' '), "1048577 bytes, and more than 1048576 are not parsed");
}

}  // namespace
}  // namespace sluice
