// Kernels of loading and measuring, none of a step: random weights, comparing bits, reading as fast as can be.
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/exec/cuda/launch.cuh"
#include "engine/exec/cuda/ptx.cuh"

namespace sluice::engine::cuda {
namespace {

__device__ std::uint64_t mixed(std::uint64_t z) {  // splitmix64's finaliser
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

__global__ void random_kernel(Bf16* out, std::uint64_t count, std::uint64_t columns, std::uint64_t used,
                              float deviation, std::uint64_t seed) {
  const std::uint64_t threads = std::uint64_t{gridDim.x} * blockDim.x;
  for (std::uint64_t pair = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; pair < count / 2; pair += threads) {
    const std::uint64_t bits = mixed(seed + (pair + 1) * 0x9E3779B97F4A7C15ull);
    // Box and Muller: two uniforms, two normals.
    const float u = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
    const float v = static_cast<float>((bits >> 8) & 0xffffffu) * 0x1p-24f;
    const float radius = deviation * sqrtf(-2.0f * logf(u));
    const std::uint64_t i = pair * 2;
    out[i] = __float2bfloat16_rn(i % columns < used ? radius * cospif(2 * v) : 0.0f);
    out[i + 1] = __float2bfloat16_rn((i + 1) % columns < used ? radius * sinpif(2 * v) : 0.0f);
  }
}

__global__ void difference_kernel(const unsigned char* a, std::size_t a_stride, const unsigned char* b,
                                  std::size_t b_stride, std::uint32_t columns, std::uint32_t element,
                                  std::uint32_t* count) {
  std::uint32_t different = 0;
  for (std::uint32_t column = threadIdx.x; column < columns; column += blockDim.x)
    for (std::uint32_t byte = 0; byte < element; ++byte)
      if (a[(blockIdx.x * a_stride + column) * element + byte] !=
          b[(blockIdx.x * b_stride + column) * element + byte]) {
        ++different;
        break;
      }
  if (different != 0) atomicAdd(count, different);
}

__global__ void __launch_bounds__(512) read_kernel(const uint4* data, std::size_t count, float* sink) {
  std::uint32_t bits = 0;
  const std::size_t threads = std::size_t{gridDim.x} * blockDim.x;
  std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (; i + 7 * threads < count; i += 8 * threads) {
    uint4 v[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] = __ldcs(data + i + k * threads);
#pragma unroll
    for (int k = 0; k < 8; ++k) bits ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
  }
  if (bits == 0x12345678u) *sink = 1;
}

}  // namespace

void fill_random(cudaStream_t stream, void* out, std::uint64_t rows, std::uint64_t columns, std::uint64_t columns_used,
                 float deviation, std::uint64_t seed) {
  start({stream, false}, "fill_random", random_kernel, dim3(2048), dim3(256), 0, static_cast<Bf16*>(out),
        rows * columns, columns, columns_used, deviation, seed);
}

void count_differences(cudaStream_t stream, const void* a, std::size_t a_stride, const void* b, std::size_t b_stride,
                       std::uint32_t rows, std::uint32_t columns, std::uint32_t element_bytes, std::uint32_t* count) {
  start({stream, false}, "count_differences", difference_kernel, dim3(rows), dim3(256), 0,
        static_cast<const unsigned char*>(a), a_stride, static_cast<const unsigned char*>(b), b_stride, columns,
        element_bytes, count);
}

void read_all(cudaStream_t stream, const void* data, std::size_t bytes, float* sink) {
  start({stream, false}, "read_all", read_kernel, dim3(132 * 4), dim3(512), 0, static_cast<const uint4*>(data),
        bytes / sizeof(uint4), sink);
}

}  // namespace sluice::engine::cuda
