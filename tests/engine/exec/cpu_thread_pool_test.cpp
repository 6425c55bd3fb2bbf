#include "engine/exec/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <vector>

namespace sluice::engine::cpu {
namespace {

TEST(ThreadPool, DoesEveryItemOnceAndReturnsAfterTheLast) {
  for (const unsigned threads : {1u, 2u, 3u, 7u}) {
    ThreadPool pool(threads);
    for (std::size_t round = 0; round < 2000; ++round) {
      const std::size_t count = round % 23;
      std::vector<int> times(count);  // plain ints: written by others, read here after each()
      pool.each(count, 1 + round % 5,
                [&](std::size_t item, unsigned thread) { times[item] += thread < threads ? 1 : 100; });
      ASSERT_EQ(times, std::vector<int>(count, 1)) << threads << " threads, round " << round;
    }
  }
}

TEST(ThreadPool, APhaseSeesAllThatThePhaseBeforeItWrote) {
  ThreadPool pool(3);
  std::vector<long> values(37, 1), sums(37);
  for (int round = 0; round < 300; ++round) {
    pool.each(values.size(), 1, [&](std::size_t i, unsigned) {
      sums[i] = 0;
      for (const long value : values) sums[i] += value;
    });
    pool.each(values.size(), 2,
              [&](std::size_t i, unsigned) { values[i] = sums[(i + 11) % sums.size()] % 1009 + static_cast<long>(i); });
  }
  std::vector<long> expected(37, 1);
  for (int round = 0; round < 300; ++round) {
    long sum = 0;
    for (const long value : expected) sum += value;
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = sum % 1009 + static_cast<long>(i);
  }
  EXPECT_EQ(values, expected);
}

TEST(ThreadPool, HonoursGivenSharesEmptyOnesToo) {
  ThreadPool pool(4);
  const std::size_t first[] = {0, 0, 5, 5, 9};
  for (int round = 0; round < 500; ++round) {
    std::vector<int> times(9);
    pool.each_share(first, [&](std::size_t item, unsigned) { ++times[item]; });
    ASSERT_EQ(times, std::vector<int>(9, 1));
  }
}

TEST(ThreadPool, EndsWheneverItIsAskedTo) {
  for (int pool = 0; pool < 2000; ++pool) {
    ThreadPool threads(8);  // more than there are cores: some are on the way to a phase, some just awake
    threads.each(static_cast<std::size_t>(pool % 9) * 2, 1, [](std::size_t, unsigned) {});
  }
}

TEST(ThreadPool, CostsNothingWhileItWaitsForWork) {
  ThreadPool pool(3);
  pool.each(3, 1, [](std::size_t, unsigned) {});
  const auto cpu_seconds = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  // Real time is the subject here: two workers that kept looking would take up to 200 ms of processor time.
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(cpu_seconds() - before, 0.01);
  std::vector<int> times(6);
  pool.each(6, 1, [&](std::size_t item, unsigned) { ++times[item]; });  // and they still wake
  EXPECT_EQ(times, std::vector<int>(6, 1));
}

}  // namespace
}  // namespace sluice::engine::cpu
