// From the tally of a whole run to the value that the reports show.
//
// Pure: no clock, no files. Percentiles that lack samples are listed as unsure. Thresholds, outcome and exit code are
// filled by conclude() in harness/verdict/judge.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "harness/base/cpu_wait.h"
#include "harness/base/system_sample.h"
#include "harness/base/time.h"
#include "harness/metrics/tally.h"
#include "harness/scenario/plan.h"
#include "reports/summary.h"

namespace sluice {

enum class RunEnd : std::uint8_t { completed, aborted_by_threshold, interrupted_by_user };

/// What a run knows that neither the plan nor the tally does.
struct RunFacts {
  std::chrono::system_clock::time_point started_at;  // of the measured window, for the report's date
  RunEnd end = RunEnd::completed;
  std::string sluice_version;
  std::string target;  // URL without credentials, or "engine: tiny-coder (cpu ...)"
  std::string host, os, cpu;
  std::uint32_t threads = 1;
  Nanoseconds cpu_time{};                          // of the harness's own process in the measured window
  std::optional<ThreadCpu> threads_cpu;            // of the load threads together, likewise; none: not known
  std::optional<double> cpu_stolen;                // share of the machine's cores' time, likewise
  std::string backend_wanted;                      // of the co-hosted engine, as the scenario says: "auto"
  std::optional<SystemSamples> system;             // none: no engine was started, or nothing was sampled
  std::uint64_t planned_iterations = 0;            // of open models in the measured window; 0: there is no open model
  std::optional<std::size_t> stable_from;          // the first of the stable windows; none: never, or nobody asked
  bool ended_when_stable = false;                  // before its time, for that reason
  bool ended_when_decided = false;                 // likewise
  std::uint64_t samples = 0, samples_dropped = 0;  // that were to be written to files; 0: none were asked for
};

reports::Summary summarize(const Plan& plan, const Tally& tally, const RunFacts& facts);

/// ISO 8601, to the second.
std::string utc_text(std::chrono::system_clock::time_point at);

/// Samples a percentile (0..100) needs for a 99 % bound.
std::uint64_t samples_needed(double percentile);

}  // namespace sluice
