// The device's kernels as functions that the host can call. Plain C++: no CUDA syntax, so that any compiler may include
// it. Every launch is asynchronous on `stream` and may overlap the kernel before it up to where it needs its results
// (programmatic dependent launch); none allocates. Failures are thrown as CudaError (device.h).
//
// Numerics (docs/decisions/0001-numerics.md): a row's results are a bitwise function of that row and of the keys and
// values before it; no kernel looks at how many rows there are except to place work.
// All matrices are bf16 and row-major unless said otherwise; "rows" are the step's tokens.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "engine/exec/cuda/step_input.h"

namespace sluice::engine::cuda {

constexpr std::uint32_t kTileKeys = 64;      // keys of a tile: one KV block
constexpr std::uint32_t kSplitTiles = 4;     // tiles of a split: attention restarts every 256 keys and merges in order
constexpr std::uint32_t kPrefillRows = 128;  // query rows (token x head of the group) of a prefill block
constexpr std::uint32_t kHeadDimMax = 128;

struct HeadShape {
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t dim = 0;         // as the model has it
  std::uint32_t dim_padded = 0;  // 32, 64, 96 or 128; what lies between is zero
  std::uint32_t group() const { return heads / kv_heads; }
};

/// Whether the kernel may start while the one before it still runs.
struct Launch {
  cudaStream_t stream = nullptr;
  bool overlap = true;
};

// ---- rows -----------------------------------------------------------------------------------------------------------

struct EmbedJob {
  const StepHeader* step = nullptr;
  const void* embedding = nullptr;      // [vocab, hidden]
  const void* positions = nullptr;      // [context, hidden]; null: none
  const std::int32_t* drawn = nullptr;  // [slots]: the token drawn last
  float* x = nullptr;                   // [rows, hidden]: the residual stream
  std::uint32_t hidden = 0;             // padded
  // What the step changes in the device's tables.
  std::int32_t* tables = nullptr;  // [slots, table_blocks]
  std::uint32_t table_blocks = 0;
  SlotParams* params = nullptr;  // [slots]
  Edit* edits = nullptr;         // [slots, edits_max]
  std::uint32_t edits_max = 0;
};
/// x = embedding (+ positions); takes over the step's updates of tables and parameters.
void embed(const Launch& launch, const EmbedJob& job, std::uint32_t rows);

struct NormJob {
  float* x = nullptr;             // [rows, hidden]
  const float* add = nullptr;     // [hidden]: a bias that the product before left out; added to x first. null: none
  const float* weight = nullptr;  // [hidden]
  const float* bias = nullptr;    // [hidden]: layer norm; null: RMS norm
  bool layer = false;
  void* out = nullptr;       // [rows, hidden] bf16
  std::uint32_t hidden = 0;  // padded: x is zero from `width` on
  std::uint32_t width = 0;
  float eps = 0;
  const StepHeader* step = nullptr;  // with `gather`: row i of `out` is row samples[i].row of x
  bool gather = false;
};
void norm(const Launch& launch, const NormJob& job, std::uint32_t rows);

struct RopeJob {
  const StepHeader* step = nullptr;
  HeadShape shape;
  void* qkv = nullptr;            // [rows, (heads + 2 kv_heads) * dim_padded]; queries are rotated in place
  const float* bias = nullptr;    // of one row of qkv; null: none
  const float* q_norm = nullptr;  // [dim]; null: none
  const float* k_norm = nullptr;
  float norm_eps = 0;
  const float2* angles = nullptr;  // [context, turned / 2]: cosine and sine, scaled
  std::uint32_t turned = 0;        // dimensions that are turned, from the first; 0: none
  void* kv = nullptr;              // the layer's cache: [block][kv_head][keys 64 x dim_padded, values 64 x dim_padded]
  const std::int32_t* tables = nullptr;
  std::uint32_t table_blocks = 0;
};
/// Biases, norms and rotates queries and keys; writes keys and values to the cache, swizzled (see attention.cuh).
void rope_write(const Launch& launch, const RopeJob& job, std::uint32_t rows);

struct ActivateJob {
  const void* in = nullptr;          // gated: [rows, 2 * width], 8 gates and 8 ups in turn; else [rows, width]
  const float* gate_bias = nullptr;  // [width]; null: none
  const float* up_bias = nullptr;
  void* out = nullptr;      // [rows, width]
  std::uint32_t width = 0;  // a multiple of 8
  bool gated = true;
  std::uint8_t kind = 0;  // 0 silu, 1 gelu, 2 gelu by tanh
};
void activate(const Launch& launch, const ActivateJob& job, std::uint32_t rows);

// ---- attention ------------------------------------------------------------------------------------------------------

struct AttentionJob {
  const StepHeader* step = nullptr;
  HeadShape shape;
  const void* q = nullptr;  // rows of qkv
  std::uint32_t q_stride = 0;
  const void* kv = nullptr;  // the layer's cache
  const std::int32_t* tables = nullptr;
  std::uint32_t table_blocks = 0;
  float scale = 0;           // log2(e) / sqrt(dim)
  std::uint32_t window = 0;  // 0: none
  void* out = nullptr;       // [rows, out_stride], heads * dim_padded of them
  std::uint32_t out_stride = 0;
  float* partials = nullptr;  // decode: [partials, heads, 2 + dim_padded]: maximum, sum, unscaled output of a split
  bool wide = false;          // prefill: wgmma where the head allows (compute capability 9.0 alone has it)
};
/// Rows that come alone (StepHeader::decode_items), at most `rows` of them. `blocks`: how many thread blocks share the
/// items. Two kernels: splits, and the folding of rows that have several.
void decode_attention(const Launch& launch, const AttentionJob& job, std::uint32_t rows, std::uint32_t blocks);
/// Rows that come together (StepHeader::prefill_items).
void prefill_attention(const Launch& launch, const AttentionJob& job, std::uint32_t items);
/// Tokens of a prefill item, at most.
std::uint32_t prefill_item_rows(const HeadShape& shape);
/// Once a process and device, before the first launch: shared memory limits.
void prepare_attention();

// ---- drawing --------------------------------------------------------------------------------------------------------

struct DrawJob {
  const StepHeader* step = nullptr;
  float* logits = nullptr;  // [samples, vocab_padded]
  std::uint32_t vocab = 0;
  std::uint32_t vocab_padded = 0;  // of a row
  const SlotParams* params = nullptr;
  const Edit* edits = nullptr;
  std::uint32_t edits_max = 0;
  std::uint32_t* uses = nullptr;  // [slots, vocab]: times in the output, + 2^31 in the prompt; null: no penalties here
  std::int32_t* drawn = nullptr;  // [slots]
  StepResult* results = nullptr;  // [ring, samples_max], the host's memory
  std::uint32_t samples_max = 0;
  bool hash = false;
};
void draw(const Launch& launch, const DrawJob& job, std::uint32_t samples);
/// Sets a slot's uses from a prompt and an output (device memory).
void count_uses(cudaStream_t stream, std::uint32_t* uses, std::uint32_t vocab, const std::int32_t* tokens,
                std::uint32_t prompt, std::uint32_t all);

// ---- making weights -------------------------------------------------------------------------------------------------

/// normal(0, deviation) in bf16 from a seed; columns from `columns_used` on become zero.
void fill_random(cudaStream_t stream, void* out, std::uint64_t rows, std::uint64_t columns, std::uint64_t columns_used,
                 float deviation, std::uint64_t seed);
/// Counts elements whose bits differ, of `rows` rows; strides in elements of `element_bytes` (2 or 4).
void count_differences(cudaStream_t stream, const void* a, std::size_t a_stride, const void* b, std::size_t b_stride,
                       std::uint32_t rows, std::uint32_t columns, std::uint32_t element_bytes, std::uint32_t* count);
/// Reads `bytes` and does nothing with them: the roof of reading.
void read_all(cudaStream_t stream, const void* data, std::size_t bytes, float* sink);

}  // namespace sluice::engine::cuda
