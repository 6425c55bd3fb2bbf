// One virtual user: a coroutine that goes through its scenario's flow again and again while its schedule says so.
//
// Lives on one load thread. All randomness is a function of the plan's seed, the VU's number and the iteration, so that
// it does not depend on how many threads there are. An iteration in which nothing waits still gives the others a turn.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/load/schedule.h"
#include "harness/load/session.h"

namespace sluice {

/// What the VUs of one thread share with it.
struct VuSurroundings : SessionSurroundings {
  Instant origin = kNever;            // of the run: what the schedule counts from
  std::vector<std::uint32_t> active;  // VUs of each scenario that iterate now
  std::uint32_t living = 0;           // VUs whose coroutine has not ended
  bool stopping = false;              // no new iterations
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
    if (iterating_ && now >= cut_at_ && !session_.waiter().interrupted()) session_.waiter().interrupt();
  }
  /// No new iterations; the one under way may last until `latest`. REQUIRES: surroundings.stopping is set.
  void stop(Instant latest);

  const std::vector<ActiveInterval>& intervals() const { return intervals_; }

 private:
  Task<> live();
  void set_active(std::int32_t change);

  VuSurroundings& around_;
  const std::uint32_t scenario_, number_, scenario_vus_;
  std::vector<ActiveInterval> intervals_;  // offsets from the run's origin
  Session session_;
  std::uint64_t iteration_ = 0;
  Instant cut_at_ = kNever;
  bool iterating_ = false;
  Task<> life_;
};

}  // namespace sluice
