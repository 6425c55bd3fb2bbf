// One prompt, one answer: whatever runs beside it, at every concurrency, cold or warm, chunked or whole, preempted or
// not.
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/exec/cpu/cpu_executor.h"
#include "engine/exec/scripted/scripted_executor.h"
#include "tests/engine/exec/cpu_model.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kRuns = 1000;
constexpr std::uint32_t kAnswerTokens = 50;

struct Setting {
  const char* name;
  unsigned threads;
  std::uint32_t rows_max, kv_blocks;
};

struct Observed {
  std::set<std::pair<std::string, std::uint64_t>> answers;  // text and hash of all logits
  std::size_t runs = 0;
  std::uint64_t cached_tokens = 0;
  EngineStats stats;
};

std::vector<TokenId> random_tokens(std::mt19937& random, std::size_t count, std::uint32_t vocab) {
  std::vector<TokenId> tokens(count);
  for (auto& token : tokens) token = static_cast<TokenId>(random() % vocab);
  return tokens;
}

Observed run(const Setting& setting, const ModelConfig& config, const Weights& weights, const Tokenizer& tokenizer,
             std::size_t runs, std::uint32_t seed) {
  CpuOptions cpu;
  cpu.threads = setting.threads;
  cpu.slots_max = 32;
  cpu.rows_max = setting.rows_max;
  cpu.kv_blocks = setting.kv_blocks;
  cpu.hash_logits = true;
  Engine engine(make_cpu_executor(config, weights, cpu).value(), tokenizer, {});

  std::mt19937 fixed(7);
  const auto prompt = random_tokens(fixed, 150, config.vocab_size);  // two whole blocks and some
  std::mt19937 random(seed);
  Observed out;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t open = 0, concurrency = 1;
  std::map<std::size_t, std::string> texts;
  for (std::size_t asked = 0, ours = 0; ours < runs; ++asked) {
    if (asked % 40 == 0) concurrency = 1 + random() % 32;
    Request request;
    const bool is_ours = random() % 2 == 0;
    if (is_ours) {
      request.prompt = prompt;
      request.sampling.temperature = 0;
      request.tokens_max = kAnswerTokens;
      ++ours;
    } else {
      // Some begin as ours does, so that the cached prefix is shared with strangers.
      request.prompt = random() % 3 == 0
                           ? std::vector(prompt.begin(), prompt.begin() + 1 + static_cast<long>(random() % 149))
                           : std::vector<TokenId>();
      const auto more = random_tokens(random, 1 + random() % (random() % 2 == 0 ? 8 : 80), config.vocab_size);
      request.prompt.insert(request.prompt.end(), more.begin(), more.end());
      request.sampling.temperature = static_cast<float>(random() % 3) / 2;
      request.sampling.seed = random();
      request.tokens_max = 1 + random() % (random() % 3 == 0 ? 250 : 40);
    }
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return open < concurrency; });
      ++open;
    }
    const auto id = engine.submit(std::move(request), [&, asked, is_ours](Chunk&& chunk) {
      const std::lock_guard lock(mutex);
      if (is_ours) texts[asked] += chunk.text;
      if (chunk.finish == FinishReason::none) return;
      if (is_ours) {
        EXPECT_EQ(chunk.finish, FinishReason::length);
        out.answers.emplace(texts[asked], chunk.usage.logits_hash);
        out.cached_tokens += chunk.usage.cached_tokens;
        ++out.runs;
        texts.erase(asked);
      }
      --open;
      changed.notify_one();
    });
    EXPECT_TRUE(id);
    // Now and then one of the others is given up.
    if (!is_ours && random() % 20 == 0) engine.cancel(*id);
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return open == 0; });
  out.stats = engine.stats();
  return out;
}

TEST(Invariance, AThousandRunsAmongOtherTrafficGiveOneTextAndOneHash) {
  const auto tokenizer = Tokenizer::parse(scripted_tokenizer_json(), "test").value();
  const auto config = test::odd_model(64, 4, 2, 16, 96, static_cast<std::uint32_t>(tokenizer.vocab_size()));
  const auto weights = test::lively_weights(config, 11);
  const Setting settings[] = {
      {"one thread, whole prompts", 1, 512, 400},
      {"two threads, whole prompts", 2, 512, 400},
      {"chunked prefill", 2, 40, 400},
      {"a pool so small that sequences are preempted", 1, 128, 10},
  };
  std::set<std::pair<std::string, std::uint64_t>> answers;
  std::uint64_t rows = 0, steps = 0, cached = 0, preemptions = 0;
  std::size_t runs = 0;
  std::uint32_t seed = 1;
  for (const auto& setting : settings) {
    const Observed seen = run(setting, config, weights, tokenizer, kRuns / std::size(settings), seed++);
    EXPECT_EQ(seen.answers.size(), 1u) << setting.name;
    answers.insert(seen.answers.begin(), seen.answers.end());
    rows += seen.stats.rows;
    steps += seen.stats.steps;
    cached += seen.cached_tokens;
    preemptions += seen.stats.preemptions;
    runs += seen.runs;
  }
  std::printf("%zu runs, %.1f rows a step, %llu tokens from a warm prefix, %llu preemptions\n", runs,
              static_cast<double>(rows) / static_cast<double>(steps), static_cast<unsigned long long>(cached),
              static_cast<unsigned long long>(preemptions));
  EXPECT_EQ(runs, kRuns);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_NE(answers.begin()->second, 0u);
  EXPECT_GT(static_cast<double>(rows) / static_cast<double>(steps), 4.0);
  EXPECT_GT(cached, 0u) << "no run had a warm prefix";
  EXPECT_GT(preemptions, 0u) << "no sequence was preempted";
}

}  // namespace
}  // namespace sluice::engine
