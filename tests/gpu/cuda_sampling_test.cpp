// Tokens drawn on the device, against what the host makes of the same rows of logits in double precision.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "tests/gpu/cuda_model.h"

namespace sluice::engine {
namespace {

using namespace test;

constexpr std::uint32_t kSlots = 16;

ModelConfig small_model(std::uint32_t vocab) { return odd_model(64, 4, 2, 16, 96, vocab); }

CudaOptions small_options() {
  CudaOptions options;
  options.slots_max = kSlots;
  options.rows_max = 1024;
  options.kv_blocks = 4 * kSlots;
  options.hash_logits = true;
  options.own_products_only = true;  // choosing cuBLASLt's takes time
  return options;
}

/// Slots draw one token after another, all of them in each step: slot i has tokens of its own and blocks of its own.
class Draws {
 public:
  Draws(const ModelConfig& config, const Weights& weights, CudaOptions options, bool rows_wanted) {
    if (rows_wanted)
      options.logits_sink = [this](SlotId slot, std::uint32_t, std::span<const float> logits) {
        rows_[slot].assign(logits.begin(), logits.end());
      };
    auto made = make_cuda_executor(config, &weights, options);
    if (!made) throw std::runtime_error(made.error().message);
    executor_ = std::move(*made);
    for (SlotId slot = 0; slot < kSlots; ++slot)
      for (BlockId block = 0; block < 4; ++block) blocks_[slot].push_back(static_cast<BlockId>(4 * slot) + block);
  }

  void bind(SlotId slot, const SamplingParams& sampling, const std::vector<TokenId>& prompt = {},
            const std::vector<TokenId>& output = {}) {
    executor_->bind(slot, sampling, prompt, slot);
    if (!output.empty()) executor_->resume(slot, output);
  }

  /// Each of the slots 0 .. tokens.size()-1 computes `count` tokens from `position` and draws.
  std::vector<Sampled> step(const std::vector<std::vector<TokenId>>& tokens, std::uint32_t position,
                            std::uint32_t count) {
    std::vector<Feed> feeds;
    for (SlotId slot = 0; slot < tokens.size(); ++slot)
      feeds.push_back({slot, position, count, &tokens[slot], &blocks_[slot]});
    auto results = gpu_step(*executor_, feeds);
    std::sort(results.begin(), results.end(), [](const auto& a, const auto& b) { return a.slot < b.slot; });
    return results;
  }

  const std::vector<float>& row(SlotId slot) const { return rows_[slot]; }

 private:
  std::unique_ptr<Executor> executor_;
  std::vector<float> rows_[kSlots];
  std::vector<BlockId> blocks_[kSlots];
};

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

/// The row after bias, penalties and bans, as exec/cpu/sampler.h orders them.
std::vector<double> edited(const std::vector<float>& logits, const SamplingParams& params,
                           const std::vector<TokenId>& prompt, const std::vector<TokenId>& output) {
  std::vector<double> row(logits.begin(), logits.end());
  const auto at = [&](TokenId token) -> double& { return row[static_cast<std::size_t>(token)]; };
  for (const auto& [token, bias] : params.logit_bias) at(token) += static_cast<double>(bias);
  std::map<TokenId, int> uses;  // in the output; 0: in the prompt alone
  for (const TokenId token : prompt) uses[token] += 0;
  for (const TokenId token : output) ++uses[token];
  for (const auto& [token, count] : uses) {
    const double penalty = static_cast<double>(params.repetition_penalty);
    at(token) = at(token) > 0 ? at(token) / penalty : at(token) * penalty;
    at(token) -= count * static_cast<double>(params.frequency_penalty);
    if (count > 0) at(token) -= static_cast<double>(params.presence_penalty);
  }
  for (const TokenId token : params.banned) at(token) = -std::numeric_limits<double>::infinity();
  return row;
}

std::vector<double> log_softmax(const std::vector<double>& row) {
  const double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const double logit : row) sum += std::exp(logit - top);
  std::vector<double> out;
  for (const double logit : row) out.push_back(logit - top - std::log(sum));
  return out;
}

std::vector<TokenId> ranked(const std::vector<double>& row) {
  std::vector<TokenId> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
  });
  return order;
}

/// What may be drawn, with its probability. `slack` widens the borders of top_p and min_p by that part of them: the
/// device's weights are fp32.
std::map<TokenId, double> allowed(const std::vector<double>& row, const SamplingParams& params, double slack) {
  std::vector<TokenId> order = ranked(row);
  const double top = row[static_cast<std::size_t>(order[0])];
  if (params.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(params.top_k)));
  std::vector<double> weights;
  for (const TokenId id : order)
    weights.push_back(std::exp((row[static_cast<std::size_t>(id)] - top) / static_cast<double>(params.temperature)));
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (params.top_p < 1.0f) {
    double prefix = 0;
    std::size_t kept = 0;
    do {
      prefix += weights[kept++];
    } while (prefix < static_cast<double>(params.top_p) * (1 + slack) * total && kept < weights.size());
    weights.resize(kept);
  }
  std::map<TokenId, double> result;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (weights[i] > 0 && weights[i] >= static_cast<double>(params.min_p) * (1 - slack)) result[order[i]] = weights[i];
  total = 0;
  for (const auto& [id, weight] : result) total += weight;
  for (auto& [id, weight] : result) weight /= total;
  return result;
}

std::vector<std::vector<TokenId>> texts(std::uint32_t vocab, std::size_t length, std::uint64_t seed) {
  std::vector<std::vector<TokenId>> all;
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) all.push_back(random_tokens(length, vocab, seed + slot));
  return all;
}

TEST(CudaSampling, TakesTheHighestLogitAfterBiasPenaltiesAndBans) {
  SLUICE_NEEDS_GPU();
  constexpr std::uint32_t kVocab = 317;
  const ModelConfig config = small_model(kVocab);
  const Weights weights = lively_weights(config, 21);
  Draws draws(config, weights, small_options(), true);
  const auto tokens = texts(kVocab, 120, 50);
  std::vector<SamplingParams> params(kSlots, greedy());
  std::vector<std::vector<TokenId>> prompts(kSlots), outputs(kSlots);
  for (SlotId slot = 0; slot < kSlots; ++slot) {
    SamplingParams& each = params[slot];
    if (slot % 2 == 1)
      for (TokenId token = 0; token < 300; token += 7)
        each.logit_bias.emplace_back(token, slot % 4 == 1 ? 4.0f : -9.0f);
    if (slot % 3 == 1)
      for (TokenId token = 0; token < static_cast<TokenId>(kVocab); token += 2) each.banned.push_back(token);
    if (slot >= 4) each.repetition_penalty = 1.0f + static_cast<float>(slot) / 8;
    if (slot >= 6) each.presence_penalty = slot % 2 == 0 ? 0.75f : -0.5f;
    if (slot >= 8) each.frequency_penalty = 0.25f;
    if (slot == 12) each.temperature = 0.9f, each.top_k = 1;
    if (slot == 13) each.temperature = 0.9f, each.top_p = 1e-6f;
    if (slot == 14) each.temperature = 0.9f, each.min_p = 1.0f;
    if (slot == 15) each.temperature = 1e-6f;
    each.seed = slot;
    each.top_logprobs = slot == 0 ? 0 : 20;
    prompts[slot].assign(tokens[slot].begin(), tokens[slot].begin() + 20);
    outputs[slot] = random_tokens(10, kVocab, slot);  // drawn before a preemption
    outputs[slot].push_back(tokens[slot][0]);
    draws.bind(slot, params[slot], prompts[slot], outputs[slot]);
  }
  std::size_t near_ties = 0, drawn = 0;
  for (std::uint32_t position = 0; position < 120; position += position == 0 ? 20 : 1) {
    const auto results = draws.step(tokens, position, position == 0 ? 20 : 1);
    ASSERT_EQ(results.size(), kSlots);
    for (const Sampled& result : results) {
      const SamplingParams& own = params[result.slot];
      const auto row = edited(draws.row(result.slot), own, prompts[result.slot], outputs[result.slot]);
      const auto order = ranked(row);
      const auto at = [&](TokenId token) { return row[static_cast<std::size_t>(token)]; };
      ASSERT_TRUE(result.finite);
      ASSERT_TRUE(result.token >= 0 && static_cast<std::uint32_t>(result.token) < kVocab);
      if (result.token != order[0]) {
        ++near_ties;
        EXPECT_NEAR(at(result.token), at(order[0]), 1e-4) << "slot " << result.slot << " position " << position;
      }
      const auto logprobs = log_softmax(row);
      EXPECT_NEAR(static_cast<double>(result.logprob), logprobs[static_cast<std::size_t>(result.token)], 1e-3);
      ASSERT_EQ(result.top_count, static_cast<std::uint32_t>(own.top_logprobs));
      std::set<TokenId> seen;
      for (std::uint32_t i = 0; i < result.top_count; ++i) {
        const auto& [token, logprob] = result.top[i];
        ASSERT_TRUE(seen.insert(token).second) << "twice";
        EXPECT_NEAR(static_cast<double>(logprob), logprobs[static_cast<std::size_t>(token)], 1e-3);
        EXPECT_NEAR(at(token), at(order[i]), 1e-4) << "rank " << i << " of slot " << result.slot;
        if (token == result.token) {
          EXPECT_EQ(logprob, result.logprob) << "one figure for one token";
        }
      }
      outputs[result.slot].push_back(result.token);  // what the device counts, whatever is fed next
      ++drawn;
    }
  }
  EXPECT_LE(near_ties * 100, drawn);
}

TEST(CudaSampling, EveryDrawnTokenIsOfTheSetThatTheHostComputes) {
  SLUICE_NEEDS_GPU();
  for (const std::uint32_t vocab : {317u, 5001u}) {
    const ModelConfig config = small_model(vocab);
    const Weights weights = lively_weights(config, 22);
    Draws draws(config, weights, small_options(), true);
    const auto tokens = texts(vocab, 200, 70);
    std::vector<SamplingParams> params(kSlots);
    for (SlotId slot = 0; slot < kSlots; ++slot) {
      SamplingParams& each = params[slot];
      each.temperature = slot % 3 == 0 ? 0.7f : slot % 3 == 1 ? 1.0f : 2.5f;
      const std::int32_t ks[] = {0, 1, 2, 5, 50, 300, 100000, 0};
      each.top_k = ks[slot % 8];
      const float ps[] = {0.9f, 1.0f, 0.5f, 1.0f, 0.1f, 0.99f, 1.0f, 0.0f,
                          1.0f, 0.8f, 1.0f, 1.0f, 0.3f, 0.95f, 0.7f, 1.0f};
      each.top_p = ps[slot];
      const float ms[] = {0, 0, 0.05f, 0, 0, 0.01f, 0.2f, 0, 0.5f, 0.02f, 0, 0.1f, 0, 0, 0, 0.9f};
      each.min_p = ms[slot];
      each.seed = 1000 + slot;
      if (slot % 5 == 4) each.banned = {0, 1, 2, 3, 4, 5, 6, 7};
      if (slot % 5 == 3) each.logit_bias = {{9, 3.0f}, {11, -100.0f}};
      draws.bind(slot, each);
    }
    std::size_t outside = 0;
    const std::uint32_t positions = vocab < 1000 ? 200 : 50;  // the host sorts every row
    for (std::uint32_t position = 0; position < positions; position += position == 0 ? 8 : 1) {
      for (const Sampled& result : draws.step(tokens, position, position == 0 ? 8 : 1)) {
        const auto row = edited(draws.row(result.slot), params[result.slot], {}, {});
        const auto set = allowed(row, params[result.slot], 1e-4);
        ASSERT_TRUE(set.contains(result.token)) << "vocab " << vocab << " slot " << result.slot << " position "
                                                << position << " drew " << result.token << ", not of " << set.size();
        outside += allowed(row, params[result.slot], 0).contains(result.token) ? 0 : 1;
        EXPECT_NEAR(static_cast<double>(result.logprob), log_softmax(row)[static_cast<std::size_t>(result.token)],
                    1e-3);
      }
    }
    EXPECT_LE(outside, 2u) << "at the very border";
  }
}

TEST(CudaSampling, FrequenciesAreThoseOfTheSoftmax) {
  SLUICE_NEEDS_GPU();
  constexpr std::uint32_t kVocab = 24;
  constexpr std::uint32_t kLength = 8;
  constexpr int kDraws = 4000;
  const ModelConfig config = small_model(kVocab);
  const Weights weights = lively_weights(config, 23);
  // One text in every slot, so one row of logits; the last token is decoded again and again, with other seeds.
  const std::vector<std::vector<TokenId>> tokens(kSlots, random_tokens(kLength, kVocab, 90));
  std::vector<double> row;
  std::uint64_t hash = 0;
  {
    Draws once(config, weights, small_options(), true);
    for (SlotId slot = 0; slot < kSlots; ++slot) once.bind(slot, greedy());
    hash = once.step(tokens, 0, kLength)[0].logits_hash;
    row.assign(once.row(0).begin(), once.row(0).end());
  }
  Draws draws(config, weights, small_options(), false);
  for (SlotId slot = 0; slot < kSlots; ++slot) draws.bind(slot, greedy());
  draws.step(tokens, 0, kLength);
  struct Filters {
    float temperature, top_p, min_p;
    std::int32_t top_k;
  };
  const Filters table[] = {{1.0f, 1.0f, 0.0f, 0},   {0.7f, 1.0f, 0.0f, 5},   {2.0f, 0.8f, 0.0f, 0},
                           {1.5f, 1.0f, 0.1f, 0},   {2.0f, 0.9f, 0.05f, 12}, {5.0f, 1.0f, 0.0f, 0},
                           {3.0f, 0.5f, 0.0f, 1000}};
  std::uint64_t seed = 1;
  for (const Filters& filters : table) {
    SamplingParams params;
    params.temperature = filters.temperature;
    params.top_p = filters.top_p;
    params.min_p = filters.min_p;
    params.top_k = filters.top_k;
    std::map<TokenId, int> counts;
    for (int i = 0; i < kDraws; i += kSlots) {
      for (SlotId slot = 0; slot < kSlots; ++slot) {
        params.seed = seed++;
        draws.bind(slot, params);
      }
      for (const Sampled& result : draws.step(tokens, kLength - 1, 1)) {
        ASSERT_EQ(result.logits_hash, hash);
        ++counts[result.token];
      }
    }
    const auto expected = allowed(row, params, 0);
    const std::size_t line = static_cast<std::size_t>(&filters - table);
    for (const auto& [token, count] : counts) EXPECT_TRUE(expected.contains(token)) << "line " << line << ": " << token;
    // Chi-square over the tokens expected at least five times, the others in one bin.
    double chi = 0, rest_expected = 0;
    int rest = 0, bins = 0;
    for (const auto& [token, probability] : expected) {
      const double mean = probability * kDraws;
      if (mean < 5) {
        rest_expected += mean;
        rest += counts[token];
        continue;
      }
      chi += (counts[token] - mean) * (counts[token] - mean) / mean;
      ++bins;
    }
    if (rest_expected >= 5) chi += (rest - rest_expected) * (rest - rest_expected) / rest_expected, ++bins;
    const double freedom = std::max(1, bins - 1);
    std::printf("line %zu: %zu tokens, chi-square %.1f of %.0f degrees\n", line, expected.size(), chi, freedom);
    EXPECT_LT(chi, freedom + 4 * std::sqrt(2 * freedom) + 8) << "line " << line;
  }
}

TEST(CudaSampling, TheSameSeedDrawsTheSameAndOthersDiffer) {
  SLUICE_NEEDS_GPU();
  constexpr std::uint32_t kVocab = 1003;
  const ModelConfig config = small_model(kVocab);
  const Weights weights = lively_weights(config, 24);
  Draws draws(config, weights, small_options(), false);
  const std::vector<std::vector<TokenId>> tokens(kSlots, random_tokens(100, kVocab, 33));
  const auto drawn = [&] {
    std::vector<std::vector<TokenId>> seen(kSlots);
    for (SlotId slot = 0; slot < kSlots; ++slot) {
      SamplingParams params;
      params.temperature = 1.5f;
      params.seed = 5;
      if (slot == 1) params.seed = 6;
      if (slot == 2) params.seed = 5 + (std::uint64_t{1} << 32);
      if (slot == 3) params.choice = 1;
      draws.bind(slot, params);
    }
    for (std::uint32_t position = 0; position < 100; position += position == 0 ? 4 : 1)
      for (const Sampled& result : draws.step(tokens, position, position == 0 ? 4 : 1))
        seen[result.slot].push_back(result.token);
    return seen;
  };
  const auto first = drawn();
  EXPECT_EQ(drawn(), first);
  for (SlotId slot = 4; slot < kSlots; ++slot) EXPECT_EQ(first[slot], first[0]) << slot;
  const std::set<std::vector<TokenId>> different(first.begin(), first.end());
  EXPECT_EQ(different.size(), 4u);
  EXPECT_GT(std::set<TokenId>(first[0].begin(), first[0].end()).size(), 5u);
}

TEST(CudaSampling, ARowThatIsNotFiniteIsReportedAndHarmsNobodyElse) {
  SLUICE_NEEDS_GPU();
  constexpr std::uint32_t kVocab = 317;
  constexpr TokenId kBad = 5;
  const ModelConfig config = small_model(kVocab);
  Weights weights = lively_weights(config, 25);
  auto* embedding = const_cast<std::byte*>(weights.embedding.data.data());  // the test owns this memory
  const std::uint16_t nan = 0x7fc0;
  for (std::size_t i = 0; i < config.hidden_size; ++i)
    std::memcpy(embedding + (kBad * config.hidden_size + i) * 2, &nan, 2);
  Draws draws(config, weights, small_options(), false);
  auto tokens = texts(kVocab, 60, 11);
  for (auto& text : tokens) std::replace(text.begin(), text.end(), kBad, TokenId{6});
  SamplingParams params;
  params.temperature = 0.8f;
  params.top_p = 0.9f;
  params.top_logprobs = 3;
  const auto bind_all = [&] {
    for (SlotId slot = 0; slot < kSlots; ++slot) draws.bind(slot, slot % 2 == 0 ? greedy() : params);
  };
  bind_all();
  const auto clean = draws.step(tokens, 0, 60);
  auto spoilt = tokens;
  for (const SlotId slot : {3u, 8u}) spoilt[slot][20] = kBad;
  bind_all();
  for (const Sampled& result : draws.step(spoilt, 0, 60)) {
    const bool bad = result.slot == 3 || result.slot == 8;
    EXPECT_EQ(result.finite, !bad) << result.slot;
    EXPECT_TRUE(result.token >= 0 && static_cast<std::uint32_t>(result.token) < kVocab);
    if (!bad) {
      EXPECT_EQ(result.logits_hash, clean[result.slot].logits_hash);
      EXPECT_EQ(result.token, clean[result.slot].token);
    }
  }
  // The bad sequences' blocks go to others, who fill less of them at first: what lies behind must not be seen.
  bind_all();
  for (const Sampled& result : draws.step(tokens, 0, 5)) EXPECT_TRUE(result.finite) << result.slot;
  for (std::uint32_t position = 5; position < 59; ++position)
    for (const Sampled& result : draws.step(tokens, position, 1)) EXPECT_TRUE(result.finite) << result.slot;
  for (const Sampled& result : draws.step(tokens, 59, 1))
    EXPECT_EQ(result.logits_hash, clean[result.slot].logits_hash) << result.slot;
  // All tokens banned: nothing can be drawn.
  SamplingParams none;
  for (TokenId token = 0; token < static_cast<TokenId>(kVocab); ++token) none.banned.push_back(token);
  draws.bind(0, none);
  EXPECT_FALSE(draws.step({tokens[0]}, 0, 5).at(0).finite);
}

}  // namespace
}  // namespace sluice::engine
