// Zeroed memory for large arrays: aligned to 64 bytes, on huge pages where the system gives them.
//
// A page is placed near the thread that writes it first, so each thread fills the part that it will read.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace sluice::engine::cpu {

/// Zeroed bytes; null when the system has no more. release_pages(p, n) gives them back.
void* reserve_pages(std::size_t bytes);
void release_pages(void* memory, std::size_t bytes);

template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  /// Empty when there is not enough memory and count > 0.
  explicit Buffer(std::size_t count)
      : data_(static_cast<T*>(reserve_pages(count * sizeof(T)))), size_(data_ == nullptr ? 0 : count) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_pages(data_, size_ * sizeof(T));
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace sluice::engine::cpu
