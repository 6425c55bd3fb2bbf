// A bounded queue of byte strings between two threads: one pushes, one takes. Neither ever waits for the other.
//
// The memory is allocated once, by the constructor, and touched only as far as it is used.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace sluice {

class ByteRing {
 public:
  /// REQUIRES: `bytes` is a power of two, at least 64.
  explicit ByteRing(std::size_t bytes);
  ByteRing(const ByteRing&) = delete;
  ByteRing& operator=(const ByteRing&) = delete;

  /// The producer: room for an entry of `size` bytes, aligned to 8; null when there is none. It counts once committed;
  /// asking again before that gives the room back. An entry over half the ring may never find room; none is empty.
  std::byte* reserve(std::size_t size);
  void commit();

  /// The consumer: the oldest entry; empty when there is none. Good until pop().
  std::span<const std::byte> front();
  void pop();

 private:
  static constexpr std::size_t kHead = 8;  // before each entry: its size, as a whole word so that entries are aligned
  static constexpr std::uint64_t kSkip = ~std::uint64_t{0};  // instead of a size: go on at the ring's start

  const std::size_t size_;
  std::unique_ptr<std::uint64_t[]> words_;
  std::byte* const bytes_;

  // Positions only grow; modulo the size they are places. Each side keeps what it last saw of the other's.
  alignas(64) std::atomic<std::uint64_t> written_{0};
  std::uint64_t reserved_ = 0, read_seen_ = 0;
  alignas(64) std::atomic<std::uint64_t> read_{0};
  std::uint64_t written_seen_ = 0, next_ = 0;
};

}  // namespace sluice
