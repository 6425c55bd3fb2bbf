#include "harness/load/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "harness/scenario/timeline.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

/// VUs active at an offset, by the intervals.
std::uint32_t active_at(const LoadShape& shape, Nanoseconds graceful_stop, Nanoseconds offset) {
  std::uint32_t active = 0;
  for (std::uint32_t vu = 0; vu < most_vus(shape); ++vu) {
    for (const ActiveInterval& interval : active_intervals(shape, graceful_stop, vu)) {
      active += offset >= interval.from && offset < interval.to ? 1U : 0U;
    }
  }
  return active;
}

TEST(Schedule, ConstantVusAreThereFromTheFirstInstantToTheLast) {
  const LoadShape shape = ConstantVus{3, 10s};
  for (std::uint32_t vu = 0; vu < 3; ++vu) {
    EXPECT_THAT(active_intervals(shape, 5s, vu), ElementsAre(ActiveInterval{0s, 10s, 15s}));
  }
  EXPECT_THAT(active_intervals(shape, 5s, 3), IsEmpty());
  EXPECT_EQ(most_vus(shape), 3u);
  EXPECT_EQ(planned_duration(shape), 10s);
}

TEST(Schedule, ARampChangesTheNumberWhereTheLineCrossesIt) {
  // 0 -> 10 over 10 s: the n-th VU at n seconds; and back the same way.
  const LoadShape shape = RampingVus{0, {{10s, 10}, {10s, 0}}, 30s};
  for (std::uint32_t vu = 0; vu < 9; ++vu) {
    const auto intervals = active_intervals(shape, 0s, vu);
    ASSERT_EQ(intervals.size(), 1u);
    EXPECT_EQ(intervals[0].from, std::chrono::seconds(vu + 1));
    EXPECT_EQ(intervals[0].to, std::chrono::seconds(20 - vu));
  }
  EXPECT_EQ(planned_vus(shape, 999ms), 0u);
  EXPECT_EQ(planned_vus(shape, 1s), 1u);
  EXPECT_EQ(planned_vus(shape, 10500ms), 10u);
  EXPECT_EQ(planned_vus(shape, 11s), 9u);
  EXPECT_EQ(planned_vus(shape, 20s), 0u);
}

TEST(Schedule, AStageWithoutDurationJumps) {
  const LoadShape shape = RampingVus{1, {{0s, 4}, {10s, 4}, {0s, 2}, {5s, 2}}, 0s};
  EXPECT_THAT(active_intervals(shape, 1s, 0), ElementsAre(ActiveInterval{0s, 15s, 16s}));
  EXPECT_THAT(active_intervals(shape, 1s, 3), ElementsAre(ActiveInterval{0s, 10s, 10s}));
  EXPECT_EQ(planned_vus(shape, 0s), 4u);
  EXPECT_EQ(planned_vus(shape, 10s), 2u);
}

TEST(Schedule, RampDownIsGracefulUntilTheScenariosOwnEnd) {
  const LoadShape shape = RampingVus{2, {{10s, 2}, {0s, 1}, {10s, 1}}, 30s};
  EXPECT_THAT(active_intervals(shape, 5s, 1), ElementsAre(ActiveInterval{0s, 10s, 25s})) << "min(10 + 30, 20 + 5)";
  EXPECT_THAT(active_intervals(shape, 5s, 0), ElementsAre(ActiveInterval{0s, 20s, 25s}));
  const LoadShape strict = RampingVus{2, {{10s, 2}, {0s, 1}, {10s, 1}}, 3s};
  EXPECT_THAT(active_intervals(strict, 5s, 1), ElementsAre(ActiveInterval{0s, 10s, 13s}));
}

TEST(Schedule, AVuThatComesBackInTimeIsNotCut) {
  // Away from 10 s to 12 s, while an iteration may last until 15 s: it goes on into the next interval.
  const LoadShape shape = RampingVus{1, {{10s, 1}, {0s, 0}, {2s, 0}, {0s, 1}, {10s, 1}}, 5s};
  EXPECT_THAT(active_intervals(shape, 4s, 0), ElementsAre(ActiveInterval{0s, 10s, 26s}, ActiveInterval{12s, 22s, 26s}));
  const LoadShape late = RampingVus{1, {{10s, 1}, {0s, 0}, {7s, 0}, {0s, 1}, {10s, 1}}, 5s};
  EXPECT_THAT(active_intervals(late, 4s, 0), ElementsAre(ActiveInterval{0s, 10s, 15s}, ActiveInterval{17s, 27s, 31s}));
}

RampingVus random_shape(std::mt19937& random) {
  RampingVus shape;
  shape.start_vus = random() % 20;
  const std::size_t stages = 1 + random() % 5;
  for (std::size_t i = 0; i < stages; ++i) {
    Stage stage;
    stage.duration =
        random() % 4 == 0 ? Nanoseconds{} : Nanoseconds(static_cast<std::int64_t>(random() % 100'000) * 1'000'003);
    stage.target = random() % 20;
    shape.stages.push_back(stage);
  }
  shape.graceful_ramp_down = Nanoseconds(static_cast<std::int64_t>(random() % 50) * 1'000'000'000);
  return shape;
}

TEST(Schedule, TheIntervalsAndTheCurveAgreeAtEveryInstant) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const RampingVus ramping = random_shape(random);
    const LoadShape shape = ramping;
    const auto duration = planned_duration(shape).count();
    for (int i = 0; i < 30 && duration > 0; ++i) {
      const Nanoseconds offset(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(duration)));
      EXPECT_EQ(active_at(shape, 1s, offset), planned_vus(shape, offset))
          << "round " << round << " at " << offset.count();
    }
    EXPECT_EQ(active_at(shape, 1s, Nanoseconds(duration)), 0u);
  }
}

TEST(Schedule, TheIntervalsOfAVuAreOrderedAndEachIsCutAfterItsEnd) {
  std::mt19937 random(12);
  for (int round = 0; round < 500; ++round) {
    const LoadShape shape = random_shape(random);
    const Nanoseconds graceful_stop(static_cast<std::int64_t>(random() % 30) * 1'000'000'000);
    for (std::uint32_t vu = 0; vu < most_vus(shape); ++vu) {
      Nanoseconds before{-1};
      for (const ActiveInterval& interval : active_intervals(shape, graceful_stop, vu)) {
        EXPECT_GT(interval.from, before);
        EXPECT_GT(interval.to, interval.from);
        EXPECT_GE(interval.cut, interval.to);
        EXPECT_LE(interval.cut, planned_duration(shape) + graceful_stop);
        before = interval.to;
      }
    }
  }
}

TEST(Schedule, StaysExactForMonthsAndAHundredThousandVus) {
  const LoadShape shape = RampingVus{0, {{std::chrono::hours(24 * 30), 100'000}}, 0s};
  const auto last = active_intervals(shape, 0s, 99'998);
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].from, Nanoseconds(std::chrono::hours(24 * 30)) / 100'000 * 99'999);
  EXPECT_THAT(active_intervals(shape, 0s, 99'999), IsEmpty()) << "its time would begin with the end";
}

}  // namespace
}  // namespace sluice
