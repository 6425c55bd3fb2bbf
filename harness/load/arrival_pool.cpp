#include "harness/load/arrival_pool.h"

#include <algorithm>

#include "harness/base/limits.h"
#include "harness/load/data_rows.h"
#include "harness/load/schedule.h"
#include "harness/scenario/timeline.h"

namespace sluice {
namespace {

/// Arrivals begun without a wait after which the sockets have their turn.
constexpr int kArrivalsInARow = 32;

bool waits_when_busy(const LoadShape& shape) {
  if (const auto* replay = std::get_if<TraceReplay>(&shape)) return replay->wait_when_busy;
  return std::get<ArrivalRate>(shape).wait_when_busy;
}

Arrivals arrivals_of(const Plan& plan, std::uint32_t scenario) {
  const LoadShape& shape = plan.scenarios[scenario].shape;
  if (const auto* replay = std::get_if<TraceReplay>(&shape)) return Arrivals(*replay);
  return {std::get<ArrivalRate>(shape), seed_of(plan.seed, scenario)};
}

}  // namespace

ArrivalPool::ArrivalPool(VuSurroundings& surroundings, std::uint32_t scenario, std::uint32_t vus_max)
    : around_(surroundings),
      scenario_(scenario),
      vus_max_(vus_max),
      waits_(waits_when_busy(surroundings.plan.scenarios[scenario].shape)),
      arrivals_(arrivals_of(surroundings.plan, scenario)),
      waiter_(surroundings.loop) {
  const ScenarioPlan& plan = surroundings.plan.scenarios[scenario];
  cut_at_ = surroundings.origin + (plan.start_time + planned_duration(plan.shape) + plan.graceful_stop).count();
}

void ArrivalPool::start() {
  ++around_.living;
  dispatching_ = dispatch();
  dispatching_.start();
}

Task<> ArrivalPool::dispatch() {
  const Instant origin = around_.origin + around_.plan.scenarios[scenario_].start_time.count();
  std::uint64_t number = 0;
  int in_a_row = 0;
  for (auto offset = arrivals_.next(); offset && !around_.stopping; offset = arrivals_.next(), ++number) {
    if (!has_rows(around_.plan, scenario_, number)) break;  // nor for any later one
    if (number % around_.threads != around_.thread) continue;
    const Instant due = origin + offset->count();
    const Instant at = now();
    if (due > at || ++in_a_row > kArrivalsInARow) {
      in_a_row = 0;
      const Wake wake = co_await around_.loop.sleep_until(waiter_, std::max(due, at));
      if (wake == Wake::interrupted) break;
    }
    arrive(number, due);
  }
  one_less();
}

void ArrivalPool::arrive(std::uint64_t number, Instant due) {
  if (free_.empty() && vus_.size() < vus_max_) {
    const std::uint64_t vu = vus_.size() * around_.threads + around_.thread;
    vus_.push_back(std::make_unique<OwnVu>(around_, scenario_, vu));
    free_.push_back(vus_.back().get());
  }
  if (!free_.empty()) {
    OwnVu& vu = *free_.back();
    free_.pop_back();
    begin(vu, number, due);
  } else if (waits_ && waiting_.size() < limits::arrivals_waiting_max) {
    waiting_.emplace_back(number, due);
  } else {
    drop(due);
  }
}

void ArrivalPool::begin(OwnVu& vu, std::uint64_t number, Instant due) {
  vu.busy = true;
  ++around_.living;
  around_.change_active(scenario_, +1);
  vu.life = serve(vu, Turn{number, vu.number, number, due});
  vu.life.start();
}

Task<> ArrivalPool::serve(OwnVu& vu, Turn turn) {
  co_await vu.session.run(turn);
  while (!waiting_.empty() && !vu.session.waiter().interrupted()) {
    const auto [number, due] = waiting_.front();
    waiting_.pop_front();
    const Turn next{number, vu.number, number, due};
    co_await vu.session.run(next);
  }
  vu.session.waiter().clear_interrupt();
  vu.busy = false;
  around_.change_active(scenario_, -1);
  free_.push_back(&vu);
  one_less();
}

void ArrivalPool::drop(Instant due) {
  around_.tally.add_dropped(scenario_, 1, due);
  if (around_.samples != nullptr && !around_.tally.is_warmup(scenario_, due))
    around_.samples->add_dropped(scenario_, 1, due);
}

void ArrivalPool::drop_waiting() {
  for (const auto& [number, due] : waiting_) drop(due);
  waiting_.clear();
}

void ArrivalPool::one_less() {
  if (--around_.living == 0) around_.loop.stop();
}

void ArrivalPool::cut_if_due(Instant now) {
  if (now < cut_at_) return;
  drop_waiting();
  for (const auto& vu : vus_) {
    if (vu->busy && !vu->session.waiter().interrupted()) vu->session.waiter().interrupt();
  }
}

void ArrivalPool::stop(Instant latest, bool drops) {
  cut_at_ = std::min(cut_at_, latest);
  waiter_.interrupt();
  if (drops) drop_waiting();
}

}  // namespace sluice
