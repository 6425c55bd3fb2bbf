#include "harness/scenario/json_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

using testing::HasSubstr;

std::string shown(const OwnValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return "'" + *text + "'";
  if (const auto* number = std::get_if<double>(&value)) return std::to_string(*number);
  if (const auto* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  return "-";
}

TEST(JsonPath, FindsWhatItNames) {
  constexpr std::string_view json =
      R"({"a": {"b": [{"c": 1}, {"d": "two"}, {"d": "three"}]}, "t": true, "nothing": null,
    "big": 12345678901234567890, "precise": 9007199254740993, "half": 0.5, "a b": "blank", "list": [1, [2]], "é": "e",
    "it's": "quote"})";
  const std::pair<const char*, const char*> rows[] = {
      {"$.a.b[0].c", "1.000000"},
      {"$.a.b[*].d", "'two'"},
      {"$.a[*][1].d", "'two'"},
      {"$.t", "true"},
      {"$.half", "0.500000"},
      {"$.big", "'12345678901234567890'"},
      {"$.precise", "'9007199254740993'"},
      {"$['a b']", "'blank'"},
      {"$[\"a b\"]", "'blank'"},
      {"$['it\\'s']", "'quote'"},
      {"$.é", "'e'"},
      {"$.list", "'[1,[2]]'"},
      {"$.list[1][0]", "2.000000"},
      {"$.nothing", "-"},
      {"$.a.b[3]", "-"},
      {"$.a.b.c", "-"},
      {"$.t.x", "-"},
      {"$.missing", "-"},
      {"$[0]", "-"},
  };
  JsonFinder finder;
  for (const auto& [path, value] : rows) {
    const auto parsed = JsonPath::parse(path);
    ASSERT_TRUE(parsed) << path << ": " << parsed.error().message;
    EXPECT_EQ(shown(finder.find(json, *parsed)), value) << path;
  }
  for (const char* broken : {"", "{", "{\"t\": tru", "not json", "{\"t\":1}}"})
    EXPECT_EQ(shown(finder.find(broken, *JsonPath::parse("$.t"))), "-") << broken;
  EXPECT_EQ(shown(finder.find("5", *JsonPath::parse("$"))), "5.000000");
}

TEST(JsonPath, SaysWhatIsNotTaken) {
  const std::pair<const char*, const char*> rows[] = {
      {"", "a path begins with '$'"},
      {"a.b", "at character 1: a path begins with '$'"},
      {"$a", "at character 2: '.' or '[' is wanted"},
      {"$.", "at character 3: a name is missing"},
      {"$..a", "'..' (search at any depth) is not taken"},
      {"$.*", "write [*] instead of .*"},
      {"$[?(@.x)]", "filters are not taken"},
      {"$[0:2]", "slices and unions are not taken"},
      {"$[0,1]", "slices and unions are not taken"},
      {"$[-1]", "in brackets stands a number from 0"},
      {"$[0", "']' is missing"},
      {"$['a", "has no closing quote"},
      {"$.a b", "'.' or '[' is wanted"},
  };
  for (const auto& [path, message] : rows) {
    const auto parsed = JsonPath::parse(path);
    ASSERT_FALSE(parsed) << path;
    EXPECT_THAT(parsed.error().message, HasSubstr(message)) << path;
  }
}

TEST(JsonPath, ASearchHasABound) {
  std::string nested = "1";
  for (int i = 0; i < 5; ++i) {
    std::string list = "[" + nested;
    for (int j = 1; j < 12; ++j) list += "," + nested;
    nested = list + "]";
  }
  JsonFinder finder;
  EXPECT_EQ(shown(finder.find(nested, *JsonPath::parse("$[*][*][*][*][*].x"))), "-");
}

}  // namespace
}  // namespace sluice
