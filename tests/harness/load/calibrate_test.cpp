#include "harness/load/calibrate.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Calibrate, FindsEveryEventOfEveryStreamAndTheInstantOfItsWrite) {
  for (const auto& [streams, per_write] : {std::pair(1U, 1U), {20U, 1U}, {7U, 4U}}) {
    EmitterLoad load{.streams = streams, .rate = 200, .per_write = per_write, .seconds = 0.4};
    const auto row = calibrate(load, -1);
    ASSERT_TRUE(row) << row.error().message;
    EXPECT_EQ(row->events, streams * load.writes() * per_write);
    EXPECT_EQ(row->lost, 0u);
    EXPECT_GT(row->ttft_kernel.p50_us, 0) << "nothing is received before it is written";
    EXPECT_GE(row->ttft_user.p50_us, row->ttft_kernel.p50_us) << "user space comes after the kernel";
    EXPECT_LE(row->gap_kernel.p50_us, row->gap_kernel.p99_us);
    EXPECT_LE(row->gap_kernel.p99_us, row->gap_kernel.max_us);
    EXPECT_LT(row->ttft_kernel.p50_us, 100'000);
  }
}

TEST(Emitter, WritesInTheOrderOfItsScheduleAndLogsBothInstants) {
  const EmitterLoad load{.streams = 3, .rate = 500, .seconds = 0.1};
  auto emitter = Emitter::start(load);
  ASSERT_TRUE(emitter);
  EXPECT_EQ((*emitter)->written(0, 0).before, 0) << "nobody has asked for its streams";
  EXPECT_GT((*emitter)->port(), 0);
  EXPECT_EQ(load.writes(), 50u);
  EXPECT_EQ((EmitterLoad{.rate = 1, .seconds = 0.1}.writes()), 1u);
}

}  // namespace
}  // namespace sluice
