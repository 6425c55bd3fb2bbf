#include "harness/metrics/histogram.h"

#include <algorithm>
#include <cmath>

namespace sluice {

template <unsigned SubBits, class Count>
BasicHistogram<SubBits, Count>& BasicHistogram<SubBits, Count>::operator=(const BasicHistogram& other) {
  if (this == &other) return *this;
  for (std::size_t i = 0; i < kBlocksMax; ++i) {
    if (other.blocks_[i]) {
      if (!blocks_[i]) blocks_[i] = std::make_unique<Block>();
      *blocks_[i] = *other.blocks_[i];
    } else if (blocks_[i]) {
      blocks_[i]->fill(0);
    }
  }
  count_ = other.count_;
  sum_ = other.sum_;
  squares_ = other.squares_;
  min_ = other.min_;
  max_ = other.max_;
  return *this;
}

template <unsigned SubBits, class Count>
void BasicHistogram<SubBits, Count>::merge(const BasicHistogram& other) {
  for (std::size_t i = 0; i < kBlocksMax; ++i) {
    if (!other.blocks_[i]) continue;
    if (!blocks_[i]) blocks_[i] = std::make_unique<Block>();
    for (std::size_t offset = 0; offset < kBlockSize; ++offset) (*blocks_[i])[offset] += (*other.blocks_[i])[offset];
  }
  count_ += other.count_;
  sum_ += other.sum_;
  squares_ += other.squares_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

template <unsigned SubBits, class Count>
void BasicHistogram<SubBits, Count>::clear() {
  for (auto& block : blocks_)
    if (block) block->fill(0);
  count_ = 0;
  sum_ = squares_ = 0;
  min_ = UINT64_MAX;
  max_ = 0;
}

template <unsigned SubBits, class Count>
double BasicHistogram<SubBits, Count>::mean() const {
  return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

template <unsigned SubBits, class Count>
double BasicHistogram<SubBits, Count>::standard_deviation() const {
  if (count_ == 0) return 0;
  // n * squares - sum^2 in whole numbers would leave 128 bits; long double keeps 64 of them, which is enough for a
  // spread down to a billionth of the mean.
  const auto n = static_cast<long double>(count_);
  const long double mean = static_cast<long double>(sum_) / n;
  const long double variance = static_cast<long double>(squares_) / n - mean * mean;
  return variance <= 0 ? 0 : static_cast<double>(std::sqrt(variance));
}

template <unsigned SubBits, class Count>
double BasicHistogram<SubBits, Count>::quantile(double q) const {
  // The epsilon keeps 0.95 * 100 from becoming rank 96 by a rounding in the last bit.
  const double exact_rank = q * static_cast<double>(count_);
  const auto rank = static_cast<std::uint64_t>(std::ceil(exact_rank * (1 - 1e-12)));
  if (rank <= 1) return static_cast<double>(min());
  if (rank >= count_) return static_cast<double>(max_);
  std::uint64_t seen = 0;
  for (std::size_t block = 0; block < kBlocksMax; ++block) {
    if (!blocks_[block]) continue;
    for (std::size_t offset = 0; offset < kBlockSize; ++offset) {
      seen += (*blocks_[block])[offset];
      if (seen < rank) continue;
      const auto from = static_cast<double>(lower(block, offset));
      const double middle = from + (static_cast<double>(width(block)) - 1) / 2;
      return std::clamp(middle, static_cast<double>(min_), static_cast<double>(max_));
    }
  }
  return static_cast<double>(max_);
}

template <unsigned SubBits, class Count>
bool BasicHistogram<SubBits, Count>::operator==(const BasicHistogram& other) const {
  if (count_ != other.count_ || sum_ != other.sum_ || squares_ != other.squares_ || min_ != other.min_ ||
      max_ != other.max_)
    return false;
  static constexpr Block kEmpty{};
  for (std::size_t i = 0; i < kBlocksMax; ++i) {
    const Block& mine = blocks_[i] ? *blocks_[i] : kEmpty;
    const Block& theirs = other.blocks_[i] ? *other.blocks_[i] : kEmpty;
    if (mine != theirs) return false;
  }
  return true;
}

template class BasicHistogram<10, std::uint64_t>;
template class BasicHistogram<10, std::uint32_t>;
template class BasicHistogram<5, std::uint32_t>;

}  // namespace sluice
