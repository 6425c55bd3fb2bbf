#include "engine/exec/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <vector>

namespace sluice::engine::cpu {
namespace {

TEST(ThreadPool, NobodyPassesABarrierBeforeAllHaveReachedIt) {
  for (const unsigned threads : {1u, 2u, 3u, 5u}) {
    ThreadPool pool(threads);
    std::vector<int> counts(threads * 16);
    std::atomic<int> wrong{0};
    for (int run = 0; run < 20; ++run)
      pool.run([&](unsigned thread) {
        for (int round = 0; round < 20; ++round) {
          ++counts[thread * 16];
          pool.barrier();
          for (unsigned other = 0; other < threads; ++other)
            if (counts[other * 16] != run * 20 + round + 1) ++wrong;
          pool.barrier();
        }
      });
    EXPECT_EQ(wrong.load(), 0) << threads << " threads";
  }
}

TEST(ThreadPool, RunsEveryThreadOnceAndReturnsAfterTheLast) {
  ThreadPool pool(4);
  for (int i = 0; i < 500; ++i) {
    std::vector<int> seen(4);
    pool.run([&](unsigned thread) { seen[thread] += 1; });
    ASSERT_EQ(seen, (std::vector<int>{1, 1, 1, 1}));
  }
}

TEST(ThreadPool, CostsNothingWhileItWaitsForWork) {
  ThreadPool pool(3);
  pool.run([](unsigned) {});
  const auto cpu_seconds = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  // Real time is the subject here: two workers that kept spinning would take up to 200 ms of processor time.
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_LT(cpu_seconds() - before, 0.01);
  int sum = 0;
  pool.run([&](unsigned thread) { sum += thread == 0 ? 1 : 0; });  // and it still wakes
  EXPECT_EQ(sum, 1);
}

}  // namespace
}  // namespace sluice::engine::cpu
