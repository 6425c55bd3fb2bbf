#include "engine/exec/cpu/cpu_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "tests/engine/exec/cpu_allocations.h"
#include "tests/engine/exec/cpu_model.h"

namespace sluice::engine {
namespace {

using namespace test;

struct Case {
  cpu::Isa isa;
  std::string name;
  ModelConfig config;
};

std::vector<Case> cases() {
  std::vector<std::pair<std::string, ModelConfig>> models;
  models.emplace_back("NothingDivides", odd_model(40, 6, 2, 20, 52, 117));  // head_dim is not hidden / heads
  models.emplace_back("OneKeyHead", odd_model(72, 8, 1, 48, 100, 289));
  models.emplace_back("TiedAndWide", odd_model(96, 3, 3, 80, 176, 4112));
  models.back().second.tied_head = true;
  models.emplace_back("SlidingWindow", odd_model(48, 4, 2, 32, 64, 130));
  models.back().second.sliding_window = 70;
  models.emplace_back("QwenLike", odd_model(56, 7, 1, 18, 60, 131));
  models.back().second.qkv_bias = models.back().second.qk_norm = true;
  models.back().second.sliding_window = 33;
  models.back().second.windowed_from = 1;
  models.emplace_back("GptLike", odd_model(45, 3, 3, 15, 50, 131));  // an odd head: nothing turns it
  ModelConfig& gpt = models.back().second;
  gpt.norm = Norm::layer;
  gpt.norm_eps = 1e-5f;
  gpt.activation = Activation::gelu_tanh;
  gpt.gated = false;
  gpt.qkv_bias = gpt.o_bias = gpt.mlp_bias = gpt.learned_positions = gpt.tied_head = true;
  gpt.rope = Rope::none;
  models.emplace_back("EverythingBesideRope", odd_model(50, 4, 1, 22, 39, 100));
  ModelConfig& all_flags = models.back().second;
  all_flags.norm = Norm::layer;
  all_flags.activation = Activation::gelu;
  all_flags.qkv_bias = all_flags.o_bias = all_flags.mlp_bias = all_flags.qk_norm = all_flags.learned_positions = true;
  all_flags.rope = Rope::longrope;
  all_flags.rope_dims = 12;
  all_flags.rope_original_context = 100;
  all_flags.rope_factor = 3;
  all_flags.rope_short_factors = {1, 1, 1, 1, 1, 1};
  all_flags.rope_long_factors = {1, 1.5f, 2, 3, 4, 6};
  std::vector<Case> all;
  for (const cpu::Isa isa : cpu::supported_isas())
    for (const auto& [name, config] : models) all.push_back({isa, std::string(to_string(isa)) + name, config});
  return all;
}

class CpuExecutor : public testing::TestWithParam<Case> {
 protected:
  const ModelConfig& config() const { return GetParam().config; }
  CpuOptions options(unsigned threads = 1) const {
    CpuOptions options;
    options.isa = GetParam().isa;
    options.threads = threads;
    options.slots_max = 6;
    options.rows_max = 256;
    options.kv_blocks = 24;
    return options;
  }
  /// The hash of each position's logits, one token at a time, alone.
  std::vector<std::uint64_t> hashes_alone(const Weights& weights, const std::vector<TokenId>& tokens) const {
    const auto executor = make_executor(config(), weights, options());
    const auto blocks = first_blocks(8);
    std::vector<std::uint64_t> hashes;
    for (std::uint32_t position = 0; position < tokens.size(); ++position)
      hashes.push_back(step(*executor, {{0, position, 1, &tokens, &blocks}}).at(0).logits_hash);
    return hashes;
  }
};

INSTANTIATE_TEST_SUITE_P(, CpuExecutor, testing::ValuesIn(cases()), [](const auto& each) { return each.param.name; });

TEST_P(CpuExecutor, AgreesWithAPlainForwardPassInDoublePrecision) {
  const Weights weights = lively_weights(config(), 3);
  const auto tokens = random_tokens(140, config().vocab_size, 4);
  std::vector<std::vector<float>> seen;
  CpuOptions sink = options(2);
  sink.logits_sink = [&](SlotId, std::uint32_t position, std::span<const float> logits) {
    EXPECT_EQ(position, seen.size());
    seen.emplace_back(logits.begin(), logits.end());
  };
  const auto executor = make_executor(config(), weights, sink);
  const auto blocks = first_blocks(8);
  for (std::uint32_t position = 0; position < tokens.size(); ++position)
    step(*executor, {{0, position, 1, &tokens, &blocks}});

  const auto expected = reference_logits(config(), weights, tokens, executor->info().context_max);
  double worst = 0;
  for (std::size_t position = 0; position < tokens.size(); ++position)
    worst = std::max(worst, normalized_error(seen.at(position), expected[position]));
  EXPECT_LT(worst, 1e-3);
  RecordProperty("worst_nmse", std::to_string(worst));
}

TEST_P(CpuExecutor, GivesTheSameBitsInEveryBatchChunkBlockSlotAndThreadCount) {
  const Weights weights = lively_weights(config(), 5);
  // Sequence 1 continues the first 128 tokens of sequence 0: its first two blocks may be shared.
  std::vector<std::vector<TokenId>> sequences{random_tokens(200, config().vocab_size, 1),
                                              {},
                                              random_tokens(67, config().vocab_size, 2),
                                              random_tokens(5, config().vocab_size, 3),
                                              random_tokens(129, config().vocab_size, 4)};
  sequences[1].assign(sequences[0].begin(), sequences[0].begin() + 128);
  for (const TokenId token : random_tokens(50, config().vocab_size, 9)) sequences[1].push_back(token);
  std::vector<std::vector<std::uint64_t>> expected;
  for (const auto& tokens : sequences) expected.push_back(hashes_alone(weights, tokens));

  for (const unsigned threads : {1u, 2u, 3u}) {
    const auto executor = make_executor(config(), weights, options(threads));
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
      std::mt19937_64 random(100 * threads + seed);
      std::vector<BlockId> free = first_blocks(24);
      std::shuffle(free.begin(), free.end(), random);
      std::vector<SlotId> slots{0, 1, 2, 3, 4, 5};
      std::shuffle(slots.begin(), slots.end(), random);
      std::vector<std::vector<BlockId>> blocks(sequences.size());
      for (std::size_t s = 0; s < sequences.size(); ++s)
        for (std::size_t b = 0; b * 64 < sequences[s].size(); ++b) {
          blocks[s].push_back(free.back());
          free.pop_back();
        }
      const bool warm = seed % 2 == 1;  // sequence 1 reads sequence 0's first blocks
      if (warm) std::copy(blocks[0].begin(), blocks[0].begin() + 2, blocks[1].begin());
      std::vector<std::uint32_t> done(sequences.size());
      const auto ready = [&](std::size_t s) {
        if (done[s] == sequences[s].size()) return false;
        if (s == 1 && warm && done[1] == 0) {
          if (done[0] < 128) return false;
          done[1] = 128;
        }
        return true;
      };
      for (std::size_t steps = 0;; ++steps) {
        ASSERT_LT(steps, 1000u);
        std::vector<Feed> feeds;
        std::vector<std::size_t> order(sequences.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::shuffle(order.begin(), order.end(), random);
        std::uint32_t room = 256;
        for (const std::size_t s : order) {
          if (!ready(s) || random() % 4 == 0) continue;
          const auto left = static_cast<std::uint32_t>(sequences[s].size()) - done[s];
          const std::uint32_t wish = random() % 2 == 0 ? 1 : 1 + static_cast<std::uint32_t>(random() % 150);
          const std::uint32_t count = std::min({left, wish, room});
          if (count == 0) continue;
          feeds.push_back({slots[s], done[s], count, &sequences[s], &blocks[s]});
          room -= count;
        }
        if (feeds.empty()) {
          bool all = true;
          for (std::size_t s = 0; s < sequences.size(); ++s) all = all && done[s] == sequences[s].size();
          if (all) break;
          continue;
        }
        const auto results = step(*executor, feeds);
        ASSERT_EQ(results.size(), feeds.size());
        for (std::size_t i = 0; i < feeds.size(); ++i) {
          const auto s = static_cast<std::size_t>(std::find(slots.begin(), slots.end(), feeds[i].slot) - slots.begin());
          done[s] += feeds[i].count;
          ASSERT_EQ(results[i].logits_hash, expected[s][done[s] - 1])
              << "sequence " << s << " position " << done[s] - 1 << " in a chunk of " << feeds[i].count << " beside "
              << feeds.size() - 1 << " others, " << threads << " threads, seed " << seed;
        }
      }
    }
  }
}

TEST_P(CpuExecutor, ReadsNothingThatAnEarlierOwnerLeftInABlock) {
  const Weights weights = lively_weights(config(), 6);
  const auto tokens = random_tokens(70, config().vocab_size, 7);

  // The earlier owner's keys and values are NaN: its embedding was.
  Weights poisoned = lively_weights(config(), 6);
  const TokenId bad = tokens[0];
  std::vector<std::uint16_t> nans(config().hidden_size, 0x7fc0);
  std::memcpy(const_cast<std::byte*>(poisoned.embedding.data.data()) + static_cast<std::size_t>(bad) * nans.size() * 2,
              nans.data(), nans.size() * 2);
  const auto executor = make_executor(config(), poisoned, options(2));
  const std::vector<TokenId> spoilt(128, bad);
  const auto blocks = first_blocks(2);
  const auto results = step(*executor, {{0, 0, 128, &spoilt, &blocks}});
  EXPECT_FALSE(results.at(0).finite);

  // Tokens that are not poisoned, in the same blocks. The tied head has the NaN row too, so compare what is finite.
  std::vector<TokenId> clean = tokens;
  for (TokenId& token : clean)
    if (token == bad) token = bad == 0 ? 1 : bad - 1;
  const auto expected = hashes_alone(config().tied_head ? poisoned : weights, clean);
  for (std::uint32_t position = 0; position < clean.size(); ++position)
    ASSERT_EQ(step(*executor, {{1, position, 1, &clean, &blocks}}).at(0).logits_hash, expected[position]) << position;
}

TEST_P(CpuExecutor, AllocatesNothingInASteadyStep) {
  const Weights weights = lively_weights(config(), 8);
  const auto tokens = random_tokens(256, config().vocab_size, 8);
  auto opts = options(2);
  const auto executor = make_executor(config(), weights, opts);
  SamplingParams params;
  params.top_k = 20;
  params.top_p = 0.9f;
  params.repetition_penalty = 1.1f;
  for (SlotId slot = 0; slot < 6; ++slot) executor->bind(slot, params, tokens, slot);
  std::vector<std::vector<BlockId>> blocks;
  for (BlockId slot = 0; slot < 6; ++slot) blocks.push_back({4 * slot, 4 * slot + 1, 4 * slot + 2, 4 * slot + 3});
  StepPlan plan;
  plan.slices.reserve(6);
  std::vector<Sampled> results;
  results.reserve(64);
  const auto run = [&](std::uint32_t position, std::uint32_t chunk) {
    plan.slices.clear();
    for (SlotId slot = 0; slot < 6; ++slot)
      plan.slices.push_back(
          {slot, position, std::span(tokens).subspan(position, slot == 5 ? chunk : 1), blocks[slot], true});
    results.clear();
    executor->submit(plan);
    executor->poll(results);
  };
  run(0, 100);
  const std::size_t before = allocations();
  for (std::uint32_t position = 1; position < 60; ++position) run(position, position % 3 == 0 ? 100 : 1);
  EXPECT_EQ(allocations() - before, 0u);
  EXPECT_EQ(results.size(), 6u);
}

TEST(CpuExecutorMake, SaysWhatItCannotRun) {
  ModelConfig config = odd_model(32, 4, 2, 16, 32, 64);
  const Weights weights = random_weights(config, 1);
  struct Bad {
    std::string in_message;
    std::function<void(ModelConfig&, CpuOptions&)> spoil;
  };
  const std::vector<Bad> bad{
      {"a norm's bias", [](ModelConfig& c, CpuOptions&) { c.norm = Norm::layer; }},
      {"positions, which the weights lack", [](ModelConfig& c, CpuOptions&) { c.learned_positions = true; }},
      {"biases of queries", [](ModelConfig& c, CpuOptions&) { c.qkv_bias = true; }},
      {"norms of queries", [](ModelConfig& c, CpuOptions&) { c.qk_norm = true; }},
      {"output", [](ModelConfig& c, CpuOptions&) { c.o_bias = true; }},
      {"a gate", [](ModelConfig& c, CpuOptions&) { c.mlp_bias = true; }},
      {"turn 15 of 15 dimensions", [](ModelConfig& c, CpuOptions&) { c.head_dim = 15; }},
      {"turn 18 of 16 dimensions", [](ModelConfig& c, CpuOptions&) { c.rope_dims = 18; }},
      {"head_dim is 600", [](ModelConfig& c, CpuOptions&) { c.head_dim = 600; }},
      {"3 key heads", [](ModelConfig& c, CpuOptions&) { c.kv_heads = 3; }},
      {"layers", [](ModelConfig& c, CpuOptions&) { c.layers = 5; }},
      {"rows_max is 8", [](ModelConfig&, CpuOptions& o) { o.rows_max = 8; }},
      {"do not hold one block", [](ModelConfig&, CpuOptions& o) { o.kv_bytes = 100; }},
      {"no memory", [](ModelConfig&, CpuOptions& o) { o.kv_blocks = 4'000'000'000u; }},
  };
  for (const Bad& each : bad) {
    ModelConfig spoilt = config;
    CpuOptions options;
    options.threads = 1;
    each.spoil(spoilt, options);
    const auto made = make_cpu_executor(spoilt, weights, options);
    ASSERT_FALSE(made.has_value()) << each.in_message;
    EXPECT_THAT(made.error().message, testing::HasSubstr(each.in_message));
  }
}

TEST(CpuExecutorMake, KnowsItsSizesAndTakesContextDownToWhatBlocksHold) {
  ModelConfig config = odd_model(32, 4, 2, 16, 32, 64);
  const Weights weights = random_weights(config, 1);
  CpuOptions options;
  options.threads = 2;
  options.kv_blocks = 3;
  const auto executor = make_executor(config, weights, options);
  EXPECT_EQ(executor->info().blocks, 3u);
  EXPECT_EQ(executor->info().context_max, 192u);
  EXPECT_EQ(executor->info().kv_bytes,
            3u * 64 * 2 * 2 * 2 * 16 * 2);  // blocks x tokens x layers x kv heads x (k, v) x dim x 2 B
  EXPECT_THAT(executor->info().device, testing::HasSubstr("2 threads"));
}

TEST(CpuExecutorMake, DropsTheResultsOfASlotThatIsReleased) {
  ModelConfig config = odd_model(32, 4, 2, 16, 32, 64);
  const Weights weights = random_weights(config, 1);
  CpuOptions options;
  options.threads = 1;
  const auto executor = make_executor(config, weights, options);
  const auto tokens = random_tokens(3, 64, 1);
  const std::vector<BlockId> first{0}, second{1};
  StepPlan plan;
  plan.slices = {{0, 0, tokens, first, true}, {1, 0, tokens, second, true}, {2, 0, tokens, first, false}};
  executor->submit(plan);
  executor->release(0);
  std::vector<Sampled> results;
  EXPECT_EQ(executor->poll(results), 1u);
  EXPECT_EQ(results.at(0).slot, 1u);
  EXPECT_EQ(executor->poll(results), 0u);
}

}  // namespace
}  // namespace sluice::engine
