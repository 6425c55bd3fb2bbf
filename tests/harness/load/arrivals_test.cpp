#include "harness/load/arrivals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "harness/scenario/trace.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using Executor = ArrivalRate::Executor;

constexpr std::uint64_t kOne = 1'000'000;

ArrivalRate constant(std::uint64_t micro, Nanoseconds duration, Nanoseconds unit = 1s) {
  return {.executor = Executor::constant, .start_micro = micro, .time_unit = unit, .stages = {{duration, micro}}};
}

ArrivalRate staged(Executor executor, std::uint64_t start_micro, std::vector<ArrivalRate::Stage> stages) {
  return {.executor = executor, .start_micro = start_micro, .stages = std::move(stages)};
}

std::vector<Nanoseconds> all(const ArrivalRate& rate, std::uint64_t seed = 1) {
  Arrivals arrivals(rate, seed);
  std::vector<Nanoseconds> times;
  while (const auto at = arrivals.next()) times.push_back(*at);
  return times;
}

/// The area under the rate's curve up to `at`, in arrivals.
long double area(const ArrivalRate& rate, Nanoseconds at) {
  long double sum = 0, from = static_cast<long double>(rate.start_micro);
  for (const auto& stage : rate.stages) {
    const auto to = static_cast<long double>(stage.target_micro),
               length = static_cast<long double>(stage.duration.count());
    const auto passed = static_cast<long double>(std::min(at, stage.duration).count());
    if (length > 0) sum += (from + (from + (to - from) * passed / length)) / 2 * passed;
    at -= std::min(at, stage.duration);
    from = to;
  }
  return sum / kOne / static_cast<long double>(rate.time_unit.count());
}

TEST(Arrivals, AConstantRateIsDueAtWholePeriodsBeforeTheEnd) {
  EXPECT_THAT(all(constant(4 * kOne, 1s)), testing::ElementsAre(0ms, 250ms, 500ms, 750ms));
  EXPECT_THAT(all(constant(kOne, 2500ms)), testing::ElementsAre(0s, 1s, 2s));
  EXPECT_THAT(all(constant(2 * kOne, 1min, 1min)), testing::ElementsAre(0s, 30s)) << "time_unit: 1m";
  EXPECT_THAT(all(constant(kOne / 2, 5s)), testing::ElementsAre(0s, 2s, 4s)) << "half an iteration a second";
}

TEST(Arrivals, AConstantRateDoesNotDriftInAMonth) {
  // A period that is no whole number of nanoseconds: each instant is its own division, nothing adds up.
  const ArrivalRate rate = constant(3 * kOne, std::chrono::hours(24 * 30), 1s);
  Arrivals arrivals(rate, 1);
  std::int64_t number = 0;
  for (; number < 100'000; ++number) ASSERT_EQ(arrivals.next()->count(), number * 1'000'000'000 / 3);
  EXPECT_EQ(arrivals_planned(rate), std::uint64_t{3} * 3600 * 24 * 30);
  const ArrivalRate hour = constant(7 * kOne, 1h);
  const auto times = all(hour);
  EXPECT_EQ(times.size(), 7u * 3600);
  EXPECT_EQ(times.back().count(), std::int64_t{7 * 3600 - 1} * 1'000'000'000 / 7);
}

TEST(Arrivals, OfATraceAreThoseOfItsRowsInOrderAtAnySpeed) {
  auto trace = std::make_shared<Trace>();
  for (const int at : {0, 3, 3, 10}) trace->rows.push_back({.at = std::chrono::seconds(at)});
  const auto times = [&](double speed) {
    const TraceReplay replay{.trace = trace, .speed = speed, .duration = 14s};
    Arrivals arrivals(replay);
    std::vector<Nanoseconds> all_of_them;
    while (const auto at = arrivals.next()) all_of_them.push_back(*at);
    return all_of_them;
  };
  EXPECT_THAT(times(1), testing::ElementsAre(0s, 3s, 3s, 10s));
  EXPECT_THAT(times(2), testing::ElementsAre(0s, 1500ms, 1500ms, 5s));
  EXPECT_THAT(times(0.5), testing::ElementsAre(0s, 6s, 6s, 20s));
}

TEST(Arrivals, ARampIsDueWhenTheAreaUnderItReachesAWholeNumber) {
  // From 0 to 10/s within 2 s: k is due at sqrt(k / 2.5) s.
  const auto times = all(staged(Executor::ramping, 0, {{2s, 10 * kOne}}));
  ASSERT_EQ(times.size(), 10u);
  for (std::size_t k = 1; k <= times.size(); ++k)
    EXPECT_NEAR(static_cast<double>(times[k - 1].count()), std::sqrt(static_cast<double>(k) / 2.5) * 1e9, 2) << k;
  // A jump, a plateau and a pause.
  EXPECT_THAT(
      all(staged(Executor::ramping, 0, {{0s, 2 * kOne}, {1s, 2 * kOne}, {0s, 0}, {5s, 0}, {0s, kOne}, {1s, kOne}})),
      testing::ElementsAre(500ms, 1s, 7s));
}

TEST(Arrivals, OfARampAreOrderedCountedAndOnTheCurve) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<ArrivalRate::Stage> stages(1 + random() % 5);
    for (auto& stage : stages)
      stage = {Nanoseconds(random() % 4'000'000'000), random() % 3 == 0 ? 0 : random() % (300 * kOne)};
    ArrivalRate rate = staged(Executor::ramping, random() % (100 * kOne), stages);
    rate.time_unit = Nanoseconds(1 + random() % 3'000'000'000);
    const auto times = all(rate);
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_EQ(times.size(), arrivals_planned(rate));
    for (std::size_t k = 0; k < times.size(); k += 1 + times.size() / 50) {
      // Rounded down to a nanosecond: off by at most the area of one.
      EXPECT_NEAR(static_cast<double>(area(rate, times[k])), static_cast<double>(k + 1),
                  1e-6 * static_cast<double>(k + 2) + 1e-3)
          << round;
    }
  }
}

TEST(Arrivals, DrawnOnesHaveTheMeanAndTheSpreadOfTheirDistribution) {
  for (const double burstiness : {0.25, 0.7, 1.0, 4.0}) {
    ArrivalRate rate = staged(Executor::gamma, 1000 * kOne, {{100s, 1000 * kOne}});
    rate.burstiness = burstiness;
    const auto times = all(rate, 3);
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    double sum = 0, squares = 0;
    for (std::size_t k = 1; k < times.size(); ++k) {
      const double gap = static_cast<double>((times[k] - times[k - 1]).count()) / 1e6;
      sum += gap;
      squares += gap * gap;
    }
    const double n = static_cast<double>(times.size() - 1), mean = sum / n, variance = squares / n - mean * mean;
    EXPECT_NEAR(mean, 1, 0.03) << burstiness;
    EXPECT_NEAR(variance * burstiness, 1, 0.1) << "a gamma distribution's variance is mean^2 / shape";
  }
}

TEST(Arrivals, AreTheSameForTheSameSeedAndOthersForAnother) {
  const ArrivalRate rate = staged(Executor::poisson, 100 * kOne, {{10s, 200 * kOne}});
  EXPECT_EQ(all(rate, 5), all(rate, 5));
  EXPECT_NE(all(rate, 5), all(rate, 6));
  EXPECT_EQ(arrivals_planned(rate), std::nullopt);
}

TEST(Arrivals, FollowARampWhenDrawnToo) {
  const auto times = all(staged(Executor::poisson, 0, {{10s, 1000 * kOne}}), 11);
  const auto half = std::lower_bound(times.begin(), times.end(), 5s) - times.begin();
  EXPECT_NEAR(static_cast<double>(times.size()), 5000, 5 * std::sqrt(5000.0));
  EXPECT_NEAR(static_cast<double>(half), 1250, 5 * std::sqrt(1250.0));
}

}  // namespace
}  // namespace sluice
