// From a row of logits to a token, the way SamplingParams says.
//
// Order: logit_bias, repetition penalty (prompt and output), presence and frequency penalties (output), banned; then
// temperature, top_k, top_p (of what top_k left), min_p. Within top_k and top_p tokens rank by logit, ties to the lower
// id; top_p keeps the shortest such list that holds at least its share. temperature 0 (below 1e-5) takes the highest
// logit. The draw is by inverse distribution function in order of id from uniform_draw(seed, choice, position): the
// same row, params and history give the same token on every call. Nothing is sorted; nothing is allocated after bind().
// Different slots may be used from different threads at once, each with its own `thread`.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/types.h"
#include "engine/exec/cpu/kernels.h"
#include "engine/exec/executor.h"

namespace sluice::engine::cpu {

inline constexpr std::size_t kStatsChunk =
    4096;  // logits that share one LogitStats; fixed, so that sums do not depend on threads

/// Merges the stats of consecutive chunks of kStatsChunk logits, in order.
struct RowStats {
  float maximum = 0;
  double log_sum = 0;  // log of the sum of exp(logit - maximum)
  TokenId argmax = 0;
  bool finite = true;
};
RowStats merge_stats(std::span<const LogitStats> chunks);

struct Drawn {
  TokenId token = -1;
  float logprob = 0;   // of `token`, from the edited logits before temperature
  bool finite = true;  // false: nothing could be drawn
};

class Sampler {
 public:
  Sampler(const Kernels& kernels, std::uint32_t vocab_size, std::uint32_t slots_max, unsigned threads);

  void bind(SlotId slot, const SamplingParams& params, std::span<const TokenId> prompt);
  void resume(SlotId slot, std::span<const TokenId> output);
  void release(SlotId slot);

  /// Applies bias, penalties and bans to logits[0 .. padded(vocab_size)); the padding becomes the lowest float.
  void edit(SlotId slot, float* logits) const;
  /// Draws the token that will stand at `position` from edited logits, whose stats are given, and counts it as output.
  Drawn draw(SlotId slot, std::span<const float> logits, const RowStats& stats, std::uint32_t position,
             unsigned thread);
  /// The slot's top_logprobs most probable tokens of edited logits, best first, ties to the lower id, into `top`.
  /// Returns how many: fewer only where the vocabulary is so small.
  std::uint32_t rank(SlotId slot, std::span<const float> logits, const RowStats& stats,
                     std::span<TokenLogprob, limits::top_logprobs_max> top) const;

 private:
  struct Slot {
    SamplingParams params;
    bool counting = false;            // a penalty is on
    std::vector<TokenId> seen;        // tokens that `uses` knows, each once
    std::vector<std::uint32_t> uses;  // [vocab]: times in the output, + kInPrompt
  };
  struct Candidate {
    float logit;
    float weight;  // 2^((logit - maximum) / temperature), about
    TokenId id;
  };
  struct Scratch {
    std::vector<float> weights;         // [padded vocab]
    std::vector<float> block_sums;      // one a kExpBlock
    std::vector<Candidate> candidates;  // in order of id
    std::vector<Candidate> ranked;      // a copy to partition
  };
  static constexpr std::uint32_t kInPrompt = 1u << 31;

  void count(Slot& slot, TokenId token, bool output);
  TokenId draw_from_all(const Slot& slot, const Scratch& scratch, double u) const;
  TokenId draw_filtered(const Slot& slot, std::span<const float> logits, const RowStats& stats, Scratch& scratch,
                        double u) const;

  const Kernels& kernels_;
  const std::uint32_t vocab_size_;
  std::vector<Slot> slots_;
  std::vector<Scratch> scratch_;  // per thread
};

}  // namespace sluice::engine::cpu
