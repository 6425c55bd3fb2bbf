#include "harness/load/data_rows.h"

#include <algorithm>

namespace sluice {

std::optional<std::uint64_t> row_of(const DataSet& set, std::uint32_t scenario, std::uint64_t iteration,
                                    std::uint64_t chance) {
  const std::uint64_t rows = set.rows.size();
  switch (set.order) {
    case DataSet::Order::random:
      return chance % rows;
    case DataSet::Order::sequential:
      return iteration % rows;
    case DataSet::Order::unique:
      break;
  }
  // Numbers of iterations are dense and each VU's are its own; scenarios take turns.
  const auto place = std::find(set.dealt_to.begin(), set.dealt_to.end(), scenario);
  const std::uint64_t readers = std::max<std::uint64_t>(set.dealt_to.size(), 1);
  const auto own = static_cast<std::uint64_t>(place - set.dealt_to.begin()) % readers;
  const bool beyond = iteration > (~std::uint64_t{0} - own) / readers;
  const std::uint64_t row = beyond ? rows : iteration * readers + own;
  if (row >= rows && set.at_end == DataSet::AtEnd::stop) return std::nullopt;
  return row % rows;
}

bool has_rows(const Plan& plan, std::uint32_t scenario, std::uint64_t iteration) {
  return std::all_of(plan.data.begin(), plan.data.end(), [&](const DataSet& set) {
    if (set.order != DataSet::Order::unique || set.rows.empty()) return true;
    if (std::find(set.dealt_to.begin(), set.dealt_to.end(), scenario) == set.dealt_to.end()) return true;
    return row_of(set, scenario, iteration, 0).has_value();
  });
}

}  // namespace sluice
