// The step's products: for each shape and number of rows the fastest way whose bits are right.
//
// Two ways: the engine's own kernel for few rows (few_rows.cu), and cuBLASLt's algorithms that do not split K. Both add
// in ascending k16 steps into one fp32 accumulator; tune() tests each candidate of cuBLASLt's against the own kernel,
// bit by bit, on random numbers, times those that pass, and keeps the fastest. So which way is taken never shows in a
// result. Without cuBLASLt the own kernel does everything, in slices of 128 rows.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/exec/cuda/cublas.h"
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/exec/cuda/product_kernels.h"

namespace sluice::engine::cuda {

/// w[n, k] in device memory, which it does not own.
struct Matrix {
  const void* data = nullptr;
  std::uint32_t n = 0, k = 0;
  WeightMaps deep{}, shallow{};  // for products of up to 16 rows, and of more
};

/// a[rows, k] in device memory: one of the step's buffers.
struct RowsBuffer {
  void* data = nullptr;
  std::uint32_t k = 0;
  std::uint32_t rows = 0;  // allocated: at least 128
  CUtensorMap maps[5]{};   // boxes of 8, 16, 32, 64, 128 rows
};

struct ProductsOptions {
  std::uint32_t multiprocessors = 0;
  bool own_only = false;  // never cuBLASLt
};

class Products {
 public:
  explicit Products(const ProductsOptions& options);

  Matrix matrix(const void* data, std::uint32_t n, std::uint32_t k) const;
  RowsBuffer rows_buffer(void* data, std::uint32_t rows, std::uint32_t k) const;
  /// Rows that a buffer must have so that products of `rows` rows may be padded.
  static std::uint32_t row_room(std::uint32_t rows);

  /// Finds the fastest way for products like these with up to `rows_max` rows; the matrices are of one shape and serve
  /// in turn, so that none stays in the cache. `scratch` and `other` hold row_room(rows_max) rows of the output, and
  /// `gate_up` unrounded gates and ups when `kind` is gated. Blocks.
  void tune(const std::vector<const Matrix*>& matrices, const RowsBuffer& a, ProductOut kind, std::size_t out_stride,
            void* scratch, void* other, std::uint32_t rows_max, cudaStream_t stream);

  /// `gate_up`: [row_room(rows), n] bf16, used only when kind is gated.
  void run(const Launch& launch, const Matrix& w, const RowsBuffer& a, std::uint32_t rows, ProductOut kind, void* out,
           std::size_t out_stride, void* gate_up);

  bool has_blas() const { return blas_ != nullptr; }
  /// A line a shape: which way for which rows, with times.
  const std::vector<std::string>& notes() const { return notes_; }
  /// Candidates of cuBLASLt's that were tried, and those whose bits differed.
  std::uint32_t candidates_tried() const { return tried_; }
  std::uint32_t candidates_refused() const { return refused_; }

 private:
  using Key = std::tuple<std::uint32_t, std::uint32_t, ProductOut, std::uint32_t>;  // n, k, kind, bucket
  void own(const Launch& launch, const Matrix& w, const RowsBuffer& a, std::uint32_t rows, ProductOut kind, void* out,
           std::size_t out_stride, std::uint32_t first_row);

  ProductsOptions options_;
  Block<unsigned char> workspace_;
  std::unique_ptr<Blas> blas_;
  std::map<Key, std::shared_ptr<BlasPlan>> plans_;  // absent: the own kernel
  std::vector<std::string> notes_;
  std::uint32_t tried_ = 0, refused_ = 0;
};

}  // namespace sluice::engine::cuda
