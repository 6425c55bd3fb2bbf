// cuBLASLt, opened when the program runs: the engine starts on machines that lack it, and falls back to its own
// products there.
//
// Only algorithms that do not split K are asked for. Whether their bits are those of the engine's own products is for
// the caller to test (products.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sluice::engine::cuda {

/// out[rows, n] = a[rows, k] * w[n, k]^T (+ out), bf16 in, fp32 sums.
struct BlasShape {
  std::uint32_t n = 0, k = 0, rows = 0;
  std::size_t out_stride = 0;
  bool fp32 = false;  // type of `out`; else bf16
  bool add = false;
};

class BlasPlan;

class Blas {
 public:
  /// Null when the library cannot be opened. `workspace` belongs to the caller.
  static std::unique_ptr<Blas> open(void* workspace, std::size_t workspace_bytes);
  ~Blas();

  /// What the library offers for this shape, its own favourite first.
  std::vector<std::shared_ptr<BlasPlan>> plans(const BlasShape& shape, int most);
  /// False when the library refuses.
  bool run(const BlasPlan& plan, const void* a, const void* w, void* out, cudaStream_t stream);

  struct Functions;  // of the library

 private:
  Blas();
  std::unique_ptr<Functions> functions_;
  void* workspace_ = nullptr;
  std::size_t workspace_bytes_ = 0;
};

}  // namespace sluice::engine::cuda
