#include "engine/token_trail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/exec/scripted/scripted_executor.h"
#include "engine/stop_matcher.h"
#include "engine/text/tokenizer.h"

namespace sluice::engine {
namespace {

const Tokenizer& bytes() {
  static const Tokenizer tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "test").value();
  return tokenizer;
}

/// What the engine does with one answer: tokens of one byte each, stop strings, chunks "text:tokens" as they leave.
struct Answer {
  explicit Answer(std::vector<std::string> stops = {}) : stop(std::move(stops)) {}

  /// False once a stop string has come.
  bool say(TokenId token) {
    Sampled drawn;
    drawn.token = token;
    const std::string whole = detokenizer.push(token);
    const bool special = bytes().is_special(token);
    trail.push(drawn, special ? 0 : bytes().bytes(token).size(), whole, detokenizer.unfinished_bytes());
    auto [text, stopped] = stop.push(whole);
    if (stopped || !text.empty()) leave(text, stopped);
    return !stopped;
  }
  void end() {
    const std::string rest = detokenizer.finish();
    trail.finish(rest);
    auto [text, stopped] = stop.push(rest);
    if (!stopped) text += stop.finish();
    leave(text, true);
  }
  void leave(const std::string& text, bool cut) {
    chunks.push_back(text + ":");
    said += text;
    for (const OutputToken& token : trail.take(text.size(), cut)) {
      chunks.back() += bytes().bytes(token.token);
      tokens.push_back(token);
    }
  }

  Detokenizer detokenizer{bytes(), true};
  StopMatcher stop;
  TokenTrail trail;
  std::vector<std::string> chunks;
  std::string said;
  std::vector<OutputToken> tokens;
};

TEST(TokenTrail, ATokenTravelsWithTheChunkThatCarriesTheEndOfItsText) {
  struct Case {
    const char* name;
    std::vector<std::string> stops;
    std::string text;
    bool ends;  // by itself, after the text
    std::vector<std::string> chunks;
  };
  const Case cases[] = {
      {"a byte a token", {}, "ab", true, {"a:a", "b:b", ":"}},
      {"a code point in two tokens", {}, "a\xc3\xa9z", true, {"a:a", "\xc3\xa9:\xc3\xa9", "z:z", ":"}},
      {"a broken code point at the end", {}, "a\xc3", true, {"a:a", "\xef\xbf\xbd:\xc3"}},
      {"a broken one before the next letter", {}, "\xc3z", true, {"\xef\xbf\xbdz:\xc3z", ":"}},
      {"held back, then let go", {"xyz"}, "axyb", true, {"a:a", "xyb:xyb", ":"}},
      {"held back to the end", {"xyz"}, "axy", true, {"a:a", "xy:xy"}},
      {"cut off", {"xyz"}, "abxyz", false, {"a:a", "b:b", ":"}},
      {"cut off after what was held back", {"xyz"}, "axxyz", false, {"a:a", "x:x", ":"}},
  };
  for (const auto& [name, stops, text, ends, chunks] : cases) {
    Answer answer(stops);
    bool going = true;
    for (const char byte : text) going = answer.say(static_cast<unsigned char>(byte));
    EXPECT_EQ(going, ends) << name;
    if (ends) answer.end();
    EXPECT_EQ(answer.chunks, chunks) << name;
  }
}

TEST(TokenTrail, ATokenThatAStopStringCutsInTheMiddleStillCarriesTheTextBeforeIt) {
  TokenTrail trail;
  Sampled drawn;
  drawn.token = 1;
  trail.push(drawn, 2, "ab", 0);
  EXPECT_EQ(trail.take(1, false).size(), 0u) << "its text has not left wholly";
  drawn.token = 2;
  trail.push(drawn, 2, "cd", 0);
  const auto last = trail.take(0, true);  // "bc" was the stop string
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].token, 1);
}

TEST(TokenTrail, ATokenWithoutTextGoesWithTheNextChunk) {
  TokenTrail trail;
  Sampled drawn;
  for (const auto& [token, text] : {std::pair<TokenId, const char*>{1, "a"}, {2, ""}, {3, "b"}}) {
    drawn.token = token;
    trail.push(drawn, std::string(text).size(), text, 0);
    if (token == 1) {
      EXPECT_EQ(trail.take(1, false).size(), 1u);
    }
  }
  const auto next = trail.take(1, false);
  ASSERT_EQ(next.size(), 2u);
  EXPECT_EQ(next[0].token, 2);
  EXPECT_EQ(next[0].text_offset, 1u);
  EXPECT_EQ(next[1].token, 3);
}

TEST(TokenTrail, CarriesWhatWasDrawn) {
  TokenTrail trail;
  Sampled drawn;
  drawn.token = 5;
  drawn.logprob = -0.5f;
  drawn.top_count = 2;
  drawn.top[0] = {.token = 5, .logprob = -0.5f};
  drawn.top[1] = {.token = 7, .logprob = -1.5f};
  trail.push(drawn, 1, "x", 0);
  const auto out = trail.take(1, false);
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].logprob, -0.5f);
  ASSERT_EQ(out[0].top.size(), 2u);
  EXPECT_EQ(out[0].top[1].token, 7);
}

// Any text, any stop strings: the tokens are those drawn, in order and once, and cover the text that left.
TEST(TokenTrail, LosesAndRepeatsNoTokenWhateverIsHeldBack) {
  std::size_t cut = 0;
  for (std::uint32_t seed = 1; seed <= 3000; ++seed) {
    std::mt19937 random(seed);
    const std::vector<std::string> parts = {"a", "b", "ab", "\xc3\xa9", "\xf0\x9f\x98\x80", "\xf0\x9f", "\xc3", "\xa9"};
    std::string text;
    while (text.size() < 30) text += parts[random() % parts.size()];
    std::vector<std::string> stops;
    for (std::size_t i = random() % 3; i > 0; --i) {
      std::string stop;
      for (std::size_t n = 1 + random() % 3; n > 0; --n) stop += parts[random() % 5];
      stops.push_back(stop);
    }
    Answer answer(stops);
    bool going = true;
    std::vector<TokenId> drawn;
    for (std::size_t i = 0; i < text.size() && going; ++i) {
      drawn.push_back(static_cast<unsigned char>(text[i]));
      going = answer.say(drawn.back());
    }
    if (going) answer.end();
    cut += going ? 0 : 1;
    ASSERT_LE(answer.tokens.size(), drawn.size());
    std::string covered;
    std::uint32_t offset = 0;
    for (std::size_t i = 0; i < answer.tokens.size(); ++i) {
      ASSERT_EQ(answer.tokens[i].token, drawn[i]) << "seed " << seed;
      EXPECT_GE(answer.tokens[i].text_offset, offset);
      offset = answer.tokens[i].text_offset;
      covered += bytes().bytes(drawn[i]);
    }
    EXPECT_EQ(bytes().decode({drawn.data(), answer.tokens.size()}, true).substr(0, answer.said.size()), answer.said)
        << "seed " << seed;
    if (going) {
      EXPECT_EQ(answer.tokens.size(), drawn.size()) << "seed " << seed;
    }
  }
  EXPECT_GT(cut, 300u);
}

}  // namespace
}  // namespace sluice::engine
