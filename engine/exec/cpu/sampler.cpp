#include "engine/exec/cpu/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/check.h"
#include "engine/core/rng.h"

namespace sluice::engine::cpu {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::max();  // finite, so that a row with bans still counts as finite
constexpr float kGreedyBelow = 1e-5f;
constexpr float kLog2E = 1.44269504088896341f;

bool ranks_before(float logit, TokenId id, float other_logit, TokenId other_id) {
  return logit > other_logit || (logit == other_logit && id < other_id);
}

}  // namespace

RowStats merge_stats(std::span<const LogitStats> chunks) {
  RowStats row{.maximum = chunks.front().maximum, .argmax = chunks.front().argmax};
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    row.finite = row.finite && chunks[i].finite;
    if (chunks[i].maximum > row.maximum) {
      row.maximum = chunks[i].maximum;
      row.argmax = static_cast<TokenId>(i * kStatsChunk) + chunks[i].argmax;
    }
  }
  double sum = 0;
  for (const LogitStats& chunk : chunks)
    sum += static_cast<double>(chunk.exp_sum) *
           std::exp(static_cast<double>(chunk.maximum) - static_cast<double>(row.maximum));
  row.log_sum = std::log(sum);
  return row;
}

Sampler::Sampler(const Kernels& kernels, std::uint32_t vocab_size, std::uint32_t slots_max, unsigned threads)
    : kernels_(kernels), vocab_size_(vocab_size), slots_(slots_max), scratch_(threads) {
  for (Scratch& scratch : scratch_) {
    scratch.weights.resize(padded(vocab_size));
    scratch.block_sums.resize((padded(vocab_size) + kExpBlock - 1) / kExpBlock);
    scratch.candidates.reserve(vocab_size);
    scratch.ranked.reserve(vocab_size);
  }
}

void Sampler::bind(SlotId id, const SamplingParams& params, std::span<const TokenId> prompt) {
  release(id);
  Slot& slot = slots_[id];
  slot.params = params;
  slot.counting =
      params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f || params.frequency_penalty != 0.0f;
  if (!slot.counting) return;
  slot.uses.resize(vocab_size_);
  slot.seen.reserve(vocab_size_);
  for (const TokenId token : prompt) count(slot, token, false);
}

void Sampler::resume(SlotId id, std::span<const TokenId> output) {
  Slot& slot = slots_[id];
  if (!slot.counting) return;
  for (const TokenId token : output) count(slot, token, true);
}

void Sampler::release(SlotId id) {
  SLUICE_ENGINE_CHECK(id < slots_.size());
  Slot& slot = slots_[id];
  for (const TokenId token : slot.seen) slot.uses[static_cast<std::size_t>(token)] = 0;
  slot.seen.clear();
  slot.counting = false;
}

void Sampler::count(Slot& slot, TokenId token, bool output) {
  SLUICE_ENGINE_CHECK(token >= 0 && static_cast<std::uint32_t>(token) < vocab_size_);
  std::uint32_t& uses = slot.uses[static_cast<std::size_t>(token)];
  if (uses == 0) slot.seen.push_back(token);
  if (output)
    ++uses;
  else
    uses |= kInPrompt;
}

void Sampler::edit(SlotId id, float* logits) const {
  const Slot& slot = slots_[id];
  const SamplingParams& params = slot.params;
  for (const auto& [token, bias] : params.logit_bias)
    if (token >= 0 && static_cast<std::uint32_t>(token) < vocab_size_) logits[token] += bias;
  if (slot.counting)
    for (const TokenId token : slot.seen) {
      const std::uint32_t output = slot.uses[static_cast<std::size_t>(token)] & ~kInPrompt;
      float& logit = logits[token];
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
      logit -= params.frequency_penalty * static_cast<float>(output);
      if (output > 0) logit -= params.presence_penalty;
    }
  for (const TokenId token : params.banned)
    if (token >= 0 && static_cast<std::uint32_t>(token) < vocab_size_) logits[token] = kBanned;
  for (std::uint32_t i = vocab_size_; i < padded(vocab_size_); ++i) logits[i] = kBanned;
}

Drawn Sampler::draw(SlotId id, std::span<const float> logits, const RowStats& stats, std::uint32_t position,
                    unsigned thread) {
  Slot& slot = slots_[id];
  const SamplingParams& params = slot.params;
  if (!stats.finite || stats.maximum == kBanned) return {.finite = false};

  TokenId token = stats.argmax;
  if (params.temperature >= kGreedyBelow) {
    Scratch& scratch = scratch_[thread];
    const double u = uniform_draw(params.seed, params.choice, position);
    kernels_.exps(logits.data(), padded(vocab_size_), stats.maximum, kLog2E / params.temperature,
                  scratch.weights.data(), scratch.block_sums.data());
    const bool all = (params.top_k <= 0 || static_cast<std::uint32_t>(params.top_k) >= vocab_size_) &&
                     params.top_p >= 1.0f && params.min_p <= 0.0f;
    token = all ? draw_from_all(slot, scratch, u) : draw_filtered(slot, logits, stats, scratch, u);
  }
  if (slot.counting) count(slot, token, true);
  const double logit = logits[static_cast<std::size_t>(token)];
  return {.token = token, .logprob = static_cast<float>(logit - static_cast<double>(stats.maximum) - stats.log_sum)};
}

std::uint32_t Sampler::rank(SlotId id, std::span<const float> logits, const RowStats& stats,
                            std::span<TokenLogprob, limits::top_logprobs_max> top) const {
  const std::size_t wanted = std::min<std::size_t>(
      {static_cast<std::size_t>(std::max(0, slots_[id].params.top_logprobs)), top.size(), logits.size()});
  if (wanted == 0) return 0;
  // The best so far, in order; most of the row falls at the first comparison. In order of id, so that among equals the
  // lower one stays in front.
  std::size_t count = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float logit = logits[i];
    if (count == wanted && logit <= top[count - 1].logprob) continue;
    std::size_t at = count < wanted ? count++ : count - 1;
    for (; at > 0 && top[at - 1].logprob < logit; --at) top[at] = top[at - 1];
    top[at] = {.token = static_cast<TokenId>(i), .logprob = logit};
  }
  for (TokenLogprob& one : top.first(count)) {
    one.logprob =
        static_cast<float>(static_cast<double>(one.logprob) - static_cast<double>(stats.maximum) - stats.log_sum);
  }
  return static_cast<std::uint32_t>(count);
}

TokenId Sampler::draw_from_all(const Slot&, const Scratch& scratch, double u) const {
  double total = 0;
  for (const float sum : scratch.block_sums) total += static_cast<double>(sum);
  const double target = u * total;
  double before = 0;
  std::size_t block = 0;
  while (block + 1 < scratch.block_sums.size() && before + static_cast<double>(scratch.block_sums[block]) <= target)
    before += static_cast<double>(scratch.block_sums[block++]);
  // A block's sum and its elements' in turn may differ in the last bit: whoever runs over the end takes the last that
  // could be drawn, here or in a block before.
  TokenId last = -1;
  const std::size_t end = std::min<std::size_t>(vocab_size_, (block + 1) * kExpBlock);
  for (std::size_t i = block * kExpBlock; i < end; ++i) {
    if (scratch.weights[i] == 0.0f) continue;
    last = static_cast<TokenId>(i);
    before += static_cast<double>(scratch.weights[i]);
    if (before > target) return last;
  }
  for (std::size_t i = end; last < 0 && i-- > 0;)
    if (scratch.weights[i] > 0.0f) last = static_cast<TokenId>(i);
  return last;
}

TokenId Sampler::draw_filtered(const Slot& slot, std::span<const float> logits, const RowStats& stats, Scratch& scratch,
                               double u) const {
  const SamplingParams& params = slot.params;
  const bool by_count = params.top_k > 0 && static_cast<std::uint32_t>(params.top_k) < vocab_size_;
  const std::size_t k = by_count ? static_cast<std::size_t>(params.top_k) : vocab_size_;
  const bool by_mass = params.top_p < 1.0f;
  const double share = params.top_p;
  double total = 0;
  for (const float sum : scratch.block_sums) total += static_cast<double>(sum);
  // min_p as a bound on logits: p_i >= min_p * p_max.
  const double temperature = params.temperature;
  const double lowest = params.min_p > 0.0f
                            ? static_cast<double>(stats.maximum) +
                                  temperature * std::log(std::min(1.0, static_cast<double>(params.min_p)))
                            : -std::numeric_limits<double>::infinity();

  // Who could be kept: those within a factor of the most probable, widened until the filters are decided among them.
  auto& candidates = scratch.candidates;
  for (const double factor : {0x1p-6, 0x1p-12, 0x1p-24, 0.0}) {
    const double cut = factor > 0 ? static_cast<double>(stats.maximum) + temperature * std::log(factor)
                                  : -std::numeric_limits<double>::infinity();
    double mass = 0;
    candidates.clear();
    for (std::size_t block = 0; block < scratch.block_sums.size(); ++block) {
      if (static_cast<double>(scratch.block_sums[block]) < 0.99 * factor)
        continue;  // then nobody in it reaches the factor
      const std::size_t end = std::min<std::size_t>(vocab_size_, (block + 1) * kExpBlock);
      for (std::size_t i = block * kExpBlock; i < end; ++i) {
        if (static_cast<double>(logits[i]) < cut) continue;
        candidates.push_back({logits[i], scratch.weights[i], static_cast<TokenId>(i)});
        mass += static_cast<double>(scratch.weights[i]);
      }
    }
    if (by_count ? candidates.size() >= k : by_mass && mass >= share * total * 1.000001) break;
    if (!by_mass && cut <= lowest) break;
  }

  // The worst one kept; whoever ranks after it goes.
  float worst_logit = -std::numeric_limits<float>::infinity();
  TokenId worst_id = std::numeric_limits<TokenId>::max();
  if ((by_count && candidates.size() > k) || by_mass) {
    auto& ranked = scratch.ranked;
    ranked.assign(candidates.begin(), candidates.end());
    const auto before = [](const Candidate& a, const Candidate& b) {
      return ranks_before(a.logit, a.id, b.logit, b.id);
    };
    const auto at = [&](std::size_t n) { return ranked.begin() + static_cast<std::ptrdiff_t>(n); };
    std::size_t kept = ranked.size();
    if (by_count && kept > k) {
      std::nth_element(ranked.begin(), at(k - 1), ranked.end(), before);
      kept = k;
    }
    if (by_mass) {
      double mass = total;
      if (by_count) {
        mass = 0;
        for (std::size_t i = 0; i < kept; ++i) mass += static_cast<double>(ranked[i].weight);
      }
      // The shortest prefix by rank with at least `share` of the mass: halve, sum the better half, go on in one of
      // them.
      const double target = share * mass;
      double prefix = 0;  // mass of the first `low`, below target
      std::size_t low = 0;
      std::size_t high = kept;
      while (high - low > 1) {
        const std::size_t middle = low + (high - low) / 2;
        std::nth_element(at(low), at(middle), at(high), before);
        double half = 0;
        for (std::size_t i = low; i < middle; ++i) half += static_cast<double>(ranked[i].weight);
        if (prefix + half >= target) {
          high = middle;
        } else {
          prefix += half;
          low = middle;
        }
      }
      kept = high;
    }
    const Candidate& worst = *std::max_element(ranked.begin(), at(kept), before);
    worst_logit = worst.logit;
    worst_id = worst.id;
  }

  const auto keeps = [&](const Candidate& c) {
    return static_cast<double>(c.logit) >= lowest && !ranks_before(worst_logit, worst_id, c.logit, c.id);
  };
  double kept_mass = 0;
  for (const Candidate& candidate : candidates)
    if (keeps(candidate)) kept_mass += static_cast<double>(candidate.weight);
  const double target = u * kept_mass;
  double before = 0;
  TokenId last = stats.argmax;
  for (const Candidate& candidate : candidates) {
    if (candidate.weight == 0.0f || !keeps(candidate)) continue;
    last = candidate.id;
    before += static_cast<double>(candidate.weight);
    if (before > target) break;
  }
  return last;
}

}  // namespace sluice::engine::cpu
