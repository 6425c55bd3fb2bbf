// The search of executor find-max: which load to try next, given which held the thresholds so far.
//
// Pure: no clock, no load. From `start` the load is doubled until a trial fails (or halved, should the first one fail),
// then the interval between the highest that held and the lowest that failed is halved until it is no wider than
// `precision` of its lower end. A load that held is never tried again, nor one above a load that failed.
#pragma once

#include <cstdint>
#include <optional>

#include "harness/scenario/plan.h"

namespace sluice {

class MaxSearch {
 public:
  explicit MaxSearch(const FindMax& wanted) : wanted_(wanted) {}

  /// The load to try next: iterations a second, or VUs (whole numbers then). None: the search has ended.
  std::optional<double> next() const;
  /// What became of next().
  void add(double load, bool held);

  std::optional<double> best() const { return best_; }  // the highest that held

 private:
  double step(double load) const;

  FindMax wanted_;
  std::optional<double> best_, worst_;  // worst_: the lowest that failed
};

/// The plan of one trial: the scenario at a fixed load for the trial's duration.
Plan trial_plan(const Plan& plan, double load);

/// The scenario whose executor is find-max; none where there is none.
const FindMax* find_max_of(const Plan& plan);

}  // namespace sluice
