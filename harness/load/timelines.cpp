#include "harness/load/timelines.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/load/program.h"
#include "harness/load/target_client.h"
#include "harness/net/endpoint.h"

namespace sluice {
namespace {

constexpr std::size_t kMissesInARow = 20;  // a server that knows nothing of so many knows no timelines
constexpr Nanoseconds kPatience = std::chrono::seconds(2);

Nanoseconds time_left(Instant deadline) { return Nanoseconds(std::max<Instant>(deadline - now(), 0)); }

/// What the target says of one request; why not.
std::string fetch(TargetClient& client, TracedRequest& traced, Nanoseconds patience) {
  const std::string path = timeline_path(traced.request_id);
  const RequestRecord& answer = client.get(path, patience);
  if (answer.outcome == Outcome::http_error) return fmt::format("it answered {} to GET {}", answer.status, path);
  if (answer.outcome != Outcome::ok) return fmt::format("GET {}: {}", path, answer.error);
  auto timeline = read_engine_timeline(answer.body);
  if (!timeline) return fmt::format("GET {}: {}", path, timeline.error().message);
  traced.same_clock = timeline->clock == "CLOCK_MONOTONIC" && timeline->said_at >= answer.started_at &&
                      timeline->said_at <= answer.ended_at;
  traced.engine = std::move(*timeline);
  return {};
}

}  // namespace

std::string timeline_path(const std::string& request_id) {
  std::string path = "/v1/requests/";
  for (const char c : request_id) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (plain)
      path += c;
    else
      path += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
  }
  return path + "/timeline";
}

void fetch_timelines(const Plan& plan, const RunOptions& options, RequestTrace& trace) {
  std::vector<TracedRequest*> wanted;
  for (TracedRequest& traced : trace.requests)
    if (!traced.request_id.empty()) wanted.push_back(&traced);
  if (wanted.empty()) {
    trace.no_engine = "no request had an x-request-id by which to ask for its timeline";
    return;
  }
  auto target = parse_endpoint(options.target_url.empty() ? plan.target.url : options.target_url);
  if (!target || !resolve(*target)) {
    trace.no_engine = "the target cannot be reached any more";
    return;
  }
  target->tls_name = plan.target.tls.server_name;
  auto tls = TlsContext::make(tls_options(plan.target));
  if (!tls) {
    trace.no_engine = tls.error().message;
    return;
  }
  // Those that went to another server are asked for last: it may be a way to the same engine, or not.
  const auto layout = TallyLayout::from(plan);
  std::stable_partition(wanted.begin(), wanted.end(), [&](const TracedRequest* traced) {
    std::uint32_t scenario = 0;
    while (scenario + 1 < plan.scenarios.size() && layout->first_step(scenario + 1) <= traced->step) ++scenario;
    return scenario < plan.scenarios.size() && !plan.scenarios[scenario].url.empty();
  });
  TargetClient client(plan, *target, *tls);
  const Instant deadline = now() + Nanoseconds(limits::timelines_time_max).count();
  std::size_t missing = 0, misses = 0;
  std::string why;
  for (std::size_t left = wanted.size(); left > 0; --left) {
    const bool enough = misses >= kMissesInARow || time_left(deadline).count() == 0;
    std::string reason = enough ? why : fetch(client, *wanted[left - 1], std::min(kPatience, time_left(deadline)));
    if (wanted[left - 1]->engine) {
      misses = 0;
      continue;
    }
    ++missing;
    ++misses;
    if (why.empty()) why = reason.empty() ? "there was no time left to ask" : std::move(reason);
  }
  if (missing > 0)
    trace.no_engine = fmt::format("the engine tells nothing of {} of {}: {}", missing, wanted.size(), why);
}

}  // namespace sluice
