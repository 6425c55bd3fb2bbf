#include "harness/scenario/prompt_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace sluice {
namespace {

using testing::StartsWith;

/// Words and full stops.
std::uint64_t tokens_in(const std::string& text) {
  return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), ' ') + 1 +
                                    std::count(text.begin(), text.end(), '.'));
}

TEST(PromptGenerator, PromptsHaveTheLengthThatWasAskedFor) {
  for (const std::uint64_t tokens : {1, 2, 13, 14, 15, 500}) {
    for (const auto& prompt : generate_prompts({.prompts = 5, .tokens_min = tokens, .tokens_max = tokens})) {
      EXPECT_EQ(prompt.tokens, tokens);
      EXPECT_EQ(tokens_in(prompt.text), tokens) << prompt.text;
    }
  }
}

TEST(PromptGenerator, LengthsOfARangeAreAllDrawn) {
  std::set<std::uint64_t> lengths;
  for (const auto& prompt : generate_prompts({.prompts = 500, .tokens_min = 10, .tokens_max = 19}))
    lengths.insert(prompt.tokens);
  EXPECT_EQ(lengths.size(), 10u);
  EXPECT_EQ(*lengths.begin(), 10u);
  EXPECT_EQ(*lengths.rbegin(), 19u);
}

TEST(PromptGenerator, TheSameSeedGivesTheSamePromptsAndMoreOfThemChangeNone) {
  const auto few = generate_prompts({.prompts = 3, .tokens_min = 5, .tokens_max = 50, .seed = 3});
  const auto more = generate_prompts({.prompts = 9, .tokens_min = 5, .tokens_max = 50, .seed = 3});
  const auto other = generate_prompts({.prompts = 3, .tokens_min = 5, .tokens_max = 50, .seed = 4});
  for (std::size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].text, more[i].text);
    EXPECT_NE(few[i].text, other[i].text);
  }
  std::set<std::string> different;
  for (const auto& prompt : more) different.insert(prompt.text);
  EXPECT_EQ(different.size(), more.size());
  // What a recorded run asked must be what a later version asks.
  EXPECT_EQ(generate_prompts({.prompts = 1, .tokens_min = 6, .tokens_max = 6, .seed = 3})[0].text,
            "when our light may then she");
}

TEST(PromptGenerator, AllBeginWithThePrefixAndDifferAfterIt) {
  const auto prompts = generate_prompts({.prompts = 20, .tokens_min = 60, .tokens_max = 90, .prefix_tokens = 40});
  const std::string prefix =
      generate_prompts({.prompts = 1, .tokens_min = 40, .tokens_max = 40, .prefix_tokens = 40})[0].text;
  EXPECT_EQ(tokens_in(prefix), 40u);
  std::set<std::string> rests;
  for (const auto& prompt : prompts) {
    EXPECT_THAT(prompt.text, StartsWith(prefix));
    rests.insert(prompt.text.substr(prefix.size(), 30));
  }
  EXPECT_EQ(rests.size(), prompts.size());
}

}  // namespace
}  // namespace sluice
