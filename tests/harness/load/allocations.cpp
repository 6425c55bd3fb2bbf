#include "tests/harness/load/allocations.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

// In a file of its own: beside a delete that it can inline, gcc takes the pairs for mismatched.
namespace {
thread_local std::uint64_t count = 0;

void* counted(std::size_t size, std::size_t alignment) {
  ++count;
  const std::size_t wanted = std::max<std::size_t>(size, 1);
  void* const memory = alignment <= alignof(std::max_align_t)
                           ? std::malloc(wanted)
                           : std::aligned_alloc(alignment, (wanted + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
// A sanitizer has its own of this one, whose memory the deletes below could not take.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++count;
  return std::malloc(std::max<std::size_t>(size, 1));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace sluice::testing_support {

std::uint64_t allocations_of_this_thread() { return count; }

}  // namespace sluice::testing_support
