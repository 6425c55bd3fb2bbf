// When what a plan asks for happens, counted from the run's start: pure arithmetic over any executor.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "harness/scenario/plan.h"

namespace sluice {

/// Do its iterations begin when they are due, whatever became of those before?
inline bool is_open(const LoadShape& shape) {
  return std::holds_alternative<ArrivalRate>(shape) || std::holds_alternative<TraceReplay>(shape);
}

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

/// The most VUs at one time; of an open model without max_vus 0: whatever there is room for.
inline std::uint32_t most_vus(const LoadShape& shape) {
  if (const auto* ramping = std::get_if<RampingVus>(&shape)) {
    std::uint32_t most = ramping->start_vus;
    for (const Stage& stage : ramping->stages) most = std::max(most, stage.target);
    return most;
  }
  if (const auto* search = std::get_if<FindMax>(&shape); search != nullptr && search->of == FindMax::Of::vus) {
    return static_cast<std::uint32_t>(search->max);
  }
  return std::visit(
      [](const auto& kind) -> std::uint32_t {
        if constexpr (requires { kind.max_vus; })
          return kind.max_vus;
        else if constexpr (requires { kind.vus; })
          return kind.vus;
        else
          return 0;
      },
      shape);
}

/// Until the last new iteration, graceful stop not included; 0: until it is stopped from outside.
inline Nanoseconds planned_duration(const LoadShape& shape) {
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
    const Nanoseconds length = planned_duration(scenario.shape);
    if (length.count() == 0) return {};
    end = std::max(end, scenario.start_time + length);
  }
  return end;
}

}  // namespace sluice
