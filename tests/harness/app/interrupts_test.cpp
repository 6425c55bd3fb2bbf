#include "harness/app/interrupts.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>

namespace sluice {
namespace {

// A signal is taken by another thread, so its effect is polled for; generous, and fast when all is well.
bool becomes(const RunControl& control, RunControl::State state) {
  const Instant deadline = now() + 20'000'000'000;
  while (now() < deadline) {
    if (control.state() == state) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(Interrupts, TheFirstDrainsAndTheSecondStops) {
  RunControl control;
  std::promise<void> told;
  const Interrupts interrupts(control, [&told] { told.set_value(); });
  EXPECT_FALSE(interrupts.any());
  kill(getpid(), SIGINT);
  EXPECT_TRUE(becomes(control, RunControl::State::stopping_gracefully));
  EXPECT_EQ(told.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_TRUE(interrupts.any());
  kill(getpid(), SIGTERM);
  EXPECT_TRUE(becomes(control, RunControl::State::stopping_now));
}

TEST(InterruptsDeathTest, TheThirdEndsTheProgram) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        RunControl control;
        const Interrupts interrupts(control, [] {});
        kill(getpid(), SIGINT);
        becomes(control, RunControl::State::stopping_gracefully);
        kill(getpid(), SIGINT);
        becomes(control, RunControl::State::stopping_now);
        kill(getpid(), SIGINT);
        pause();
      },
      testing::ExitedWithCode(105), "");
}

}  // namespace
}  // namespace sluice
