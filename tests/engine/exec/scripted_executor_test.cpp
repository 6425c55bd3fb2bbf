#include "engine/exec/scripted/scripted_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

TEST(Script, ReadsEveryKey) {
  const auto script =
      parse_script("ttft=50ms,gap=1.5ms,tokens=7,distribution=lognormal,sigma=0.25,seed=9,text=one, two=three").value();
  EXPECT_EQ(script.ttft, 50ms);
  EXPECT_EQ(script.gap, 1500us);
  EXPECT_EQ(script.tokens, 7u);
  EXPECT_EQ(script.distribution, Script::Distribution::lognormal);
  EXPECT_EQ(script.sigma, 0.25);
  EXPECT_EQ(script.seed, 9u);
  EXPECT_EQ(script.text, "one, two=three");
  EXPECT_EQ(parse_script("").value().ttft, 0ns);
  EXPECT_EQ(parse_script("ttft=0,gap=2s").value().gap, 2s);
}

TEST(Script, NamesTheValueAndTheWayOut) {
  struct Case {
    const char* script;
    const char* message;
  };
  const Case cases[] = {
      {"ttft=50", "script: ttft: '50' is not a duration"},
      {"gap=-1ms", "script: gap: '-1ms' is not a duration"},
      {"gap=2h", "'2h' is not a duration up to 1 h"},
      {"ttft=nanms", "'nanms'"},
      {"tokens=many", "script: tokens: 'many'"},
      {"distribution=normal", "write fixed or lognormal"},
      {"sigma=9", "sigma: '9' is not a number from 0 to 4"},
      {"speed=1", "unknown key 'speed': there are ttft"},
      {"ttft", "'ttft' has no value"},
      {"seed=-1", "seed: '-1'"},
  };
  for (const auto& [text, message] : cases) {
    const auto script = parse_script(text);
    ASSERT_FALSE(script) << text;
    EXPECT_THAT(script.error().message, testing::HasSubstr(message));
  }
}

TEST(Script, LognormalDelaysHaveTheMeanThatIsAskedForAndFollowTheSeed) {
  Script script;
  script.gap = 10ms;
  script.distribution = Script::Distribution::lognormal;
  script.sigma = 0.5;
  double sum = 0, smallest = 1e18, largest = 0;
  constexpr int kCount = 20'000;
  for (int i = 0; i < kCount; ++i) {
    const auto delay =
        scripted_delay(script, static_cast<std::uint64_t>(i) / 100, 1 + static_cast<std::uint32_t>(i) % 100);
    EXPECT_EQ(delay,
              scripted_delay(script, static_cast<std::uint64_t>(i) / 100, 1 + static_cast<std::uint32_t>(i) % 100));
    const double ms = std::chrono::duration<double, std::milli>(delay).count();
    sum += ms;
    smallest = std::min(smallest, ms);
    largest = std::max(largest, ms);
  }
  EXPECT_NEAR(sum / kCount, 10.0, 0.15);  // the standard error is 0.04
  EXPECT_LT(smallest, 3.0);
  EXPECT_GT(largest, 30.0);
  Script other = script;
  other.seed = 2;
  EXPECT_NE(scripted_delay(script, 1, 1), scripted_delay(other, 1, 1));
  EXPECT_NE(scripted_delay(script, 1, 1), scripted_delay(script, 2, 1));
}

ScriptedOptions options_of(Script script, std::uint32_t slots = 4) {
  ScriptedOptions options;
  options.script = std::move(script);
  options.words = {'a', 'b', 'c'};
  options.end = 256;
  options.vocab_size = 257;
  options.slots_max = slots;
  return options;
}

void ask(Executor& executor, SlotId slot) {
  StepPlan plan;
  plan.slices.push_back({.slot = slot, .position = 0, .tokens = {}, .blocks = {}, .sample = true});
  executor.submit(plan);
}

/// The tokens that are due; only for scripts without delays.
std::vector<TokenId> take(Executor& executor) {
  std::vector<Sampled> results;
  executor.poll(results);
  std::vector<TokenId> tokens;
  for (const auto& result : results) tokens.push_back(result.token);
  return tokens;
}

TEST(ScriptedExecutor, SaysItsWordsInTurnThenTheEnd) {
  Script script;
  script.tokens = 5;
  const auto executor = make_scripted_executor(options_of(script));
  executor->bind(2, {}, {}, 1);
  std::vector<TokenId> said;
  for (int i = 0; i < 6; ++i) {
    ask(*executor, 2);
    for (const TokenId token : take(*executor)) said.push_back(token);
  }
  EXPECT_THAT(said, testing::ElementsAre('a', 'b', 'c', 'a', 'b', 256));
}

TEST(ScriptedExecutor, GoesOnWhereTheEndIsBanned) {
  Script script;
  script.tokens = 2;
  const auto executor = make_scripted_executor(options_of(script));
  SamplingParams sampling;
  sampling.banned = {256};
  executor->bind(0, sampling, {}, 1);
  std::vector<TokenId> said;
  for (int i = 0; i < 4; ++i) {
    ask(*executor, 0);
    for (const TokenId token : take(*executor)) said.push_back(token);
  }
  EXPECT_THAT(said, testing::ElementsAre('a', 'b', 'c', 'a'));
}

TEST(ScriptedExecutor, DueInstantsDoNotDriftHoweverLateTheyAreServed) {
  Script script;
  script.ttft = 3ms;
  script.gap = 50us;
  script.tokens = 1000;
  const auto executor = make_scripted_executor(options_of(script));
  const auto before = Clock::now();
  executor->bind(0, {}, {}, 1);
  const auto after = Clock::now();
  ask(*executor, 0);
  const auto first = executor->next_ready().value();
  EXPECT_GE(first, before + script.ttft);
  EXPECT_LE(first, after + script.ttft);
  std::vector<Sampled> results;
  for (int i = 1; i <= 50; ++i) {
    results.clear();
    while (executor->poll(results) == 0) {
    }
    EXPECT_GE(Clock::now(), first + (i - 1) * script.gap) << "a token came before it was due";
    // Served late on purpose: the next one is due where it always was.
    while (i % 10 == 0 && Clock::now() < first + (i + 3) * script.gap) {
    }
    ask(*executor, 0);
    EXPECT_EQ(executor->next_ready().value() - first, i * script.gap);
  }
}

TEST(ScriptedExecutor, ServesEachSlotAtItsOwnInstantAndForgetsReleasedOnes) {
  Script script;
  script.ttft = 1h;
  const auto executor = make_scripted_executor(options_of(script, 2000));
  for (SlotId slot = 0; slot < 2000; ++slot) {
    executor->bind(slot, {}, {}, slot);
    ask(*executor, slot);
  }
  EXPECT_TRUE(take(*executor).empty());
  for (SlotId slot = 0; slot < 2000; ++slot) executor->release(slot);
  EXPECT_TRUE(take(*executor).empty());
  EXPECT_EQ(executor->next_ready(), std::nullopt);
}

TEST(ScriptedExecutor, ASlotTakenAnewOwesNothingOfItsFormerRequest) {
  const auto executor = make_scripted_executor(options_of({}));
  executor->bind(0, {}, {}, 1);
  ask(*executor, 0);
  executor->release(0);
  executor->bind(0, {}, {}, 2);
  EXPECT_TRUE(take(*executor).empty());
  ask(*executor, 0);
  EXPECT_THAT(take(*executor), testing::ElementsAre('a'));
}

TEST(ScriptedExecutor, ResumesAfterWhatWasAlreadySaid) {
  const auto executor = make_scripted_executor(options_of({}));
  executor->bind(0, {}, {}, 1);
  const std::vector<TokenId> output = {'a', 'b'};
  executor->resume(0, output);
  ask(*executor, 0);
  EXPECT_THAT(take(*executor), testing::ElementsAre('c'));
}

}  // namespace
}  // namespace sluice::engine
