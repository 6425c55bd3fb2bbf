// silu and gelu, one definition for every kernel that applies them.
#pragma once

#include <cstdint>

namespace sluice::engine::cuda {

/// kind: 0 silu, 1 gelu, 2 gelu by tanh.
__device__ __forceinline__ float activated(float x, std::uint8_t kind) {
  if (kind == 0) return x / (1.0f + __expf(-x));
  if (kind == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

}  // namespace sluice::engine::cuda
