#include "harness/load/vu.h"

#include <algorithm>

#include "harness/load/data_rows.h"

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

/// In order: VU after VU takes a row of data each iteration, as if they stood in a line.
std::optional<Turn> Vu::next_turn() {
  const LoadShape& shape = around_.plan.scenarios[scenario_].shape;
  Turn turn{iteration_ * scenario_vus_ + number_, number_, iteration_, kNever};
  if (const auto* own = std::get_if<PerVuIterations>(&shape); own != nullptr && iteration_ >= own->iterations) {
    return std::nullopt;
  }
  if (const auto* shared = std::get_if<SharedIterations>(&shape)) {
    std::atomic<std::uint64_t>& claimed = around_.shared.claimed[scenario_];
    if (claimed.load(std::memory_order_relaxed) >= shared->iterations) return std::nullopt;
    turn.number = turn.iteration = claimed.fetch_add(1, std::memory_order_relaxed);
    if (turn.number >= shared->iterations) return std::nullopt;
    if (!has_rows(around_.plan, scenario_, turn.number)) {
      claimed.fetch_sub(1, std::memory_order_relaxed);  // it is not begun
      return std::nullopt;
    }
  }
  if (!has_rows(around_.plan, scenario_, turn.number)) return std::nullopt;
  ++iteration_;
  return turn;
}

Task<> Vu::iterate(Turn turn) {
  const std::uint64_t waits = session_.waiter().waits();
  iterating_ = true;
  co_await session_.run(turn);
  iterating_ = false;
  // One that never waited gives the others a turn.
  if (session_.waiter().waits() == waits) co_await around_.loop.sleep_until(session_.waiter(), now());
}

Task<> Vu::live() {
  if (std::holds_alternative<ExternallyControlled>(around_.plan.scenarios[scenario_].shape)) {
    co_await live_controlled();
    end();
    co_return;
  }
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
    around_.change_active(scenario_, +1);
    while (!around_.stopping && !session_.waiter().interrupted() && now() < to) {
      const std::optional<Turn> turn = next_turn();
      if (!turn) break;
      co_await iterate(*turn);
    }
    around_.change_active(scenario_, -1);
    session_.waiter().clear_interrupt();
  }
  // What its time did not suffice for; those of shared-iterations are nobody's, the run counts them.
  const auto* own = std::get_if<PerVuIterations>(&around_.plan.scenarios[scenario_].shape);
  if (own != nullptr && iteration_ < own->iterations && !around_.stopping) {
    around_.add_dropped(scenario_, own->iterations - iteration_, now());
  }
  end();
}

bool Vu::is_wanted() const { return number_ < around_.shared.vus_wanted[scenario_].load(std::memory_order_relaxed); }

Task<> Vu::live_controlled() {
  const Instant from = around_.origin + intervals_.front().from.count();
  const Instant to = around_.origin + intervals_.front().to.count();
  cut_at_ = around_.origin + intervals_.front().cut.count();
  if (now() < from) co_await around_.loop.sleep_until(session_.waiter(), from);
  session_.waiter().clear_interrupt();
  while (!around_.stopping && now() < to) {
    if (!is_wanted()) {
      idle_ = true;
      co_await around_.loop.sleep_until(session_.waiter(), to);
      idle_ = false;
      session_.waiter().clear_interrupt();  // it was woken: the conditions are looked at again
      continue;
    }
    around_.change_active(scenario_, +1);
    while (!around_.stopping && !session_.waiter().interrupted() && now() < to && is_wanted()) {
      const std::optional<Turn> turn = next_turn();
      if (!turn) {  // its rows of data have run out, and with them its life
        around_.change_active(scenario_, -1);
        co_return;
      }
      co_await iterate(*turn);
    }
    around_.change_active(scenario_, -1);
    if (session_.waiter().interrupted()) break;
  }
}

void Vu::end() {
  session_.close_connections();
  if (--around_.living == 0) around_.loop.stop();
}

}  // namespace sluice
