// The executor that computes on an NVIDIA GPU (compute capability 9.0 and newer).
//
// Weights, activations between products, keys and values are bf16; sums, the residual stream and softmax are fp32. The
// logits obey docs/decisions/0001-numerics.md: a bitwise function of the tokens, the model, the build and the device
// type. Two steps may be in flight; a plan may say kDrawnBefore. Everything is allocated in make_cuda_executor(),
// nothing afterwards. Steps of decodes alone replay a CUDA graph captured for their padded number.
//
// In a build without CUDA everything here exists and says so.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/exec/executor.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace sluice::engine {

struct CudaOptions {
  std::uint32_t slots_max = 256;
  std::uint32_t rows_max = 2048;
  std::uint32_t context_max = 0;   // 0: the model's; in any case no more than all blocks hold
  std::uint32_t kv_blocks = 0;     // 0: as many as kv_bytes hold
  std::uint64_t kv_bytes = 0;      // 0: slots_max whole contexts, but no more than what is free
  bool hash_logits = false;        // fill Sampled::logits_hash
  bool graphs = true;              // false: every step launched kernel by kernel (tests, sanitizers)
  bool narrow_attention = false;   // never wgmma in attention (tests)
  bool own_products_only = false;  // never cuBLASLt (tests)
  /// One line of text at a time, while loading: where memory goes, which products were chosen.
  std::function<void(const std::string&)> log;
  /// For tests: sees each sampled row's raw logits within submit(), which then waits for the device.
  std::function<void(SlotId, std::uint32_t position, std::span<const float>)> logits_sink;
};

/// The first GPU that CUDA_VISIBLE_DEVICES lets be seen is the one that is used.
/// What it is called ("NVIDIA H200, 132 multiprocessors, 140 GiB"), or why there is none.
Result<std::string> cuda_device();

/// `weights` null: random ones, made on the device. `weights` may be dropped afterwards. Fails when there is no usable
/// GPU, when the graph cannot run this model, or when memory does not suffice; the message says which, with the
/// arithmetic.
Result<std::unique_ptr<Executor>> make_cuda_executor(const ModelConfig& config, const Weights* weights,
                                                     const CudaOptions& options);

/// For the benchmark: rates of this device that bound every kernel, measured now.
struct CudaRoofs {
  double read_bytes_per_s = 0;            // reading memory
  double operations_per_s = 0;            // bf16 products of 8,192 x 8,192 x 8,192, the best of a few
  double operations_per_s_sustained = 0;  // the same after a second of nothing else: a power cap may have set in
};
Result<CudaRoofs> measure_cuda_roofs();

/// Steps of an executor made here, timed by events on the device: milliseconds that the device worked on steps since
/// the last call, and how many. Zero for other executors.
struct CudaBusy {
  double busy_ms = 0;
  std::uint64_t steps = 0;
};
CudaBusy take_cuda_busy(Executor& executor);

}  // namespace sluice::engine
