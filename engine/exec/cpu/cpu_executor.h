// The executor that computes on this machine's processor.
//
// Weights are bf16, packed at load for the instruction set's products; activations are rounded to bf16 before each
// product, sums are fp32, keys and values are kept in bf16. The residual stream, norms and softmax are fp32.
// The logits obey docs/decisions/0001-numerics.md: the same bits for any number of rows, threads, blocks and chunks,
// per instruction set. submit() computes on all of the pool's threads and returns when the step is done.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "engine/core/result.h"
#include "engine/exec/cpu/isa.h"
#include "engine/exec/executor.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace sluice::engine {

struct CpuOptions {
  unsigned threads = 0;  // 0: one for each core that the process may run on
  std::uint32_t slots_max = 64;
  std::uint32_t rows_max = 512;   // at least slots_max
  std::uint32_t context_max = 0;  // 0: the model's; in any case no more than all blocks hold
  std::uint32_t kv_blocks = 0;    // 0: as many as kv_bytes hold
  std::uint64_t kv_bytes = 0;     // 0: slots_max whole contexts, but at most 256 MiB
  cpu::Isa isa = cpu::Isa::best;
  bool hash_logits = false;  // fill Sampled::logits_hash
  /// For tests and evaluation: sees each sampled row's raw logits within submit(), on the caller's thread. `position`
  /// is that of the row's token.
  std::function<void(SlotId, std::uint32_t position, std::span<const float>)> logits_sink;
};

/// `weights` may be dropped afterwards. Fails when the graph cannot run this model, when the processor lacks the
/// instruction set, or when memory does not suffice; the message says which.
Result<std::unique_ptr<Executor>> make_cpu_executor(const ModelConfig& config, const Weights& weights,
                                                    const CpuOptions& options);

/// The hash that ExecutorOptions' hash_logits gives: of the bits, in order.
std::uint64_t hash_bits(std::span<const float> values);

}  // namespace sluice::engine
