#include "harness/load/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/load/run.h"

namespace sluice {
namespace {

struct Seen {
  Instant kernel, user;
};

ErrorFigures figures_of(std::vector<double>& errors) {
  if (errors.empty()) return {};
  const auto at = [&](double q) {
    const auto index = static_cast<std::size_t>(std::ceil(q * static_cast<double>(errors.size()))) - 1;
    std::nth_element(errors.begin(), errors.begin() + static_cast<std::ptrdiff_t>(index), errors.end());
    return errors[index];
  };
  return {at(0.5), at(0.99), at(1)};
}

}  // namespace

Plan emitter_plan(std::uint16_t port, std::uint32_t streams, std::chrono::seconds longest) {
  Plan plan;
  plan.name = "calibrate";
  plan.target.url = fmt::format("http://127.0.0.1:{}", port);
  plan.target.model = "emitter";
  plan.target.request_timeout = longest;
  ChatStep chat;
  chat.messages.push_back({Template("user"), Template("anything")});
  Step step;
  step.name = "chat";
  step.verb = chat;
  ScenarioPlan scenario;
  scenario.name = "streams";
  scenario.shape = PerVuIterations{streams, 1, longest};
  scenario.flow = {step};
  plan.scenarios = {scenario};
  return plan;
}

Result<CalibrationRow> calibrate(const EmitterLoad& load, int core) {
  auto emitter = Emitter::start(load);
  if (!emitter) return emitter.error();
  std::vector<std::vector<Seen>> seen(load.streams);
  CalibrationRow row;
  std::uint64_t stamped = 0;
  RunOptions options;
  if (core >= 0) options.cores = {core};
  options.on_record = [&](const RequestRecord& record) {  // one load thread
    row.failed += record.outcome != Outcome::ok ? 1 : 0;
    row.reads += record.reads;
    std::size_t stream = load.streams;
    std::from_chars(record.id.data(), record.id.data() + record.id.size(), stream);
    if (stream >= load.streams) return;
    for (const ContentEvent& event : record.content) {
      seen[stream].push_back({event.received_at, event.seen_at});
      stamped += event.kernel_stamp ? 1 : 0;
    }
  };
  RunControl control;
  const auto longest = std::chrono::seconds(static_cast<int>(load.seconds) + 60);
  const Plan plan = emitter_plan((*emitter)->port(), load.streams, longest);
  const auto result = run(plan, options, control, {});
  if (!result) return result.error();

  row.streams = load.streams;
  row.rate = load.rate;
  const std::size_t writes = load.writes();
  std::vector<double> ttft[2], gap[2], duration[2];  // by kernel stamps, by user space
  std::uint64_t within = 0;
  Instant first = std::numeric_limits<Instant>::max(), last = 0;
  for (std::size_t s = 0; s < seen.size(); ++s) {
    const std::vector<Seen>& at = seen[s];
    row.events += at.size();
    if (at.size() != writes * load.per_write) continue;
    const auto true_at = [&](std::size_t w) { return (*emitter)->written(s, w).before; };
    first = std::min(first, true_at(0));
    last = std::max(last, at.back().user);
    for (std::size_t w = 0; w < writes; ++w) {
      const Seen& event = at[w * load.per_write];
      if (event.kernel >= true_at(w) && event.kernel <= (*emitter)->written(s, w).after) ++within;
      for (const int user : {0, 1}) {
        const auto time = [&](std::size_t i) {
          const Seen& one = at[i * load.per_write];
          return user != 0 ? one.user : one.kernel;
        };
        const auto us = [](Instant ns) { return static_cast<double>(ns) / 1e3; };
        if (w == 0) ttft[user].push_back(us(time(0) - true_at(0)));
        if (w > 0) gap[user].push_back(std::abs(us(time(w) - time(w - 1) - (true_at(w) - true_at(w - 1)))));
        if (w > 0 && w + 1 == writes)
          duration[user].push_back(std::abs(us(time(w) - time(0) - (true_at(w) - true_at(0)))));
      }
    }
  }
  row.lost = std::uint64_t{load.streams} * writes * load.per_write - row.events;
  row.ttft_kernel = figures_of(ttft[0]);
  row.ttft_user = figures_of(ttft[1]);
  row.gap_kernel = figures_of(gap[0]);
  row.gap_user = figures_of(gap[1]);
  row.duration_kernel = figures_of(duration[0]);
  row.duration_user = figures_of(duration[1]);
  const double events = static_cast<double>(std::max<std::uint64_t>(row.events, 1));
  row.stamps_within_send = static_cast<double>(within * load.per_write) / events;
  row.kernel_stamped = static_cast<double>(stamped) / events;
  if (last > first) {
    row.seconds = static_cast<double>(last - first) / 1e9;
    row.cpu_percent = 100 * std::chrono::duration<double>(result->facts.cpu_time).count() / row.seconds;
  }
  const auto p99 = [&](Metric metric) {
    return result->tally.aggregate(metric, Aggregation::percentile, 99).value_or(0);
  };
  row.client_lag_p99_ms = p99(Metric::client_lag);
  row.loop_lag_p99_ms = p99(Metric::loop_lag);
  row.emitter_behind = (*emitter)->behind();
  return row;
}

}  // namespace sluice
