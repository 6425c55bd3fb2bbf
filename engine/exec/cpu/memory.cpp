#include "engine/exec/cpu/memory.h"

#include <sys/mman.h>

#include <cstdint>

namespace sluice::engine::cpu {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// What is mapped for `bytes`: whole huge pages for large arrays, so that the start can lie on a boundary of one.
std::size_t mapped_size(std::size_t bytes) {
  const std::size_t page = bytes >= kHugePage ? kHugePage : 4096;
  return (bytes + page - 1) / page * page;
}

}  // namespace

void* reserve_pages(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::size_t size = mapped_size(bytes);
  const std::size_t slack = size >= kHugePage ? kHugePage : 0;
  void* const mapping = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  if (slack == 0) return mapping;
  auto* const begin = static_cast<std::byte*>(mapping);
  const std::size_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  if (before > 0) munmap(begin, before);
  if (slack > before) munmap(begin + before + size, slack - before);
  madvise(begin + before, size, MADV_HUGEPAGE);  // a wish: small pages are slower, not wrong
  return begin + before;
}

void release_pages(void* memory, std::size_t bytes) { munmap(memory, mapped_size(bytes)); }

}  // namespace sluice::engine::cpu
