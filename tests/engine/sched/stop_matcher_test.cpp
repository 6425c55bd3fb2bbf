#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::engine {
namespace {

struct Outcome {
  std::string text;
  bool stopped;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Outcome out{"", false};
  for (const auto& piece : pieces) {
    auto [text, stopped] = matcher.push(piece);
    out.text += text;
    if (stopped) return {out.text, true};
  }
  out.text += matcher.finish();
  return out;
}

TEST(StopMatcher, StopsJustBeforeTheFirstMatchHoweverTheTextIsSplit) {
  struct Case {
    std::vector<std::string> stops;
    std::string text;
    Outcome expected;
  };
  const Case cases[] = {
      {{"END"}, "one END two", {"one ", true}},
      {{"END"}, "one EN", {"one EN", false}},
      {{"END", "ne"}, "one END", {"o", true}},
      {{"aab"}, "aaab", {"a", true}},
      {{"abab", "bb"}, "aababa", {"a", true}},
      {{"\n\n"}, "a\nb\n\nc", {"a\nb", true}},
      {{"\xc3\xa9"}, "caf\xc3\xa9!", {"caf", true}},
      {{"x"}, "x", {"", true}},
      {{}, "plain", {"plain", false}},
      {{"abcd", "bc"}, "abcd", {"a", true}},
      {{"bc", "abc"}, "abc", {"", true}},
      {{"abcabd"}, "abcabcabd", {"abc", true}},
  };
  for (const auto& [stops, text, expected] : cases) {
    // Every way to cut the text into up to three pieces.
    for (std::size_t i = 0; i <= text.size(); ++i) {
      for (std::size_t j = i; j <= text.size(); ++j) {
        EXPECT_EQ(run(stops, {text.substr(0, i), text.substr(i, j - i), text.substr(j)}), expected)
            << text << " cut at " << i << " and " << j << " gave '"
            << run(stops, {text.substr(0, i), text.substr(i, j - i), text.substr(j)}).text << "'";
      }
    }
  }
}

TEST(StopMatcher, HoldsBackNoMoreThanMayStillMatch) {
  StopMatcher matcher({"<end>"});
  EXPECT_EQ(matcher.push("text<e").text, "text");
  EXPECT_EQ(matcher.push("lse").text, "<else");
}

TEST(StopMatcher, NeverCutsACodePointWhenItHoldsBack) {
  StopMatcher matcher({"\xa9!"});  // begins in the middle of one
  EXPECT_EQ(matcher.push("caf\xc3\xa9").text, "caf");
  EXPECT_EQ(matcher.push("s").text, "\xc3\xa9s");
}

}  // namespace
}  // namespace sluice::engine
