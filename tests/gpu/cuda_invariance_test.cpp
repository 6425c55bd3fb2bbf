// One prompt, one answer, on the GPU: whatever runs beside it, at every concurrency from 1 to 128, cold or warm,
// chunked or whole, preempted or not, from graphs or kernel by kernel. Greedy or drawn.
#include <algorithm>
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
#include "engine/exec/scripted/scripted_executor.h"
#include "tests/gpu/cuda_model.h"

namespace sluice::engine {
namespace {

using namespace test;

constexpr std::uint32_t kAnswerTokens = 50;
constexpr std::uint32_t kSlots = 128;

struct Setting {
  const char* name;
  std::uint32_t rows_max, kv_blocks;
  bool graphs, own_products_only;
};

constexpr Setting kSettings[] = {
    {"whole prompts, graphs", 1024, 1200, true, false},
    {"whole prompts, kernel by kernel, own products", 1024, 1200, false, true},
    {"chunked prefill", kSlots, 32, true, false},
    {"chunked prefill, kernel by kernel", kSlots + 8, 64, false, true},
    {"a pool so small that sequences are preempted", 256, 10, true, true},
    {"the same, kernel by kernel, chunked", kSlots, 9, false, true},
};

struct Observed {
  std::set<std::pair<std::string, std::uint64_t>> answers;  // text and hash of all logits
  std::size_t runs = 0, cold = 0, warm = 0;                 // a run is warm when some of its prompt was in the cache
  std::size_t open_most = 0;                                // requests at once
  std::uint64_t cached_tokens = 0;
  EngineStats stats;

  void add(const Observed& other) {
    answers.insert(other.answers.begin(), other.answers.end());
    runs += other.runs;
    cold += other.cold;
    warm += other.warm;
    open_most = std::max(open_most, other.open_most);
    cached_tokens += other.cached_tokens;
    stats.rows += other.stats.rows;
    stats.steps += other.stats.steps;
    stats.preemptions += other.stats.preemptions;
  }
  double rows_a_step() const { return static_cast<double>(stats.rows) / static_cast<double>(stats.steps); }
  void print(const char* name) const {
    std::printf(
        "%s: %zu runs (%zu cold), up to %zu at once, %.1f rows a step, %llu tokens from a warm prefix, %llu "
        "preemptions\n",
        name, runs, cold, open_most, rows_a_step(), static_cast<unsigned long long>(cached_tokens),
        static_cast<unsigned long long>(stats.preemptions));
  }
};

class CudaInvariance : public testing::Test {
 protected:
  CudaInvariance()
      : tokenizer_(Tokenizer::parse(scripted_tokenizer_json(), "test").value()),
        config_(odd_model(64, 4, 2, 16, 96, static_cast<std::uint32_t>(tokenizer_.vocab_size()))),
        weights_(lively_weights(config_, 11)) {}

  /// The request that must always be answered alike: its prompt fills two blocks and some.
  Request ours(const SamplingParams& sampling) const {
    Request request;
    request.prompt = random_tokens(150, config_.vocab_size, 7);
    request.sampling = sampling;
    request.tokens_max = kAnswerTokens;
    return request;
  }

  /// `runs` of `ours`, with as many random ones in between unless `alone`.
  Observed run(const Setting& setting, const Request& ours, std::size_t runs, std::uint32_t seed, bool alone) const {
    CudaOptions cuda;
    cuda.slots_max = kSlots;
    cuda.rows_max = setting.rows_max;
    cuda.kv_blocks = setting.kv_blocks;
    cuda.graphs = setting.graphs;
    cuda.own_products_only = setting.own_products_only;
    cuda.hash_logits = true;
    auto executor = make_cuda_executor(config_, &weights_, cuda);
    if (!executor) throw std::runtime_error(executor.error().message);
    Observed out;
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t open = 0, concurrency = 1, phase_left = 0, phase = 2 * seed;
    std::map<std::size_t, std::string> texts;
    std::mt19937 random(seed);
    Engine engine(std::move(*executor), tokenizer_, {});  // ends before what its sinks refer to
    for (std::size_t asked = 0, ours_asked = 0; ours_asked < runs; ++asked) {
      if (phase_left == 0) {
        constexpr std::size_t kConcurrencies[] = {128, 1, 24, 8, 64, 3, 100};
        concurrency = alone ? 1 : kConcurrencies[phase++ % std::size(kConcurrencies)];
        phase_left = 20 + 2 * concurrency;  // so many are open at once before it changes
      }
      --phase_left;
      const bool is_ours = alone || random() % 2 == 0;
      Request request;
      if (is_ours) {
        request = ours;
        ++ours_asked;
      } else {
        // Some begin as ours does, so that the cached prefix is shared with strangers.
        if (random() % 3 == 0)
          request.prompt.assign(ours.prompt.begin(), ours.prompt.begin() + 1 + static_cast<long>(random() % 149));
        const auto more = random_tokens(1 + random() % (random() % 2 == 0 ? 8 : 80), config_.vocab_size, random());
        request.prompt.insert(request.prompt.end(), more.begin(), more.end());
        request.sampling.temperature = static_cast<float>(random() % 3) / 2;
        request.sampling.seed = random();
        if (random() % 4 == 0) request.sampling.top_k = 5;
        if (random() % 4 == 0) request.sampling.top_p = 0.7f;
        if (random() % 4 == 0) request.sampling.repetition_penalty = 1.2f;
        if (random() % 4 == 0) request.sampling.logit_bias = {{static_cast<TokenId>(random() % 20), 3.0f}};
        // Some grow far beyond what they began with: where blocks are few, somebody is preempted then.
        request.tokens_max = 1 + random() % (request.prompt.size() < 150 && random() % 2 == 0 ? 330 : 40);
        // Some need so many blocks at once that the cached prefix is given up for them.
        if (random() % 12 == 0) {
          request.prompt = random_tokens(440, config_.vocab_size, random());
          request.tokens_max = 1 + random() % 20;
        }
      }
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return open < concurrency; });
        out.open_most = std::max(out.open_most, ++open);
      }
      const auto id = engine.submit(std::move(request), [&, asked, is_ours](Chunk&& chunk) {
        const std::lock_guard lock(mutex);
        if (is_ours) texts[asked] += chunk.text;
        if (chunk.finish == FinishReason::none) return;
        EXPECT_NE(chunk.finish, FinishReason::error) << chunk.error;
        if (is_ours) {
          EXPECT_EQ(chunk.finish, FinishReason::length);
          out.answers.emplace(texts[asked], chunk.usage.logits_hash);
          out.cached_tokens += chunk.usage.cached_tokens;
          ++out.runs;
          ++(chunk.usage.cached_tokens == 0 ? out.cold : out.warm);
          texts.erase(asked);
        }
        --open;
        changed.notify_one();
      });
      if (!id) throw std::runtime_error(id.error().message);
      // Now and then one of the others is given up.
      if (!is_ours && random() % 20 == 0) engine.cancel(*id);
    }
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return open == 0; });
    out.stats = engine.stats();
    return out;
  }

  const Tokenizer tokenizer_;
  const ModelConfig config_;
  const Weights weights_;
};

TEST_F(CudaInvariance, AThousandRunsAmongOtherTrafficGiveOneTextAndOneHash) {
  SLUICE_NEEDS_GPU();
  SamplingParams greedy;
  greedy.temperature = 0;
  Observed all;
  std::uint32_t seed = 0;
  for (const Setting& setting : kSettings) {
    const Observed seen =
        run(setting, ours(greedy), (1000 + std::size(kSettings) - 1) / std::size(kSettings), seed++, false);
    seen.print(setting.name);
    EXPECT_EQ(seen.answers.size(), 1u) << setting.name;
    all.add(seen);
  }
  all.print("all");
  EXPECT_GE(all.runs, 1000u);
  ASSERT_EQ(all.answers.size(), 1u);
  EXPECT_NE(all.answers.begin()->second, 0u);
  EXPECT_GT(all.rows_a_step(), 4.0);
  EXPECT_GE(all.open_most, 100u);
  EXPECT_GE(all.cold, 20u);
  EXPECT_GE(all.warm, 20u);
  EXPECT_GE(all.stats.preemptions, 5u);
}

TEST_F(CudaInvariance, TheSameSeedDrawsTheSameTextAloneAndAmongOtherTraffic) {
  SLUICE_NEEDS_GPU();
  SamplingParams sampling;
  sampling.temperature = 0.8f;
  sampling.top_p = 0.9f;
  sampling.top_k = 40;
  sampling.repetition_penalty = 1.1f;
  sampling.presence_penalty = 0.2f;
  sampling.frequency_penalty = 0.1f;
  sampling.seed = 0x123456789abcdefull;
  Observed all = run(kSettings[0], ours(sampling), 3, 0, true);
  EXPECT_EQ(all.answers.size(), 1u);
  std::uint32_t seed = 10;
  for (const Setting& setting : kSettings) {
    const Observed seen = run(setting, ours(sampling), 60, seed++, false);
    EXPECT_EQ(seen.answers.size(), 1u) << setting.name;
    all.add(seen);
  }
  all.print("drawn");
  EXPECT_EQ(all.answers.size(), 1u);
  EXPECT_GT(all.stats.preemptions, 0u);
  sampling.seed ^= std::uint64_t{1} << 40;
  const Observed other = run(kSettings[0], ours(sampling), 1, 0, true);
  EXPECT_NE(other.answers.begin()->first, all.answers.begin()->first) << "the seed plays no part";
}

}  // namespace
}  // namespace sluice::engine
