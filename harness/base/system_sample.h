// What is sampled beside a run, about once a second: the engine that was started with it, and that engine's GPU.
//
// A value, made by harness/cohost and read by harness/metrics. Whatever could not be read is absent.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/base/time.h"

namespace sluice {

/// Gauges tell of the period that ends at `at`. The first and the last sample of a run carry counters only: the engine
/// is idle then, and its gauges would only dilute those of the run.
struct SystemSample {
  Instant at = kNever;
  std::optional<double> gpu_utilization_percent, gpu_memory_bytes, gpu_power_w, gpu_clock_mhz, gpu_temperature_c;
  std::optional<double> kv_cache_usage_percent, engine_running, engine_queued;
  std::optional<std::uint64_t> engine_preemptions, engine_steps;  // counted since the engine's start
};

/// What the engine says it is; empty where it says nothing.
struct EngineIdentity {
  std::string model, backend, device;  // "tiny-coder", "cpu", "AMD EPYC, avx512-bf16, 1 thread"
};

struct GpuIdentity {
  std::string name;
  std::optional<double> memory_bytes, power_limit_w;
};

struct SystemSamples {
  EngineIdentity engine;
  std::optional<GpuIdentity> gpu;                         // none: no GPU was sampled
  std::map<std::string, std::uint64_t> throttle_reasons;  // seen in so many samples: "power cap"
  Nanoseconds period = std::chrono::seconds(1);           // doubles in a run of more samples than are kept
  std::vector<SystemSample> samples;                      // in order of time
};

/// The middle of the time that a sample's gauges tell of.
inline Instant middle_of(const SystemSample& sample, Nanoseconds period) { return sample.at - period.count() / 2; }

}  // namespace sluice
