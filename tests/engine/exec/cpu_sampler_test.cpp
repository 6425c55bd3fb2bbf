#include "engine/exec/cpu/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "engine/core/rng.h"
#include "engine/exec/cpu/isa.h"

namespace sluice::engine::cpu {
namespace {

TEST(Philox, GivesItsAuthorsKnownAnswers) {
  using Four = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformDraw, IsEvenAndDiffersBySeedChoiceAndPosition) {
  std::vector<int> bins(16);
  for (std::uint32_t position = 0; position < 16000; ++position) {
    const double u = uniform_draw(7, 0, position);
    ASSERT_TRUE(u >= 0 && u < 1);
    ++bins[static_cast<std::size_t>(u * 16)];
  }
  double chi = 0;
  for (const int bin : bins) chi += (bin - 1000.0) * (bin - 1000.0) / 1000.0;
  EXPECT_LT(chi, 37.7);  // 15 degrees of freedom, 0.1 %
  const std::set<double> draws{uniform_draw(1, 0, 0), uniform_draw(2, 0, 0), uniform_draw(1, 1, 0),
                               uniform_draw(1, 0, 1), uniform_draw(std::uint64_t{1} << 32, 0, 0)};
  EXPECT_EQ(draws.size(), 5u);
}

/// What may be drawn, with its probability, by sorting everything in double precision.
std::map<TokenId, double> reference(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto logit = [&](TokenId id) { return static_cast<double>(logits[static_cast<std::size_t>(id)]); };
  std::sort(order.begin(), order.end(),
            [&](TokenId a, TokenId b) { return logit(a) > logit(b) || (logit(a) == logit(b) && a < b); });
  const double top = logit(order[0]);
  const double temperature = params.temperature;
  if (params.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(params.top_k)));
  std::vector<double> weights;
  for (const TokenId id : order) weights.push_back(std::exp((logit(id) - top) / temperature));
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (params.top_p < 1.0f) {
    double prefix = 0;
    std::size_t kept = 0;
    do {
      prefix += weights[kept++];
    } while (prefix < static_cast<double>(params.top_p) * total && kept < weights.size());
    weights.resize(kept);
  }
  std::map<TokenId, double> result;
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (weights[i] >= static_cast<double>(params.min_p)) result[order[i]] = weights[i];
  total = 0;
  for (const auto& [id, weight] : result) total += weight;
  for (auto& [id, weight] : result) weight /= total;
  return result;
}

class SamplerOf : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& kernels() const { return **kernels_for(GetParam()); }
  /// A row with its edits, stats and draw, as the executor does it.
  Drawn draw(Sampler& sampler, std::vector<float> logits, std::uint32_t position, SlotId slot = 0) const {
    const std::size_t vocab = logits.size();
    logits.resize(padded(static_cast<std::uint32_t>(vocab)));
    sampler.edit(slot, logits.data());
    std::vector<LogitStats> chunks;
    for (std::size_t i = 0; i < logits.size(); i += kStatsChunk)
      kernels().logit_stats(logits.data() + i, std::min(kStatsChunk, logits.size() - i), &chunks.emplace_back());
    return sampler.draw(slot, {logits.data(), vocab}, merge_stats(chunks), position, 0);
  }
};
INSTANTIATE_TEST_SUITE_P(, SamplerOf, testing::ValuesIn(supported_isas()),
                         [](const auto& each) { return std::string(to_string(each.param)); });

std::vector<float> peaked(std::size_t count, float spread, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

TEST_P(SamplerOf, TakesTheHighestLogitAndTheLowestIdAmongEquals) {
  for (const std::uint32_t vocab : {1u, 15u, 16u, 17u, 300u, 4097u, 9000u}) {
    Sampler sampler(kernels(), vocab, 1, 1);
    SamplingParams greedy;
    greedy.temperature = 0;
    sampler.bind(0, greedy, {});
    std::mt19937_64 random(vocab);
    for (int round = 0; round < 30; ++round) {
      std::vector<float> logits(vocab);
      for (float& logit : logits)
        logit = static_cast<float>(static_cast<int>(random() % 7)) - 9.0f;  // many ties; all negative
      const auto expected = std::max_element(logits.begin(), logits.end()) - logits.begin();
      const Drawn drawn = draw(sampler, logits, 0);
      ASSERT_EQ(drawn.token, expected) << vocab;
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
      ASSERT_NEAR(drawn.logprob, static_cast<double>(logits[static_cast<std::size_t>(expected)]) - std::log(sum), 1e-5);
    }
  }
}

TEST_P(SamplerOf, DrawsFromExactlyTheSetOfTheReferenceWithItsProbabilities) {
  struct Filters {
    float temperature, top_p, min_p;
    std::int32_t top_k;
    float spread;
  };
  const std::vector<Filters> table{{1.0f, 1.0f, 0.0f, 0, 2.0f},   {0.7f, 1.0f, 0.0f, 5, 2.0f},
                                   {1.0f, 0.8f, 0.0f, 0, 2.0f},   {1.3f, 1.0f, 0.1f, 0, 1.5f},
                                   {1.0f, 0.9f, 0.05f, 12, 2.0f}, {2.0f, 0.3f, 0.0f, 0, 0.2f},
                                   {1.0f, 0.0f, 0.0f, 0, 1.0f},   {1.0f, 1.0f, 1.0f, 0, 1.0f},
                                   {0.5f, 0.95f, 0.0f, 1, 1.0f},  {1.0f, 0.5f, 0.0f, 1000, 1.0f}};
  for (const std::uint32_t vocab : {40u, 700u}) {
    for (std::size_t row = 0; row < table.size(); ++row) {
      const Filters& filters = table[row];
      SamplingParams params;
      params.temperature = filters.temperature;
      params.top_p = filters.top_p;
      params.min_p = filters.min_p;
      params.top_k = filters.top_k;
      params.seed = 11 + row;
      const std::vector<float> logits = peaked(vocab, filters.spread, row);
      const auto expected = reference(logits, params);
      Sampler sampler(kernels(), vocab, 1, 1);
      sampler.bind(0, params, {});
      std::map<TokenId, int> counts;
      constexpr int draws = 6000;
      for (int i = 0; i < draws; ++i) ++counts[draw(sampler, logits, static_cast<std::uint32_t>(i)).token];
      for (const auto& [token, count] : counts)
        ASSERT_TRUE(expected.contains(token)) << "row " << row << " drew " << token;
      // Chi-square over the tokens expected at least five times, the others in one bin.
      double chi = 0;
      double rest_expected = 0;
      int rest = 0;
      int bins = 0;
      for (const auto& [token, probability] : expected) {
        const double mean = probability * draws;
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
      EXPECT_LT(chi, freedom + 4 * std::sqrt(2 * freedom) + 8) << "row " << row << " vocab " << vocab;
    }
  }
}

TEST_P(SamplerOf, KeepsExactlyTheTokensThatTheReferenceKeeps) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 60; ++round) {
    const auto vocab = static_cast<std::uint32_t>(20 + random() % 60);
    std::vector<float> logits = peaked(vocab, 1.0f, 1000 + static_cast<std::uint64_t>(round));
    if (round % 3 == 0)
      for (float& logit : logits) logit = std::round(logit * 2) / 2;  // ties at every border
    SamplingParams params;
    params.temperature = 0.5f + static_cast<float>(random() % 100) / 50.0f;
    params.top_k = random() % 2 == 0 ? 0 : static_cast<std::int32_t>(1 + random() % 25);
    params.top_p = random() % 2 == 0 ? 1.0f : static_cast<float>(1 + random() % 99) / 100.0f;
    params.min_p = random() % 2 == 0 ? 0.0f : static_cast<float>(1 + random() % 40) / 100.0f;
    params.seed = static_cast<std::uint64_t>(round);
    const auto expected = reference(logits, params);
    Sampler sampler(kernels(), vocab, 1, 1);
    sampler.bind(0, params, {});
    std::set<TokenId> drawn;
    double rarest = 1;
    for (const auto& [token, probability] : expected) rarest = std::min(rarest, probability);
    const auto draws = std::min<std::uint32_t>(20000, static_cast<std::uint32_t>(20 / rarest));
    for (std::uint32_t i = 0; i < draws; ++i) drawn.insert(draw(sampler, logits, i).token);
    std::set<TokenId> kept;
    for (const auto& [token, probability] : expected)
      if (probability * draws > 18) kept.insert(token);  // a miss of such a token has odds of 1e-8
    for (const TokenId token : drawn) ASSERT_TRUE(expected.contains(token)) << "round " << round;
    for (const TokenId token : kept) ASSERT_TRUE(drawn.contains(token)) << "round " << round << " never drew " << token;
  }
}

TEST_P(SamplerOf, LargeFlatRowsGiveTheReferencesSetToo) {
  // Nothing is far below the maximum, so the filters must be decided among all of 20,000.
  const std::uint32_t vocab = 20000;
  const std::vector<float> logits = peaked(vocab, 0.1f, 3);
  for (const auto& [top_k, top_p] : std::vector<std::pair<int, float>>{{0, 0.5f}, {3000, 1.0f}, {3000, 0.5f}}) {
    SamplingParams params;
    params.top_k = top_k;
    params.top_p = top_p;
    const auto expected = reference(logits, params);
    Sampler sampler(kernels(), vocab, 1, 1);
    sampler.bind(0, params, {});
    for (std::uint32_t i = 0; i < 400; ++i) {
      const TokenId token = draw(sampler, logits, i).token;
      ASSERT_TRUE(expected.contains(token)) << token;
    }
  }
}

TEST_P(SamplerOf, AppliesBiasPenaltiesAndBansInTheirOrder) {
  const std::vector<float> logits{1.0f, -2.0f, 3.0f, 0.5f, 2.9f};
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{0, 0.5f}, {9, 100.0f}};
  params.repetition_penalty = 2.0f;
  params.presence_penalty = 0.25f;
  params.frequency_penalty = 0.125f;
  params.banned = {4};
  Sampler sampler(kernels(), 5, 2, 1);
  sampler.bind(1, params, std::vector<TokenId>{1, 2, 2});
  sampler.resume(1, std::vector<TokenId>{2, 0, 2});
  std::vector<float> edited = logits;
  edited.resize(16);
  sampler.edit(1, edited.data());
  EXPECT_EQ(edited[0], (1.0f + 0.5f) / 2 - 0.125f - 0.25f);  // once in the output
  EXPECT_EQ(edited[1], -2.0f * 2);                           // in the prompt only
  EXPECT_EQ(edited[2], 3.0f / 2 - 2 * 0.125f - 0.25f);       // twice in the output, and in the prompt
  EXPECT_EQ(edited[3], 0.5f);
  // Each 2 that is drawn counts: 1, 0.875, 0.75, 0.625, 0.5 (as 3 has, which comes later), then 0.375.
  for (std::uint32_t position = 6; position < 11; ++position)
    ASSERT_EQ(draw(sampler, logits, position, 1).token, 2) << position;
  EXPECT_EQ(draw(sampler, logits, 11, 1).token, 3);
  sampler.release(1);
  SamplingParams next;
  next.repetition_penalty = 1.5f;
  sampler.bind(1, next, {});
  edited = logits;
  edited.resize(16);
  sampler.edit(1, edited.data());
  EXPECT_EQ(edited[2], 3.0f);  // the slot's next request starts from nothing
}

TEST_P(SamplerOf, NeverDrawsABannedTokenAndGivesUpWhenAllAre) {
  const std::uint32_t vocab = 50;
  SamplingParams params;
  params.temperature = 3.0f;
  for (TokenId token = 0; token < 49; ++token) params.banned.push_back(token);
  Sampler sampler(kernels(), vocab, 1, 1);
  sampler.bind(0, params, {});
  for (std::uint32_t i = 0; i < 100; ++i) ASSERT_EQ(draw(sampler, std::vector<float>(vocab, 1.0f), i).token, 49);
  params.banned.push_back(49);
  sampler.bind(0, params, {});
  EXPECT_FALSE(draw(sampler, std::vector<float>(vocab, 1.0f), 0).finite);
}

TEST_P(SamplerOf, RanksTheMostProbableTokensAsASortByTheEditedLogitsDoes) {
  std::mt19937 random(5);
  for (const std::uint32_t vocab : {7u, 300u, 9000u}) {
    Sampler sampler(kernels(), vocab, 1, 1);
    for (const std::int32_t wanted : {0, 1, 5, 20}) {
      std::vector<float> logits(padded(vocab));
      // Few different values, so that there are ties.
      for (auto& logit : logits) logit = static_cast<float>(random() % 50) / 4;
      SamplingParams params;
      params.top_logprobs = wanted;
      params.temperature = 0.3f;  // plays no part
      params.frequency_penalty = 1.0f;
      params.logit_bias = {{3, 20.0f}};
      params.banned = {5};
      sampler.bind(0, params, {});
      sampler.resume(0, std::vector<TokenId>{1, 1, 2});
      sampler.edit(0, logits.data());
      std::vector<LogitStats> chunks;
      for (std::size_t i = 0; i < logits.size(); i += kStatsChunk) {
        kernels().logit_stats(logits.data() + i, std::min(kStatsChunk, logits.size() - i), &chunks.emplace_back());
      }
      const RowStats stats = merge_stats(chunks);
      Sampled out;
      out.top_count = sampler.rank(0, {logits.data(), vocab}, stats, out.top);
      ASSERT_EQ(out.top_count, std::min(static_cast<std::uint32_t>(wanted), vocab));

      std::vector<TokenId> order(vocab);
      std::iota(order.begin(), order.end(), 0);
      const auto logit = [&](TokenId id) { return static_cast<double>(logits[static_cast<std::size_t>(id)]); };
      std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logit(a) > logit(b); });
      double sum = 0;
      for (const TokenId id : order) sum += std::exp(logit(id) - logit(order[0]));
      for (std::uint32_t i = 0; i < out.top_count; ++i) {
        EXPECT_EQ(out.top[i].token, order[i]) << vocab << " " << i;
        if (order[i] != 5) {
          EXPECT_NEAR(out.top[i].logprob, logit(order[i]) - logit(order[0]) - std::log(sum), 2e-5);
        }
      }
      if (wanted > 0) {
        EXPECT_EQ(out.top[0].token, 3) << "the bias counts";
      }
      const Drawn drawn = sampler.draw(0, {logits.data(), vocab}, stats, 10, 0);
      for (std::uint32_t i = 0; i < out.top_count; ++i) {
        if (out.top[i].token == drawn.token) {
          EXPECT_EQ(out.top[i].logprob, drawn.logprob) << "one figure for one token";
        }
      }
      sampler.release(0);
    }
  }
}

TEST_P(SamplerOf, FlagsARowThatHoldsNanOrInfinityAnywhere) {
  for (const std::size_t vocab : {5u, 64u, 5000u})
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY})
      for (const std::size_t at : {std::size_t{0}, vocab / 2, vocab - 1}) {
        Sampler sampler(kernels(), static_cast<std::uint32_t>(vocab), 1, 1);
        sampler.bind(0, {}, {});
        std::vector<float> logits(vocab, 0.5f);
        EXPECT_TRUE(draw(sampler, logits, 0).finite);
        logits[at] = bad;
        EXPECT_FALSE(draw(sampler, logits, 0).finite) << bad << " at " << at << " of " << vocab;
      }
}

TEST_P(SamplerOf, GivesTheSameTokenForTheSameKeyWhateverTheThreadOrSlot) {
  const std::vector<float> logits = peaked(3000, 1.0f, 8);
  SamplingParams params;
  params.seed = 99;
  params.top_p = 0.9f;
  Sampler sampler(kernels(), 3000, 3, 1);
  for (SlotId slot = 0; slot < 3; ++slot) sampler.bind(slot, params, {});
  std::set<TokenId> different;
  for (std::uint32_t position = 0; position < 50; ++position) {
    const TokenId token = draw(sampler, logits, position, 0).token;
    ASSERT_EQ(draw(sampler, logits, position, 1).token, token);
    ASSERT_EQ(draw(sampler, logits, position, 2).token, token);
    different.insert(token);
  }
  EXPECT_GT(different.size(), 20u);
}

}  // namespace
}  // namespace sluice::engine::cpu
