#include "harness/verdict/stability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "harness/verdict/judge.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;

constexpr Instant kOrigin = 1'000'000'000'000;
constexpr std::nullopt_t kNothing = std::nullopt;

TEST(Stability, BeginsWithTheFirstWindowsWhoseValuesAllLieWithinTheToleranceOfTheirMean) {
  struct Row {
    const char* name;
    std::vector<WindowValues> metrics;
    std::size_t windows;
    double tolerance;
    std::optional<std::size_t> from;
  };
  const Row rows[] = {
      {"nothing measured", {{}}, 3, 0.05, kNothing},
      {"too few windows", {{100, 100}}, 3, 0.05, kNothing},
      {"as few as it takes", {{100, 100, 100}}, 3, 0.05, 0},
      {"at the edge", {{95, 100, 105}}, 3, 0.05, 0},
      {"one is beyond it", {{94, 100, 106}}, 3, 0.05, kNothing},
      {"after it has risen", {{10, 50, 90, 99, 101, 100, 100}}, 3, 0.05, 3},
      {"a wider tolerance is content sooner", {{10, 50, 90, 99, 101, 100, 100}}, 3, 0.10, 2},
      {"more windows take longer", {{100, 100, 120, 100, 100, 100, 100}}, 4, 0.05, 3},
      {"a slow drift is one, over many windows", {{100, 104, 108, 112, 116, 120}}, 5, 0.05, kNothing},
      {"a window without a sample begins anew", {{100, 100, kNothing, 100, 100, 100}}, 3, 0.05, 3},
      {"naught is stable", {{0, 0, 0}}, 3, 0.05, 0},
      {"around naught nothing is", {{-1, 0, 1}}, 3, 0.05, kNothing},
      {"below naught as above it", {{-100, -101, -99}}, 3, 0.05, 0},
      {"of two metrics both at once", {{100, 100, 100, 100, 100, 1}, {1, 5, 5, 5, 9, 9}}, 3, 0.05, 1},
      {"of two metrics not one after the other", {{100, 100, 100, 1}, {1, 5, 5, 5}}, 3, 0.05, kNothing},
  };
  for (const auto& [name, metrics, windows, tolerance, from] : rows)
    EXPECT_EQ(stable_from(metrics, windows, tolerance), from) << name;
}

/// An HTTP step, and what is to be stable: its duration in windows of a second.
Plan plan_of(bool required = false) {
  Plan plan;
  ScenarioPlan scenario;
  scenario.name = "main";
  scenario.shape = ConstantVus{1, 20s};
  Step step;
  step.name = "get";
  step.verb = HttpStep{};
  scenario.flow.push_back(std::move(step));
  plan.scenarios.push_back(std::move(scenario));
  StableMetric metric;
  metric.text = "http_req_duration p(95)";
  metric.metric = Metric::http_req_duration;
  metric.aggregation = Aggregation::percentile;
  metric.percentile = 95;
  plan.stable = Stability{.metrics = {metric}, .window = 1s, .windows = 3, .tolerance = 0.1, .required = required};
  return plan;
}

/// One request a second, of these milliseconds.
Tally tally_of(const Plan& plan, const std::vector<int>& durations_ms) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  Instant at = kOrigin;
  for (const int ms : durations_ms) {
    RequestRecord record;
    record.status = 200;
    record.outcome = Outcome::ok;
    record.scheduled_at = record.started_at = record.send_began_at = record.sent_at = at;
    record.first_byte_at = record.ended_at = at + ms * 1'000'000;
    tally.add(record, 0);
    at += 1'000'000'000;
  }
  tally.advance_to(at);
  return tally;
}

TEST(Stability, IsSeenInATallyAsSoonAsItsWindowsHavePassed) {
  const Plan plan = plan_of();
  const Tally tally = tally_of(plan, {500, 100, 104, 98, 100});
  EXPECT_EQ(stable_from(plan, tally), 1u);
  EXPECT_EQ(stable_from(plan, tally, 1s), 1u);
  EXPECT_EQ(stable_from(plan, tally, 2s), std::nullopt) << "the fourth window ended less than that ago";
  Plan without = plan;
  without.stable.reset();
  EXPECT_EQ(stable_from(without, tally), std::nullopt);
}

TEST(Stability, ACounterThatStandsStillIsNotStable) {
  Plan plan = plan_of();
  plan.stable->metrics[0].metric = Metric::http_reqs;
  plan.stable->metrics[0].aggregation = Aggregation::rate;
  Tally tally = tally_of(plan, {100, 100});
  tally.advance_to(kOrigin + 10'000'000'000);
  EXPECT_EQ(stable_from(plan, tally), std::nullopt) << "one a second, and then none";
  EXPECT_EQ(stable_from(plan, tally_of(plan, {100, 100, 100})), 0u);
}

TEST(Stability, WindowsAfterTheLoadsEndAreNotLookedAt) {
  Plan plan = plan_of();
  plan.scenarios[0].shape = ConstantVus{1, 3s};
  EXPECT_EQ(stable_from(plan, tally_of(plan, {500, 100, 100, 100, 100})), std::nullopt);
}

TEST(Stability, TheReportHasTheWindowsAndTheirSpread) {
  const Plan plan = plan_of();
  const Tally tally = tally_of(plan, {500, 100, 104, 96, 100});
  RunFacts facts;
  facts.stable_from = 1;
  facts.ended_when_stable = true;
  const auto result = stability_result(plan, tally, facts);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->from_s, 1);
  EXPECT_EQ(result->to_s, 4);
  EXPECT_TRUE(result->ended_run);
  ASSERT_EQ(result->metrics.size(), 1u);
  EXPECT_EQ(result->metrics[0].unit, "ms");
  EXPECT_NEAR(result->metrics[0].mean.value_or(0), 100, 0.2);
  EXPECT_NEAR(result->metrics[0].deviation.value_or(0), 0.04, 0.002);
  const auto never = stability_result(plan, tally_of(plan, {500, 100, 200, 300, 100}), RunFacts{});
  EXPECT_EQ(never->from_s, std::nullopt);
  EXPECT_NEAR(never->metrics[0].mean.value_or(0), 200, 0.3) << "the last three";
}

TEST(Stability, FailsARunThatNeverWasOnlyWhereItIsRequired) {
  for (const bool required : {false, true}) {
    const Plan plan = plan_of(required);
    const Tally tally = tally_of(plan, {500, 100, 200, 300});
    const auto results = judge(plan, tally, RunFacts{});
    ASSERT_EQ(results.size(), required ? 1u : 0u);
    if (!required) continue;
    EXPECT_EQ(results[0].metric, "stable");
    EXPECT_EQ(results[0].verdict, "fail");
    EXPECT_EQ(results[0].reason, "never stable: no 3 windows of 1 s in a row were within 10 % of their mean");
    RunFacts facts;
    facts.stable_from = 0;
    EXPECT_EQ(judge(plan, tally, facts)[0].verdict, "pass");
    facts.end = RunEnd::interrupted_by_user;
    EXPECT_TRUE(judge(plan, tally, facts).empty());
  }
}

}  // namespace
}  // namespace sluice
