// Softmax(q k^T) v over the paged cache, for rows that come alone (decode) and together (prefill): the same bits.
//
// One definition for both (decision 0001). For each row and head: keys in tiles of 64, ascending. Scores of a tile are
// products in ascending k16 steps; the running maximum m, sum l and output o are rescaled once a tile; weights are
// rounded to bf16, and o and l both add them in ascending k16 steps on the tensor cores. After every 4 tiles (a split,
// counted from position 0) m, l, o are folded into the row's totals, in order, and start anew. Masked keys have weight
// zero, so a tile or split without a visible key changes no bit, and may be computed or left out.
//
// decode: 4 warps share a tile (each the scores of 16 keys, then a quarter of the output's dimensions), a fifth feeds
//   them; a block walks (item, kv head) pairs in a fixed stride. A second kernel folds the splits of rows with several.
// prefill: 8 warps of 16 rows (token x head of the group) walk the keys, a ninth feeds them; totals lie in shared
//   memory. On sm_90a warpgroups multiply by wgmma, elsewhere warps by mma.sync: the same bits (seen in tests/gpu).
// Bytes that must move: each visible key and value once per row (decode) or per 128 rows (prefill): 4 * dim a key.
// Shared memory: 3 tiles of 256 * dim bytes (+ 6 KiB decode; + up to 768 * dim bytes prefill). Needs sm_90.
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/exec/cuda/launch.cuh"
#include "engine/exec/cuda/ptx.cuh"
#include "engine/exec/cuda/swizzle.cuh"

namespace sluice::engine::cuda {
namespace {

constexpr int kStages = 3;
constexpr std::uint32_t kOnes = 0x3f803f80u;  // two bf16 ones
#define SLUICE_MINUS_INFINITY __int_as_float(0xff800000)

__host__ __device__ constexpr std::size_t tile_bytes(int dim) {
  return std::size_t{2} * kTileKeys * dim * sizeof(Bf16);
}  // keys and values

/// Address of the 16-byte piece `piece` of row `row` of a tile in shared memory.
template <int D>
__device__ std::uint32_t piece_address(std::uint32_t tile, std::uint32_t row, std::uint32_t piece) {
  return tile + piece_offset(row, piece, D);
}

__device__ bool visible(std::int32_t key, std::int32_t position, std::int32_t window) {
  return key <= position && (window == 0 || key > position - window);
}

/// What a new maximum does to what was summed under the old one.
struct Rescale {
  float shift;  // the new maximum, or 0 while no key was visible
  float keep;   // factor of the old sums
};
__device__ Rescale rescale(float& maximum, float seen) {
  const float next = fmaxf(maximum, seen);
  const float shift = next == SLUICE_MINUS_INFINITY ? 0.0f : next;
  const float keep = exp2_fast(maximum - shift);
  maximum = next;
  return {shift, keep};
}

/// 2^(score * scale - shift): the weight of a key, before it is divided by the sum.
__device__ float weight_of(float score, float scale, const Rescale& change) {
  return exp2_fast(fmaf(score, scale, -change.shift));
}

// ---- decode ---------------------------------------------------------------------------------------------------------

constexpr int kDecodeWarps = 4;
constexpr int kDecodeThreads = 32 * (kDecodeWarps + 1);
constexpr int kWeightStride = 72;  // of a row of weights: 144 bytes, so that ldmatrix meets no bank twice

/// A row, a split and a kv head (or 16 heads of its group).
struct DecodeUnit {
  DecodeItem item;
  std::uint32_t kv_head, first_head, heads;  // heads of the group, at most 16
  std::int32_t first_tile, end_tile;
};

struct DecodeShared {
  alignas(16) Bf16 weights[2][16][kWeightStride];
  float maxima[2][kDecodeWarps][16];
  DecodeUnit units[kStages];  // of a stage that begins one
  std::uint64_t full[kStages], empty[kStages];
};

/// A stage: a tile of keys and values, and the queries where it begins a unit.
__host__ __device__ constexpr std::uint32_t decode_stage_bytes(int dim, std::uint32_t group) {
  return static_cast<std::uint32_t>(tile_bytes(dim)) + (group < 16 ? group : 16u) * static_cast<std::uint32_t>(dim) * 2;
}
constexpr std::size_t decode_shared_bytes(int dim, std::uint32_t group) {
  return kStages * decode_stage_bytes(dim, group) + sizeof(DecodeShared);
}

__device__ DecodeUnit decode_unit(const AttentionJob& job, const DecodeItem* items, std::uint32_t unit) {
  const std::uint32_t group = job.shape.heads / job.shape.kv_heads;
  const std::uint32_t parts = (group + 15) / 16;
  DecodeUnit out;
  out.item = items[unit / (job.shape.kv_heads * parts)];
  const std::uint32_t rest = unit % (job.shape.kv_heads * parts);
  out.kv_head = rest / parts;
  const std::uint32_t part = rest % parts;
  out.first_head = out.kv_head * group + part * 16;
  out.heads = min(16u, group - part * 16);
  const std::int32_t oldest =
      job.window == 0 ? 0 : max(0, out.item.position - static_cast<std::int32_t>(job.window) + 1) / 64;
  out.first_tile = max(out.item.split * static_cast<std::int32_t>(kSplitTiles), oldest);
  out.end_tile = min((out.item.split + 1) * static_cast<std::int32_t>(kSplitTiles), out.item.position / 64 + 1);
  return out;
}

template <int D>
__global__ void __launch_bounds__(kDecodeThreads) decode_kernel(AttentionJob job) {
  extern __shared__ __align__(1024) unsigned char shared[];
  constexpr std::uint32_t kTile = static_cast<std::uint32_t>(tile_bytes(D));
  const std::uint32_t stage_bytes = decode_stage_bytes(D, job.shape.heads / job.shape.kv_heads);
  constexpr int kDims = D / kDecodeWarps;  // of the output, a warp
  constexpr int kOut = kDims / 8;          // n8 tiles of it
  auto& state = *reinterpret_cast<DecodeShared*>(shared + kStages * stage_bytes);
  const std::uint32_t stages = shared_address(shared);
  const std::uint32_t full = shared_address(state.full), empty = shared_address(state.empty);
  const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  let_kernel_after_start();
  // The step's input was there before its first kernel. Who has nothing to do makes room for the kernel after; the
  // others wait for the kernel before, so this one still does not end before it.
  const std::uint32_t parts = (job.shape.heads / job.shape.kv_heads + 15) / 16;
  const std::uint32_t units = static_cast<std::uint32_t>(job.step->decode_items) * job.shape.kv_heads * parts;
  if (blockIdx.x >= max(units, 1u)) return;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(full + 8 * stage, 1);
      barrier_init(empty + 8 * stage, 32 * kDecodeWarps);
    }
    barrier_init_done();
  }
  __syncthreads();
  wait_for_kernel_before();
  std::uint32_t stage = 0, phase = 0;
  const auto advance = [&] {
    if (++stage == kStages) stage = 0, phase ^= 1;
  };

  if (warp == kDecodeWarps) {  // feeds the others, and reads for them whatever comes from memory
    if (lane != 0 || blockIdx.x >= units) return;
    const auto* items = array_at<DecodeItem>(job.step, job.step->decode_at);
    const auto read_table = [&](const DecodeUnit& u, std::int32_t(&blocks)[kSplitTiles]) {
      const std::int32_t* table = job.tables + static_cast<std::size_t>(u.item.slot) * job.table_blocks;
#pragma unroll
      for (std::int32_t i = 0; i < static_cast<std::int32_t>(kSplitTiles); ++i)
        blocks[i] = u.first_tile + i < u.end_tile ? table[u.first_tile + i] : 0;
    };
    DecodeUnit u = decode_unit(job, items, blockIdx.x);
    std::int32_t blocks[kSplitTiles];
    read_table(u, blocks);
    for (std::uint32_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
      const bool more = unit + gridDim.x < units;
      DecodeUnit next = u;
      if (more) next = decode_unit(job, items, unit + gridDim.x);    // on its way while this one's tiles go out
      const std::int32_t count = max(1, u.end_tile - u.first_tile);  // a split wholly before the window has one, unseen
#pragma unroll
      for (std::int32_t i = 0; i < static_cast<std::int32_t>(kSplitTiles); ++i) {
        if (i >= count) break;
        const std::uint32_t to = stages + stage * stage_bytes;
        const std::uint32_t query_bytes = i == 0 ? u.heads * D * 2 : 0;
        barrier_wait(empty + 8 * stage, phase ^ 1);
        if (i == 0) state.units[stage] = u;
        barrier_arrive_expect(full + 8 * stage, kTile + query_bytes);
        bulk_copy(to,
                  static_cast<const unsigned char*>(job.kv) +
                      (static_cast<std::size_t>(blocks[i]) * job.shape.kv_heads + u.kv_head) * kTile,
                  kTile, full + 8 * stage);
        if (i == 0)
          bulk_copy(to + kTile,
                    static_cast<const Bf16*>(job.q) + static_cast<std::size_t>(u.item.row) * job.q_stride +
                        static_cast<std::size_t>(u.first_head) * D,
                    query_bytes, full + 8 * stage);
        advance();
      }
      if (more) read_table(next, blocks);
      u = next;
    }
    return;
  }

  const std::uint32_t row = lane / 4, pair = lane % 4;
  std::uint32_t parity = 0;
  for (std::uint32_t unit = blockIdx.x; unit < units; unit += gridDim.x) {
    barrier_wait(full + 8 * stage, phase);
    const DecodeUnit u = state.units[stage];
    const std::uint32_t head = (lane & 15) < u.heads ? lane & 15 : 0;  // absent ones repeat the first, and go nowhere
    std::uint32_t q[D / 16][4];
#pragma unroll
    for (int k = 0; k < D / 16; ++k)
      load_matrix_x4(q[k], stages + stage * stage_bytes + kTile + head * (D * 2) + (k * 2 + (lane >> 4)) * 16);
    float maximum[2] = {SLUICE_MINUS_INFINITY, SLUICE_MINUS_INFINITY};
    float sum[4] = {0, 0, 0, 0};
    float out[kOut][4] = {};
    for (std::int32_t tile = u.first_tile; tile == u.first_tile || tile < u.end_tile; ++tile) {
      const std::uint32_t keys = stages + stage * stage_bytes;
      const std::uint32_t values = keys + kTile / 2;
      barrier_wait(full + 8 * stage, phase);
      // Scores of this warp's 16 keys.
      float scores[2][4] = {};
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        std::uint32_t b[4];
        load_matrix_x4(b, piece_address<D>(keys, warp * 16 + (lane & 7) + (lane >> 4) * 8, k * 2 + ((lane >> 3) & 1)));
        mma_16816(scores[0], q[k], b[0], b[1]);
        mma_16816(scores[1], q[k], b[2], b[3]);
      }
      float seen[2] = {SLUICE_MINUS_INFINITY, SLUICE_MINUS_INFINITY};
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const std::int32_t key = tile * 64 + static_cast<std::int32_t>(warp * 16 + n * 8 + pair * 2 + (i & 1));
          if (tile >= u.end_tile || !visible(key, u.item.position, static_cast<std::int32_t>(job.window)))
            scores[n][i] = SLUICE_MINUS_INFINITY;
          seen[i / 2] = fmaxf(seen[i / 2], scores[n][i]);
        }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        seen[r] = fmaxf(seen[r], __shfl_xor_sync(0xffffffffu, seen[r], 1));
        seen[r] = fmaxf(seen[r], __shfl_xor_sync(0xffffffffu, seen[r], 2));
        if (pair == 0) state.maxima[parity][warp][row + 8 * r] = seen[r];
      }
      named_barrier(1, 32 * kDecodeWarps);
      Rescale change[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float all = state.maxima[parity][0][row + 8 * r];
#pragma unroll
        for (int w = 1; w < kDecodeWarps; ++w) all = fmaxf(all, state.maxima[parity][w][row + 8 * r]);
        change[r] = rescale(maximum[r], all * job.scale);
#pragma unroll
        for (int n = 0; n < 2; ++n)
          *reinterpret_cast<std::uint32_t*>(&state.weights[parity][row + 8 * r][warp * 16 + n * 8 + pair * 2]) =
              pack_bf16(weight_of(scores[n][2 * r], job.scale, change[r]),
                        weight_of(scores[n][2 * r + 1], job.scale, change[r]));
      }
      named_barrier(1, 32 * kDecodeWarps);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sum[i] *= change[i / 2].keep;
#pragma unroll
        for (int n = 0; n < kOut; ++n) out[n][i] *= change[i / 2].keep;
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        std::uint32_t a[4];
        load_matrix_x4(a, shared_address(&state.weights[parity][lane & 15][k * 16 + (lane >> 4) * 8]));
        mma_16816(sum, a, kOnes, kOnes);
        const std::uint32_t key = k * 16 + (lane & 15);
        const std::uint32_t piece = warp * kOut;
#pragma unroll
        for (int n = 0; n + 1 < kOut; n += 2) {
          std::uint32_t b[4];
          load_matrix_x4_transposed(b, piece_address<D>(values, key, piece + n + (lane >> 4)));
          mma_16816(out[n], a, b[0], b[1]);
          mma_16816(out[n + 1], a, b[2], b[3]);
        }
        if constexpr (kOut % 2 == 1) {
          std::uint32_t b0, b1;
          load_matrix_x2_transposed(b0, b1, piece_address<D>(values, key, piece + kOut - 1));
          mma_16816(out[kOut - 1], a, b0, b1);
        }
      }
      barrier_arrive(empty + 8 * stage);  // every lane for itself
      advance();
      parity ^= 1;
    }

    if (u.item.splits == 1) {
      Bf16* to = static_cast<Bf16*>(job.out) + static_cast<std::size_t>(u.item.row) * job.out_stride +
                 static_cast<std::size_t>(u.first_head) * D;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (row + 8 * r >= u.heads) continue;
        const float scale = 1.0f / sum[2 * r];
#pragma unroll
        for (int n = 0; n < kOut; ++n)
          *reinterpret_cast<std::uint32_t*>(to + (row + 8 * r) * D + warp * kDims + n * 8 + pair * 2) =
              pack_bf16(out[n][2 * r] * scale + 0.0f, out[n][2 * r + 1] * scale + 0.0f);
      }
      continue;
    }
    constexpr std::size_t kPartial = D + 2;
    float* mine =
        job.partials + (static_cast<std::size_t>(u.item.partial + u.item.split - u.item.first_split) * job.shape.heads +
                        u.first_head) *
                           kPartial;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row + 8 * r >= u.heads) continue;
      float* partial = mine + (row + 8 * r) * kPartial;
      if (warp == 0 && pair == 0) *reinterpret_cast<float2*>(partial) = float2{maximum[r], sum[2 * r]};
#pragma unroll
      for (int n = 0; n < kOut; ++n)
        *reinterpret_cast<float2*>(partial + 2 + warp * kDims + n * 8 + pair * 2) =
            float2{out[n][2 * r], out[n][2 * r + 1]};
    }
  }
}

/// Folds a row's splits in order: a block a row and head, a thread a dimension.
template <int D>
__global__ void __launch_bounds__(D) fold_kernel(AttentionJob job) {
  let_kernel_after_start();
  wait_for_kernel_before();
  if (static_cast<std::int32_t>(blockIdx.x) >= job.step->decode_rows) return;
  const DecodeRow row = array_at<DecodeRow>(job.step, job.step->decode_rows_at)[blockIdx.x];
  if (row.splits == 1) return;
  const std::size_t stride = static_cast<std::size_t>(job.shape.heads) * (D + 2);
  const float* partial = job.partials + row.partial * stride + static_cast<std::size_t>(blockIdx.y) * (D + 2);
  float total_max = SLUICE_MINUS_INFINITY, total_sum = 0, total = 0;
#pragma unroll 4
  for (std::int32_t split = 0; split < row.splits; ++split) {
    const float* from = partial + split * stride;
    const float split_max = from[0], split_sum = from[1], value = from[2 + threadIdx.x];
    // Saw nothing: what it multiplied by zero is not ours. (A sum that is NaN did see something.)
    if (split_max == SLUICE_MINUS_INFINITY && split_sum == 0.0f) continue;
    const Rescale change = rescale(total_max, split_max);
    const float weight = exp2_fast(split_max - change.shift);
    total_sum = fmaf(split_sum, weight, total_sum * change.keep);
    total = fmaf(value, weight, total * change.keep);
  }
  static_cast<Bf16*>(job.out)[static_cast<std::size_t>(row.row) * job.out_stride + blockIdx.y * D + threadIdx.x] =
      __float2bfloat16_rn(total * (1.0f / total_sum) + 0.0f);
}

// ---- prefill --------------------------------------------------------------------------------------------------------

constexpr int kPrefillWarps = kPrefillRows / 16;
constexpr int kPrefillThreads = 32 * (kPrefillWarps + 1);

/// Wide: queries keep a place of their own, since wgmma reads them there.
constexpr std::size_t prefill_shared_bytes(int dim, bool wide) {
  return kStages * tile_bytes(dim) + std::size_t{kPrefillRows} * dim * (sizeof(float) + (wide ? 2 : 0)) + 128 + 1024;
}

/// Warps of one warpgroup share wgmma's products of 64 rows; otherwise each warp multiplies its own 16.
template <int D, bool Wide>
__global__ void __launch_bounds__(kPrefillThreads, 1) prefill_kernel(AttentionJob job) {
  extern __shared__ __align__(1024) unsigned char shared[];
  constexpr std::uint32_t kTile = static_cast<std::uint32_t>(tile_bytes(D));
  constexpr int kConsumers = 32 * kPrefillWarps;
  float* totals =
      reinterpret_cast<float*>(shared + kStages * kTile);  // [D / 2][consumers]: a thread's own, by register
  constexpr std::size_t kTotals = std::size_t{kPrefillRows} * D * sizeof(float);
  unsigned char* queries = shared + kStages * kTile + (Wide ? kTotals : 0);
  auto* barriers = reinterpret_cast<std::uint64_t*>(shared + kStages * kTile + kTotals +
                                                    (Wide ? std::size_t{kPrefillRows} * D * 2 : 0));
  const std::uint32_t tiles = shared_address(shared);
  const std::uint32_t full = shared_address(barriers), empty = full + 8 * kStages;
  const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  let_kernel_after_start();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(full + 8 * stage, 1);
      barrier_init(empty + 8 * stage, 32 * kPrefillWarps);
    }
    barrier_init_done();
  }
  __syncthreads();
  wait_for_kernel_before();

  // The last items of a prompt see the most keys: they start first.
  const std::uint32_t number = gridDim.y - 1 - blockIdx.y;
  if (static_cast<std::int32_t>(number) >= job.step->prefill_items) return;
  const PrefillItem item = array_at<PrefillItem>(job.step, job.step->prefill_at)[number];
  const std::uint32_t kv_head = blockIdx.x;
  const std::uint32_t group = job.shape.heads / job.shape.kv_heads;
  const std::int32_t window = static_cast<std::int32_t>(job.window);
  const std::int32_t first_tile = window == 0 ? 0 : max(0, item.position - window + 1) / 64;
  const std::int32_t end_tile = (item.position + item.rows - 1) / 64 + 1;
  std::uint32_t stage = 0, phase = 0;
  const auto advance = [&] {
    if (++stage == kStages) stage = 0, phase ^= 1;
  };

  if (warp == kPrefillWarps) {
    if (lane != 0) return;
    const std::int32_t* table = job.tables + static_cast<std::size_t>(item.slot) * job.table_blocks;
    for (std::int32_t tile = first_tile; tile < end_tile; ++tile) {
      const auto* from = static_cast<const unsigned char*>(job.kv) +
                         (static_cast<std::size_t>(table[tile]) * job.shape.kv_heads + kv_head) * kTile;
      barrier_wait(empty + 8 * stage, phase ^ 1);
      barrier_arrive_expect(full + 8 * stage, kTile);
      bulk_copy(tiles + stage * kTile, from, kTile, full + 8 * stage);
      advance();
    }
    return;
  }

  // Queries come through shared memory; narrow, where the totals will be. Two parts of 64 rows.
  const std::uint32_t rows = static_cast<std::uint32_t>(item.rows) * group;
  constexpr std::uint32_t kPart = 64 * D * 2;
  for (std::uint32_t i = threadIdx.x; i < kPrefillRows * (D / 8); i += kConsumers) {
    const std::uint32_t r = i / (D / 8), piece = i % (D / 8);
    uint4 value = {0, 0, 0, 0};
    if (r < rows)
      value = *reinterpret_cast<const uint4*>(static_cast<const Bf16*>(job.q) +
                                              static_cast<std::size_t>(item.first_row + r / group) * job.q_stride +
                                              static_cast<std::size_t>(kv_head * group + r % group) * D + piece * 8);
    *reinterpret_cast<uint4*>(queries + r / 64 * kPart + piece_offset(r % 64, piece, D)) = value;
  }
  if constexpr (Wide) fence_for_async();
  named_barrier(1, kConsumers);
  const std::uint32_t my_queries = shared_address(queries) + warp / 4 * kPart;
  std::uint32_t q[Wide ? 1 : D / 16][4];
  if constexpr (!Wide) {
#pragma unroll
    for (int k = 0; k < D / 16; ++k)
      load_matrix_x4(q[k], piece_address<D>(my_queries, warp % 4 * 16 + (lane & 15), k * 2 + (lane >> 4)));
    named_barrier(1, kConsumers);
  }

  const std::uint32_t row = lane / 4, pair = lane % 4;
  // Rows that skip tiles together: a warp's, or a warpgroup's.
  constexpr std::uint32_t kTogether = Wide ? 64 : 16;
  const std::uint32_t first_together = warp * 16 / kTogether * kTogether;
  const std::uint32_t warp_rows_end = min(rows, first_together + kTogether);
  const bool idle = first_together >= rows;
  const std::int32_t warp_oldest = item.position + static_cast<std::int32_t>(first_together / group);
  const std::int32_t warp_newest = idle ? -1 : item.position + static_cast<std::int32_t>((warp_rows_end - 1) / group);
  std::int32_t position[2];
#pragma unroll
  for (int r = 0; r < 2; ++r)
    position[r] = item.position + static_cast<std::int32_t>((warp * 16 + row + 8 * r) / group);

  float maximum[2] = {SLUICE_MINUS_INFINITY, SLUICE_MINUS_INFINITY};
  float total_max[2] = {SLUICE_MINUS_INFINITY, SLUICE_MINUS_INFINITY};
  float total_sum[2] = {0, 0};
  float sum[4] = {0, 0, 0, 0};
  float out[D / 8][4] = {};
  bool folded = false;
  for (std::int32_t tile = first_tile; tile < end_tile; ++tile) {
    const std::uint32_t keys = tiles + stage * kTile;
    const std::uint32_t values = keys + kTile / 2;
    barrier_wait(full + 8 * stage, phase);
    if (tile * 64 <= warp_newest && (window == 0 || tile * 64 + 63 > warp_oldest - window)) {
      float scores[8][4];
      if constexpr (Wide) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        warpgroup_fence();
#pragma unroll
        for (int k = 0; k < D / 16; ++k) {
          const std::uint32_t at = k / 4 * (64 * 128) + k % 4 * 32;
          wgmma_64_64(scores, operand(my_queries + at, 16, 1024), operand(keys + at, 16, 1024), k > 0);
        }
        warpgroup_commit();
        warpgroup_wait();
#endif
      } else {
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) scores[n][i] = 0;
#pragma unroll
        for (int k = 0; k < D / 16; ++k)
#pragma unroll
          for (int n = 0; n < 8; n += 2) {
            std::uint32_t b[4];
            load_matrix_x4(b, piece_address<D>(keys, n * 8 + (lane & 7) + (lane >> 4) * 8, k * 2 + ((lane >> 3) & 1)));
            mma_16816(scores[n], q[k], b[0], b[1]);
            mma_16816(scores[n + 1], q[k], b[2], b[3]);
          }
      }
      const bool whole = tile * 64 + 63 <= warp_oldest && (window == 0 || tile * 64 > warp_newest - window);
      if (!whole)
#pragma unroll
        for (int n = 0; n < 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const std::int32_t key = tile * 64 + static_cast<std::int32_t>(n * 8 + pair * 2 + (i & 1));
            if (!visible(key, position[i / 2], window)) scores[n][i] = SLUICE_MINUS_INFINITY;
          }
      float seen[2] = {SLUICE_MINUS_INFINITY, SLUICE_MINUS_INFINITY};
#pragma unroll
      for (int n = 0; n < 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) seen[i / 2] = fmaxf(seen[i / 2], scores[n][i]);
      Rescale change[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        seen[r] = fmaxf(seen[r], __shfl_xor_sync(0xffffffffu, seen[r], 1));
        seen[r] = fmaxf(seen[r], __shfl_xor_sync(0xffffffffu, seen[r], 2));
        change[r] = rescale(maximum[r], seen[r] * job.scale);
      }
      if (__any_sync(0xffffffffu, change[0].keep != 1.0f || change[1].keep != 1.0f))
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sum[i] *= change[i / 2].keep;
#pragma unroll
          for (int n = 0; n < D / 8; ++n) out[n][i] *= change[i / 2].keep;
        }
      // An accumulator of scores has the layout of an operand of weights: two n8 tiles are one k16 step.
      std::uint32_t weights[4][4];
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int n = 2 * k + i / 2, r = i % 2;
          weights[k][i] = pack_bf16(weight_of(scores[n][2 * r], job.scale, change[r]),
                                    weight_of(scores[n][2 * r + 1], job.scale, change[r]));
        }
      if constexpr (Wide) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
        warpgroup_fence();
#pragma unroll
        for (int k = 0; k < 4; ++k) wgmma_values(out, weights[k], operand(values + k * 2048, 64 * 128, 1024));
        warpgroup_commit();
#pragma unroll
        for (int k = 0; k < 4; ++k) mma_16816(sum, weights[k], kOnes, kOnes);
        warpgroup_wait();
#endif
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          mma_16816(sum, weights[k], kOnes, kOnes);
#pragma unroll
          for (int n = 0; n < D / 8; n += 2) {
            std::uint32_t b[4];
            load_matrix_x4_transposed(b, piece_address<D>(values, k * 16 + (lane & 15), n + (lane >> 4)));
            mma_16816(out[n], weights[k], b[0], b[1]);
            mma_16816(out[n + 1], weights[k], b[2], b[3]);
          }
        }
      }
    }
    barrier_arrive(empty + 8 * stage);  // every lane for itself
    advance();
    if (tile % static_cast<std::int32_t>(kSplitTiles) != static_cast<std::int32_t>(kSplitTiles) - 1 &&
        tile + 1 != end_tile)
      continue;
      // The split has ended: fold it into the totals.
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Rescale change = rescale(total_max[r], maximum[r]);
      const float weight = exp2_fast(maximum[r] - change.shift);
      total_sum[r] = fmaf(sum[2 * r], weight, total_sum[r] * change.keep);
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          float& total = totals[static_cast<std::size_t>(n * 4 + i) * kConsumers + threadIdx.x];
          total = fmaf(out[n][i], weight, folded ? total * change.keep : 0.0f);
          out[n][i] = 0;
        }
      maximum[r] = SLUICE_MINUS_INFINITY;
      sum[2 * r] = sum[2 * r + 1] = 0;
    }
    folded = true;
  }
  if (warp * 16 >= rows) return;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const std::uint32_t at = warp * 16 + row + 8 * r;
    if (at >= rows) continue;
    const float scale = 1.0f / total_sum[r];
    Bf16* to = static_cast<Bf16*>(job.out) + static_cast<std::size_t>(item.first_row + at / group) * job.out_stride +
               static_cast<std::size_t>(kv_head * group + at % group) * D;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const float low = totals[static_cast<std::size_t>(n * 4 + 2 * r) * kConsumers + threadIdx.x];
      const float high = totals[static_cast<std::size_t>(n * 4 + 2 * r + 1) * kConsumers + threadIdx.x];
      *reinterpret_cast<std::uint32_t*>(to + n * 8 + pair * 2) = pack_bf16(low * scale + 0.0f, high * scale + 0.0f);
    }
  }
}

template <class Run>
void with_dim(std::uint32_t dim, Run run) {
  switch (dim) {
    case 32:
      return run(std::integral_constant<int, 32>());
    case 64:
      return run(std::integral_constant<int, 64>());
    case 96:
      return run(std::integral_constant<int, 96>());
    case 128:
      return run(std::integral_constant<int, 128>());
    default:
      throw CudaError("attention: head_dim must be padded to 32, 64, 96 or 128");
  }
}

}  // namespace

void decode_attention(const Launch& launch, const AttentionJob& job, std::uint32_t rows, std::uint32_t blocks) {
  with_dim(job.shape.dim_padded, [&](auto dim) {
    start(launch, "decode_attention", decode_kernel<dim()>, dim3(blocks), dim3(kDecodeThreads),
          decode_shared_bytes(dim(), job.shape.group()), job);
    start(launch, "fold_attention", fold_kernel<dim()>, dim3(rows, job.shape.heads), dim3(dim()), 0, job);
  });
}

void prefill_attention(const Launch& launch, const AttentionJob& job, std::uint32_t items) {
  with_dim(job.shape.dim_padded, [&](auto dim) {
    const dim3 grid(job.shape.kv_heads, items), threads(kPrefillThreads);
    if constexpr (dim() % 64 == 0) {
      if (job.wide)
        return start(launch, "prefill_attention", prefill_kernel<dim(), true>, grid, threads,
                     prefill_shared_bytes(dim(), true), job);
    }
    start(launch, "prefill_attention", prefill_kernel<dim(), false>, grid, threads, prefill_shared_bytes(dim(), false),
          job);
  });
}

std::uint32_t prefill_item_rows(const HeadShape& shape) { return kPrefillRows / shape.group(); }

void prepare_attention() {
  const auto allow = [](auto kernel, std::size_t bytes) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
          "attention's shared memory");
  };
  for (const std::uint32_t each : {32u, 64u, 96u, 128u})
    with_dim(each, [&](auto dim) {
      allow(decode_kernel<dim()>, decode_shared_bytes(dim(), 16));
      allow(prefill_kernel<dim(), false>, prefill_shared_bytes(dim(), false));
      if constexpr (dim() % 64 == 0) allow(prefill_kernel<dim(), true>, prefill_shared_bytes(dim(), true));
    });
}

}  // namespace sluice::engine::cuda
