#include "harness/base/cpu_wait.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace sluice {
namespace {

TEST(CpuWait, ReadsTheKernelsLines) {
  struct Case {
    const char* text;
    std::int64_t ran, waited;  // -1: cannot be read
  };
  const Case schedstats[] = {
      {"1398700 38728 2\n", 1398700, 38728}, {"7 0 1", 7, 0}, {"", -1, -1}, {"12\n", -1, -1}, {"a b c", -1, -1}};
  for (const Case& c : schedstats) {
    const auto read = parse_schedstat(c.text);
    ASSERT_EQ(read.has_value(), c.ran >= 0) << c.text;
    if (!read) continue;
    EXPECT_EQ(read->ran.count(), c.ran) << c.text;
    EXPECT_EQ(read->waited.count(), c.waited) << c.text;
  }
  const auto machine = parse_proc_stat("cpu  100 20 30 400 5 0 6 7 50 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
  ASSERT_TRUE(machine);
  EXPECT_EQ(machine->all, 568U);  // guests are in user already
  EXPECT_EQ(machine->stolen, 7U);
  EXPECT_FALSE(parse_proc_stat("cpu  1 2 3"));
  EXPECT_FALSE(parse_proc_stat("cpu0 1 2 3 4 5 6 7 8 9 10"));
}

TEST(CpuWait, CountsWhatAThreadHasRun) {
  const auto before = thread_cpu(::gettid());
  if (!before) GTEST_SKIP() << "/proc/self/task/*/schedstat cannot be read here";
  std::atomic<std::uint64_t> sum{0};
  const Instant until = now() + 20'000'000;
  while (now() < until) ++sum;
  const ThreadCpu spent = *thread_cpu(::gettid()) - *before;
  EXPECT_GT(spent.ran.count() + spent.waited.count(), 10'000'000);
  EXPECT_FALSE(thread_cpu(999'999'999));
  ASSERT_TRUE(machine_cpu());
  EXPECT_GT(machine_cpu()->all, 0U);
}

}  // namespace
}  // namespace sluice
