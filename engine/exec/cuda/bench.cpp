#include "engine/exec/cuda/bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "engine/core/limits.h"
#include "engine/exec/cuda/clocks.h"
#include "engine/exec/cuda/cuda_executor.h"

namespace sluice::engine {
namespace {

struct Row {
  std::string name;
  std::uint32_t tokens = 0;  // a step, or of a whole prompt
  double ms = 0;             // median, by the device's clock
  double wall_ms = 0;        // median, submit to result, steps one ahead
  double bytes = 0;          // that must be read at least
  double operations = 0;     // of products, at least
  unsigned sm_mhz = 0;       // at the end of the measurement; 0: not known
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Driver {
 public:
  Driver(Executor& executor, std::uint32_t streams, std::uint32_t blocks_per_stream)
      : executor_(executor), prompt_(executor.info().context_max) {
    SamplingParams greedy;
    greedy.temperature = 0;
    for (std::uint32_t stream = 0; stream < streams; ++stream) {
      std::vector<BlockId> blocks;
      for (std::uint32_t i = 0; i < blocks_per_stream; ++i)
        blocks.push_back(static_cast<BlockId>((stream * blocks_per_stream + i) % executor.info().blocks));
      blocks_.push_back(std::move(blocks));
      executor_.bind(stream, greedy, {}, stream);
    }
    const std::uint32_t vocab = executor.info().vocab_size;
    for (std::uint32_t i = 0; i < prompt_.size(); ++i) prompt_[i] = static_cast<TokenId>(i * 2654435761u % vocab);
  }

  /// Submits and waits for everything.
  void prefill(SlotId stream, std::uint32_t tokens, std::uint32_t rows_max) {
    for (std::uint32_t done = 0; done < tokens; done += rows_max) {
      const std::uint32_t count = std::min(rows_max, tokens - done);
      submit({{stream, done, {prompt_.data() + done, count}, blocks_[stream], done + count == tokens}});
    }
    drain();
  }
  /// Submits a decode without waiting for it, only for room.
  void decode(std::uint32_t streams, std::uint32_t position) {
    std::vector<Slice> slices;
    for (SlotId stream = 0; stream < streams; ++stream)
      slices.push_back({stream, position, {&kDrawn, 1}, blocks_[stream], true});
    submit(std::move(slices));
  }
  void drain() {
    while (pending_ > 0 && executor_.failure().empty()) poll();
  }

 private:
  static constexpr TokenId kDrawn = kDrawnBefore;
  void submit(std::vector<Slice> slices) {
    while (executor_.busy() && executor_.failure().empty()) poll();
    for (const Slice& slice : slices) pending_ += slice.sample ? 1 : 0;
    StepPlan plan;
    plan.slices = std::move(slices);
    executor_.submit(plan);
  }
  void poll() {
    results_.clear();
    pending_ -= executor_.poll(results_);
  }

  Executor& executor_;
  std::vector<std::vector<BlockId>> blocks_;
  std::vector<TokenId> prompt_;
  std::vector<Sampled> results_;
  std::size_t pending_ = 0;
};

}  // namespace

int run_cuda_bench(ModelConfig config, const Weights* weights, const CudaBenchOptions& options) {
  const auto complain = [](const std::string& message) {
    fmt::print(stderr, "sluice-engine bench: {}\n", message);
    return 1;
  };
  const auto roofs = measure_cuda_roofs();
  if (!roofs) return complain(roofs.error().message);
  const std::uint32_t longest = *std::max_element(options.contexts.begin(), options.contexts.end()) + 256;
  const std::uint32_t prefill_max = *std::max_element(options.prefills.begin(), options.prefills.end());
  const std::uint32_t streams = *std::max_element(options.batches.begin(), options.batches.end());
  const std::uint32_t context = std::min(config.context_max, std::max(longest, prefill_max));
  if (context < longest) return complain(fmt::format("decoding after that many tokens needs a context of {}", longest));

  CudaOptions cuda;
  cuda.slots_max = std::max(streams, 1u);
  cuda.rows_max = std::max(options.rows_max, streams);
  cuda.context_max = context;
  const std::uint32_t per_stream = (longest + limits::block_tokens - 1) / limits::block_tokens;
  cuda.kv_blocks = std::max(streams * per_stream, (context + limits::block_tokens - 1) / limits::block_tokens);
  cuda.log = [](const std::string& line) { fmt::print(stderr, "sluice-engine bench: {}\n", line); };
  const auto began = Clock::now();
  auto made = make_cuda_executor(config, weights, cuda);
  if (!made) return complain(made.error().message);
  const double load_s = std::chrono::duration<double>(Clock::now() - began).count();
  Executor& executor = **made;

  const double dims = config.head_dim, hidden = config.hidden_size;
  const double layer_weights = dims * hidden * (2.0 * config.heads + 2.0 * config.kv_heads) +
                               (config.gated ? 3.0 : 2.0) * hidden * config.intermediate_size;
  const double head_weights = static_cast<double>(config.vocab_size) * hidden;
  const double weight_bytes = 2 * (layer_weights * config.layers + head_weights);
  const double kv_bytes_per_token = 2.0 * 2.0 * config.layers * config.kv_heads * dims;
  const double attention_operations = 4.0 * config.layers * config.heads * dims;  // a row and key

  const auto clocks = GpuClocks::open();
  std::vector<Row> rows;
  {
    // A prompt longer than a stream's share uses the next streams' blocks: nothing decodes meanwhile.
    Driver driver(executor, 1,
                  std::min(executor.info().blocks, (context + limits::block_tokens - 1) / limits::block_tokens));
    for (const std::uint32_t tokens : options.prefills) {
      if (tokens > executor.info().context_max) continue;
      std::vector<double> device, wall;
      driver.prefill(0, tokens, options.rows_max);
      const auto start = Clock::now();
      do {
        take_cuda_busy(executor);
        const auto begin = Clock::now();
        driver.prefill(0, tokens, options.rows_max);
        wall.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
        device.push_back(take_cuda_busy(executor).busy_ms);
      } while (wall.size() < 3 || std::chrono::duration<double>(Clock::now() - start).count() < options.seconds);
      const unsigned mhz = clocks != nullptr ? clocks->read() : 0;
      rows.push_back({fmt::format("prefill {}", tokens), tokens, median(device), median(wall), weight_bytes,
                      2 * (layer_weights * config.layers * tokens + head_weights) +
                          attention_operations * tokens * (tokens + 1.0) / 2,
                      mhz});
    }
  }
  Driver driver(executor, streams, per_stream);
  for (const std::uint32_t at : options.contexts) {
    for (SlotId stream = 0; stream < streams; ++stream) driver.prefill(stream, at, options.rows_max);
    for (const std::uint32_t batch : options.batches) {
      constexpr std::uint32_t kSteps = 128;  // positions walked over, again and again
      for (std::uint32_t i = 0; i < 8; ++i) driver.decode(batch, at + i);
      driver.drain();
      std::vector<double> device, wall;
      const auto start = Clock::now();
      do {
        take_cuda_busy(executor);
        const auto begin = Clock::now();
        for (std::uint32_t i = 0; i < kSteps; ++i) driver.decode(batch, at + i);
        driver.drain();
        wall.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count() / kSteps);
        device.push_back(take_cuda_busy(executor).busy_ms / kSteps);
      } while (wall.size() < 3 || std::chrono::duration<double>(Clock::now() - start).count() < options.seconds);
      const unsigned mhz = clocks != nullptr ? clocks->read() : 0;
      const double keys = static_cast<double>(batch) * (at + kSteps / 2.0);
      rows.push_back({fmt::format("decode {} at {}", batch, at), batch, median(device), median(wall),
                      weight_bytes + kv_bytes_per_token * keys,
                      2 * (layer_weights * config.layers + head_weights) * batch + attention_operations * keys, mhz});
    }
  }
  if (!executor.failure().empty()) return complain(executor.failure());

  const ExecutorInfo& info = executor.info();
  fmt::print("{}: {:.0f} M weights, {:.2f} GB read a step; {}; ready after {:.2f} s\n", options.name,
             weight_bytes / 2e6, weight_bytes / 1e9, info.device, load_s);
  fmt::print(
      "roofs measured in this run: reading {:.0f} GB/s, bf16 products {:.0f} TFLOP/s ({:.0f} after a second of nothing "
      "else)\n\n",
      roofs->read_bytes_per_s / 1e9, roofs->operations_per_s / 1e12, roofs->operations_per_s_sustained / 1e12);
  fmt::print("{:<18} {:>10} {:>10} {:>10} {:>9} {:>10} {:>11} {:>8}\n", "", "tok/s", "wall ms", "device ms", "roof ms",
             "of roof", "bound by", "SM MHz");
  boost::json::array json_rows;
  for (const Row& row : rows) {
    const double by_bytes = row.bytes / roofs->read_bytes_per_s * 1e3,
                 by_operations = row.operations / roofs->operations_per_s * 1e3;
    const double roof_ms = std::max(by_bytes, by_operations);
    const double tokens_per_s = row.tokens / row.wall_ms * 1e3;
    fmt::print("{:<18} {:>10.0f} {:>10.3f} {:>10.3f} {:>9.3f} {:>9.0f}% {:>11} {:>8}\n", row.name, tokens_per_s,
               row.wall_ms, row.ms, roof_ms, 100 * roof_ms / row.wall_ms,
               by_bytes > by_operations ? "bytes" : "products",
               row.sm_mhz != 0 ? fmt::format("{}", row.sm_mhz) : std::string("-"));
    json_rows.push_back(boost::json::object{{"name", row.name},
                                            {"tokens", row.tokens},
                                            {"tokens_per_s", tokens_per_s},
                                            {"wall_ms", row.wall_ms},
                                            {"device_ms", row.ms},
                                            {"roof_ms", roof_ms},
                                            {"share_of_roof", roof_ms / row.wall_ms},
                                            {"bytes", row.bytes},
                                            {"operations", row.operations},
                                            {"sm_mhz", row.sm_mhz}});
  }
  if (clocks != nullptr) {
    const std::string slowed = clocks->slowed_by();
    fmt::print("\nclock: {}\n", slowed.empty() ? "nothing slowed it" : "slowed at times by " + slowed);
  }
  if (!options.json.empty()) {
    const boost::json::object document{{"model", options.name},
                                       {"backend", "cuda"},
                                       {"device", info.device},
                                       {"ready_s", load_s},
                                       {"weight_bytes", weight_bytes},
                                       {"roof_bytes_per_s", roofs->read_bytes_per_s},
                                       {"roof_operations_per_s", roofs->operations_per_s},
                                       {"roof_operations_per_s_sustained", roofs->operations_per_s_sustained},
                                       {"clock_slowed_by", clocks != nullptr ? clocks->slowed_by() : std::string()},
                                       {"rows", json_rows}};
    std::ofstream file(options.json);
    file << boost::json::serialize(document) << '\n';
    if (!file.flush()) return complain(fmt::format("cannot write {}", options.json.string()));
  }
  return 0;
}

}  // namespace sluice::engine
