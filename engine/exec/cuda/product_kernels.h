// The few-row product kernel, as products.cpp calls it.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

#include "engine/exec/cuda/kernels.h"

namespace sluice::engine::cuda {

/// What becomes of a product's fp32 sums.
enum class ProductOut : std::uint8_t {
  bf16,   // rounded
  gated,  // columns are 8 gates and 8 ups in turn: silu(gate) * up, each rounded to bf16 before; half as many columns
  add,    // fp32: added to what is there, one addition
  fp32,   // fp32
};

/// out[rows, n] = a[rows, k] * w[n, k]^T.
struct Product {
  std::uint32_t n = 0, k = 0;  // multiples of 16 and 64
  std::uint32_t rows = 0;
  std::uint32_t first_row = 0;  // of `a`; `out` begins with this row
  ProductOut kind = ProductOut::bf16;
  void* out = nullptr;
  std::size_t out_stride = 0;  // elements of a row
};

/// Boxes of 64 columns that one tensor copy brings, by the rows that a product is padded to: as many as a ring of
/// several stages has room for.
constexpr std::uint32_t product_boxes(std::uint32_t padded_rows) { return padded_rows <= 16 ? 4 : 2; }

/// Tensor maps of a matrix as [k / 64][n][64]: boxes of 16, 32, 48, 64 rows (of n) by product_boxes() times 64 columns,
/// with the 128-byte swizzle.
constexpr std::uint32_t kWeightTiles = 4;
struct WeightMaps {
  CUtensorMap boxes[kWeightTiles];
};

/// `padded_rows`: 8, 16, 32, 64 or 128, at least product.rows; `rows_of_a` maps boxes of padded_rows by kProductBoxes
/// times 64 columns in the same way.
void few_rows_product(const Launch& launch, const WeightMaps& weights, const CUtensorMap& rows_of_a,
                      std::uint32_t padded_rows, const Product& product, std::uint32_t multiprocessors);
void prepare_few_rows();

}  // namespace sluice::engine::cuda
