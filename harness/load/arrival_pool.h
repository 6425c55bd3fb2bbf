// The part of an open scenario that runs on one load thread: begins each iteration when it is due, on a VU that is
// free.
//
// VUs are made on demand up to a cap and used again, the last to have ended first, so that few connections stay in use.
// An arrival that finds all of them busy is dropped and counted, or waits for the first to be free, as the plan says:
// its times from the schedule then tell the truth about the wait. Thread k of n takes arrivals k, k+n, ... of one plan.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "harness/load/arrivals.h"
#include "harness/load/session.h"
#include "harness/load/vu.h"

namespace sluice {

class ArrivalPool {
 public:
  /// `vus_max`: of this thread. REQUIRES: the scenario's shape is_open().
  ArrivalPool(VuSurroundings& surroundings, std::uint32_t scenario, std::uint32_t vus_max);
  ArrivalPool(const ArrivalPool&) = delete;
  ArrivalPool& operator=(const ArrivalPool&) = delete;

  void start();
  /// Ends the iterations under way if their time is over.
  void cut_if_due(Instant now);
  /// No new arrivals; iterations under way may last until `latest`. `drops`: those that wait are not begun either.
  /// REQUIRES: surroundings.stopping is set.
  void stop(Instant latest, bool drops);

 private:
  struct OwnVu {
    OwnVu(VuSurroundings& surroundings, std::uint32_t scenario, std::uint64_t number_in)
        : session(surroundings, scenario), number(number_in) {}
    Session session;
    std::uint64_t number;
    bool busy = false;
    Task<> life;
  };

  Task<> dispatch();
  Task<> serve(OwnVu& vu, Turn turn);
  void arrive(std::uint64_t number, Instant due);
  void begin(OwnVu& vu, std::uint64_t number, Instant due);
  void drop(Instant due);
  void drop_waiting();
  void one_less();

  VuSurroundings& around_;
  const std::uint32_t scenario_, vus_max_;
  const bool waits_;
  Arrivals arrivals_;
  Waiter waiter_;  // for the next arrival
  std::vector<std::unique_ptr<OwnVu>> vus_;
  std::vector<OwnVu*> free_;
  std::deque<std::pair<std::uint64_t, Instant>> waiting_;  // arrivals, by number and when they were due
  Instant cut_at_;
  Task<> dispatching_;
};

}  // namespace sluice
