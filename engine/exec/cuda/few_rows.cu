// Products of few rows: out[rows, n] = a[rows, k] * w[n, k]^T, bound by reading w once.
//
// Weights are the 16 x 16 operand of mma.m16n8k16, rows of `a` its 8 columns: a warp owns 16 columns of the output and
// walks the whole of k in ascending k16 steps into one fp32 accumulator; k is never split (decision 0001). So a step
// cannot be faster than one mma (33 cycles), and memory brings two tiles' weights in 59 on an H200: warps load their
// operands some steps ahead, to wait for nothing else. From 32 rows on several warps share a tile, 16 or 32 rows each.
// A block owns a range of 16-column tiles and takes them up to four at a time; 132 blocks fill the device. The last
// warp feeds the others through a ring of stages of 128 or 256 k, with one tensor copy of weights and one of rows a
// stage: the copy engine's rate of copies, not of bytes, is what small boxes run into (docs/gpu.md). Weights do not
// depend on the kernel before, so the ring fills with them before that kernel has ended: that is what hides the gaps
// between kernels. Bytes: 2 n k of weights, and 2 rows k of `a` (from L2) per four tiles. Grid: min(tiles,
// multiprocessors). Shared memory: up to kRingBytes + 1 KiB. k a multiple of 64, n of 16. Needs sm_90.
#include <cuda.h>

#include <algorithm>

#include "engine/exec/cuda/activation.cuh"
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/launch.cuh"
#include "engine/exec/cuda/product_kernels.h"
#include "engine/exec/cuda/ptx.cuh"

namespace sluice::engine::cuda {
namespace {

constexpr std::uint32_t kTiles = 4;             // 16-column tiles at once
constexpr std::uint32_t kTileBytes = 16 * 128;  // of a tile in a box
constexpr std::uint32_t kStagesMax = 16;
constexpr int kDepth = 4;  // steps of k16 that operands are loaded ahead
constexpr std::uint32_t kRingBytes = 120 * 1024;
// A multiprocessor must not take two blocks: started early, while others are still busy with the kernel before, they
// would crowd on the free ones and leave the rest idle. A block of decode attention still fits beside one (heads of
// 128, groups of four: with 600 bytes to spare).
constexpr std::uint32_t kSharedLeast = 115 * 1024;

template <int Rows>
struct Shape {
  static constexpr int kGroups = Rows <= 16 ? 1 : Rows == 32 ? 2 : 4;  // warps that share a tile, each with its rows
  static constexpr int kParts = Rows / 8 / kGroups;                    // n8 parts of a warp
  static constexpr int kConsumers = static_cast<int>(kTiles) * kGroups;
  static constexpr int kThreads = 32 * (kConsumers + 1);
  static constexpr std::uint32_t kBoxes = product_boxes(Rows);
};

struct Arguments {
  std::uint32_t tiles;  // of the output
  std::uint32_t k;
  std::uint32_t rows;
  std::uint32_t first_row;   // of `a`
  std::uint32_t pass_tiles;  // at once, at most kTiles
  std::uint32_t stages;
  ProductOut kind;
  void* out;
  std::size_t out_stride;
};

template <int Rows>
__global__ void __launch_bounds__(Shape<Rows>::kThreads)
    few_rows_kernel(const __grid_constant__ WeightMaps weights, const __grid_constant__ CUtensorMap rows_of_a,
                    const Arguments args) {
  using S = Shape<Rows>;
  constexpr std::uint32_t kBoxes = S::kBoxes, kStageK = kBoxes * 64;  // of a stage
  extern __shared__ unsigned char raw[];
  __shared__ std::uint64_t full_barriers[kStagesMax], empty_barriers[kStagesMax];
  const std::uint32_t ring = (shared_address(raw) + 1023u) & ~1023u;
  const std::uint32_t full = shared_address(full_barriers), empty = shared_address(empty_barriers);
  const std::uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::uint32_t weights_bytes = args.pass_tiles * kBoxes * kTileBytes;
  const std::uint32_t stage_bytes = weights_bytes + kBoxes * Rows * 128;

  let_kernel_after_start();
  if (threadIdx.x == 0) {
    for (std::uint32_t stage = 0; stage < args.stages; ++stage) {
      barrier_init(full + 8 * stage, 1);
      barrier_init(empty + 8 * stage, args.pass_tiles * S::kGroups);
    }
    barrier_init_done();
  }
  __syncthreads();

  const std::uint32_t begin = static_cast<std::uint32_t>(std::uint64_t{args.tiles} * blockIdx.x / gridDim.x);
  const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{args.tiles} * (blockIdx.x + 1) / gridDim.x);
  const std::uint32_t count = end - begin;
  const std::uint32_t passes = (count + args.pass_tiles - 1) / args.pass_tiles;
  const std::uint32_t steps = (args.k + kStageK - 1) / kStageK;
  const auto pass_begin = [&](std::uint32_t pass) { return begin + count * pass / passes; };

  if (warp == S::kConsumers) {
    if (lane != 0) return;
    tensor_map_prefetch(&weights.boxes[args.pass_tiles - 1]);
    tensor_map_prefetch(&rows_of_a);
    const auto feed_weights = [&](std::uint32_t pass, std::uint32_t step, std::uint32_t stage) {
      const std::uint32_t first = pass_begin(pass), last = pass_begin(pass + 1);
      const std::uint32_t barrier = full + 8 * stage;
      const std::uint32_t to = ring + stage * stage_bytes;
      barrier_arrive_expect(barrier, (last - first) * kBoxes * kTileBytes + kBoxes * Rows * 128);
      tensor_copy_streaming(to, &weights.boxes[last - first - 1], static_cast<int>(first * 16),
                            static_cast<int>(step * kBoxes), barrier);
    };
    const auto feed_rows = [&](std::uint32_t step, std::uint32_t stage) {
      tensor_copy(ring + stage * stage_bytes + weights_bytes, &rows_of_a, static_cast<int>(args.first_row),
                  static_cast<int>(step * kBoxes), full + 8 * stage);
    };
    const std::uint32_t all = passes * steps;
    const std::uint32_t ahead = min(all, args.stages);
    for (std::uint32_t i = 0; i < ahead; ++i) feed_weights(i / steps, i % steps, i);
    wait_for_kernel_before();
    for (std::uint32_t i = 0; i < ahead; ++i) feed_rows(i % steps, i);
    std::uint32_t stage = 0, phase = 0, pass = args.stages / steps, step = args.stages % steps;
    for (std::uint32_t i = args.stages; i < all; ++i) {
      barrier_wait(empty + 8 * stage, phase);
      feed_weights(pass, step, stage);
      feed_rows(step, stage);
      if (++stage == args.stages) stage = 0, phase ^= 1;
      if (++step == steps) step = 0, ++pass;
    }
    return;
  }

  const std::uint32_t tile_of_pass = warp / S::kGroups, first_row = warp % S::kGroups * (S::kParts * 8);
  if (tile_of_pass >= args.pass_tiles) return;
  wait_for_kernel_before();
  constexpr int kSteps = static_cast<int>(kBoxes) * 4;  // of k16, of a stage
  // Where this lane reads of a stage: steps of a box differ in two bits of the address, as it is swizzled.
  const std::uint32_t w_row = lane & 15, w_piece = lane >> 4;
  const std::uint32_t a_row = S::kParts == 1 ? lane & 7 : (lane & 7) + (lane >> 4) * 8;
  const std::uint32_t a_piece = S::kParts == 1 ? lane >> 3 : (lane >> 3) & 1;
  const std::uint32_t w_lane = tile_of_pass * kTileBytes + w_row * 128 + ((w_piece ^ (lane & 7)) << 4);
  const std::uint32_t a_lane = weights_bytes + (first_row + a_row) * 128 + ((a_piece ^ (lane & 7)) << 4);
  std::uint32_t stage = 0, phase = 0;
  const auto done_with_stage = [&] {
    __syncwarp();
    if (lane == 0) barrier_arrive(empty + 8 * stage);
    if (++stage == args.stages) stage = 0, phase ^= 1;
  };
  for (std::uint32_t pass = 0; pass < passes; ++pass) {
    const std::uint32_t tile = pass_begin(pass) + tile_of_pass;
    if (tile >= pass_begin(pass + 1)) {
      for (std::uint32_t step = 0; step < steps; ++step) {
        barrier_wait(full + 8 * stage, phase);
        done_with_stage();
      }
      continue;
    }
    const std::uint32_t w_box = (pass_begin(pass + 1) - pass_begin(pass)) * kTileBytes;
    float sums[S::kParts][4] = {};
    std::uint32_t columns[kDepth][4], rows[kDepth][S::kParts][2];
    const auto load_two = [&](int first, std::uint32_t from) {  // steps of k16, of the stage at `from`
      std::uint32_t both[4];
#pragma unroll
      for (int i = first; i < first + 2; ++i) {
        const std::uint32_t w = from + w_lane + i / 4 * w_box, a = from + a_lane + i / 4 * Rows * 128;
        load_matrix_x4(columns[i % kDepth], w ^ (i % 4 * 32));
        if constexpr (S::kParts == 1) {
          if (i == first) load_matrix_x4(both, a ^ (i % 4 * 32));  // of both steps
          rows[i % kDepth][0][0] = both[(i - first) * 2], rows[i % kDepth][0][1] = both[(i - first) * 2 + 1];
        } else {
#pragma unroll
          for (int part = 0; part < S::kParts; part += 2) {
            load_matrix_x4(both, (a ^ (i % 4 * 32)) + part * 8 * 128);
            rows[i % kDepth][part][0] = both[0], rows[i % kDepth][part][1] = both[1];
            rows[i % kDepth][part + 1][0] = both[2], rows[i % kDepth][part + 1][1] = both[3];
          }
        }
      }
    };
    barrier_wait(full + 8 * stage, phase);
    std::uint32_t from = ring + stage * stage_bytes;
#pragma unroll
    for (int i = 0; i < kDepth; i += 2) load_two(i, from);
    const auto take_stage = [&](auto whole, int boxes, bool more) {
#pragma unroll
      for (int i = 0; i < kSteps; i += 2) {
        if (decltype(whole)::value || i / 4 < boxes) {
#pragma unroll
          for (int j = i; j < i + 2; ++j)
#pragma unroll
            for (int part = 0; part < S::kParts; ++part)
              mma_16816(sums[part], columns[j % kDepth], rows[j % kDepth][part][0], rows[j % kDepth][part][1]);
        }
        const int next = i + kDepth;
        if (next == kSteps) {  // all of this stage is in registers
          done_with_stage();
          from = ring + stage * stage_bytes;
          if (more) barrier_wait(full + 8 * stage, phase);
        }
        if (next < kSteps || more) load_two(next % kSteps, from);
      }
    };
    for (std::uint32_t step = 0; step < steps; ++step) {
      const std::uint32_t left = args.k / 64 - step * kBoxes;
      if (left >= kBoxes)  // a case of its own: sums of products under a condition would move between registers
        take_stage(std::true_type(), 0, step + 1 < steps);
      else
        take_stage(std::false_type(), static_cast<int>(left), false);
    }
    const std::uint32_t column = tile * 16 + lane / 4;
#pragma unroll
    for (int part = 0; part < S::kParts; ++part)
#pragma unroll
      for (std::uint32_t i = 0; i < 2; ++i) {
        const std::uint32_t row = first_row + part * 8 + lane % 4 * 2 + i;
        if (row >= args.rows) continue;
        const float low = sums[part][i], high = sums[part][i + 2];  // columns `column` and `column + 8`
        switch (args.kind) {
          case ProductOut::bf16: {
            Bf16* out = static_cast<Bf16*>(args.out) + row * args.out_stride + column;
            out[0] = __float2bfloat16_rn(low);
            out[8] = __float2bfloat16_rn(high);
            break;
          }
          case ProductOut::gated: {
            const float gate = __bfloat162float(__float2bfloat16_rn(low));
            const float up = __bfloat162float(__float2bfloat16_rn(high));
            static_cast<Bf16*>(args.out)[row * args.out_stride + tile * 8 + lane / 4] =
                __float2bfloat16_rn(activated(gate, 0) * up);
            break;
          }
          case ProductOut::add: {
            float* out = static_cast<float*>(args.out) + row * args.out_stride + column;
            out[0] += low;
            out[8] += high;
            break;
          }
          case ProductOut::fp32: {
            float* out = static_cast<float*>(args.out) + row * args.out_stride + column;
            out[0] = low;
            out[8] = high;
            break;
          }
        }
      }
  }
}

template <class Run>
void with_rows(std::uint32_t rows, Run run) {
  switch (rows) {
    case 8:
      return run(std::integral_constant<int, 8>());
    case 16:
      return run(std::integral_constant<int, 16>());
    case 32:
      return run(std::integral_constant<int, 32>());
    case 64:
      return run(std::integral_constant<int, 64>());
    case 128:
      return run(std::integral_constant<int, 128>());
    default:
      throw CudaError("few_rows_product: rows must be padded to 8, 16, 32, 64 or 128");
  }
}

}  // namespace

void few_rows_product(const Launch& launch, const WeightMaps& weights, const CUtensorMap& rows_of_a,
                      std::uint32_t padded_rows, const Product& product, std::uint32_t multiprocessors) {
  Arguments args = {};
  args.tiles = product.n / 16;
  args.k = product.k;
  args.rows = product.rows;
  args.first_row = product.first_row;
  args.kind = product.kind;
  args.out = product.out;
  args.out_stride = product.out_stride;
  const std::uint32_t blocks = min(args.tiles, multiprocessors);
  const std::uint32_t most = (args.tiles + blocks - 1) / blocks;  // tiles of a block
  const std::uint32_t passes = (most + kTiles - 1) / kTiles;
  args.pass_tiles = (most + passes - 1) / passes;
  const std::uint32_t stage_bytes = product_boxes(padded_rows) * (args.pass_tiles * kTileBytes + padded_rows * 128);
  args.stages = max(2u, min(kStagesMax, kRingBytes / stage_bytes));
  with_rows(padded_rows, [&](auto rows) {
    start(launch, "few_rows_product", few_rows_kernel<rows()>, dim3(blocks), dim3(Shape<rows()>::kThreads),
          std::max<std::size_t>(std::size_t{args.stages} * stage_bytes + 1024, kSharedLeast), weights, rows_of_a, args);
  });
}

void prepare_few_rows() {
  for (const std::uint32_t each : {8u, 16u, 32u, 64u, 128u})
    with_rows(each, [](auto rows) {
      check(cudaFuncSetAttribute(few_rows_kernel<rows()>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(kRingBytes + 1024)),
            "few_rows_product's shared memory");
    });
}

}  // namespace sluice::engine::cuda
