// The CPU executor's inner loops: one table of functions per instruction set, the same algorithm in all of them.
//
// Each table is compiled in a file of its own with its own machine flags, from kernels_body.h over a vector of 16
// floats. Numerics (docs/decisions/0001-numerics.md): lane = output column; a product adds in ascending K into one fp32
// accumulator, two K at a time; nothing here looks at how many rows there are except to decide how many accumulators
// run side by side.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::engine::cpu {

using Bf16 = std::uint16_t;  // the upper half of a float

inline constexpr std::uint32_t kLanes = 16;        // columns a vector
inline constexpr std::uint32_t kGroupVectors = 4;  // vectors a group of columns, at most
inline constexpr std::uint32_t kTileKeys = 64;     // keys an attention tile: a KV block
inline constexpr std::uint32_t kAttentionRows =
    24;  // query rows (token x head of the group) that share a walk over the keys
inline constexpr std::uint32_t kExpBlock = 256;  // logits that share one partial sum when drawing

constexpr std::uint32_t padded(std::uint32_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

/// Consecutive columns of a packed matrix: [k_pairs][vectors * 16][2] from `offset`.
struct Group {
  std::uint64_t offset = 0;   // in Bf16
  std::uint32_t column = 0;   // the first
  std::uint32_t vectors = 0;  // 1 .. kGroupVectors
};

enum class Finish : std::uint8_t {
  assign,      // out = a * w
  add,         // out = out + a * w, one addition at the end
  accumulate,  // the accumulator starts from out
};

/// What becomes of a product's columns before they are rounded to bf16.
enum class Unit : std::uint8_t { none, silu, gelu, gelu_tanh };

/// out[rows, columns of groups] (fp32) = a[rows, k] * w + bias. With a unit, out_bf16 = unit(that) instead; with
/// `gated` too, columns come as vectors gate, up, gate, up ... and out_bf16 = unit(gate) * up.
struct Product {
  const Bf16* a = nullptr;
  std::size_t lda = 0;
  std::uint32_t rows = 0;
  const Bf16* weights = nullptr;
  const Group* groups = nullptr;
  std::size_t group_count = 0;
  std::size_t k_pairs = 0;
  Finish finish = Finish::assign;
  const float* bias = nullptr;  // [columns]; null: none. Added last
  Unit unit = Unit::none;
  bool gated = false;
  float* out = nullptr;
  Bf16* out_bf16 = nullptr;
  std::size_t ldo = 0;
};

/// Where one layer's keys and values lie: `base` + block * block_stride + kv_head * head_stride, in Bf16.
/// A head's part of a block: keys [head_dim/2][64][2], then values [32][head_dim][2]; head_dim is padded to 16.
struct KvLayer {
  Bf16* base = nullptr;
  std::size_t block_stride = 0;
  std::size_t head_stride = 0;
};

struct HeadShape {
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t dim = 0;         // as the model has it
  std::uint32_t dim_padded = 0;  // to 16; what lies between is zero
};

/// Consecutive positions of one sequence that lie in one KV block.
struct Segment {
  std::uint32_t first_row = 0;
  std::uint32_t rows = 0;
  std::uint32_t position = 0;
  std::int32_t block = 0;
};

struct RopeJob {
  HeadShape shape;
  const float* qkv = nullptr;  // [rows, ld]: all query heads, key heads, value heads, each dim_padded wide
  std::size_t ld = 0;
  const float* q_norm = nullptr;  // [dim_padded]: queries and keys are normed by head before they turn; null: not
  const float* k_norm = nullptr;
  float eps = 0;                   // of these norms
  std::uint32_t turned = 0;        // leading dimensions that the angles turn; the tables hold 1 and 0 for the others
  const float* cosines = nullptr;  // [positions, dim_padded]; null: no rotation
  const float* sines = nullptr;    // the same, first half of the turned ones negated
  Bf16* q = nullptr;               // [kv_heads, rows, heads of the group, dim_padded]
  std::uint32_t rows = 0;          // of the step
  KvLayer kv;
};

/// Consecutive positions of one sequence for one kv head.
struct AttentionItem {
  const std::int32_t* blocks = nullptr;
  std::uint32_t first_row = 0;
  std::uint32_t rows = 0;  // rows * group <= max(kAttentionRows, group)
  std::uint32_t position = 0;
  std::uint32_t kv_head = 0;
};

struct AttentionJob {
  HeadShape shape;
  const Bf16* q = nullptr;  // as RopeJob::q
  std::uint32_t rows = 0;
  KvLayer kv;
  float scale = 0;           // log2(e) / sqrt(dim)
  std::uint32_t window = 0;  // 0: none
  Bf16* out = nullptr;       // [rows, heads * dim_padded]
  std::size_t ldo = 0;
};

/// Floats of scratch that attention() needs, a thread.
constexpr std::size_t attention_scratch_floats(const HeadShape& shape) {
  const std::uint32_t group = shape.heads / shape.kv_heads;
  const std::size_t rows = group > kAttentionRows ? group : kAttentionRows;
  return rows * (kTileKeys + shape.dim_padded + kTileKeys / 2 + 2) + 64;
}

/// Of a stretch of logits.
struct LogitStats {
  float maximum = 0;
  float exp_sum = 0;        // of exp(logit - maximum)
  std::int32_t argmax = 0;  // the lowest index that has the maximum
  bool finite = true;
};

struct Kernels {
  const char* name;
  void (*product)(const Product& product);
  /// out[n] (fp32) = in[n] + more[n], n a multiple of 16; more may be null.
  void (*widen)(const Bf16* in, const Bf16* more, float* out, std::size_t n);
  /// out = x / sqrt(mean(x^2) + eps) * weight over n values; n_padded is a multiple of 16 and x is zero beyond n.
  void (*rms_norm)(const float* x, const float* weight, Bf16* out, std::size_t n, std::size_t n_padded, float eps);
  /// out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias; sizes as in rms_norm.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, Bf16* out, std::size_t n,
                     std::size_t n_padded, float eps);
  /// Norms and rotates queries and keys of one kv head's group, and writes keys and values to the cache.
  void (*rope_write)(const RopeJob& job, const Segment& segment, std::uint32_t kv_head);
  /// softmax(q k^T) v over tiles of 64 keys in ascending order; scratch: attention_scratch_floats(), 64-byte aligned.
  void (*attention)(const AttentionJob& job, const AttentionItem& item, float* scratch);
  /// Over n logits, n a multiple of 16.
  void (*logit_stats)(const float* logits, std::size_t n, LogitStats* out);
  /// out[i] = 2^((logits[i] - maximum) * scale), and the sum of each kExpBlock of them; n a multiple of 16.
  void (*exps)(const float* logits, std::size_t n, float maximum, float scale, float* out, float* block_sums);
  // Roofs for the benchmark.
  /// Products from registers alone: floating-point operations done. `seed` keeps the compiler from knowing the result.
  double (*products_in_registers)(std::size_t rounds, float* seed);
  /// Reads n values (a multiple of 256) and does next to nothing with them.
  float (*read_all)(const float* values, std::size_t n);
};

const Kernels& portable_kernels();
#ifdef SLUICE_X86_KERNELS
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace sluice::engine::cpu
