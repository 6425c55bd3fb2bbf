// The device as the host sees it: errors, memory, the arena.
//
// CudaError never leaves exec/cuda: make_cuda_executor() turns it into a Result, the executor into failure().
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::engine::cuda {

class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws CudaError("<what>: <CUDA's words>") unless `code` is success.
inline void check(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw CudaError(std::string(what) + ": " + cudaGetErrorString(code));
}

/// Device memory, or pinned host memory that the device can address. Owned; freed with the object.
enum class Memory : std::uint8_t { device, pinned };

template <class T, Memory where = Memory::device>
class Block {
 public:
  Block() = default;
  Block(std::size_t count, const char* what) : count_(count) {
    if (count == 0) return;
    void* pointer = nullptr;
    if constexpr (where == Memory::device)
      check(cudaMalloc(&pointer, count * sizeof(T)), what);
    else
      check(cudaHostAlloc(&pointer, count * sizeof(T), cudaHostAllocMapped), what);
    data_ = static_cast<T*>(pointer);
  }
  Block(Block&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  Block& operator=(Block&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~Block() {
    if (data_ == nullptr) return;
    if constexpr (where == Memory::device)
      cudaFree(data_);
    else
      cudaFreeHost(data_);
  }
  T* data() const { return data_; }
  std::size_t size() const { return count_; }
  std::size_t bytes() const { return count_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace sluice::engine::cuda
