// Drives a plan's load and measures it: the one stage of the harness that owns the clock, the network and the threads.
//
// run() blocks until the load has ended: by its plan, because it has become stable, by a threshold that aborts it, or
// because a RunControl said so.
// Every wait inside has a limit, so it always returns. What a server does wrong is data in the tally; run() fails only
// when the load cannot be driven at all: the target's address cannot be read or resolved, or there are more VUs than
// file descriptors.
//
// Thread k of n owns VUs k, k+n, ...: their connections, their coroutines and a tally. Nothing is shared until the join
// but a small control word and a snapshot once a second.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "harness/base/result.h"
#include "harness/base/time.h"
#include "harness/load/variables.h"
#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "harness/output/record_writer.h"
#include "harness/output/request_trace.h"
#include "harness/output/samples.h"
#include "harness/scenario/plan.h"

namespace sluice {

struct RunOptions {
  std::string target_url;     // where the target listens; empty: plan.target.url (set for a co-hosted engine)
  std::string model;          // model of chat steps that name none; empty: plan.target.model, else the server's first
  std::vector<int> cores;     // load threads are pinned to these, thread k to cores[k % size]; empty: not pinned
  bool kernel_stamps = true;  // false: user-space time for every event
  std::function<void(const RequestRecord&)>
      on_record;                             // sees each finished request, called by the load threads; may be empty
  const FlowVariables* variables = nullptr;  // what setup has captured, for every session; null: nothing
  RequestTracer* tracer = nullptr;           // sees each finished request of the measured window; null: none
  SampleWriter* samples = nullptr;    // gets every sample; has a sink for each load thread and one more; null: none
  RecordWriter* recording = nullptr;  // gets every stream; has a sink for each load thread; null: none
};

/// Stops a run from outside. Any thread may call; a signal handler may too.
class RunControl {
 public:
  /// ending_early is the run's own: as at the end of the load, what is due already is still begun.
  enum class State : std::uint8_t { running, ending_early, stopping_gracefully, stopping_now };

  /// No new iterations; those under way may end within their scenario's graceful_stop.
  void stop_gracefully() {
    State expected = State::running;
    state_.compare_exchange_strong(expected, State::stopping_gracefully);
  }
  /// Cuts what is under way; those requests count as interrupted.
  void stop_now() { state_.store(State::stopping_now); }
  State state() const { return state_.load(std::memory_order_relaxed); }

  /// externally-controlled: how many VUs are to iterate (more than its max_vus: those), and whether they do at all.
  void set_vus(std::uint32_t vus) { vus_wanted_.store(vus); }
  void set_paused(bool paused) { paused_.store(paused); }
  std::optional<std::uint32_t> vus_wanted() const {
    const std::int64_t vus = vus_wanted_.load();
    return vus < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(vus));
  }
  bool paused() const { return paused_.load(); }

 private:
  std::atomic<State> state_{State::running};
  std::atomic<std::int64_t> vus_wanted_{-1};  // -1: what the plan says
  std::atomic<bool> paused_{false};
};

/// How a run stands, once a second.
struct Progress {
  Nanoseconds elapsed{};
  Nanoseconds planned{};  // the plan's duration, without graceful stop
  std::uint32_t vus = 0;  // active now
  std::uint64_t requests = 0, failures = 0, iterations = 0;
  std::optional<double> ttft_p50_ms, ttft_p95_ms;  // of all requests so far
  double output_tokens_per_s = 0;                  // over the last second
};

struct RunResult {
  Tally tally;
  RunFacts facts;
  std::optional<std::size_t> aborted_by;  // the threshold that stopped it
};

/// REQUIRES: `plan` has passed load_plan(), and (for an engine target) options.target_url names the started engine.
/// `every_second` is called from the calling thread.
Result<RunResult> run(const Plan& plan, const RunOptions& options, RunControl& control,
                      const std::function<void(const Progress&)>& every_second);

}  // namespace sluice
