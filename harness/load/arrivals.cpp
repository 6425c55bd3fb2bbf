#include "harness/load/arrivals.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "harness/scenario/trace.h"

namespace sluice {
namespace {

__extension__ using Wide = __int128;

constexpr std::uint64_t kMicro = 1'000'000;

/// Twice the area under the rate's line over the stage.
Wide area_of(std::uint64_t from, const ArrivalRate::Stage& stage) {
  return (Wide{from} + stage.target_micro) * stage.duration.count();
}

/// When, within the stage, twice the area reaches `area`. REQUIRES: 0 < area <= area_of(from, stage), or area is 0.
Nanoseconds time_in(std::uint64_t from, const ArrivalRate::Stage& stage, long double area) {
  const auto length = static_cast<long double>(stage.duration.count());
  const auto a = static_cast<long double>(from), b = static_cast<long double>(stage.target_micro);
  // Of a t + (b - a) t^2 / 2 length = area / 2 the form of the root that does not cancel.
  const long double root = std::sqrt(std::max(a * a + (b - a) * area / length, 0.0L));
  const long double t = area <= 0 ? 0 : area / (a + root);
  return Nanoseconds(static_cast<std::int64_t>(std::clamp(t, 0.0L, length)));
}

bool is_drawn(const ArrivalRate& rate) {
  return rate.executor == ArrivalRate::Executor::poisson || rate.executor == ArrivalRate::Executor::gamma;
}

}  // namespace

Arrivals::Arrivals(const ArrivalRate& rate, std::uint64_t seed)
    : rate_(&rate), random_(seed), from_micro_(rate.start_micro) {}

Arrivals::Arrivals(const TraceReplay& replay) : replay_(&replay) {}

double Arrivals::draw_unit() { return (static_cast<double>(random_() >> 11U) + 0.5) * 0x1p-53; }

/// Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); mean 1.
double Arrivals::draw_gap() {
  const double shape = rate_->burstiness;
  if (rate_->executor == ArrivalRate::Executor::poisson || shape == 1) return -std::log(draw_unit());
  const double boost = shape < 1 ? std::pow(draw_unit(), 1 / shape) : 1;
  const double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = draw_normal(), v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(draw_unit()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v * boost / shape;
  }
}

double Arrivals::draw_normal() {
  if (spare_normal_) {
    const double normal = *spare_normal_;
    spare_normal_.reset();
    return normal;
  }
  const double radius = std::sqrt(-2 * std::log(draw_unit())), angle = 2 * std::numbers::pi * draw_unit();
  spare_normal_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

std::optional<Nanoseconds> Arrivals::next() {
  if (replay_ == nullptr) return next_at_rate();
  if (number_ >= replay_->trace->rows.size()) return std::nullopt;
  return due_at(replay_->trace->rows[number_++], replay_->speed);
}

std::optional<Nanoseconds> Arrivals::next_at_rate() {
  const Wide one = Wide{2 * kMicro} * rate_->time_unit.count();  // the area of one arrival
  const bool drawn = is_drawn(*rate_);
  const bool from_zero = rate_->executor == ArrivalRate::Executor::constant;
  if (drawn) drawn_area_ += draw_gap();
  const Wide exact = one * (number_ + (from_zero ? 0 : 1));
  const auto wanted = drawn ? static_cast<long double>(drawn_area_) * static_cast<long double>(one) : 0.0L;
  for (; stage_ < rate_->stages.size(); ++stage_) {
    const ArrivalRate::Stage& stage = rate_->stages[stage_];
    const Wide after = area_before_ + area_of(from_micro_, stage);
    const bool here = drawn ? wanted <= static_cast<long double>(after) : from_zero ? exact < after : exact <= after;
    if (here) {
      ++number_;
      if (!drawn && from_micro_ == stage.target_micro) {  // exact
        const Wide t = (exact - area_before_) / (Wide{2} * from_micro_);
        return time_before_ + Nanoseconds(static_cast<std::int64_t>(t));
      }
      const long double area =
          drawn ? wanted - static_cast<long double>(area_before_) : static_cast<long double>(exact - area_before_);
      return time_before_ + time_in(from_micro_, stage, area);
    }
    area_before_ = after;
    time_before_ += stage.duration;
    from_micro_ = stage.target_micro;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> arrivals_planned(const ArrivalRate& rate) {
  if (is_drawn(rate)) return std::nullopt;
  Wide area = 0;
  std::uint64_t from = rate.start_micro;
  for (const ArrivalRate::Stage& stage : rate.stages) {
    area += area_of(from, stage);
    from = stage.target_micro;
  }
  const Wide one = Wide{2 * kMicro} * rate.time_unit.count();
  const bool from_zero = rate.executor == ArrivalRate::Executor::constant;
  return static_cast<std::uint64_t>((area + (from_zero ? one - 1 : 0)) / one);
}

}  // namespace sluice
