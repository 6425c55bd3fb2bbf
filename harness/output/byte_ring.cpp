#include "harness/output/byte_ring.h"

#include <bit>

#include "harness/base/check.h"

namespace sluice {

ByteRing::ByteRing(std::size_t bytes)
    : size_(bytes),
      words_(std::make_unique_for_overwrite<std::uint64_t[]>(bytes / sizeof(std::uint64_t))),
      bytes_(reinterpret_cast<std::byte*>(words_.get())) {
  SLUICE_CHECK(bytes >= 64 && std::has_single_bit(bytes));
}

std::byte* ByteRing::reserve(std::size_t size) {
  if (size > size_ - kHead) return nullptr;
  const std::size_t whole = kHead + (size + 7) / 8 * 8;
  const std::uint64_t at = written_.load(std::memory_order_relaxed);
  const std::size_t place = at & (size_ - 1);
  const std::size_t skipped = whole > size_ - place ? size_ - place : 0;  // entries lie in one piece
  if (at + skipped + whole - read_seen_ > size_) {
    read_seen_ = read_.load(std::memory_order_acquire);
    if (at + skipped + whole - read_seen_ > size_) return nullptr;
  }
  if (skipped > 0) words_[place / 8] = kSkip;
  const std::size_t head = skipped > 0 ? 0 : place;
  words_[head / 8] = size;
  reserved_ = at + skipped + whole;
  return bytes_ + head + kHead;
}

void ByteRing::commit() { written_.store(reserved_, std::memory_order_release); }

std::span<const std::byte> ByteRing::front() {
  const std::uint64_t at = read_.load(std::memory_order_relaxed);
  if (at == written_seen_) {
    written_seen_ = written_.load(std::memory_order_acquire);
    if (at == written_seen_) return {};
  }
  std::size_t place = at & (size_ - 1);
  std::uint64_t skipped = 0;
  if (words_[place / 8] == kSkip) {
    skipped = size_ - place;
    place = 0;
  }
  const std::size_t size = words_[place / 8];
  next_ = at + skipped + kHead + (size + 7) / 8 * 8;
  return {bytes_ + place + kHead, size};
}

void ByteRing::pop() { read_.store(next_, std::memory_order_release); }

}  // namespace sluice
