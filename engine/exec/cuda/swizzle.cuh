// Where an element of a tile of keys or values lies.
//
// A tile is [64][dim] bf16. Rows of a multiple of 64 elements are cut into columns of 64, [dim / 64][64][64], and the
// eight 16-byte pieces of each 128-byte row change places by the row's number: the layout that wgmma reads (128-byte
// swizzle), and in which ldmatrix finds the same piece of eight rows in eight different banks. Other rows stay whole
// and change places among four pieces. The cache is stored that way, so a tile comes into shared memory by one plain
// copy.
#pragma once

#include <cstdint>

namespace sluice::engine::cuda {

/// Byte offset of 16-byte piece `piece` of row `row` in a tile of `rows` rows of `dim` elements.
__host__ __device__ constexpr std::uint32_t piece_offset(std::uint32_t row, std::uint32_t piece, std::uint32_t dim,
                                                         std::uint32_t rows = 64) {
  return dim % 64 == 0 ? piece / 8 * (rows * 128) + row * 128 + ((piece % 8) ^ (row & 7u)) * 16
                       : row * (dim * 2) + (piece ^ ((row >> 1) & 3u)) * 16;
}

/// Index of element (row, d) in its tile.
__host__ __device__ constexpr std::uint32_t swizzled(std::uint32_t row, std::uint32_t d, std::uint32_t dim) {
  return piece_offset(row, d / 8, dim) / 2 + d % 8;
}

}  // namespace sluice::engine::cuda
