// How often values of each size occurred: log-linear buckets, mergeable without loss.
//
// Values are whole ticks (nanoseconds, characters, tokens ...), of which the caller knows the unit. Ticks below
// 2^SubBits have a bucket each; above, every power of two is cut into 2^SubBits equal buckets, so that the middle of a
// bucket is off by at most 2^-(SubBits+1) of the value. Count, sum, sum of squares, minimum and maximum are exact.
// Values from kTicksMax on (73 minutes in nanoseconds) count as kTicksMax - 1.
//
// Memory: one block of 2^SubBits counters for each power of two in use, at most kBlocksMax; nothing is allocated once a
// block is there. Merging adds counters: any order, any split gives equal histograms. One thread at a time.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace sluice {

__extension__ using WideCount = unsigned __int128;  // sums of squared nanoseconds leave 64 bits within a second

template <unsigned SubBits, class Count>
class BasicHistogram {
 public:
  static constexpr std::uint64_t kTicksMax = std::uint64_t{1} << 42;
  static constexpr std::size_t kBlockSize = std::size_t{1} << SubBits;
  static constexpr std::size_t kBlocksMax = 42 - SubBits + 1;

  BasicHistogram() = default;
  BasicHistogram(const BasicHistogram& other) { *this = other; }
  BasicHistogram(BasicHistogram&&) noexcept = default;
  BasicHistogram& operator=(const BasicHistogram& other);  // keeps and reuses the blocks it has
  BasicHistogram& operator=(BasicHistogram&&) noexcept = default;
  ~BasicHistogram() = default;

  void add(std::uint64_t ticks, Count times = 1) {
    if (ticks >= kTicksMax) ticks = kTicksMax - 1;
    const Position at = position(ticks);
    auto& block = blocks_[at.block];
    if (!block) block = std::make_unique<Block>();
    (*block)[at.offset] += times;
    count_ += times;
    sum_ += WideCount{ticks} * times;
    squares_ += WideCount{ticks} * ticks * times;
    if (ticks < min_) min_ = ticks;
    if (ticks > max_) max_ = ticks;
  }
  void merge(const BasicHistogram& other);
  void clear();  // keeps the blocks

  std::uint64_t count() const { return count_; }
  std::uint64_t min() const { return count_ == 0 ? 0 : min_; }
  std::uint64_t max() const { return max_; }
  double sum() const { return static_cast<double>(sum_); }
  double mean() const;                // 0 when empty
  double standard_deviation() const;  // of the population; 0 when empty

  /// The value at or below which a fraction `q` of all recorded values lie.
  /// REQUIRES: 0 <= q <= 1 and count() > 0. q = 0 is the minimum, q = 1 the maximum, both exact.
  double quantile(double q) const;

  /// Calls visit(from, to, times) for each bucket in use, ascending; values v with from <= v < to.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t block = 0; block < kBlocksMax; ++block) {
      if (!blocks_[block]) continue;
      for (std::size_t offset = 0; offset < kBlockSize; ++offset)
        if (const Count times = (*blocks_[block])[offset]; times != 0)
          visit(lower(block, offset), lower(block, offset) + width(block), static_cast<std::uint64_t>(times));
    }
  }

  bool operator==(const BasicHistogram& other) const;

 private:
  using Block = std::array<Count, kBlockSize>;
  struct Position {
    std::size_t block, offset;
  };
  static Position position(std::uint64_t ticks) {
    const unsigned bits = static_cast<unsigned>(std::bit_width(ticks));
    if (bits <= SubBits) return {0, static_cast<std::size_t>(ticks)};
    const unsigned shift = bits - 1 - SubBits;  // the leading one is implied by the block
    return {shift + 1, static_cast<std::size_t>((ticks >> shift) - kBlockSize)};
  }
  static std::uint64_t width(std::size_t block) { return block == 0 ? 1 : std::uint64_t{1} << (block - 1); }
  static std::uint64_t lower(std::size_t block, std::size_t offset) {
    return block == 0 ? offset : (std::uint64_t{kBlockSize} + offset) << (block - 1);
  }

  std::array<std::unique_ptr<Block>, kBlocksMax> blocks_{};
  std::uint64_t count_ = 0;
  WideCount sum_ = 0, squares_ = 0;
  std::uint64_t min_ = UINT64_MAX, max_ = 0;
};

/// For results: within 0.05 % of the value.
using Histogram = BasicHistogram<10, std::uint64_t>;
/// As exact, with counters half as wide: for one of many windows or stages.
using CompactHistogram = BasicHistogram<10, std::uint32_t>;
/// For one interval of a series: within 1.6 %, a kilobyte or so.
using IntervalHistogram = BasicHistogram<5, std::uint32_t>;

extern template class BasicHistogram<10, std::uint64_t>;
extern template class BasicHistogram<10, std::uint32_t>;
extern template class BasicHistogram<5, std::uint32_t>;

}  // namespace sluice
