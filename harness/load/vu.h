// One virtual user: a coroutine that goes through its scenario's flow again and again while its schedule says so.
//
// Lives on one load thread. All randomness is a function of the plan's seed, the VU's number and the iteration, so that
// it does not depend on how many threads there are. An iteration in which nothing waits still gives the others a turn.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/load/program.h"
#include "harness/load/schedule.h"
#include "harness/metrics/tally.h"
#include "harness/net/connection.h"
#include "harness/net/event_loop.h"
#include "harness/net/exchange.h"
#include "harness/net/kernel_clock.h"
#include "harness/net/task.h"

namespace sluice {

/// What the VUs of one thread share with it.
struct VuSurroundings {
  const Plan& plan;
  const Program& program;
  EventLoop& loop;
  ExchangeBuffers& buffers;
  Tally& tally;
  const KernelClock* stamps = nullptr;                  // null: user-space time only
  std::shared_ptr<TlsContext> tls;                      // shared by all connections of the run
  std::function<void(const RequestRecord&)> on_record;  // may be empty
  Instant origin = kNever;                              // of the run: what the schedule counts from
  std::vector<std::uint32_t> active;                    // VUs of each scenario that iterate now
  std::uint32_t living = 0;                             // VUs whose coroutine has not ended
  bool stopping = false;                                // no new iterations
};

class Vu {
 public:
  /// `number`: among all VUs of its scenario, from 0. `scenario_vus`: how many those are.
  Vu(VuSurroundings& surroundings, std::uint32_t scenario, std::uint32_t number, std::uint32_t scenario_vus);
  Vu(const Vu&) = delete;
  Vu& operator=(const Vu&) = delete;

  void start();

  /// Ends the iteration under way if its time is over.
  void cut_if_due(Instant now) {
    if (iterating_ && now >= cut_at_ && !waiter_.interrupted()) waiter_.interrupt();
  }
  /// No new iterations; the one under way may last until `latest`. REQUIRES: surroundings.stopping is set.
  void stop(Instant latest);

  const std::vector<ActiveInterval>& intervals() const { return intervals_; }

 private:
  class IterationScope;
  class AnswerScope;

  Task<> live();
  Task<> iterate();
  Task<> run_steps(const std::vector<StepProgram>& steps);
  Task<> run_request(const StepProgram& step);
  void check(const StepProgram& step);
  void set_active(std::int32_t change);
  std::uint64_t random(std::uint64_t stream) const;
  Connection& connection_to(std::size_t endpoint);

  VuSurroundings& around_;
  const std::uint32_t scenario_, number_, scenario_vus_;
  std::vector<ActiveInterval> intervals_;  // offsets from the run's origin
  Waiter waiter_;
  Exchange exchange_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by endpoint; made when first needed
  RequestRecord record_;
  std::string request_, body_;  // of requests that vary
  std::uint64_t iteration_ = 0;
  Instant cut_at_ = kNever;
  bool iterating_ = false;
  Task<> life_;
};

}  // namespace sluice
