// The engine's vocabulary of values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sluice::engine {

using TokenId = std::int32_t;
using BlockId = std::int32_t;  // a KV block; block tables are vectors of these, in order of position
/// In a step's plan: the token that the step before drew for this slot, which the host need not know yet. Only for
/// executors whose ExecutorInfo::steps_ahead is over 1.
inline constexpr TokenId kDrawnBefore = -1;
using SlotId = std::uint32_t;  // a running sequence's row in the executor's state, 0 .. slots_max-1

/// How the next token is drawn. Defaults are OpenAI's; a value that switches a step off is named beside it.
struct SamplingParams {
  float temperature = 1.0f;         // 0: greedy (the highest logit, ties to the lowest id)
  float top_p = 1.0f;               // 1: off
  std::int32_t top_k = 0;           // 0: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off; over prompt and output, as Hugging Face defines it
  float presence_penalty = 0.0f;    // 0: off; over output only, as OpenAI defines it
  float frequency_penalty = 0.0f;   // 0: off; over output only
  std::uint64_t seed = 0;           // random numbers are keyed by (seed, choice, position): no state to carry
  std::uint32_t choice = 0;         // which of n answers
  std::vector<std::pair<TokenId, float>> logit_bias;  // added before everything else
  std::int32_t top_logprobs = 0;  // so many of the most probable tokens are reported beside the drawn one, 0 .. 20
  std::vector<TokenId> banned;    // never drawn (the end tokens under ignore_eos or min_tokens)
};

/// Why a request ended; every request ends with exactly one.
enum class FinishReason : std::uint8_t { none, stop, length, cancelled, error };

}  // namespace sluice::engine
