#include "harness/load/vu.h"

#include <algorithm>

namespace sluice {

Vu::Vu(VuSurroundings& surroundings, std::uint32_t scenario, std::uint32_t number, std::uint32_t scenario_vus)
    : around_(surroundings),
      scenario_(scenario),
      number_(number),
      scenario_vus_(scenario_vus),
      session_(surroundings, scenario) {
  const ScenarioPlan& plan = surroundings.plan.scenarios[scenario];
  intervals_ = active_intervals(plan.shape, plan.graceful_stop, number);
  for (ActiveInterval& interval : intervals_) {
    interval.from += plan.start_time;
    interval.to += plan.start_time;
    interval.cut += plan.start_time;
  }
}

void Vu::start() {
  ++around_.living;
  life_ = live();
  life_.start();
}

void Vu::stop(Instant latest) {
  if (iterating_) {
    cut_at_ = std::min(cut_at_, latest);
  } else {
    session_.waiter().interrupt();
  }
}

void Vu::set_active(std::int32_t change) {
  std::uint32_t& active = around_.active[scenario_];
  active = static_cast<std::uint32_t>(static_cast<std::int64_t>(active) + change);
  around_.tally.set_vus(scenario_, active, now());
}

Task<> Vu::live() {
  for (const ActiveInterval& interval : intervals_) {
    const Instant from = around_.origin + interval.from.count();
    const Instant to = around_.origin + interval.to.count();
    if (around_.stopping) break;
    if (now() >= to) continue;  // it went by while the last iteration was being finished
    if (now() < from) {
      const Wake wake = co_await around_.loop.sleep_until(session_.waiter(), from);
      if (wake == Wake::interrupted) break;  // outside iterations only a stop interrupts
    }
    cut_at_ = around_.origin + interval.cut.count();
    set_active(1);
    while (!around_.stopping && !session_.waiter().interrupted() && now() < to) {
      const std::uint64_t waits = session_.waiter().waits();
      iterating_ = true;
      // In order: VU after VU takes a row of data each iteration, as if they stood in a line.
      const Turn turn{iteration_ * scenario_vus_ + number_, number_, iteration_, kNever};
      co_await session_.run(turn);
      iterating_ = false;
      ++iteration_;
      if (session_.waiter().waits() != waits) continue;
      const Wake wake = co_await around_.loop.sleep_until(session_.waiter(), now());
      if (wake == Wake::interrupted) break;
    }
    set_active(-1);
    session_.waiter().clear_interrupt();
  }
  session_.close_connections();
  if (--around_.living == 0) around_.loop.stop();
}

}  // namespace sluice
