#include "harness/cohost/system_sampler.h"

#include <pthread.h>

#include <charconv>
#include <csignal>
#include <string_view>
#include <utility>

#include "harness/cohost/engine_metrics.h"
#include "harness/cohost/probe.h"

namespace sluice {

namespace {

constexpr auto kAnswerTime = std::chrono::milliseconds(800);  // less than a period: a late answer is no sample

}  // namespace

MetricsSource metrics_of_engine(const std::string& url) {
  std::uint16_t port = 0;
  const std::string_view digits = std::string_view(url).substr(url.rfind(':') + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return [port]() -> std::optional<std::string> {
    auto answer = local_http_get(port, "/metrics", kAnswerTime);
    if (answer.status != 200) return std::nullopt;
    return std::move(answer.body);
  };
}

EngineIdentity identify_engine(const MetricsSource& metrics) {
  const auto text = metrics();
  return text ? read_engine_metrics(*text).identity : EngineIdentity{};
}

SystemSampler::SystemSampler(SystemSamplerOptions options) : options_(std::move(options)) {
  taken_.period = options_.period;
  if (options_.gpu) taken_.gpu = options_.gpu->identity();
  sample(true);
  thread_ = std::jthread([this](const std::stop_token& stopping) { run(stopping); });
}

SystemSampler::~SystemSampler() = default;

SystemSamples SystemSampler::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  sample(true);
  return std::move(taken_);
}

void SystemSampler::run(const std::stop_token& stopping) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are main's
  auto next = Clock::now() + taken_.period;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_until(lock, stopping, next, [&stopping] { return stopping.stop_requested(); })) {
    sample(false);
    if (options_.on_sample) options_.on_sample();
    while (next <= Clock::now()) next += taken_.period;  // one that came late is not made up for
  }
}

void SystemSampler::sample(bool counters_only) {
  SystemSample sample;
  sample.at = now();
  if (const auto text = options_.metrics ? options_.metrics() : std::nullopt) {
    const EngineReading reading = read_engine_metrics(*text);
    if (taken_.engine.backend.empty()) taken_.engine = reading.identity;
    sample.engine_preemptions = reading.preemptions;
    sample.engine_steps = reading.steps;
    if (!counters_only) {
      sample.engine_running = reading.running;
      sample.engine_queued = reading.queued;
      sample.kv_cache_usage_percent = reading.kv_usage_percent;
    }
  }
  if (options_.gpu && !counters_only) {
    const GpuReading reading = options_.gpu->read();
    sample.gpu_utilization_percent = reading.utilization_percent;
    sample.gpu_memory_bytes = reading.memory_bytes;
    sample.gpu_power_w = reading.power_w;
    sample.gpu_clock_mhz = reading.clock_mhz;
    sample.gpu_temperature_c = reading.temperature_c;
    for (const std::string& reason : reading.throttle_reasons) ++taken_.throttle_reasons[reason];
  }
  taken_.samples.push_back(sample);
  if (taken_.samples.size() >= options_.samples_max) thin_out();
}

/// Every second one goes, and from now on they come half as often: memory is bounded for a run of any length.
void SystemSampler::thin_out() {
  auto& samples = taken_.samples;
  // The first has the counters' start, and the last may have their end.
  const std::size_t last = samples.size() - 1;
  std::size_t kept = 1;
  for (std::size_t i = 2; i <= last; i += 2) samples[kept++] = samples[i];
  if (last % 2 == 1 && last > 1) samples[kept++] = samples[last];
  samples.resize(kept);
  taken_.period *= 2;
}

}  // namespace sluice
