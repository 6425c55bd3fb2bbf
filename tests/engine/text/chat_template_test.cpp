#include "engine/text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/core/limits.h"
#include "tests/engine/text/golden.h"

namespace sluice::engine {
namespace {

using testing::HasSubstr;

TEST(ChatTemplate, RendersWhatTransformersRenders) {
  int texts = 0, errors = 0;
  for (const JsonDocument& line : golden_lines("templates.jsonl")) {
    const JsonObject object = fields(line.root());
    const std::string source(*as_string(*member(object, "template")));
    SCOPED_TRACE(source.substr(0, 300));
    const auto parsed = ChatTemplate::parse(source);
    ASSERT_TRUE(parsed) << parsed.error().message;
    std::vector<ChatMessage> messages;
    for (const JsonElement message : items(*member(object, "messages"))) {
      messages.push_back({std::string(*as_string(items(message).at(0).value())),
                          std::string(*as_string(items(message).at(1).value()))});
    }
    const auto text = parsed->render(messages, *as_bool(*member(object, "add_generation_prompt")), "<s>", "</s>");
    if (const auto expected = member(object, "text")) {
      ++texts;
      ASSERT_TRUE(text) << text.error().message;
      EXPECT_EQ(*text, *as_string(*expected));
    } else {
      ++errors;
      EXPECT_FALSE(text) << *text << "\n  transformers: " << shown(*member(object, "error"));
    }
  }
  EXPECT_GT(texts, 100);
  EXPECT_GT(errors, 10);
}

TEST(ChatTemplate, RefusesByNameAndLineWhatItDoesNotKnow) {
  struct Case {
    std::string source, message;
  };
  const Case cases[] = {
      {"a\n{% macro f() %}{% endmacro %}", "line 2: the statement 'macro' is not supported"},
      {"{% include 'x' %}", "line 1: the statement 'include'"},
      {"\n\n{{ x | xmlattr }}", "line 3: the filter 'xmlattr' is not supported"},
      {"{{ x is divisibleby }}", "the test 'is divisibleby'"},
      {"{{ lipsum() }}", "the function 'lipsum'"},
      {"{{ x.format() }}", "the method 'format'"},
      {"{{ x.__class__() }}", "the method '__class__'"},
      {"{{ {'a': 1} }}", "a literal mapping"},
      {"{{ 1.5 }}", "the number '1'"},
      {"{{ 2 ** 3 }}", "the operator '**'"},
      {"{{ 1 / 2 }}", "the operator '/'"},
      {"{% set a, b = 1, 2 %}", "'set' of several variables"},
      {"{% set a %}x{% endset %}", "'set' of a block"},
      {"{% for a in b recursive %}{% endfor %}", "'recursive'"},
      {"{% if x %}", "the template ends where 'endif' is expected"},
      {"{% for x in y %}", "the template ends where 'endfor' is expected"},
      {"{% endif %}", "the statement 'endif'"},
      {"{% break %}", "'break' outside a loop"},
      {"{{ 'abc }}", "a string is not closed"},
      {"{{ x", "a tag is not closed by '}}'"},
      {"{# x", "a comment is not closed"},
      {"{{ }}", "expected an expression, found '}}'"},
      {"{{ a b }}", "expected '}}', found 'b'"},
      {"{{ (a }}", "expected ',', found '}}'"},
      {"{{ a ! b }}", "the character '!'"},
      {"{{ '\\N{DASH}' }}", "the escape '\\N'"},
      {"{{ f(a=1, 2) }}", "the function 'f'"},
      {"{{ range(a=1, 2) }}", "an argument without a name"},
      {"{{ \xFF }}", "not valid UTF-8"},
  };
  for (const Case& each : cases) {
    const auto parsed = ChatTemplate::parse(each.source);
    ASSERT_FALSE(parsed) << each.source;
    EXPECT_THAT(parsed.error().message, testing::StartsWith("chat template: "));
    EXPECT_THAT(parsed.error().message, HasSubstr(each.message)) << each.source;
  }
}

TEST(ChatTemplate, BoundsWhatATemplateMayDo) {
  const auto error_of = [](const std::string& source) -> std::string {
    const auto parsed = ChatTemplate::parse(source);
    if (!parsed) return parsed.error().message;
    const std::vector<ChatMessage> messages(10, ChatMessage{"user", "hello"});
    const auto text = parsed->render(messages, true, "", "");
    return text ? "" : text.error().message;
  };
  EXPECT_THAT(error_of(std::string(100'000, '(')), "");  // text, no tag
  EXPECT_THAT(error_of("{{ " + std::string(100'000, '(') + "1 }}"), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{{ " + std::string(100'000, '-') + "1 }}"), HasSubstr("nested deeper"));
  std::string chain = "{{ 1";
  for (int i = 0; i < 20'000; ++i) chain += "+1";
  EXPECT_THAT(error_of(chain + " }}"), HasSubstr("nested deeper"));
  std::string deep;
  for (int i = 0; i < 5'000; ++i) deep += "{% if true %}";
  EXPECT_THAT(error_of(deep), HasSubstr("nested deeper"));
  EXPECT_THAT(error_of(std::string(300'000, 'x')), HasSubstr("bytes"));
  EXPECT_THAT(error_of("{% for a in range(99999999) %}{% endfor %}"), HasSubstr("a range longer"));
  EXPECT_THAT(error_of("{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% "
                       "endfor %}{% endfor %}"),
              HasSubstr("more than it may"));
  EXPECT_THAT(
      error_of(
          "{% set ns = namespace(a='0123456789') %}{% for a in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}"),
      HasSubstr("more than it may"));
  EXPECT_THAT(error_of("{% set ns = namespace(a=1) %}{% for a in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}"),
              HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("{% set ns = namespace(a='x') %}{% for a in range(24) %}{% set ns.a = ns.a.replace('x', 'xxxx') "
                       "%}{% endfor %}{{ ns.a }}"),
              HasSubstr("more than it may"));
}

TEST(ChatTemplate, LeavesRoomForTheLargestRequest) {
  for (const std::string name : {"ChatML", "Llama 3.1"}) {
    std::string source;
    for (const JsonDocument& line : golden_lines("templates.jsonl")) {
      const std::string_view each = *as_string(*member(fields(line.root()), "template"));
      if (source.empty() && (name == "ChatML") == each.starts_with("{% for message in messages %}{{'<|im_start|>'") &&
          (name == "ChatML" || each.find("ipython") != std::string_view::npos)) {
        source = each;
      }
    }
    ASSERT_FALSE(source.empty()) << name;
    const auto parsed = ChatTemplate::parse(source);
    ASSERT_TRUE(parsed);
    const std::vector<ChatMessage> many(limits::messages_max, ChatMessage{"user", "hello there"});
    EXPECT_TRUE(parsed->render(many, true, "", "")) << name;
    const std::vector<ChatMessage> long_ones{{"system", "x"}, {"user", std::string(limits::http_body_bytes_max, 'y')}};
    EXPECT_TRUE(parsed->render(long_ones, true, "", "")) << name;
  }
}

TEST(ChatTemplate, SaysWhatTheTemplateRaised) {
  const auto parsed =
      ChatTemplate::parse("{% for m in messages %}{{ raise_exception('no role ' + m.role) }}{% endfor %}");
  ASSERT_TRUE(parsed);
  const std::vector<ChatMessage> messages{{"function", "x"}};
  const auto text = parsed->render(messages, true, "", "");
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message, HasSubstr("no role function"));
}

TEST(ChatTemplate, KnowsNoDateSoThatAPromptIsTheSameOnAnyDay) {
  const auto parsed =
      ChatTemplate::parse("{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul 2024{% endif %}");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->render({}, true, "", "").value(), "26 Jul 2024");
}

}  // namespace
}  // namespace sluice::engine
