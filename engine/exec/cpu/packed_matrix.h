// A weight matrix in the order in which products read it.
//
// Columns (the model's output features) are cut into vectors of 16, dealt evenly to the threads, and grouped by up to
// four within a thread's share; a group lies as [k pairs][columns][2], so a product streams it from front to back.
// Which columns share a group does not show in the results. Each thread packs, and so places, the share that it will
// mostly read.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/exec/cpu/kernels.h"
#include "engine/exec/cpu/memory.h"
#include "engine/exec/cpu/thread_pool.h"

namespace sluice::engine::cpu {

class PackedMatrix {
 public:
  /// Fills `row` (k_padded zeros) with column `column`'s weights; leaves it alone for a column that is only padding.
  /// Called from all threads at once.
  using FillRow = std::function<void(std::uint32_t column, Bf16* row)>;

  PackedMatrix() = default;
  /// `columns` and `k` are multiples of 16; vectors are dealt `unit` at a time (2 keeps a gate beside its up).
  /// REQUIRES: unit is 1, 2 or 4 and divides columns / 16.
  PackedMatrix(ThreadPool& pool, std::uint32_t columns, std::uint32_t k, std::uint32_t unit, const FillRow& fill);

  bool empty() const { return data_.size() == 0; }
  std::uint64_t bytes() const { return data_.bytes(); }
  std::uint32_t columns() const { return columns_; }
  std::uint32_t k() const { return k_; }

  /// Sets the weights' side of `product` to one group.
  void take_group(std::size_t group, Product& product) const {
    product.weights = data_.data();
    product.groups = groups_.data() + group;
    product.group_count = 1;
    product.k_pairs = k_ / 2;
  }
  /// Thread t's groups are shares()[t] .. shares()[t + 1] - 1.
  const std::size_t* shares() const { return first_group_.data(); }

 private:
  std::uint32_t columns_ = 0;
  std::uint32_t k_ = 0;
  std::vector<Group> groups_;
  std::vector<std::size_t> first_group_;  // per thread, and one past the last
  Buffer<Bf16> data_;
};

}  // namespace sluice::engine::cpu
