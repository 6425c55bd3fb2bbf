#include "engine/serve/chunk_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

ChunkPolicy policy_of(std::uint32_t min_chars, std::uint32_t max_chars,
                      std::optional<std::chrono::milliseconds> max_delay = {}) {
  return {.min_chars = min_chars, .max_chars = max_chars, .max_delay = max_delay};
}

std::uint64_t characters(const std::string& text) {
  std::uint64_t count = 0;
  for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

TEST(ChunkPolicy, IsReadFromACommandLine) {
  const auto all = parse_chunk_policy("min_chars=20,max_chars=80,max_delay=200ms").value();
  EXPECT_EQ(all.min_chars, 20u);
  EXPECT_EQ(all.max_chars, 80u);
  EXPECT_EQ(all.max_delay, 200ms);
  EXPECT_EQ(parse_chunk_policy("max_delay=2s").value().max_delay, 2000ms);
  EXPECT_FALSE(parse_chunk_policy("").value().changes_frames());
  EXPECT_FALSE(parse_chunk_policy("max_delay=2s").value().changes_frames());
  EXPECT_TRUE(parse_chunk_policy("max_chars=5").value().changes_frames());
  struct Case {
    const char* text;
    const char* problem;
  };
  const Case cases[] = {
      {"min_chars", "'min_chars' has no value: write key=value"},
      {"min_chars=", "min_chars: '' is not a whole number"},
      {"min_chars=-1", "'-1' is not a whole number"},
      {"min_chars=0", "min_chars must be from 1 to 1000000, not 0"},
      {"max_chars=1000001", "max_chars must be from 1 to 1000000, not 1000001"},
      {"min_chars=9,max_chars=8", "min_chars is 9 and max_chars 8"},
      {"max_delay=5", "'5' is not a duration: write a whole number and ms or s"},
      {"max_delay=s", "'s' is not a duration"},
      {"max_delay=0ms", "max_delay must be from 1 to 60000 ms, not 0"},
      {"max_delay=61s", "not 61000"},
      {"chars=5", "unknown key 'chars': there are min_chars, max_chars and max_delay"},
  };
  for (const auto& [text, problem] : cases) {
    const auto read = parse_chunk_policy(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message, HasSubstr(problem)) << text;
  }
}

struct Piece {
  std::string text;
  std::chrono::milliseconds at{};
};

/// Frames as "text@ms", those that wait for the clock at the instant for which due() asks.
std::vector<std::string> merged(const ChunkPolicy& policy, const std::vector<Piece>& pieces) {
  ChunkMerger merger(policy);
  std::vector<std::string> out;
  const Clock::time_point zero = Clock::time_point() + 1h;
  const auto take = [&](Clock::time_point now) {
    while (const auto frame = merger.next(now)) {
      out.push_back(frame->text + "@" +
                    std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(now - zero).count()));
    }
  };
  Clock::time_point now = zero;
  for (const auto& [text, at] : pieces) {
    for (now = zero + at; merger.due() <= now;) take(merger.due());
    merger.push(text, {}, now);
    take(now);
  }
  merger.finish();
  take(now);
  EXPECT_EQ(merger.due(), Clock::time_point::max());
  return out;
}

TEST(ChunkMerger, HoldsTextUntilThereIsEnoughOrItsTimeHasCome) {
  struct Case {
    const char* name;
    ChunkPolicy policy;
    std::vector<Piece> pieces;
    std::vector<std::string> frames;
  };
  const Case cases[] = {
      {"as they come", policy_of(1, 100), {{"a", 0ms}, {"bc", 1ms}}, {"a@0", "bc@1"}},
      {"enough", policy_of(3, 100), {{"a", 0ms}, {"b", 1ms}, {"cd", 2ms}, {"e", 3ms}}, {"abcd@2", "e@3"}},
      {"split", policy_of(2, 3), {{"abcdefgh", 0ms}}, {"abc@0", "def@0", "gh@0"}},
      {"the rest waits", policy_of(2, 3), {{"abcd", 0ms}, {"e", 7ms}}, {"abc@0", "de@7"}},
      {"code points",
       policy_of(2, 2),
       {{"\xc3\xa9", 0ms}, {"\xf0\x9f\x98\x80!", 1ms}},
       {"\xc3\xa9\xf0\x9f\x98\x80@1", "!@1"}},
      {"by the clock",
       policy_of(9, 9, 50ms),
       {{"a", 0ms}, {"b", 49ms}, {"c", 60ms}, {"d", 200ms}},
       {"ab@50", "c@110", "d@200"}},
      {"from the first that is held",
       policy_of(2, 2, 50ms),
       {{"a", 0ms}, {"bc", 30ms}, {"d", 100ms}},
       {"ab@30", "c@80", "d@100"}},
      {"nothing", policy_of(5, 9, 50ms), {}, {}},
  };
  for (const auto& [name, policy, pieces, frames] : cases) EXPECT_EQ(merged(policy, pieces), frames) << name;
}

TEST(ChunkMerger, GivesTheSameTextInFramesWithinBoundsWhateverThePolicyAndThePieces) {
  const char* letters[] = {"a", " ", "\n", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
  for (std::uint32_t seed = 1; seed <= 500; ++seed) {
    std::mt19937 random(seed);
    const std::uint32_t min_chars = 1 + random() % 12;
    const ChunkPolicy policy =
        policy_of(min_chars, min_chars + random() % 6,
                  random() % 2 == 0 ? std::optional(std::chrono::milliseconds(1 + random() % 20)) : std::nullopt);
    ChunkMerger merger(policy);
    std::string said, got;
    std::vector<TokenId> tokens;
    std::vector<std::uint32_t> ends;  // by token: characters of the text up to its end
    Clock::time_point now = Clock::time_point() + 1h, oldest = now;
    const auto take = [&](bool at_end) {
      while (true) {
        const bool due = merger.due() <= now;
        if (due) {
          EXPECT_EQ(merger.due(), oldest + *policy.max_delay);
        }
        const auto frame = merger.next(now);
        if (!frame) break;
        EXPECT_LE(characters(frame->text), policy.max_chars);
        if (!due && !at_end) {
          EXPECT_GE(characters(frame->text), policy.min_chars);
        }
        got += frame->text;
        for (const OutputToken& token : frame->tokens) {
          tokens.push_back(token.token);
          // With the frame that carries the end of its text.
          const auto id = static_cast<std::size_t>(token.token);
          EXPECT_LE(ends[id], characters(got));
          EXPECT_GT(ends[id], characters(got) - characters(frame->text));
        }
        oldest = now;
      }
      if (!at_end) {
        EXPECT_LT(characters(said) - characters(got), policy.min_chars);
      }
    };
    for (int piece = 0; piece < 40; ++piece) {
      if (got.size() == said.size()) oldest = now;
      std::vector<OutputToken> belonging;
      std::string text;
      for (std::uint32_t token = 0; token < 1 + random() % 3; ++token) {
        for (std::uint32_t letter = 0; letter < 1 + random() % 5; ++letter) text += letters[random() % 6];
        const auto end = static_cast<std::uint32_t>(characters(said + text));
        belonging.push_back({.token = static_cast<TokenId>(ends.size()), .text_end = end, .top = {}});
        ends.push_back(end);
      }
      said += text;
      merger.push(text, std::move(belonging), now);
      take(false);
      now += std::chrono::milliseconds(random() % 15);
      if (merger.due() <= now) {
        now = merger.due();
        take(false);
      }
    }
    merger.finish();
    take(true);
    EXPECT_EQ(got, said) << "seed " << seed;
    ASSERT_EQ(tokens.size(), ends.size()) << "seed " << seed;
    for (std::size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i], static_cast<TokenId>(i));
  }
}

TEST(ChunkMerger, ATokenThatAStopStringCutLeavesWithTheLastOfTheText) {
  ChunkMerger merger(policy_of(2, 2));
  std::vector<OutputToken> tokens(2);
  tokens[0].text_end = 1;
  merger.push("abcd", std::move(tokens), {});
  merger.finish();
  EXPECT_EQ(merger.next({})->tokens.size(), 1u);
  EXPECT_EQ(merger.next({})->tokens.size(), 1u);
  EXPECT_FALSE(merger.next({}));
}

TEST(ChunkMerger, TokensWithoutTextLeaveAtTheEnd) {
  ChunkMerger merger(policy_of(2, 2));
  merger.push("", std::vector<OutputToken>(1), {});
  EXPECT_FALSE(merger.next({}));
  merger.finish();
  const auto frame = merger.next({});
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->text, "");
  EXPECT_EQ(frame->tokens.size(), 1u);
}

}  // namespace
}  // namespace sluice::engine
