// The instrument's verdict on itself: a harness that is kept from running in time must say so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "harness/load/run.h"
#include "harness/metrics/summarize.h"
#include "harness/scenario/load_plan.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::HasSubstr;

void pin(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(core), &cores);
  ::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores);
}

/// Threads that never stop running, on one core.
class Busy {
 public:
  Busy(int threads, int core) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, core] {
        pin(core);
        while (!done_.load(std::memory_order_relaxed)) {
        }
      });
    }
  }
  ~Busy() { done_ = true; }

 private:
  std::atomic<bool> done_{false};
  std::vector<std::jthread> threads_;
};

reports::Instrument instrument_of(const Plan& plan, const RunOptions& options) {
  RunControl control;
  const auto result = run(plan, options, control, {});
  if (!result) throw std::runtime_error(result.error().message);
  return summarize(plan, result->tally, result->facts).instrument;
}

TEST(Throttled, AHarnessWhoseThreadsWaitForACoreSaysThatItLimitedTheRun) {
  const std::string stream =
      stream_head() + chunk(role_event() + content_event("a") + finish_event() + usage_event(3, 1) + done_event()) +
      chunk("");
  Script script;
  for (int i = 0; i < 2000; ++i) {
    script.push_back(await_request());
    script.push_back(send(stream, 2ms));
  }
  ScriptedServer server({script});
  LoadOptions load;
  load.environment = [](const std::string&) { return std::nullopt; };
  const auto plan = read_plan("name: t\ntarget: {url: '" + server.url() +
                                  "', model: m}\nscenarios:\n  a:\n    executor: constant-arrival-rate\n    rate: 100\n"
                                  "    duration: 2s\n    max_vus: 50\n    flow: [{chat: {prompt: hi}}]\n"
                                  "thresholds: {ttft: med < 10s}\n",
                              "t.yaml", load);
  ASSERT_TRUE(plan) << plan.error().text();
  const int core = ::sched_getcpu();
  RunOptions options;
  options.cores = {core};
  const Busy busy(8, core);  // a ninth of the core is left, in slices of milliseconds
  const reports::Instrument instrument = instrument_of(*plan, options);
  EXPECT_EQ(instrument.verdict, "client-limited");
  EXPECT_THAT(instrument.reason, HasSubstr("send_lag"));
  if (instrument.run_queue_wait_percent) {
    EXPECT_GT(*instrument.run_queue_wait_percent, 20);
    const bool stolen = instrument.cpu_steal_percent.value_or(0) > 2;  // then that is the cause that is named
    EXPECT_THAT(instrument.reason, HasSubstr(stolen ? "steal" : "waited for a core"));
  }
}

}  // namespace
}  // namespace sluice
