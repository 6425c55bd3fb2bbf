// What happens to each row by itself: embedding, norms, rotation and the cache's writing, activations.
//
// Blocks of 256 threads, one row each (activate: eight elements a thread). hidden is a multiple of 64, so rows are
// 16-byte aligned in every type. Sums run in one fixed order: a thread's elements ascending, then a butterfly over the
// warp, then the warps in order; so a row's bits never depend on the grid.
#include "engine/exec/cuda/activation.cuh"
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/exec/cuda/launch.cuh"
#include "engine/exec/cuda/ptx.cuh"
#include "engine/exec/cuda/swizzle.cuh"

namespace sluice::engine::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__device__ const T* array_at(const StepHeader* step, std::int32_t offset) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(step) + offset);
}

__device__ float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

/// The sum over the block, the same in every thread. `scratch`: one float a warp; free again after the next barrier.
__device__ float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += scratch[warp];
  __syncthreads();
  return sum;
}

// ---- embedding ------------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads) embed_kernel(EmbedJob job) {
  let_kernel_after_start();
  wait_for_kernel_before();
  const StepHeader& step = *job.step;
  const std::uint32_t thread = blockIdx.x * kThreads + threadIdx.x;
  const std::uint32_t threads = gridDim.x * kThreads;
  const auto* updates = array_at<TableUpdate>(job.step, step.tables_at);
  for (std::uint32_t i = thread; i < static_cast<std::uint32_t>(step.table_updates); i += threads)
    job.tables[static_cast<std::size_t>(updates[i].slot) * job.table_blocks + updates[i].index] = updates[i].block;
  const auto* slots = array_at<SlotUpdate>(job.step, step.slots_at);
  const auto* edits = array_at<Edit>(job.step, step.edits_at);
  for (std::int32_t i = static_cast<std::int32_t>(blockIdx.x); i < step.slot_updates;
       i += static_cast<std::int32_t>(gridDim.x)) {
    const SlotUpdate& update = slots[i];
    if (threadIdx.x == 0) job.params[update.slot] = update.params;
    for (std::int32_t e = static_cast<std::int32_t>(threadIdx.x); e < update.params.edits; e += kThreads)
      job.edits[static_cast<std::size_t>(update.slot) * job.edits_max + e] = edits[update.first_edit + e];
  }

  const StepRow row = array_at<StepRow>(job.step, step.rows_at)[blockIdx.x];
  const std::int32_t token = row.token >= 0 ? row.token : job.drawn[row.slot];
  const auto* from = static_cast<const Bf16*>(job.embedding) + static_cast<std::size_t>(token) * job.hidden;
  const auto* position = job.positions == nullptr ? nullptr
                                                  : static_cast<const Bf16*>(job.positions) +
                                                        static_cast<std::size_t>(row.position) * job.hidden;
  float* to = job.x + static_cast<std::size_t>(blockIdx.x) * job.hidden;
  for (std::uint32_t i = threadIdx.x * 2; i < job.hidden; i += 2 * kThreads) {
    float2 value = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(from + i));
    if (position != nullptr) {
      const float2 more = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(position + i));
      value.x += more.x;
      value.y += more.y;
    }
    *reinterpret_cast<float2*>(to + i) = value;
  }
}

// ---- norms ----------------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads) norm_kernel(NormJob job) {
  __shared__ float scratch[kThreads / 32];
  let_kernel_after_start();
  wait_for_kernel_before();
  std::size_t source = blockIdx.x;
  if (job.gather) {
    if (static_cast<std::int32_t>(blockIdx.x) >= job.step->samples) return;
    source = static_cast<std::size_t>(array_at<StepSample>(job.step, job.step->samples_at)[blockIdx.x].row);
  }
  float* x = job.x + source * job.hidden;
  Bf16* out = static_cast<Bf16*>(job.out) + static_cast<std::size_t>(blockIdx.x) * job.hidden;
  float sum = 0, squares = 0;
  for (std::uint32_t i = threadIdx.x * 4; i < job.hidden; i += 4 * kThreads) {
    float4 v = *reinterpret_cast<const float4*>(x + i);
    if (job.add != nullptr) {
      const float4 more = *reinterpret_cast<const float4*>(job.add + i);
      v.x += more.x, v.y += more.y, v.z += more.z, v.w += more.w;
      *reinterpret_cast<float4*>(x + i) = v;
    }
    sum += v.x, sum += v.y, sum += v.z, sum += v.w;
    squares = fmaf(v.x, v.x, squares), squares = fmaf(v.y, v.y, squares);
    squares = fmaf(v.z, v.z, squares), squares = fmaf(v.w, v.w, squares);
  }
  const float width = static_cast<float>(job.width);
  float mean = 0, variance;
  if (job.layer) {
    mean = block_sum(sum, scratch) / width;
    // A second walk: the difference of two large sums would lose what a layer norm is about.
    squares = 0;
    for (std::uint32_t i = threadIdx.x * 4; i < job.hidden; i += 4 * kThreads)
#pragma unroll
      for (std::uint32_t e = 0; e < 4; ++e) {
        const float difference = i + e < job.width ? x[i + e] - mean : 0.0f;
        squares = fmaf(difference, difference, squares);
      }
  }
  variance = block_sum(squares, scratch) / width;
  const float scale = rsqrtf(variance + job.eps);
  for (std::uint32_t i = threadIdx.x * 4; i < job.hidden; i += 4 * kThreads) {
    const float4 v = *reinterpret_cast<const float4*>(x + i);
    const float4 w = *reinterpret_cast<const float4*>(job.weight + i);
    float4 y = {(v.x - mean) * scale * w.x, (v.y - mean) * scale * w.y, (v.z - mean) * scale * w.z,
                (v.w - mean) * scale * w.w};
    if (job.bias != nullptr) {
      const float4 b = *reinterpret_cast<const float4*>(job.bias + i);
      y.x += b.x, y.y += b.y, y.z += b.z, y.w += b.w;
    }
    *reinterpret_cast<uint2*>(out + i) = uint2{pack_bf16(y.x, y.y), pack_bf16(y.z, y.w)};
  }
}

// ---- rotation and the cache -----------------------------------------------------------------------------------------

constexpr int kRopeThreads = 128;
constexpr std::uint32_t kPairsMax = kHeadDimMax / 2 / 32;  // of a lane

/// A block a row, a warp a head in turn. A lane holds pairs (i, i + turned / 2) for i = lane, lane + 32, ... and the
/// dimensions behind `turned` in the same stride.
__global__ void __launch_bounds__(kRopeThreads) rope_kernel(RopeJob job) {
  let_kernel_after_start();
  wait_for_kernel_before();
  const StepRow row = array_at<StepRow>(job.step, job.step->rows_at)[blockIdx.x];
  if (row.slot < 0) return;
  const HeadShape& shape = job.shape;
  const std::uint32_t dim = shape.dim_padded;
  const std::uint32_t lane = threadIdx.x % 32;
  const std::uint32_t half = job.turned / 2;
  const std::uint32_t all = shape.heads + 2 * shape.kv_heads;
  Bf16* qkv = static_cast<Bf16*>(job.qkv) + static_cast<std::size_t>(blockIdx.x) * all * dim;
  const std::int32_t block = job.tables[static_cast<std::size_t>(row.slot) * job.table_blocks + row.position / 64];
  Bf16* cache = static_cast<Bf16*>(job.kv) + static_cast<std::size_t>(block) * shape.kv_heads * 2 * kTileKeys * dim;
  const std::uint32_t key = static_cast<std::uint32_t>(row.position) % kTileKeys;

  float2 angle[kPairsMax];
#pragma unroll
  for (std::uint32_t p = 0; p < kPairsMax; ++p) {
    const std::uint32_t i = lane + 32 * p;
    angle[p] = i < half ? job.angles[static_cast<std::size_t>(row.position) * half + i] : float2{1, 0};
  }
  for (std::uint32_t head = threadIdx.x / 32; head < all; head += kRopeThreads / 32) {
    Bf16* x = qkv + static_cast<std::size_t>(head) * dim;
    const float* bias = job.bias == nullptr ? nullptr : job.bias + static_cast<std::size_t>(head) * dim;
    const auto value = [&](std::uint32_t d) {
      const float v = __bfloat162float(x[d]);
      return bias == nullptr ? v : v + bias[d];
    };
    const bool is_value = head >= shape.heads + shape.kv_heads;
    const bool is_key = !is_value && head >= shape.heads;
    if (is_value) {
      const std::uint32_t kv_head = head - shape.heads - shape.kv_heads;
      Bf16* values = cache + (static_cast<std::size_t>(kv_head) * 2 + 1) * kTileKeys * dim;
      for (std::uint32_t d = lane; d < dim; d += 32) values[swizzled(key, d, dim)] = __float2bfloat16_rn(value(d));
    } else {
      const float* weight = is_key ? job.k_norm : job.q_norm;
      float scale = 1;
      if (weight != nullptr) {
        float squares = 0;
        for (std::uint32_t d = lane; d < dim; d += 32) squares = fmaf(value(d), value(d), squares);
        scale = rsqrtf(warp_sum(squares) / static_cast<float>(shape.dim) + job.norm_eps);
      }
      const auto normed = [&](std::uint32_t d) {
        return weight == nullptr ? value(d) : value(d) * scale * (d < shape.dim ? weight[d] : 0.0f);
      };
      Bf16* keys = is_key ? cache + static_cast<std::size_t>(head - shape.heads) * 2 * kTileKeys * dim : nullptr;
      const auto store = [&](std::uint32_t d, float v) {
        if (is_key)
          keys[swizzled(key, d, dim)] = __float2bfloat16_rn(v);
        else
          x[d] = __float2bfloat16_rn(v);
      };
#pragma unroll
      for (std::uint32_t p = 0; p < kPairsMax; ++p) {
        const std::uint32_t i = lane + 32 * p;
        if (i >= half) continue;
        const float a = normed(i), b = normed(i + half);
        store(i, fmaf(-b, angle[p].y, a * angle[p].x));
        store(i + half, fmaf(a, angle[p].y, b * angle[p].x));
      }
      for (std::uint32_t d = job.turned + lane; d < dim; d += 32) store(d, normed(d));
    }
  }
  // Behind the last row of its slice a new block still holds what an earlier owner left: attention multiplies it by
  // zero, so it must be finite.
  if (key == 0 && row.last % 64 != 63) {
    const std::uint32_t begin = row.last / 64 == row.position / 64 ? static_cast<std::uint32_t>(row.last) % 64 + 1 : 64;
    const std::uint32_t chunks = (kTileKeys - begin) * dim / 8;
    for (std::uint32_t part = 0; part < shape.kv_heads * 2; ++part) {
      auto* to = reinterpret_cast<uint4*>(cache + (static_cast<std::size_t>(part) * kTileKeys + begin) * dim);
      for (std::uint32_t i = threadIdx.x; i < chunks; i += kRopeThreads) to[i] = uint4{0, 0, 0, 0};
    }
  }
}

// ---- activations ----------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads) activate_kernel(ActivateJob job) {
  let_kernel_after_start();
  wait_for_kernel_before();
  const std::uint32_t chunk = blockIdx.x * kThreads + threadIdx.x;
  if (chunk >= job.width / 8) return;
  const std::size_t row = blockIdx.y;
  Bf16* out = static_cast<Bf16*>(job.out) + row * job.width + chunk * 8;
  const std::size_t in_width = job.gated ? std::size_t{2} * job.width : job.width;
  const auto* in = static_cast<const Bf16*>(job.in) + row * in_width + std::size_t{chunk} * (job.gated ? 16 : 8);
  alignas(16) Bf16 first[8], second[8];
  *reinterpret_cast<uint4*>(first) = *reinterpret_cast<const uint4*>(in);
  if (job.gated) *reinterpret_cast<uint4*>(second) = *reinterpret_cast<const uint4*>(in + 8);
  alignas(16) Bf16 result[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float x = __bfloat162float(first[i]);
    if (job.bias != nullptr) x += job.bias[chunk * 8 + i];
    x = activated(x, job.kind);
    if (job.gated) x *= __bfloat162float(second[i]);
    result[i] = __float2bfloat16_rn(x);
  }
  *reinterpret_cast<uint4*>(out) = *reinterpret_cast<const uint4*>(result);
}

}  // namespace

void embed(const Launch& launch, const EmbedJob& job, std::uint32_t rows) {
  start(launch, "embed", embed_kernel, dim3(rows), dim3(kThreads), 0, job);
}
void norm(const Launch& launch, const NormJob& job, std::uint32_t rows) {
  start(launch, "norm", norm_kernel, dim3(rows), dim3(kThreads), 0, job);
}
void rope_write(const Launch& launch, const RopeJob& job, std::uint32_t rows) {
  start(launch, "rope_write", rope_kernel, dim3(rows), dim3(kRopeThreads), 0, job);
}
void activate(const Launch& launch, const ActivateJob& job, std::uint32_t rows) {
  start(launch, "activate", activate_kernel, dim3((job.width / 8 + kThreads - 1) / kThreads, rows), dim3(kThreads), 0,
        job);
}

}  // namespace sluice::engine::cuda
