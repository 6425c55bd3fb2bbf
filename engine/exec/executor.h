// The one virtual seam of the engine: something that runs steps of a model.
//
// Implementations: exec/cpu (computes), exec/scripted (a scripted clock), exec/cuda (an NVIDIA GPU). They do not know
// each other. All calls come from the engine thread. Nothing is allocated in submit() or poll() after the first step of
// a shape.
//
// Numerics contract (docs/decisions/0001-numerics.md): the fp32 logits at position t are a bitwise function of tokens
// 0..t, the model, the build and the instruction set; never of the other rows of the step, the slot, the blocks, the
// chunk borders, the number of threads, or whether t was prefilled or decoded.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/limits.h"
#include "engine/core/types.h"

namespace sluice::engine {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

struct ExecutorInfo {
  std::string backend;  // "cpu", "scripted", "cuda"
  std::string device;   // for people: "AMD EPYC, avx512-bf16, 2 threads"
  std::uint32_t vocab_size = 0;
  std::uint32_t context_max = 0;  // tokens a sequence may hold, prompt and output
  std::uint32_t slots_max = 0;    // sequences that may run at once
  std::uint32_t rows_max = 0;     // tokens one step may carry over all its slices
  std::uint32_t blocks = 0;       // KV blocks there are; ids are 0 .. blocks-1
  std::uint64_t weight_bytes = 0;
  std::uint64_t kv_bytes = 0;
  std::uint32_t steps_ahead = 1;  // steps that may be in flight at once; over 1: plans may say kDrawnBefore
  // As measured at load: a step of one row, which is bound by reading the weights; and what a row more costs once steps
  // are bound by arithmetic. From them the scheduler takes how many prompt tokens may ride along with decodes. 0: not
  // measured.
  double step_base_ns = 0, step_row_ns = 0;
};

/// One sequence's share of a step: `tokens.size()` consecutive positions from `position`. A decode is a slice of one.
struct Slice {
  SlotId slot = 0;
  std::uint32_t position = 0;       // position of tokens[0]; all earlier ones are in the cache already
  std::span<const TokenId> tokens;  // views into the scheduler's memory, good until submit() returns
  std::span<const BlockId> blocks;  // the sequence's table; covers position + tokens.size() tokens
  bool sample = false;  // draw a token from the last row's logits (false: a prefill chunk that is not the last)
};

struct StepPlan {
  std::vector<Slice> slices;  // at most one a slot; decodes first
};

struct TokenLogprob {
  TokenId token = -1;
  float logprob = 0;  // natural log, from the logits after bias and penalties, before temperature
};

/// One drawn token. Results of one step may come at different instants (scripted executor); those of a slot are in
/// order.
struct Sampled {
  SlotId slot = 0;
  TokenId token = -1;
  float logprob = 0;              // of `token`, natural log, from the logits after bias, before temperature
  std::uint64_t logits_hash = 0;  // hash of the row's fp32 bits when ExecutorOptions asked for it, else 0
  bool finite = true;             // false: the row held NaN or infinity; the request ends with an error
  std::uint32_t top_count = 0;    // SamplingParams::top_logprobs of them, most probable first, ties to the lower id
  std::array<TokenLogprob, limits::top_logprobs_max> top{};
};

class Executor {
 public:
  virtual ~Executor() = default;

  virtual const ExecutorInfo& info() const = 0;

  /// Binds `slot` to a request until release(). `prompt` feeds the penalties; `request_key` seeds scripts (scripted
  /// executor).
  virtual void bind(SlotId slot, const SamplingParams& sampling, std::span<const TokenId> prompt,
                    std::uint64_t request_key) = 0;
  /// Tokens that a slot resumed after preemption had already produced: they count in the penalties as output.
  virtual void resume(SlotId slot, std::span<const TokenId> output) = 0;
  /// The slot's request has ended or been preempted; results still due for it are dropped.
  virtual void release(SlotId slot) = 0;

  /// Hands over a step. Steps run in the order in which they were handed over, so a block freed and given to another
  /// sequence is not written before the steps that still name it have read it. REQUIRES: !busy().
  virtual void submit(const StepPlan& plan) = 0;
  /// True while a further submit() must wait: steps_ahead steps are in flight (the CPU executor: never, it computes
  /// within submit()).
  virtual bool busy() const = 0;
  /// Appends the results that are ready to `out` and returns how many. Never blocks.
  virtual std::size_t poll(std::vector<Sampled>& out) = 0;
  /// When poll() will next have something, if that is known: the engine thread sleeps until then or until a command
  /// comes.
  virtual std::optional<Clock::time_point> next_ready() const { return std::nullopt; }
  /// A sentence once the device has failed and no step can run any more; empty while all is well. What was in flight
  /// then never arrives.
  virtual std::string failure() const { return {}; }
};

}  // namespace sluice::engine
