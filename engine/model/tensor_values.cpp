#include "engine/model/tensor_values.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "engine/core/check.h"

namespace sluice::engine {
namespace {

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const int exponent = (half >> 10) & 0x1f;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t biased = exponent == 31 ? 255u : static_cast<std::uint32_t>(exponent - 15 + 127);
  return std::bit_cast<float>(sign | biased << 23 | fraction << 13);
}

std::uint16_t to_bf16(float value) {
  if (value != value) return 0x7fc0;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

float value_at(const TensorView& tensor, std::uint64_t i) {
  if (tensor.dtype == Dtype::f32) {
    float value;
    std::memcpy(&value, tensor.data.data() + i * 4, 4);
    return value;
  }
  SLUICE_ENGINE_CHECK(tensor.dtype == Dtype::bf16 || tensor.dtype == Dtype::f16);
  std::uint16_t bits;
  std::memcpy(&bits, tensor.data.data() + i * 2, 2);
  return tensor.dtype == Dtype::bf16 ? std::bit_cast<float>(std::uint32_t{bits} << 16) : half_to_float(bits);
}

}  // namespace

void read_bf16(const TensorView& tensor, std::uint64_t first, std::uint64_t count, std::uint16_t* out) {
  if (tensor.dtype == Dtype::bf16) {
    std::memcpy(out, tensor.data.data() + first * 2, count * 2);
    return;
  }
  for (std::uint64_t i = 0; i < count; ++i) out[i] = to_bf16(value_at(tensor, first + i));
}

void read_float(const TensorView& tensor, std::uint64_t first, std::uint64_t count, float* out) {
  for (std::uint64_t i = 0; i < count; ++i) out[i] = value_at(tensor, first + i);
}

}  // namespace sluice::engine
