// One virtual user of a closed model: a coroutine that goes through its scenario's flow again and again while its
// schedule says so, or until its iterations are done.
//
// Lives on one load thread. An iteration in which nothing waits still gives the others a turn.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "harness/load/schedule.h"
#include "harness/load/session.h"

namespace sluice {

/// What the load threads share: of each scenario.
struct SharedState {
  explicit SharedState(std::size_t scenarios) : claimed(scenarios), vus_wanted(scenarios) {}
  std::vector<std::atomic<std::uint64_t>> claimed;     // iterations taken, of shared-iterations
  std::vector<std::atomic<std::uint32_t>> vus_wanted;  // of externally-controlled; 0 while it is paused
  AnswerLedger ledger;
};

/// What the VUs of one thread share with it.
struct VuSurroundings : SessionSurroundings {
  std::uint32_t thread = 0, threads = 1;
  Instant origin = kNever;  // of the run: what the schedule counts from
  SharedState& shared;
  std::vector<std::uint32_t> active;  // VUs of each scenario that iterate now
  std::uint32_t living = 0;           // coroutines that have not ended
  bool stopping = false;              // no new iterations

  void change_active(std::uint32_t scenario, std::int32_t change) {
    active[scenario] = static_cast<std::uint32_t>(static_cast<std::int64_t>(active[scenario]) + change);
    tally.set_vus(scenario, active[scenario], now());
  }
  void add_dropped(std::uint32_t scenario, std::uint64_t iterations, Instant at) {
    tally.add_dropped(scenario, iterations, at);
    if (samples != nullptr) samples->add_dropped(scenario, iterations, at);
  }
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

  /// externally-controlled: begins to iterate if it is to, should it be waiting.
  void wake_if_wanted() {
    if (idle_ && is_wanted()) session_.waiter().interrupt();
  }

  const std::vector<ActiveInterval>& intervals() const { return intervals_; }

 private:
  Task<> live();
  Task<> live_controlled();
  Task<> iterate(Turn turn);
  std::optional<Turn> next_turn();
  bool is_wanted() const;
  void end();

  VuSurroundings& around_;
  const std::uint32_t scenario_, number_, scenario_vus_;
  std::vector<ActiveInterval> intervals_;  // offsets from the run's origin
  Session session_;
  std::uint64_t iteration_ = 0;
  Instant cut_at_ = kNever;
  bool iterating_ = false, idle_ = false;
  Task<> life_;
};

}  // namespace sluice
