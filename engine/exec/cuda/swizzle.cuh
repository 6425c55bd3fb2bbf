// Where an element of a tile of keys or values lies.
//
// A tile is [64][dim] bf16, row-major, but the 16-byte pieces of a row change places by the row's number, so that
// ldmatrix finds the same piece of eight rows in eight different banks. The cache is stored that way, so a tile comes
// into shared memory by one plain bulk copy.
#pragma once

#include <cstdint>

namespace sluice::engine::cuda {

/// Which piece of `row` holds piece `piece`. Rows of a multiple of 128 bytes exchange eight pieces, others four.
__host__ __device__ constexpr std::uint32_t swizzled_piece(std::uint32_t row, std::uint32_t piece, std::uint32_t dim) {
  return dim % 64 == 0 ? piece ^ (row & 7u) : piece ^ ((row >> 1) & 3u);
}

/// Index of element (row, d) in its tile.
__host__ __device__ constexpr std::uint32_t swizzled(std::uint32_t row, std::uint32_t d, std::uint32_t dim) {
  return row * dim + swizzled_piece(row, d / 8, dim) * 8 + d % 8;
}

}  // namespace sluice::engine::cuda
