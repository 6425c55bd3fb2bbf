// When what a plan asks for happens, counted from the run's start: pure arithmetic over any executor.
#pragma once

#include <algorithm>
#include <optional>
#include <variant>
#include <vector>

#include "harness/scenario/plan.h"

namespace sluice {

/// How long each stage of an executor that has stages lasts, in order; empty for the others.
inline std::vector<Nanoseconds> stage_lengths(const LoadShape& shape) {
  std::vector<Nanoseconds> lengths;
  std::visit(
      [&](const auto& kind) {
        if constexpr (requires { kind.stages; })
          for (const auto& stage : kind.stages) lengths.push_back(stage.duration);
      },
      shape);
  return lengths;
}

/// At most so long iterations of a scenario begin; 0: nothing says.
inline Nanoseconds longest_load(const LoadShape& shape) {
  return std::visit(
      [](const auto& kind) {
        Nanoseconds sum{};
        if constexpr (requires { kind.stages; })
          for (const auto& stage : kind.stages) sum += stage.duration;
        else if constexpr (requires { kind.max_duration; })
          sum = kind.max_duration;
        else if constexpr (requires { kind.trial; })
          sum = kind.trial;
        else
          sum = kind.duration;
        return sum;
      },
      shape);
}

/// From when on what a scenario schedules counts.
inline Nanoseconds measured_from(const Plan& plan, const ScenarioPlan& scenario) {
  const Nanoseconds own = scenario.warmup.count() > 0 ? scenario.start_time + scenario.warmup : Nanoseconds{};
  return std::max(plan.warmup, own);
}

/// The start of the measured window: where the first scenario begins to count.
inline Nanoseconds measured_from(const Plan& plan) {
  std::optional<Nanoseconds> first;
  for (const ScenarioPlan& scenario : plan.scenarios)
    first = std::min(first.value_or(Nanoseconds::max()), measured_from(plan, scenario));
  return first.value_or(plan.warmup);
}

/// Until when scenarios begin iterations at most; 0: nothing says.
inline Nanoseconds load_end(const Plan& plan) {
  Nanoseconds end{};
  for (const ScenarioPlan& scenario : plan.scenarios) {
    const Nanoseconds length = longest_load(scenario.shape);
    if (length.count() == 0) return {};
    end = std::max(end, scenario.start_time + length);
  }
  return end;
}

}  // namespace sluice
