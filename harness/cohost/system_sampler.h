// Samples the engine started beside a run, and its GPU, in a thread of its own while the run lasts.
//
// The load threads know nothing of it: what it has read is handed over when it has been stopped.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "harness/base/limits.h"
#include "harness/base/system_sample.h"
#include "harness/cohost/nvml.h"

namespace sluice {

/// The text of the engine's metrics; none when it does not answer. May be called from another thread.
using MetricsSource = std::function<std::optional<std::string>()>;

/// GET /metrics of an engine at http://127.0.0.1:PORT.
MetricsSource metrics_of_engine(const std::string& url);

/// What the engine says it is. Fields are empty where it says nothing, or does not answer.
EngineIdentity identify_engine(const MetricsSource& metrics);

struct SystemSamplerOptions {
  MetricsSource metrics;
  std::unique_ptr<Gpu> gpu;  // null: none is sampled
  Nanoseconds period = std::chrono::seconds(1);
  std::size_t samples_max = limits::system_samples_max;  // at least 4
  std::function<void()> on_sample;                       // called by its thread after each one; may be empty
};

class SystemSampler {
 public:
  /// Takes the first sample, which has counters only, and starts.
  explicit SystemSampler(SystemSamplerOptions options);
  ~SystemSampler();
  SystemSampler(const SystemSampler&) = delete;
  SystemSampler& operator=(const SystemSampler&) = delete;

  /// Ends the thread, takes the last sample, which has counters only, and gives all. To be called once, while the
  /// engine is still there.
  SystemSamples stop();

 private:
  void sample(bool counters_only);
  void thin_out();
  void run(const std::stop_token& stopping);

  SystemSamplerOptions options_;
  SystemSamples taken_;  // the thread's while it runs
  std::mutex mutex_;     // only for waiting
  std::condition_variable_any wake_;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace sluice
