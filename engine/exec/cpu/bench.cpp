#include "engine/exec/cpu/bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <optional>
#include <vector>

#include "engine/core/limits.h"
#include "engine/exec/cpu/cpu_executor.h"
#include "engine/exec/cpu/memory.h"
#include "engine/exec/cpu/thread_pool.h"
#include "engine/model/shapes.h"

namespace sluice::engine {
namespace {

constexpr std::uint32_t kStreamsMax = 32;
constexpr std::uint32_t kPrefillMax = 512;
constexpr std::uint32_t kDecodeSteps = 64;  // positions that a decode measurement walks over, again and again

double seconds_of(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

struct Row {
  std::string name;
  std::uint32_t tokens = 0;    // a step
  std::vector<double> rates;   // tokens per second, one a repeat
  double step_bytes = 0;       // weights and cache read
  double step_operations = 0;  // of products

  double median() const {
    std::vector<double> sorted = rates;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double best() const { return *std::max_element(rates.begin(), rates.end()); }
};

struct Roofs {
  double bytes_per_s = 0;
  double operations_per_s = 0;
};

Roofs measure_roofs(cpu::ThreadPool& pool, const cpu::Kernels& kernels, std::size_t bytes) {
  constexpr std::size_t kUnit = 256;
  const std::size_t count = std::max<std::size_t>(bytes / sizeof(float) / kUnit, pool.size()) * kUnit;
  cpu::Buffer<float> values(count);
  std::vector<float> sinks(pool.size() * 16);
  const auto part = [&](unsigned thread) { return count / kUnit * thread / pool.size() * kUnit; };
  const auto on_each_thread = [&](auto body) {
    pool.each(pool.size(), 1, [&](std::size_t share, unsigned) { body(static_cast<unsigned>(share)); });
  };
  on_each_thread(
      [&](unsigned thread) { std::fill(values.data() + part(thread), values.data() + part(thread + 1), 1.0f); });
  Roofs roofs;
  for (int i = 0; i < 20; ++i) {
    const auto begin = Clock::now();
    on_each_thread([&](unsigned thread) {
      sinks[thread * 16] += kernels.read_all(values.data() + part(thread), part(thread + 1) - part(thread));
    });
    roofs.bytes_per_s =
        std::max(roofs.bytes_per_s, static_cast<double>(count * sizeof(float)) / seconds_of(Clock::now() - begin));
  }
  for (int i = 0; i < 5; ++i) {
    std::vector<double> operations(pool.size() * 8);
    const auto begin = Clock::now();
    on_each_thread([&](unsigned thread) {
      operations[thread * 8] = kernels.products_in_registers(1'000'000, &sinks[thread * 16]);
    });
    double sum = 0;
    for (const double each : operations) sum += each;
    roofs.operations_per_s = std::max(roofs.operations_per_s, sum / seconds_of(Clock::now() - begin));
  }
  return roofs;
}

/// Plans over streams 0 .. 31, each with its own blocks.
class Driver {
 public:
  Driver(Executor& executor, std::uint32_t blocks_per_stream) : executor_(executor) {
    for (std::uint32_t stream = 0; stream < kStreamsMax; ++stream) {
      std::vector<BlockId> blocks;
      for (std::uint32_t i = 0; i < blocks_per_stream; ++i)
        blocks.push_back(static_cast<BlockId>(stream * blocks_per_stream + i));
      blocks_.push_back(std::move(blocks));
      SamplingParams params;
      params.temperature = 0;
      executor_.bind(stream, params, {}, stream);
    }
    const std::uint32_t vocab = executor.info().vocab_size;
    for (std::uint32_t i = 0; i < kPrefillMax; ++i) prompt_.push_back(static_cast<TokenId>(i * 2654435761u % vocab));
    results_.reserve(kStreamsMax);
    plan_.slices.reserve(kStreamsMax);
  }

  void prefill(SlotId stream, std::uint32_t position, std::uint32_t count) {
    plan_.slices.clear();
    plan_.slices.push_back({stream, position, {prompt_.data(), count}, blocks_[stream], true});
    step();
  }
  void decode(std::uint32_t streams, std::uint32_t position) {
    plan_.slices.clear();
    for (SlotId stream = 0; stream < streams; ++stream)
      plan_.slices.push_back({stream, position, {&last_[stream], 1}, blocks_[stream], true});
    step();
  }

 private:
  void step() {
    results_.clear();
    executor_.submit(plan_);
    executor_.poll(results_);
    for (const Sampled& result : results_) last_[result.slot] = std::max(result.token, 0);
  }

  Executor& executor_;
  std::vector<std::vector<BlockId>> blocks_;
  std::vector<TokenId> prompt_;
  TokenId last_[kStreamsMax] = {};
  StepPlan plan_;
  std::vector<Sampled> results_;
};

int run(const BenchOptions& options) {
  Result<ModelConfig> config = options.model.empty() ? shape_named(options.shape) : load_config(options.model);
  const auto complain = [](const Error& error) {
    fmt::print(stderr, "sluice-engine bench: {}\n", error.message);
    return 1;
  };
  if (!config) return complain(config.error());
  const auto isa = cpu::parse_isa(options.isa);
  if (!isa) return complain(isa.error());
  const std::uint32_t context_needed = std::max(options.context + kDecodeSteps, kPrefillMax);
  if (context_needed > config->context_max)
    return complain(fail(fmt::format("context {} and what is decoded after it need {} positions; the model has {}",
                                     options.context, context_needed, config->context_max)));

  const std::uint32_t blocks_per_stream = (context_needed + limits::block_tokens - 1) / limits::block_tokens;
  CpuOptions executor_options;
  executor_options.threads = options.threads == 0 ? cpu::available_cores() : options.threads;
  executor_options.slots_max = kStreamsMax;
  executor_options.rows_max = kPrefillMax;
  executor_options.context_max = context_needed;
  executor_options.kv_blocks = kStreamsMax * blocks_per_stream;
  executor_options.isa = *isa;
  Result<std::unique_ptr<Executor>> made = [&]() -> Result<std::unique_ptr<Executor>> {
    if (options.model.empty() || options.random_weights)
      return make_cpu_executor(*config, random_weights(*config, 1), executor_options);
    const auto weights = load_weights(options.model, *config);
    if (!weights) return weights.error();
    return make_cpu_executor(*config, *weights, executor_options);
  }();
  if (!made) return complain(made.error());
  Executor& executor = **made;
  Driver driver(executor, blocks_per_stream);

  // What a step must read and multiply: the packed weights once (the head with them), the cache of each stream.
  const double dims = config->head_dim;
  const double layer_weights = dims * config->hidden_size * (2.0 * config->heads + 2.0 * config->kv_heads) +
                               (config->gated ? 3.0 : 2.0) * config->hidden_size * config->intermediate_size;
  const double head_weights = static_cast<double>(config->vocab_size) * config->hidden_size;
  const double weight_bytes = 2 * (layer_weights * config->layers + head_weights);
  const double kv_bytes_per_token = 2.0 * 2.0 * config->layers * config->kv_heads * dims;
  const double attention_operations = 4.0 * config->layers * config->heads * dims;  // per row and key

  std::vector<Row> rows;
  std::vector<std::function<void()>> steps;
  for (const std::uint32_t tokens : {128u, 512u}) {
    rows.push_back({fmt::format("prefill {}", tokens),
                    tokens,
                    {},
                    weight_bytes,
                    2 * (layer_weights * config->layers * tokens + head_weights) +
                        attention_operations * tokens * (tokens + 1.0) / 2});
    steps.push_back([&driver, tokens] { driver.prefill(0, 0, tokens); });
  }
  std::uint32_t walked = 0;
  for (const std::uint32_t streams : {1u, 8u, 32u}) {
    const double keys = static_cast<double>(streams) * (options.context + kDecodeSteps / 2.0);
    rows.push_back({fmt::format("decode {}", streams),
                    streams,
                    {},
                    weight_bytes + kv_bytes_per_token * keys,
                    2 * (layer_weights * config->layers + head_weights) * streams + attention_operations * keys});
    steps.push_back(
        [&driver, &walked, &options, streams] { driver.decode(streams, options.context + walked++ % kDecodeSteps); });
  }
  for (SlotId stream = 0; stream < kStreamsMax; ++stream)
    for (std::uint32_t done = 0; done < options.context; done += kPrefillMax)
      driver.prefill(stream, done, std::min(kPrefillMax, options.context - done));

  cpu::ThreadPool roof_pool(executor_options.threads);
  Roofs roofs;
  for (unsigned repeat = 0; repeat < std::max(1u, options.repeats);
       ++repeat) {  // interleaved: a busy moment hits one of each
    const Roofs now = measure_roofs(roof_pool, **cpu::kernels_for(*isa), static_cast<std::size_t>(weight_bytes));
    roofs.bytes_per_s = std::max(roofs.bytes_per_s, now.bytes_per_s);
    roofs.operations_per_s = std::max(roofs.operations_per_s, now.operations_per_s);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      steps[i]();
      const auto begin = Clock::now();
      double seconds = 0;
      std::uint64_t count = 0;
      do {
        steps[i]();
        ++count;
        seconds = seconds_of(Clock::now() - begin);
      } while (seconds < options.seconds);
      rows[i].rates.push_back(static_cast<double>(count) * rows[i].tokens / seconds);
    }
  }

  const ExecutorInfo& info = executor.info();
  fmt::print("{}: {:.1f} M weights, {:.1f} MB read a step; {}\n",
             options.model.empty() ? options.shape : options.model.string(), weight_bytes / 2e6, weight_bytes / 1e6,
             info.device);
  fmt::print(
      "roofs measured beside it: reading that many bytes {:.0f} GB/s, bf16 products {:.0f} GFLOP/s; decode after {} "
      "tokens\n\n",
      roofs.bytes_per_s / 1e9, roofs.operations_per_s / 1e9, options.context);
  fmt::print("{:<12} {:>12} {:>12} {:>10} {:>12} {:>12} {:>10}\n", "", "tok/s median", "best", "step ms", "MB a step",
             "of GB/s roof", "of FLOP/s");
  boost::json::array json_rows;
  for (const Row& row : rows) {
    const double steps_per_s = row.median() / row.tokens;
    const double of_bytes = steps_per_s * row.step_bytes / roofs.bytes_per_s;
    const double of_operations = steps_per_s * row.step_operations / roofs.operations_per_s;
    fmt::print("{:<12} {:>12.0f} {:>12.0f} {:>10.3f} {:>12.1f} {:>11.0f}% {:>9.0f}%\n", row.name, row.median(),
               row.best(), 1e3 / steps_per_s, row.step_bytes / 1e6, 100 * of_bytes, 100 * of_operations);
    json_rows.push_back(boost::json::object{{"name", row.name},
                                            {"tokens_per_step", row.tokens},
                                            {"tokens_per_s_median", row.median()},
                                            {"tokens_per_s_best", row.best()},
                                            {"step_bytes", row.step_bytes},
                                            {"step_operations", row.step_operations},
                                            {"share_of_bandwidth", of_bytes},
                                            {"share_of_operations", of_operations}});
  }
  if (!options.json.empty()) {
    const boost::json::object document{
        {"model", options.model.empty() ? options.shape : options.model.filename().string()},
        {"device", info.device},
        {"isa", std::string((*cpu::kernels_for(*isa))->name)},
        {"threads", executor_options.threads},
        {"context", options.context},
        {"weight_bytes", weight_bytes},
        {"roof_bytes_per_s", roofs.bytes_per_s},
        {"roof_operations_per_s", roofs.operations_per_s},
        {"rows", json_rows}};
    std::ofstream file(options.json);
    file << boost::json::serialize(document) << '\n';
    if (!file.flush()) return complain(fail(fmt::format("cannot write {}", options.json.string())));
  }
  return 0;
}

}  // namespace

int run_bench(const BenchOptions& options) { return run(options); }

}  // namespace sluice::engine
