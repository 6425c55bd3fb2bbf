#include "harness/cohost/system_sampler.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <utility>

#include "harness/cohost/engine_metrics.h"
#include "harness/cohost/engine_process.h"
#include "harness/cohost/nvml.h"
#include "harness/cohost/probe.h"
#include "tests/harness/cohost/fake_nvml.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

// ---- the engine's metrics -------------------------------------------------------------------------------------------

constexpr const char* kMetrics = R"(# HELP sluice_engine_info What runs.
# TYPE sluice_engine_info gauge
sluice_engine_info{backend="cuda",device="NVIDIA \"H100\", 132 SMs",model="tiny-coder"} 1
sluice_connections 3
sluice_requests_running{model_name="tiny-coder"} 7
sluice_requests_queued{model_name="tiny-coder"} 2
sluice_steps_total{model_name="tiny-coder"} 4577
sluice_kv_blocks{model_name="tiny-coder"} 16
sluice_kv_blocks_held{model_name="tiny-coder"} 12
sluice_preemptions_total{model_name="tiny-coder"} 34
vllm:num_requests_running{model_name="tiny-coder"} 99
)";

TEST(EngineMetrics, AreReadByTheirNames) {
  const EngineReading reading = read_engine_metrics(kMetrics);
  EXPECT_EQ(reading.identity.backend, "cuda");
  EXPECT_EQ(reading.identity.device, "NVIDIA \"H100\", 132 SMs");
  EXPECT_EQ(reading.identity.model, "tiny-coder");
  EXPECT_EQ(reading.running, 7);
  EXPECT_EQ(reading.queued, 2);
  EXPECT_EQ(reading.steps, 4577u);
  EXPECT_EQ(reading.preemptions, 34u);
  EXPECT_EQ(reading.kv_usage_percent, 75);
}

TEST(EngineMetrics, WhatIsNotThereOrMakesNoSenseIsAbsent) {
  const struct {
    const char* name;
    const char* text;
  } cases[] = {{"nothing", ""},
               {"no value", "sluice_requests_running"},
               {"an open label", "sluice_requests_running{a=\"b 7\n"},
               {"a longer name", "sluice_requests_running_max 7\n"},
               {"negative", "sluice_requests_running -1\n"},
               {"not a number", "sluice_requests_running NaN\nsluice_requests_queued +Inf\n"},
               {"a comment", "# sluice_requests_running 7\n"},
               {"a pool of nothing", "sluice_kv_blocks 0\nsluice_kv_blocks_held 0\n"},
               {"lines only", "\n\n\r\n"}};
  for (const auto& c : cases) {
    const EngineReading reading = read_engine_metrics(c.text);
    EXPECT_FALSE(reading.running || reading.queued || reading.steps || reading.preemptions || reading.kv_usage_percent)
        << c.name;
    EXPECT_EQ(reading.identity.backend, "") << c.name;
  }
}

TEST(EngineMetrics, LabelsMayHoldAnything) {
  const EngineReading reading = read_engine_metrics(
      "sluice_engine_info{device=\"a}b,c=\\\"d\\\\\",backend=\"cpu\"} 1\r\nsluice_steps_total{m=\"x y} \"} 1.5e3 "
      "1700000000\r\n");
  EXPECT_EQ(reading.identity.device, "a}b,c=\"d\\");
  EXPECT_EQ(reading.identity.backend, "cpu");
  EXPECT_EQ(reading.steps, 1500u);
}

// ---- the GPU --------------------------------------------------------------------------------------------------------

/// The variable of a fake library, which stays loaded as long as this is there.
class Fake {
 public:
  explicit Fake(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    state_ = static_cast<FakeNvml*>(dlsym(handle_, "fake_nvml"));
    *state_ = FakeNvml{};
  }
  ~Fake() { dlclose(handle_); }
  Fake(const Fake&) = delete;
  Fake& operator=(const Fake&) = delete;
  FakeNvml* operator->() { return state_; }

 private:
  void* handle_;
  FakeNvml* state_ = nullptr;
};

TEST(Gpu, ReadsWhatTheLibrarySays) {
  Fake fake(FAKE_NVML);
  {
    const auto gpu = Gpu::open(std::nullopt, FAKE_NVML);
    ASSERT_TRUE(gpu);
    EXPECT_EQ(fake->open, 1);
    const GpuIdentity identity = gpu->identity();
    EXPECT_EQ(identity.name, "Fake H100");
    EXPECT_EQ(identity.memory_bytes, 80e9);
    EXPECT_EQ(identity.power_limit_w, 700);
    const GpuReading reading = gpu->read();
    EXPECT_EQ(reading.utilization_percent, 71);
    EXPECT_EQ(reading.memory_bytes, 12e9);
    EXPECT_EQ(reading.power_w, 412.5);
    EXPECT_EQ(reading.clock_mhz, 1755);
    EXPECT_EQ(reading.temperature_c, 58);
    EXPECT_THAT(reading.throttle_reasons, ElementsAre("power cap", "temperature")) << "being idle is no reason";
  }
  EXPECT_EQ(fake->open, 0) << "shut down";
}

TEST(Gpu, IsTheOneTheEngineTakes) {
  Fake fake(FAKE_NVML);
  const struct {
    std::optional<std::string> visible;
    const char* name;  // "": none
  } cases[] = {{std::nullopt, "Fake H100"},
               {"0", "Fake H100"},
               {"1", "Fake H200"},
               {"1,0", "Fake H200"},
               {" 1 , 0", "Fake H200"},
               {"GPU-1111", "Fake H200"},
               {"", ""},
               {"-1", ""},
               {"2", ""},
               {"GPU-2222", ""},
               {"MIG-1", ""},
               {"1x", ""}};
  for (const auto& c : cases) {
    const auto gpu = Gpu::open(c.visible, FAKE_NVML);
    EXPECT_EQ(gpu ? gpu->identity().name : "", c.name) << c.visible.value_or("(unset)");
  }
  EXPECT_EQ(fake->open, 0);
}

TEST(Gpu, OfAnOlderDriverTellsWhatItCan) {
  Fake fake(FAKE_NVML_OLD);
  const auto gpu = Gpu::open(std::nullopt, FAKE_NVML_OLD);
  ASSERT_TRUE(gpu);
  EXPECT_EQ(gpu->identity().power_limit_w, std::nullopt);
  EXPECT_THAT(gpu->read().throttle_reasons, ElementsAre("power cap", "temperature"));
}

TEST(Gpu, IsAbsentWhereThereIsNoLibraryOrNoDriver) {
  EXPECT_FALSE(Gpu::open(std::nullopt, "libno-such-library.so.1"));
  EXPECT_FALSE(Gpu::open(std::nullopt, "libm.so.6")) << "a library, but not this one";
  Fake fake(FAKE_NVML);
  fake->no_driver = true;
  EXPECT_FALSE(Gpu::open(std::nullopt, FAKE_NVML));
}

TEST(Gpu, ThatIsLostInMidRunReadsNothing) {
  Fake fake(FAKE_NVML);
  const auto gpu = Gpu::open(std::nullopt, FAKE_NVML);
  ASSERT_TRUE(gpu);
  fake->lost = true;
  const GpuReading reading = gpu->read();
  EXPECT_FALSE(reading.utilization_percent || reading.memory_bytes || reading.power_w || reading.clock_mhz);
  EXPECT_THAT(reading.throttle_reasons, IsEmpty());
}

// ---- the sampler ----------------------------------------------------------------------------------------------------

/// Counts up with each answer.
MetricsSource counting_engine() {
  return [asked = std::make_shared<std::atomic<int>>(0)]() -> std::optional<std::string> {
    const int n = ++*asked;
    return fmt::format(
        "sluice_engine_info{{backend=\"cuda\",device=\"a GPU\",model=\"m\"}} 1\nsluice_requests_running {}\n"
        "sluice_preemptions_total {}\nsluice_kv_blocks 100\nsluice_kv_blocks_held {}\n",
        n, 10 * n, n % 101);
  };
}

/// Samples every millisecond until there were `count`; then `after` is called, and so many more are waited for.
SystemSamples sampled(SystemSamplerOptions options, int count) {
  std::promise<void> enough;
  int seen = 0;  // of the sampler's thread
  options.period = milliseconds(1);
  options.on_sample = [&] {
    if (++seen == count) enough.set_value();
  };
  SystemSampler sampler(std::move(options));
  EXPECT_EQ(enough.get_future().wait_for(seconds(20)), std::future_status::ready);
  return sampler.stop();
}

TEST(SystemSampler, TakesCountersAtBothEndsAndGaugesBetween) {
  Fake fake(FAKE_NVML);
  SystemSamplerOptions options;
  options.metrics = counting_engine();
  options.gpu = Gpu::open(std::nullopt, FAKE_NVML);
  const SystemSamples samples = sampled(std::move(options), 3);
  EXPECT_EQ(samples.engine.backend, "cuda");
  ASSERT_TRUE(samples.gpu);
  EXPECT_EQ(samples.gpu->name, "Fake H100");
  ASSERT_GE(samples.samples.size(), 5u);
  const std::size_t last = samples.samples.size() - 1;
  for (std::size_t i = 0; i <= last; ++i) {
    const SystemSample& sample = samples.samples[i];
    EXPECT_EQ(sample.engine_preemptions, 10 * (i + 1));
    const bool between = i != 0 && i != last;
    EXPECT_EQ(sample.engine_running.has_value(), between) << i;
    EXPECT_EQ(sample.gpu_power_w, between ? std::optional(412.5) : std::nullopt) << i;
    EXPECT_GE(sample.at, samples.samples[i == 0 ? 0 : i - 1].at);
  }
  EXPECT_THAT(samples.throttle_reasons, ElementsAre(Pair("power cap", last - 1), Pair("temperature", last - 1)));
  EXPECT_EQ(fake->open, 0) << "shut down with the sampler";
}

TEST(SystemSampler, AnEngineThatDoesNotAnswerLeavesGapsAndTheGpuIsReadAllTheSame) {
  Fake fake(FAKE_NVML);
  SystemSamplerOptions options;
  options.metrics = [] { return std::nullopt; };
  options.gpu = Gpu::open(std::nullopt, FAKE_NVML);
  const SystemSamples samples = sampled(std::move(options), 2);
  EXPECT_EQ(samples.engine.backend, "");
  EXPECT_EQ(samples.samples[1].engine_running, std::nullopt);
  EXPECT_EQ(samples.samples[1].gpu_utilization_percent, 71);
}

TEST(SystemSampler, WithoutAGpuOnlyTheEngineIsRead) {
  SystemSamplerOptions options;
  options.metrics = counting_engine();
  const SystemSamples samples = sampled(std::move(options), 2);
  EXPECT_FALSE(samples.gpu);
  EXPECT_EQ(samples.samples[1].gpu_utilization_percent, std::nullopt);
  EXPECT_EQ(samples.samples[1].kv_cache_usage_percent, 2);
}

TEST(SystemSampler, KeepsABoundedNumberOfSamplesAndTheFirstAndLast) {
  SystemSamplerOptions options;
  options.metrics = counting_engine();
  options.samples_max = 8;
  const SystemSamples samples = sampled(std::move(options), 20);
  EXPECT_LE(samples.samples.size(), 8u);
  EXPECT_GT(samples.period, milliseconds(1)) << "they come less often from then on";
  EXPECT_EQ(samples.samples.front().engine_preemptions, 10u);
  EXPECT_GE(samples.samples.back().engine_preemptions, 220u);
  EXPECT_FALSE(samples.samples.back().engine_running);
}

TEST(SystemSampler, IsEndedByItsDestructorToo) {
  SystemSamplerOptions options;
  options.metrics = counting_engine();
  options.period = std::chrono::hours(1);
  const SystemSampler sampler(std::move(options));
}

// ---- over HTTP ------------------------------------------------------------------------------------------------------

TEST(SystemSampler, AsksARealProcessOverHttp) {
  EngineTarget target;
  target.model = "tiny";
  target.backend = "cpu";
  target.kv_mib = 4;
  target.context = 512;
  target.args = {"--behave", "ready"};
  target.ready_timeout = seconds(20);
  EngineProcessOptions options;
  options.executable = FAKE_ENGINE;
  const auto engine = EngineProcess::start(target, options);
  ASSERT_TRUE(engine) << engine.error().message;
  EXPECT_THAT((*engine)->log_tail(),
              AllOf(HasSubstr("--kv-mib 4 --context 512 --behave ready"), testing::Not(HasSubstr("--slots"))));
  const MetricsSource metrics = metrics_of_engine((*engine)->url());
  const EngineIdentity identity = identify_engine(metrics);
  EXPECT_EQ(identity.backend, "cpu");
  EXPECT_EQ(identity.device, "a fake");
  (*engine)->stop();
  EXPECT_EQ(metrics(), std::nullopt);
  EXPECT_EQ(identify_engine(metrics).backend, "");
}

TEST(Probe, AnAnswerThatIsCutShortIsNone) {
  EngineTarget target;
  target.model = "tiny";
  target.args = {"--behave", "cut"};
  target.ready_timeout = seconds(20);
  EngineProcessOptions options;
  options.executable = FAKE_ENGINE;
  const auto engine = EngineProcess::start(target, options);
  ASSERT_TRUE(engine) << engine.error().message;
  EXPECT_EQ(metrics_of_engine((*engine)->url())(), std::nullopt) << "half a number would be another number";
}

}  // namespace
}  // namespace sluice
