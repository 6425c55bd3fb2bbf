// What happens to each row by itself: embedding, norms, rotation and the cache's writing, activations.
//
// A block a row (rope: four heads of a row; activate: eight elements a thread). hidden is a multiple of 64, so rows are
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
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += scratch[warp];
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

constexpr std::uint32_t kNormThreadsMax = 1024;

/// A thread holds four values of each of Parts stretches of the row.
template <int Parts>
__global__ void __launch_bounds__(kNormThreadsMax) norm_kernel(NormJob job) {
  __shared__ float scratch[kNormThreadsMax / 32];
  const std::uint32_t first = threadIdx.x * 4, stride = blockDim.x * 4;
  let_kernel_after_start();
  // Weights do not depend on the kernel before.
  float4 weight[Parts];
#pragma unroll
  for (int part = 0; part < Parts; ++part)
    if (first + part * stride < job.hidden)
      weight[part] = *reinterpret_cast<const float4*>(job.weight + first + part * stride);
  wait_for_kernel_before();
  std::size_t source = blockIdx.x;
  if (job.gather) {
    if (static_cast<std::int32_t>(blockIdx.x) >= job.step->samples) return;
    source = static_cast<std::size_t>(array_at<StepSample>(job.step, job.step->samples_at)[blockIdx.x].row);
  }
  float* x = job.x + source * job.hidden;
  Bf16* out = static_cast<Bf16*>(job.out) + static_cast<std::size_t>(blockIdx.x) * job.hidden;
  float4 v[Parts];
  float sum = 0, squares = 0;
#pragma unroll
  for (int part = 0; part < Parts; ++part) {
    const std::uint32_t i = first + part * stride;
    v[part] = float4{0, 0, 0, 0};
    if (i >= job.hidden) continue;
    v[part] = *reinterpret_cast<const float4*>(x + i);
    if (job.add != nullptr) {
      const float4 more = *reinterpret_cast<const float4*>(job.add + i);
      v[part].x += more.x, v[part].y += more.y, v[part].z += more.z, v[part].w += more.w;
      *reinterpret_cast<float4*>(x + i) = v[part];
    }
    sum += v[part].x, sum += v[part].y, sum += v[part].z, sum += v[part].w;
    squares = fmaf(v[part].x, v[part].x, squares), squares = fmaf(v[part].y, v[part].y, squares);
    squares = fmaf(v[part].z, v[part].z, squares), squares = fmaf(v[part].w, v[part].w, squares);
  }
  const float width = static_cast<float>(job.width);
  float mean = 0;
  if (job.layer) {
    mean = block_sum(sum, scratch) / width;
    // A second walk: the difference of two large sums would lose what a layer norm is about.
    squares = 0;
#pragma unroll
    for (int part = 0; part < Parts; ++part) {
      const std::uint32_t i = first + part * stride;
      const float values[4] = {v[part].x, v[part].y, v[part].z, v[part].w};
#pragma unroll
      for (std::uint32_t e = 0; e < 4; ++e) {
        const float difference = i + e < job.width ? values[e] - mean : 0.0f;
        squares = fmaf(difference, difference, squares);
      }
    }
  }
  const float scale = rsqrtf(block_sum(squares, scratch) / width + job.eps);
#pragma unroll
  for (int part = 0; part < Parts; ++part) {
    const std::uint32_t i = first + part * stride;
    if (i >= job.hidden) continue;
    float4 y = {(v[part].x - mean) * scale * weight[part].x, (v[part].y - mean) * scale * weight[part].y,
                (v[part].z - mean) * scale * weight[part].z, (v[part].w - mean) * scale * weight[part].w};
    if (job.bias != nullptr) {
      const float4 b = *reinterpret_cast<const float4*>(job.bias + i);
      y.x += b.x, y.y += b.y, y.z += b.z, y.w += b.w;
    }
    *reinterpret_cast<uint2*>(out + i) = uint2{pack_bf16(y.x, y.y), pack_bf16(y.z, y.w)};
  }
}

// ---- rotation and the cache -----------------------------------------------------------------------------------------

constexpr int kRopeThreads = 128;

/// A warp a head of a row, then the next of its stride. A lane holds pairs (i, i + turned / 2) for i = 2 * lane, 2 *
/// lane + 1 and so on in strides of 64, and the dimensions behind `turned` in the same strides.
__global__ void __launch_bounds__(kRopeThreads) rope_kernel(RopeJob job) {
  let_kernel_after_start();
  const HeadShape& shape = job.shape;
  const std::uint32_t dim = shape.dim_padded;
  const std::uint32_t lane = threadIdx.x % 32;
  const std::uint32_t half = job.turned / 2;
  const std::uint32_t all = shape.heads + 2 * shape.kv_heads;
  wait_for_kernel_before();
  const StepRow row = array_at<StepRow>(job.step, job.step->rows_at)[blockIdx.x];
  if (row.slot < 0) return;
  const std::uint32_t key = static_cast<std::uint32_t>(row.position) % kTileKeys;
  const std::int32_t block = job.tables[static_cast<std::size_t>(row.slot) * job.table_blocks + row.position / 64];
  for (std::uint32_t head = blockIdx.y * (kRopeThreads / 32) + threadIdx.x / 32; head < all;
       head += gridDim.y * (kRopeThreads / 32)) {
    Bf16* x = static_cast<Bf16*>(job.qkv) + (static_cast<std::size_t>(blockIdx.x) * all + head) * dim;
    const float* bias = job.bias == nullptr ? nullptr : job.bias + static_cast<std::size_t>(head) * dim;
    const bool is_value = head >= shape.heads + shape.kv_heads;
    const bool is_key = !is_value && head >= shape.heads;
    Bf16* cache = nullptr;  // this head's part of the block: keys or values
    if (is_key || is_value) {
      const std::uint32_t kv_head = (head - shape.heads) % shape.kv_heads;
      cache = static_cast<Bf16*>(job.kv) +
              ((static_cast<std::size_t>(block) * shape.kv_heads + kv_head) * 2 + (is_value ? 1 : 0)) * kTileKeys * dim;
    }
    const auto load = [&](std::uint32_t d) {
      float2 v = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(x + d));
      if (bias != nullptr) v.x += bias[d], v.y += bias[d + 1];
      return v;
    };
    const auto store = [&](std::uint32_t d, float low, float high) {
      Bf16* to = cache != nullptr ? cache + swizzled(key, d, dim) : x + d;
      *reinterpret_cast<std::uint32_t*>(to) = pack_bf16(low, high);
    };
    const float* weight = is_value ? nullptr : is_key ? job.k_norm : job.q_norm;
    float scale = 1;
    if (weight != nullptr) {
      float squares = 0;
      for (std::uint32_t d = 2 * lane; d < dim; d += 64) {
        const float2 v = load(d);
        squares = fmaf(v.x, v.x, squares);
        squares = fmaf(v.y, v.y, squares);
      }
      scale = rsqrtf(warp_sum(squares) / static_cast<float>(shape.dim) + job.norm_eps);
    }
    const auto normed = [&](std::uint32_t d) {
      float2 v = load(d);
      if (weight != nullptr) v.x *= scale * weight[d], v.y *= scale * weight[d + 1];
      return v;
    };
    const std::uint32_t turned = is_value ? 0 : job.turned;
    if (half % 2 == 0) {
      for (std::uint32_t i = 2 * lane; i < turned / 2; i += 64) {
        const float4 angle =
            *reinterpret_cast<const float4*>(job.angles + static_cast<std::size_t>(row.position) * half + i);
        const float2 a = normed(i), b = normed(i + half);
        store(i, fmaf(-b.x, angle.y, a.x * angle.x), fmaf(-b.y, angle.w, a.y * angle.z));
        store(i + half, fmaf(a.x, angle.y, b.x * angle.x), fmaf(a.y, angle.w, b.y * angle.z));
      }
    } else {  // an odd number of pairs: one at a time
      const auto one = [&](std::uint32_t d) {
        const float v = __bfloat162float(x[d]) + (bias != nullptr ? bias[d] : 0.0f);
        return weight == nullptr ? v : v * (scale * weight[d]);
      };
      const auto put = [&](std::uint32_t d, float v) {
        (cache != nullptr ? cache + swizzled(key, d, dim) : x + d)[0] = __float2bfloat16_rn(v);
      };
      for (std::uint32_t i = lane; i < turned / 2; i += 32) {
        const float2 angle = job.angles[static_cast<std::size_t>(row.position) * half + i];
        const float a = one(i), b = one(i + half);
        put(i, fmaf(-b, angle.y, a * angle.x));
        put(i + half, fmaf(a, angle.y, b * angle.x));
      }
    }
    for (std::uint32_t d = turned + 2 * lane; d < dim; d += 64) {
      const float2 v = normed(d);
      store(d, v.x, v.y);
    }
    // Behind the last row of its slice a new block still holds what an earlier owner left: attention multiplies it by
    // zero, so it must be finite.
    if (cache != nullptr && key == 0 && row.last / 64 == row.position / 64 && row.last % 64 != 63) {
      const std::uint32_t begin = static_cast<std::uint32_t>(row.last) % 64 + 1;
      for (std::uint32_t i = lane; i < (kTileKeys - begin) * (dim / 8); i += 32)
        *reinterpret_cast<uint4*>(reinterpret_cast<unsigned char*>(cache) +
                                  piece_offset(begin + i / (dim / 8), i % (dim / 8), dim)) = uint4{0, 0, 0, 0};
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
    const float* bias = job.gated ? job.gate_bias : job.up_bias;
    float x = __bfloat162float(first[i]);
    if (bias != nullptr) x += bias[chunk * 8 + i];
    x = activated(x, job.kind);
    if (job.gated) {
      float up = __bfloat162float(second[i]);
      if (job.up_bias != nullptr) up += job.up_bias[chunk * 8 + i];
      x *= up;
    }
    result[i] = __float2bfloat16_rn(x);
  }
  *reinterpret_cast<uint4*>(out) = *reinterpret_cast<const uint4*>(result);
}

}  // namespace

void embed(const Launch& launch, const EmbedJob& job, std::uint32_t rows) {
  start(launch, "embed", embed_kernel, dim3(rows), dim3(kThreads), 0, job);
}
void norm(const Launch& launch, const NormJob& job, std::uint32_t rows) {
  // By the width alone, so that a row's sum has one order.
  const std::uint32_t quads = job.hidden / 4;
  const std::uint32_t parts = (quads + kNormThreadsMax - 1) / kNormThreadsMax;
  const auto threads = [&](std::uint32_t of) {
    return dim3((quads + of - 1) / of / 32 * 32 + ((quads + of - 1) / of % 32 != 0 ? 32 : 0));
  };
  if (parts <= 1)
    start(launch, "norm", norm_kernel<1>, dim3(rows), threads(1), 0, job);
  else if (parts <= 2)
    start(launch, "norm", norm_kernel<2>, dim3(rows), threads(2), 0, job);
  else if (parts <= 4)
    start(launch, "norm", norm_kernel<4>, dim3(rows), threads(4), 0, job);
  else
    start(launch, "norm", norm_kernel<16>, dim3(rows), threads(16), 0, job);
}
void rope_write(const Launch& launch, const RopeJob& job, std::uint32_t rows) {
  const std::uint32_t heads = job.shape.heads + 2 * job.shape.kv_heads;
  // Few rows: a warp a head. Many: fewer warps, each with several heads of a row, whose place they look up once.
  const std::uint32_t parts = (heads + kRopeThreads / 32 - 1) / (kRopeThreads / 32);
  start(launch, "rope_write", rope_kernel, dim3(rows, rows < 128 ? parts : (parts + 3) / 4), dim3(kRopeThreads), 0,
        job);
}
void activate(const Launch& launch, const ActivateJob& job, std::uint32_t rows) {
  start(launch, "activate", activate_kernel, dim3((job.width / 8 + kThreads - 1) / kThreads, rows), dim3(kThreads), 0,
        job);
}

}  // namespace sluice::engine::cuda
