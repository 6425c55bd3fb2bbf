#include "harness/scenario/expression.h"
#include "harness/scenario/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace sluice {
namespace {

using testing::HasSubstr;

class MapScope : public Scope {
 public:
  std::map<std::string, Value, std::less<>> values;
  Value lookup(std::string_view name) const override {
    const auto found = values.find(name);
    if (found == values.end()) return {};
    // As a real scope may: one buffer for every text, overwritten by the next lookup.
    if (const auto* text = std::get_if<std::string_view>(&found->second)) {
      buffer_.assign(*text);
      return std::string_view(buffer_);
    }
    return found->second;
  }

 private:
  mutable std::string buffer_;
};

MapScope good_answer() {
  MapScope scope;
  scope.values = {{"status", 200.0},
                  {"text", std::string_view("Here:\nprint(\"Jay\")\nDone.")},
                  {"chunks", 63.0},
                  {"finish_reason", std::string_view("stop")},
                  {"ttft", 41.5},
                  {"header.content-type", std::string_view("text/event-stream")},
                  {"usage.completion_tokens", 70.0},
                  {"body", std::string_view("")}};
  return scope;
}

TEST(Expression, HoldsAsItReads) {
  const auto scope = good_answer();
  const std::pair<const char*, bool> rows[] = {
      {"status == 200", true},
      {"status != 200", false},
      {"status == 201", false},
      {"status in [200, 201]", true},
      {"status in [201, 204]", false},
      {"finish_reason in [stop, length]", true},
      {"chunks in 50..100", true},
      {"chunks in 63..63", true},
      {"chunks in 64..100", false},
      {"chunks in 1..62", false},
      {R"x(text contains "print(")x", true},
      {R"x(text contains 'print("Jay")')x", true},
      {R"x(text contains "print(\"Jay\")")x", true},
      {R"x(text contains "Print(")x", false},
      {"text contains Done", true},
      {"finish_reason == stop", true},
      {"finish_reason == \"length\"", false},
      {"finish_reason equals stop", true},
      {"ttft < 50ms", true},
      {"ttft < 2s", true},
      {"ttft < 41", false},
      {"ttft in 10ms..1s", true},
      {"ttft >= 41.5", true},
      {"ttft > -1", true},
      {R"x(text matches "^print\(.*\)$")x", false},
      {R"x(text matches "(?m)^print\(.*\)$")x", true},
      {R"x(text matches '\bJ\w+')x", true},
      {"header.content-type contains event-stream", true},
      {"header.Content-Type contains event-stream", true},
      {"status == 200 and chunks > 100 or ttft < 1s", true},
      {"status == 200 and (chunks > 100 or ttft > 1s)", false},
      {"not status == 500", true},
      {"not not status == 500", false},
      {"not (status == 200)", false},
      {"text", true},
      {"body", false},
      {"true", true},
      {"false or status", true},
      {"text contains finish_reason", false},
      {"finish_reason == finish_reason", true},
      {"finish_reason in [text, finish_reason]", true},
  };
  for (const auto& [text, holds] : rows) {
    const auto expression = Expression::parse(text, kResponseNames);
    ASSERT_TRUE(expression) << text << ": " << expression.error().message;
    EXPECT_EQ(expression->holds(scope), holds) << text;
  }
}

TEST(Expression, EveryComparisonWithWhatIsMissingIsFalse) {
  const MapScope nothing;
  for (const char* text : {"status == 200", "status != 200", "status < 1", "status in 0..1000", "status in [200]",
                           "text contains ''", "text matches ''", "error", "error == error", "status"}) {
    EXPECT_FALSE(Expression::parse(text, kResponseNames).value().holds(nothing)) << text;
  }
  EXPECT_TRUE(Expression::parse("not error", kResponseNames).value().holds(nothing));
}

TEST(Expression, SaysWhatIsWrongAndWhere) {
  const std::pair<const char*, const char*> rows[] = {
      {"", "at character 1: the expression ends too early"},
      {"status ==", "at character 10: the expression ends too early"},
      {"statsu == 200", "at character 1: unknown name 'statsu'; did you mean 'status'?"},
      {"status == \"200\"", "status is a number, '200' is text: they are never equal"},
      {"status == ok", "status is a number, 'ok' is text"},
      {"status = 200", "at character 8: write '==' instead of '='"},
      {"status == 200 && chunks > 1", "write 'and' instead of '&&'"},
      {"!error", "write 'not' instead of '!'"},
      {"text < 5", "'<' takes numbers, and text is text"},
      {"status contains 2", "'contains' takes text, and status is a number"},
      {"text matches \"(\"", "the pattern '(' is wrong at character 2"},
      {"text matches text", "after 'matches' comes a pattern in quotes"},
      {"chunks in 100..50", "the range ends before it begins"},
      {"chunks in 50", "'..' is missing"},
      {"chunks in many", "after 'in' comes a range"},
      {"text contains \"abc", "has no closing \""},
      {"ttft < 5 parsecs", "'parsecs' is left over"},
      {"ttft < 5parsecs", "'5parsecs' is neither a number nor a duration"},
      {"(status == 200", "')' is missing"},
      {"status == 200)", "')' is left over"},
      {"(status == 200) == true", "compares values, not conditions"},
      {"text contains \xc3\xa4", "text needs quotes"},
      {"status == 200 # ok", "'#' cannot stand here"},
  };
  for (const auto& [text, message] : rows) {
    const auto expression = Expression::parse(text, kResponseNames);
    ASSERT_FALSE(expression) << text;
    EXPECT_THAT(expression.error().message, HasSubstr(message)) << text;
  }
}

TEST(Expression, NestingHasABound) {
  const std::string deep = std::string(10'000, '(') + "true" + std::string(10'000, ')');
  EXPECT_FALSE(Expression::parse(std::string_view(deep).substr(0, 4000), kResponseNames));
  std::string nots;
  for (int i = 0; i < 900; ++i) nots += "not ";
  EXPECT_THAT(Expression::parse(nots + "true", kResponseNames).error().message, HasSubstr("nested too deeply"));
  EXPECT_THAT(Expression::parse(deep, kResponseNames).error().message, HasSubstr("longer than"));
}

TEST(Expression, APatternThatBacktracksForEverIsNoMatch) {
  MapScope scope;
  const std::string text(200, 'a');
  scope.values["text"] = std::string_view(text);
  EXPECT_FALSE(Expression::parse("text matches '^(a+)+[bc]'", kResponseNames).value().holds(scope));
  const std::string invalid = "ab\xff\xfe cd";
  scope.values["text"] = std::string_view(invalid);
  EXPECT_TRUE(Expression::parse("text matches 'cd$'", kResponseNames).value().holds(scope))
      << "invalid UTF-8 is skipped";
}

TEST(Template, FillsItsHoles) {
  MapScope scope;
  scope.values = {{"prompts.text", std::string_view("say \"hi\"\n")}, {"vu", 3.0}};
  const std::string_view names[] = {"prompts.text", "vu", "iteration"};
  const auto filled = [&](std::string_view text) {
    const auto made = Template::parse(text, names);
    EXPECT_TRUE(made) << text;
    std::string out;
    if (made) made->render(scope, out);
    return out;
  };
  EXPECT_EQ(filled("plain"), "plain");
  EXPECT_EQ(filled("VU ${vu}: ${prompts.text}!"), "VU 3: say \"hi\"\n!");
  EXPECT_EQ(filled("$${vu} costs $5"), "${vu} costs $5");
  EXPECT_EQ(filled("[${iteration}]"), "[]") << "what is missing renders as nothing";

  EXPECT_EQ(Template::parse("a ${prompts.txet}", names).error().message,
            "at character 5: unknown name 'prompts.txet'; did you mean 'prompts.text'?");
  EXPECT_THAT(Template::parse("a ${vu", names).error().message, HasSubstr("has no '}'"));
  EXPECT_TRUE(Template::parse("$${x}", names).value().is_static());
  EXPECT_EQ(Template::parse("a $${x} ${vu}", names).value().text(), "a $${x} ${vu}");
}

TEST(Template, EscapesHolesInsideJsonStrings) {
  MapScope scope;
  const std::string nasty("\"\\\n\t\x01 \xc3\xa9", 8);
  scope.values["x"] = std::string_view(nasty);
  Template made;
  made.add_literal(R"({"a":")");
  made.add_hole("x", true);
  made.add_literal("\"}");
  std::string out;
  made.render(scope, out);
  EXPECT_EQ(out, "{\"a\":\"\\\"\\\\\\n\\t\\u0001 \xc3\xa9\"}");
}

}  // namespace
}  // namespace sluice
