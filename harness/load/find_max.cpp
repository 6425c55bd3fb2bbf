#include "harness/load/find_max.h"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

constexpr double kLowestShare = 1.0 / 1024;  // of the start: a server that does not hold that holds nothing

}  // namespace

/// To what a load can be: VUs are whole.
double MaxSearch::step(double load) const { return wanted_.of == FindMax::Of::vus ? std::floor(load) : load; }

std::optional<double> MaxSearch::next() const {
  if (!best_ && !worst_) return wanted_.start;
  if (!worst_) {
    if (*best_ >= wanted_.max) return std::nullopt;
    return std::min(*best_ * 2, wanted_.max);
  }
  if (!best_) {
    const double half = step(*worst_ / 2);
    if (half < wanted_.start * kLowestShare || half <= 0) return std::nullopt;
    return half;
  }
  if (*worst_ - *best_ <= *best_ * wanted_.precision) return std::nullopt;
  const double middle = step((*best_ + *worst_) / 2);
  if (middle <= *best_) return std::nullopt;
  return middle;
}

void MaxSearch::add(double load, bool held) {
  if (held) {
    best_ = std::max(best_.value_or(load), load);
  } else {
    worst_ = std::min(worst_.value_or(load), load);
  }
}

const FindMax* find_max_of(const Plan& plan) {
  for (const ScenarioPlan& scenario : plan.scenarios) {
    if (const auto* found = std::get_if<FindMax>(&scenario.shape)) return found;
  }
  return nullptr;
}

Plan trial_plan(const Plan& plan, double load) {
  Plan trial = plan;
  for (ScenarioPlan& scenario : trial.scenarios) {
    const auto* found = std::get_if<FindMax>(&scenario.shape);
    if (found == nullptr) continue;
    const FindMax wanted = *found;
    if (wanted.of == FindMax::Of::vus) {
      scenario.shape = ConstantVus{static_cast<std::uint32_t>(load), wanted.trial};
    } else {
      const auto micro = static_cast<std::uint64_t>(std::llround(load * 1e6));
      scenario.shape = ArrivalRate{.executor = ArrivalRate::Executor::constant,
                                   .start_micro = micro,
                                   .stages = {{wanted.trial, micro}},
                                   .max_vus = wanted.max_vus,
                                   .wait_when_busy = true};
    }
  }
  return trial;
}

}  // namespace sluice
