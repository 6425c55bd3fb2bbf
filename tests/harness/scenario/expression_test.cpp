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

// ---- arithmetic and functions -------------------------------------------------------------------------------------

class Drawing : public MapScope {
 public:
  std::uint64_t draw() const override { return drawn_ += 0x9E3779B97F4A7C15ULL; }
  double now_ms() const override { return 1.7e12; }

 private:
  mutable std::uint64_t drawn_ = 0;
};

std::string rendered(std::string_view expression, const Scope& scope) {
  static constexpr std::string_view names[] = {"n", "m", "t", "digits", "gone", "d.x"};
  const auto parsed = Expression::parse(expression, names);
  if (!parsed) return parsed.error().message;
  Texts texts;
  std::string out;
  append_value(parsed->value(scope, texts), out);
  return out;
}

TEST(Expression, CountsAsItReads) {
  Drawing scope;
  scope.values = {{"n", 7.0},
                  {"m", 2.0},
                  {"t", std::string_view("Ab\xc3\xa9")},
                  {"digits", std::string_view("41")},
                  {"d.x", std::string_view("x")}};
  const std::pair<const char*, const char*> rows[] = {
      {"1 + 2 * 3", "7"},
      {"(1 + 2) * 3", "9"},
      {"10 - 2 - 3", "5"},
      {"7 / 2", "3.5"},
      {"n % 4", "3"},
      {"-n % 4", "-3"},
      {"-(n - m)", "-5"},
      {"n -m", "5"},
      {"2s + 500ms", "2500"},
      {"digits + 1", "42"},
      {"n / 0", ""},
      {"n % 0", ""},
      {"n + gone", ""},
      {"n + t", ""},
      {"1e308 * 10", ""},
      {"n > m", "true"},
      {"n + 1 == 2 * 4", "true"},
      {"n - 1 in m..m * 3", "true"},
      {"digits == 41", "true"},
      {"digits in [40, 41]", "true"},
      {"digits < 42", "true"},
      {"t < 42", "false"},
      {"n contains 7", "'contains' takes text"},
      {"n matches '^7$'", "true"},
      {"len(t)", "3"},
      {"len(n)", "1"},
      {"len(gone)", ""},
      {"lower(t)", "ab\xc3\xa9"},
      {"upper(d.x)", "X"},
      {"now_ms()", "1700000000000"},
      {"len(uuid())", "36"},
      {"uuid() matches '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'", "true"},
      {"len(random_string(12))", "12"},
      {"random_string(0 - 1)", ""},
      {"random_string(5) matches '^[a-z0-9]{5}$'", "true"},
      {"random_int(3, 3)", "3"},
      {"random_int(m, n) in 2..7", "true"},
      {"random_int(n, m)", ""},
      {"random_choice('a', \"a\")", "a"},
      {"lower(random_choice(t))", "ab\xc3\xa9"},
      {"not (n == 7) or len(t) == 3", "true"},
  };
  for (const auto& [text, value] : rows) {
    const auto seen = rendered(text, scope);
    if (std::string_view(value).starts_with("'contains'")) {
      EXPECT_THAT(seen, HasSubstr(value)) << text;
    } else {
      EXPECT_EQ(seen, value) << text;
    }
  }
}

TEST(Expression, SaysWhatIsWrongWithArithmeticAndFunctions) {
  const MapScope scope;
  const std::pair<const char*, const char*> rows[] = {
      {"1 +", "at character 4: the expression ends too early"},
      {"1 + * 2", "at character 5: '*' cannot stand here"},
      {"t + 'x'", "at character 3: '+' takes numbers, and 'x' is text: texts are joined as in \"${a}${b}\""},
      {"1 + (n == 2)", "'+' takes numbers, not conditions"},
      {"n-1", "at character 1: unknown name 'n-1': a difference has blanks around its '-'"},
      {"randomint(1, 2)", "unknown function 'randomint'; did you mean 'random_int'?"},
      {"sum(1, 2)", "unknown function 'sum'; there is random_int"},
      {"random_int(1)", "the function is random_int(least, most): it has one argument here"},
      {"random_int(2, 1)", "the range ends before it begins"},
      {"random_int('a', 2)", "random_int(least, most) takes a number, and 'a' is text"},
      {"uuid(1)", "the function is uuid(): it has one argument here"},
      {"len(n, m)", "it has 2 arguments here"},
      {"uuid", "unknown name 'uuid'; the function is uuid()"},
      {"len(n", "')' is missing"},
      {"1 2", "'2' is left over"},
  };
  for (const auto& [text, message] : rows) EXPECT_THAT(rendered(text, scope), HasSubstr(message)) << text;
  std::string long_sum = "1";
  for (int i = 0; i < 200; ++i) long_sum += "+1";
  EXPECT_THAT(rendered(long_sum, scope), HasSubstr("too many terms"));
}

TEST(Template, AnExpressionInAHoleIsWrittenAsItsValue) {
  Drawing scope;
  scope.values = {{"n", 7.0}, {"t", std::string_view("a}b")}};
  static constexpr std::string_view names[] = {"n", "t"};
  const auto filled = [&](std::string_view text) {
    const auto made = Template::parse(text, names);
    std::string out;
    if (!made) return made.error().message;
    made->render(scope, out);
    EXPECT_EQ(made->text(), text) << "what it prints reads back as the same";
    return out;
  };
  EXPECT_EQ(filled("<${n + 1}>"), "<8>");
  EXPECT_EQ(filled("${ n }"), "7");
  EXPECT_EQ(filled("${t} ${t contains '}'} ${random_choice('}', \"}\")}"), "a}b true }");
  EXPECT_EQ(filled("x${n +}"), "at character 7: the expression ends too early");
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
