#include "harness/load/find_max.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace sluice {
namespace {

/// Searches a server that holds loads up to its capacity; the loads it tried.
std::set<double> search(MaxSearch& search, double capacity) {
  std::set<double> tried;
  while (const auto load = search.next()) {
    EXPECT_TRUE(tried.insert(*load).second) << "tried twice: " << *load;
    search.add(*load, *load <= capacity);
    if (tried.size() > 200) break;
  }
  return tried;
}

TEST(MaxSearch, FindsTheCapacityWithinItsPrecisionInFewTrials) {
  for (const auto of : {FindMax::Of::rate, FindMax::Of::vus}) {
    for (const double precision : {0.01, 0.05, 0.2}) {
      for (double capacity = 1; capacity < 5e4; capacity *= 1.7) {
        MaxSearch one({.of = of, .start = 10, .max = 1e5, .precision = precision});
        const auto tried = search(one, capacity);
        ASSERT_TRUE(one.best()) << capacity;
        EXPECT_LE(*one.best(), capacity);
        const double whole = of == FindMax::Of::vus ? 1 : 0;  // virtual users are no fractions
        EXPECT_GT(*one.best() * (1 + precision) + whole, capacity);
        EXPECT_LE(tried.size(), 4 + std::abs(std::log2(capacity / 10)) + std::log2(1 / precision)) << capacity;
        for (const double load : tried) EXPECT_LE(load, 1e5);
      }
    }
  }
}

TEST(MaxSearch, EndsAtItsMaximumAndWhereNothingHolds) {
  MaxSearch endless({.start = 10, .max = 1000, .precision = 0.05});
  search(endless, 1e9);
  EXPECT_EQ(endless.best(), 1000);
  MaxSearch hopeless({.start = 10, .max = 1000, .precision = 0.05});
  EXPECT_LE(search(hopeless, 0).size(), 12u);
  EXPECT_EQ(hopeless.best(), std::nullopt);
  MaxSearch users({.of = FindMax::Of::vus, .start = 1, .max = 8, .precision = 0.05});
  EXPECT_EQ(search(users, 0), std::set<double>{1}) << "less than one virtual user is none";
}

TEST(MaxSearch, ATrialIsTheScenarioAtAFixedLoad) {
  Plan plan;
  plan.scenarios.resize(2);
  plan.scenarios[0].shape = ConstantVus{3, std::chrono::seconds(1)};
  plan.scenarios[1].shape = FindMax{.start = 10, .max = 100, .trial = std::chrono::seconds(7), .max_vus = 9};
  ASSERT_NE(find_max_of(plan), nullptr);
  const Plan trial = trial_plan(plan, 12.5);
  EXPECT_EQ(find_max_of(trial), nullptr);
  EXPECT_EQ(std::get<ConstantVus>(trial.scenarios[0].shape).vus, 3u);
  const auto& rate = std::get<ArrivalRate>(trial.scenarios[1].shape);
  EXPECT_EQ(rate.start_micro, 12'500'000u);
  EXPECT_EQ(rate.stages.at(0).duration, std::chrono::seconds(7));
  EXPECT_EQ(rate.max_vus, 9u);
  EXPECT_TRUE(rate.wait_when_busy);
}

}  // namespace
}  // namespace sluice
