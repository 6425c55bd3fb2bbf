// The CUDA executor against transformers' logits, against plain double precision, and against itself.
#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "engine/model/safetensors.h"
#include "tests/gpu/cuda_model.h"

namespace sluice::engine {
namespace {

using namespace test;

struct Shape {
  const char* name;
  ModelConfig config;
};

std::vector<Shape> odd_shapes() {
  std::vector<Shape> shapes = {
      {"plain", odd_model(64, 4, 2, 16, 96, 320)},
      {"groups_of_four", odd_model(128, 8, 2, 64, 192, 1000)},
      {"head_dim_128", odd_model(256, 8, 2, 128, 448, 317)},
      {"head_dim_96", odd_model(192, 6, 2, 96, 320, 515)},
      {"head_dim_48_many_heads", odd_model(288, 6, 6, 48, 768, 1001)},
      {"one_key_head", odd_model(64, 32, 1, 32, 100, 333)},
      {"groups_of_seven", odd_model(72, 14, 2, 32, 128, 259)},
  };
  shapes.push_back({"windowed", odd_model(64, 4, 2, 32, 96, 320)});
  shapes.back().config.sliding_window = 100;
  return shapes;
}

/// And those with the other families' flags.
std::vector<Shape> all_shapes() {
  auto shapes = odd_shapes();
  ModelConfig flags = odd_model(72, 4, 4, 18, 100, 323);  // GPT-2's
  flags.norm = Norm::layer;
  flags.activation = Activation::gelu_tanh;
  flags.gated = false;
  flags.qkv_bias = flags.o_bias = flags.mlp_bias = flags.learned_positions = flags.tied_head = true;
  flags.rope = Rope::none;
  shapes.push_back({"layer_norm_and_positions", flags});
  flags.head_dim = 15;
  shapes.push_back({"layer_norm_and_odd_heads", flags});
  flags = odd_model(64, 4, 2, 32, 96, 320);  // Qwen's, the window on some layers
  flags.qkv_bias = flags.qk_norm = true;
  flags.sliding_window = 90;
  flags.windowed_from = 1;
  shapes.push_back({"head_norm_and_half_windowed", flags});
  shapes.push_back({"turned_by_nine_pairs", odd_model(72, 4, 2, 18, 96, 320)});
  flags = odd_model(64, 4, 2, 32, 100, 320);  // Llama's, with every bias
  flags.qkv_bias = flags.o_bias = flags.mlp_bias = true;
  shapes.push_back({"gate_with_biases", flags});
  flags = odd_model(64, 4, 2, 32, 96, 320);  // Phi's
  flags.rope_dims = 20;
  flags.activation = Activation::gelu;
  shapes.push_back({"partly_turned_gelu", flags});
  return shapes;
}

CudaOptions small_options() {
  CudaOptions options;
  options.slots_max = 16;
  options.rows_max = 512;
  options.kv_blocks = 200;
  return options;
}

TEST(CudaExecutor, LogitsAreThoseOfDoublePrecision) {
  SLUICE_NEEDS_GPU();
  for (const Shape& shape : all_shapes()) {
    const Weights weights = lively_weights(shape.config, 3);
    const auto tokens = random_tokens(330, shape.config.vocab_size, 5);
    const auto expected = reference_logits(shape.config, weights, tokens, shape.config.context_max);
    const auto blocks = first_blocks(8);
    std::vector<float> row;
    CudaOptions options = small_options();
    options.logits_sink = [&](SlotId, std::uint32_t, std::span<const float> logits) {
      row.assign(logits.begin(), logits.end());
    };
    const auto executor = make_gpu_executor(shape.config, weights, options);
    double worst = 0;
    std::vector<float> all_seen;
    std::vector<double> all_expected;
    const auto compare = [&](std::uint32_t position) {
      worst = std::max(worst, normalized_error(row, expected[position]));
      all_seen.insert(all_seen.end(), row.begin(), row.end());
      all_expected.insert(all_expected.end(), expected[position].begin(), expected[position].end());
    };
    for (const std::uint32_t count : {1u, 5u, 64u, 65u, 300u}) {
      gpu_step(*executor, {{0, 0, count, &tokens, &blocks}});
      compare(count - 1);
    }
    for (std::uint32_t position = 300; position < 330; ++position) {
      gpu_step(*executor, {{0, position, 1, &tokens, &blocks}});
      compare(position);
    }
    const double overall = normalized_error(all_seen, all_expected);
    std::printf("%s: NMSE %.2e, of the worst row %.2e\n", shape.name, overall, worst);
    EXPECT_LT(overall, 5e-4) << shape.name;
    EXPECT_LT(worst, 2e-3) << shape.name;
  }
}

/// Hashes of the logits at every position from `first`, decoded one by one after a prefill in chunks of `chunk`.
std::vector<std::uint64_t> hashes(Executor& executor, const std::vector<TokenId>& tokens,
                                  const std::vector<BlockId>& blocks, SlotId slot, std::uint32_t first,
                                  std::uint32_t chunk) {
  std::vector<std::uint64_t> out;
  for (std::uint32_t position = 0; position < first; position += chunk) {
    const auto results = gpu_step(executor, {{slot, position, std::min(chunk, first - position), &tokens, &blocks}});
    if (position + chunk >= first) out.push_back(results.at(0).logits_hash);
  }
  for (std::uint32_t position = first; position < tokens.size(); ++position)
    out.push_back(gpu_step(executor, {{slot, position, 1, &tokens, &blocks}}).at(0).logits_hash);
  return out;
}

TEST(CudaExecutor, BitsDoNotDependOnChunksBatchOrWhatWasDecoded) {
  SLUICE_NEEDS_GPU();
  for (const Shape& shape : odd_shapes()) {
    const Weights weights = lively_weights(shape.config, 4);
    const auto executor = make_gpu_executor(shape.config, weights, small_options());
    const auto tokens = random_tokens(500, shape.config.vocab_size, 6);
    const auto blocks = first_blocks(8);
    constexpr std::uint32_t kFirst = 450;
    const auto whole = hashes(*executor, tokens, blocks, 0, kFirst, 512);
    for (const std::uint32_t chunk : {64u, 100u, 1u, 7u, 300u})
      EXPECT_EQ(hashes(*executor, tokens, blocks, 0, kFirst, chunk), whole) << shape.name << " chunk " << chunk;

    // The same among others: some prefill, some decode, in blocks of their own.
    std::mt19937 random(9);
    for (const std::uint32_t others : {1u, 3u, 7u, 8u, 15u}) {
      std::vector<std::vector<TokenId>> texts;
      std::vector<std::vector<BlockId>> tables;
      for (std::uint32_t i = 0; i < others; ++i) {
        texts.push_back(random_tokens(128, shape.config.vocab_size, random()));
        tables.push_back({static_cast<BlockId>(20 + 2 * i), static_cast<BlockId>(21 + 2 * i)});
      }
      std::vector<std::uint64_t> seen;
      std::vector<std::uint32_t> at(others, 0);
      for (std::uint32_t position = 0; position < tokens.size();) {
        std::vector<Feed> feeds;
        std::uint32_t rows = 0;
        for (std::uint32_t i = 0; i < others; ++i) {
          if (at[i] >= 128) at[i] = 0;
          const std::uint32_t count =
              random() % 3 == 0 ? std::min(128 - at[i], 1 + static_cast<std::uint32_t>(random() % 20)) : 1;
          feeds.push_back({i + 1, at[i], count, &texts[i], &tables[i]});
          at[i] += count;
          rows += count;
        }
        const std::uint32_t count =
            position < kFirst ? std::min<std::uint32_t>({kFirst - position, 512 - rows, 200}) : 1;
        feeds.insert(feeds.begin() + static_cast<long>(random() % (feeds.size() + 1)),
                     Feed{0, position, count, &tokens, &blocks});
        position += count;
        for (const Sampled& result : gpu_step(*executor, feeds))
          if (result.slot == 0 && position >= kFirst) seen.push_back(result.logits_hash);
      }
      EXPECT_EQ(seen, whole) << shape.name << " among " << others;
    }
    // Graphs, or kernel by kernel; cuBLASLt and wgmma, or mma.sync alone: the same bits.
    CudaOptions plain = small_options();
    plain.graphs = false;
    EXPECT_EQ(hashes(*make_gpu_executor(shape.config, weights, plain), tokens, blocks, 0, kFirst, 512), whole)
        << shape.name;
    plain.own_products_only = plain.narrow_attention = true;
    EXPECT_EQ(hashes(*make_gpu_executor(shape.config, weights, plain), tokens, blocks, 0, kFirst, 512), whole)
        << shape.name;
  }
}

TEST(CudaExecutor, TokensDrawnOnTheDeviceFeedTheNextStep) {
  SLUICE_NEEDS_GPU();
  const ModelConfig config = odd_model(64, 4, 2, 32, 96, 320);
  const Weights weights = lively_weights(config, 8);
  const auto executor = make_gpu_executor(config, weights, small_options());
  auto tokens = random_tokens(40, config.vocab_size, 2);
  const auto blocks = first_blocks(4);
  std::vector<TokenId> expected;
  gpu_step(*executor, {});
  auto walked = tokens;
  for (Sampled last = gpu_step(*executor, {{0, 0, 40, &walked, &blocks}}).at(0); expected.size() < 60;) {
    expected.push_back(last.token);
    walked.push_back(last.token);
    last = gpu_step(*executor, {{0, static_cast<std::uint32_t>(walked.size() - 1), 1, &walked, &blocks}}).at(0);
  }
  std::vector<Sampled> results;
  const TokenId drawn = kDrawnBefore;
  for (std::uint32_t step = 0; step < 60; ++step) {
    while (executor->busy()) executor->poll(results);
    StepPlan plan;
    if (step == 0)
      plan.slices.push_back({0, 0, tokens, blocks, true});
    else
      plan.slices.push_back({0, 39 + step, {&drawn, 1}, blocks, true});
    executor->submit(plan);
  }
  const auto more = drain(*executor, 60 - results.size());
  results.insert(results.end(), more.begin(), more.end());
  std::vector<TokenId> seen;
  for (const Sampled& result : results) seen.push_back(result.token);
  EXPECT_EQ(seen, expected);
}

// Few launches of every kernel: what tests/gpu/sanitize.sh runs, where each launch takes its time.
TEST(CudaShort, APrefillInChunksAndDecodesHaveOneHash) {
  SLUICE_NEEDS_GPU();
  for (const Shape& shape : all_shapes()) {
    const Weights weights = lively_weights(shape.config, 5);
    CudaOptions options;
    options.slots_max = 4;
    options.rows_max = 220;  // no measuring at load
    options.kv_blocks = 30;
    options.graphs = false;
    options.own_products_only = true;
    const auto executor = make_gpu_executor(shape.config, weights, options);
    SamplingParams drawing;
    drawing.temperature = 0.9f;
    drawing.top_k = 20;
    drawing.top_p = 0.8f;
    drawing.min_p = 0.01f;
    drawing.repetition_penalty = 1.1f;
    drawing.frequency_penalty = 0.1f;
    drawing.logit_bias = {{3, 1.0f}};
    drawing.banned = {4};
    drawing.top_logprobs = 5;
    const auto tokens = random_tokens(303, shape.config.vocab_size, 8);
    executor->bind(1, drawing, tokens, 1);
    executor->bind(2, drawing, tokens, 2);
    const auto blocks = first_blocks(5);
    const std::vector<BlockId> others = {9, 8, 17, 6, 5}, third = {20, 21, 22, 23, 24};
    // Slot 0 and 1 have the same tokens and other blocks; slot 0 decodes the last ones that slot 1 prefills.
    gpu_step(*executor, {{0, 0, 200, &tokens, &blocks}, {2, 0, 7, &tokens, &third}});
    gpu_step(*executor, {{2, 7, 1, &tokens, &third}, {0, 200, 100, &tokens, &blocks}, {1, 0, 64, &tokens, &others}});
    gpu_step(*executor, {{0, 300, 1, &tokens, &blocks}, {2, 8, 1, &tokens, &third}, {1, 64, 130, &tokens, &others}});
    gpu_step(*executor, {{0, 301, 1, &tokens, &blocks}, {2, 9, 1, &tokens, &third}});
    const auto decoded = gpu_step(*executor, {{0, 302, 1, &tokens, &blocks}, {2, 10, 1, &tokens, &third}});
    const auto prefilled = gpu_step(*executor, {{1, 194, 109, &tokens, &others}});
    EXPECT_EQ(decoded.at(0).logits_hash, prefilled.at(0).logits_hash) << shape.name;
    EXPECT_TRUE(prefilled.at(0).finite && prefilled.at(0).token != 4) << shape.name;
  }
}

}  // namespace
}  // namespace sluice::engine
