#include "harness/load/schedule.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "harness/base/limits.h"
#include "harness/scenario/timeline.h"

namespace sluice {
namespace {

__extension__ using Wide = __int128;  // a month in nanoseconds times 100,000 VUs does not fit into 64 bits

template <class... Case>
struct Cases : Case... {
  using Case::operator()...;
};
template <class... Case>
Cases(Case...) -> Cases<Case...>;

/// When, within a stage of this length from `from` to `to` VUs, the line crosses `count`.
Nanoseconds crossing(Nanoseconds length, std::uint32_t from, std::uint32_t to, std::uint32_t count) {
  const Wide whole = from < to ? to - from : from - to;
  const Wide part = from < to ? count - from : from - count;
  return Nanoseconds(static_cast<std::int64_t>(Wide{length.count()} * part / whole));
}

std::vector<ActiveInterval> intervals_of(const RampingVus& shape, Nanoseconds graceful_stop, std::uint32_t vu) {
  std::vector<ActiveInterval> intervals;
  Nanoseconds at{};
  std::uint32_t count = shape.start_vus;
  bool active = count > vu;
  Nanoseconds since{};
  const auto end_at = [&](Nanoseconds until) {
    if (until > since) intervals.push_back(ActiveInterval{since, until, until});
    active = false;
  };
  for (const Stage& stage : shape.stages) {
    if (stage.target > count) {
      // Active when the line reaches vu + 1.
      if (!active && stage.target > vu) {
        since =
            at + (stage.duration.count() == 0 ? Nanoseconds{} : crossing(stage.duration, count, stage.target, vu + 1));
        active = true;
      }
    } else if (stage.target < count) {
      // Gone when the line reaches vu.
      if (active && stage.target <= vu) {
        end_at(at + (stage.duration.count() == 0 ? Nanoseconds{} : crossing(stage.duration, count, stage.target, vu)));
      }
    }
    count = stage.target;
    at += stage.duration;
  }
  const Nanoseconds end = at;
  const bool to_the_end = active;
  if (active) end_at(end);

  // A ramp that takes a VU away and at once gives it back has not taken it away.
  for (std::size_t i = 0; i + 1 < intervals.size();) {
    if (intervals[i].to == intervals[i + 1].from) {
      intervals[i].to = intervals[i + 1].to;
      intervals.erase(intervals.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    } else {
      ++i;
    }
  }
  for (std::size_t i = intervals.size(); i-- > 0;) {
    ActiveInterval& interval = intervals[i];
    const bool last = i + 1 == intervals.size();
    const Nanoseconds latest = end + graceful_stop;
    interval.cut = last && to_the_end ? latest : std::min(interval.to + shape.graceful_ramp_down, latest);
    if (!last && intervals[i + 1].from <= interval.cut) interval.cut = intervals[i + 1].cut;
  }
  return intervals;
}

}  // namespace

std::vector<ActiveInterval> active_intervals(const LoadShape& shape, Nanoseconds graceful_stop, std::uint32_t vu) {
  const auto whole = [&](std::uint32_t vus, Nanoseconds duration) -> std::vector<ActiveInterval> {
    if (vu >= vus || duration.count() <= 0) return {};
    return {ActiveInterval{Nanoseconds{}, duration, duration + graceful_stop}};
  };
  return std::visit(Cases{[&](const RampingVus& ramping) { return intervals_of(ramping, graceful_stop, vu); },
                          [&](const ConstantVus& constant) { return whole(constant.vus, constant.duration); },
                          [&](const PerVuIterations& own) { return whole(own.vus, own.max_duration); },
                          [&](const SharedIterations& shared) { return whole(shared.vus, shared.max_duration); },
                          [&](const ExternallyControlled& controlled) {
                            const bool endless = controlled.duration.count() == 0;
                            return whole(controlled.max_vus,
                                         endless ? Nanoseconds(limits::duration_max) : controlled.duration);
                          },
                          [](const ArrivalRate&) { return std::vector<ActiveInterval>{}; },
                          [](const TraceReplay&) { return std::vector<ActiveInterval>{}; },
                          // A search runs as trials of other shapes.
                          [](const FindMax&) { return std::vector<ActiveInterval>{}; }},
                    shape);
}

std::uint32_t planned_vus(const LoadShape& shape, Nanoseconds offset) {
  if (offset.count() < 0 || offset >= planned_duration(shape) || is_open(shape)) return 0;
  const auto* ramping = std::get_if<RampingVus>(&shape);
  if (ramping == nullptr) return most_vus(shape);
  Nanoseconds at{};
  std::uint32_t count = ramping->start_vus;
  for (const Stage& stage : ramping->stages) {
    if (offset < at + stage.duration) {
      const Wide passed = (offset - at).count(), length = stage.duration.count();
      // Going up, a VU counts from the instant at which the line has reached it; going down, until then.
      if (stage.target >= count) return count + static_cast<std::uint32_t>((stage.target - count) * passed / length);
      return count - static_cast<std::uint32_t>((count - stage.target) * passed / length);
    }
    at += stage.duration;
    count = stage.target;
  }
  return 0;
}

}  // namespace sluice
