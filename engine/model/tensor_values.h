// A tensor's values, whatever dtype the file holds.
#pragma once

#include <cstdint>

#include "engine/model/safetensors.h"

namespace sluice::engine {

/// `count` values from `first`, rounded to bf16 (nearest, ties to even; NaN stays NaN).
/// REQUIRES: the dtype is f32, f16 or bf16, and the values are there.
void read_bf16(const TensorView& tensor, std::uint64_t first, std::uint64_t count, std::uint16_t* out);

/// The same as float, exact.
void read_float(const TensorView& tensor, std::uint64_t first, std::uint64_t count, float* out);

}  // namespace sluice::engine
