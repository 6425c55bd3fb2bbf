#include "engine/exec/cpu/packed_matrix.h"

#include <algorithm>

#include "engine/core/check.h"

namespace sluice::engine::cpu {

PackedMatrix::PackedMatrix(ThreadPool& pool, std::uint32_t columns, std::uint32_t k, std::uint32_t unit,
                           const FillRow& fill)
    : columns_(columns), k_(k) {
  const std::uint32_t units = columns / kLanes / unit;
  SLUICE_ENGINE_CHECK(columns % (kLanes * unit) == 0 && k % kLanes == 0 && kGroupVectors % unit == 0);
  const std::uint32_t group_units = kGroupVectors / unit;
  std::uint64_t offset = 0;
  for (unsigned thread = 0; thread < pool.size(); ++thread) {
    first_group_.push_back(groups_.size());
    const std::uint32_t begin = static_cast<std::uint32_t>(std::uint64_t{units} * thread / pool.size());
    const std::uint32_t end = static_cast<std::uint32_t>(std::uint64_t{units} * (thread + 1) / pool.size());
    const std::uint32_t parts = (end - begin + group_units - 1) / group_units;
    for (std::uint32_t part = 0; part < parts; ++part) {  // as even as they go: 9 vectors are 3 + 3 + 3
      const std::uint32_t from = begin + (end - begin) * part / parts;
      const std::uint32_t to = begin + (end - begin) * (part + 1) / parts;
      groups_.push_back({offset, from * unit * kLanes, (to - from) * unit});
      offset += std::uint64_t{to - from} * unit * kLanes * k;
    }
  }
  first_group_.push_back(groups_.size());
  data_ = Buffer<Bf16>(offset);
  if (data_.size() == 0) return;

  pool.each_share(first_group_.data(), [&](std::size_t g, unsigned) {
    std::vector<Bf16> row(k);
    const Group& group = groups_[g];
    const std::uint32_t width = group.vectors * kLanes;
    Bf16* const to = data_.data() + group.offset;
    for (std::uint32_t c = 0; c < width; ++c) {
      std::fill(row.begin(), row.end(), Bf16{0});
      fill(group.column + c, row.data());
      for (std::uint32_t i = 0; i < k; ++i) to[(std::size_t{i / 2} * width + c) * 2 + i % 2] = row[i];
    }
  });
}

}  // namespace sluice::engine::cpu
