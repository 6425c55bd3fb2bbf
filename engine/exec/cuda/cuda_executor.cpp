#include "engine/exec/cuda/cuda_executor.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>
#include <utility>

#include "engine/core/check.h"
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/device_model.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/exec/cuda/products.h"

namespace sluice::engine {
namespace cuda {
namespace {

constexpr std::uint32_t kRowsMax = 65535;  // of a step: rows are a grid's second dimension
constexpr int kDevice = 0;                 // the first that CUDA_VISIBLE_DEVICES lets be seen
constexpr std::uint32_t kRing = 4;         // inputs and results of steps; more than may be in flight
constexpr std::uint32_t kStepsAhead = 2;
constexpr std::uint32_t kEditsMax = limits::logit_bias_max + 256;  // biases and bans of a slot
constexpr std::uint32_t kTokensOfSplit = kTileKeys * kSplitTiles;
constexpr std::uint64_t kReserveBytes = std::uint64_t{512} << 20;  // for the driver, cuBLASLt, graphs

static_assert(limits::block_tokens == kTileKeys);
static_assert(kTopMax == static_cast<std::int32_t>(limits::top_logprobs_max));

std::string bytes_text(std::uint64_t bytes) {
  if (bytes >= (std::uint64_t{1} << 30)) return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30));
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

/// Batch sizes that have a graph of their own: each at most a quarter above the one before, beyond the first few.
std::vector<std::uint32_t> graph_sizes(std::uint32_t slots_max) {
  std::vector<std::uint32_t> sizes;
  for (std::uint32_t size = 1; size < slots_max; size += size < 4     ? size
                                                         : size < 32  ? 4u
                                                         : size < 64  ? 8u
                                                         : size < 256 ? 16u
                                                         : size < 512 ? 64u
                                                                      : size / 4)
    sizes.push_back(size);
  sizes.push_back(slots_max);
  return sizes;
}

/// Writes arrays one after another into a step's pinned block and notes where they begin.
class StepWriter {
 public:
  explicit StepWriter(unsigned char* memory, std::size_t room) : memory_(memory), room_(room) {
    std::memset(memory_, 0, sizeof(StepHeader));
    used_ = sizeof(StepHeader);
  }
  StepHeader& header() { return *reinterpret_cast<StepHeader*>(memory_); }
  std::size_t used() const { return used_; }
  std::int32_t begin() {
    used_ = (used_ + 15) / 16 * 16;
    return static_cast<std::int32_t>(used_);
  }
  template <class T>
  T& add() {
    SLUICE_ENGINE_CHECK(used_ + sizeof(T) <= room_);
    T& at = *reinterpret_cast<T*>(memory_ + used_);
    used_ += sizeof(T);
    return at;
  }

 private:
  unsigned char* memory_;
  std::size_t room_;
  std::size_t used_;
};

class CudaExecutor final : public Executor {
 public:
  CudaExecutor(const ModelConfig& config, const ModelShape& shape, const CudaOptions& options)
      : config_(config), shape_(shape), options_(options) {}
  ~CudaExecutor() override {
    if (stream_ != nullptr) cudaStreamSynchronize(stream_);
    for (const auto& [size, graph] : graphs_) cudaGraphExecDestroy(graph);
    for (Flight& flight : ring_)
      for (cudaEvent_t event : {flight.begin, flight.end})
        if (event != nullptr) cudaEventDestroy(event);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  /// Throws CudaError; an empty message is success.
  std::string prepare(const Weights* weights);

  const ExecutorInfo& info() const override { return info_; }
  void bind(SlotId slot, const SamplingParams& sampling, std::span<const TokenId> prompt, std::uint64_t) override;
  void resume(SlotId slot, std::span<const TokenId> output) override;
  void release(SlotId slot) override;
  void submit(const StepPlan& plan) override;
  bool busy() const override { return in_flight_ >= kStepsAhead; }
  std::size_t poll(std::vector<Sampled>& out) override;
  std::string failure() const override { return failure_; }

  CudaBusy take_busy() { return std::exchange(busy_, {}); }

 private:
  struct Flight {  // a step handed over
    cudaEvent_t begin = nullptr, end = nullptr;
    std::vector<std::pair<SlotId, std::uint64_t>> samples;  // slot and its binding
  };
  struct Slot {
    std::uint64_t binding = 0;  // grows with every release: results of earlier ones are dropped
    std::uint32_t tables = 0;   // blocks that the device knows of
    bool changed = false;       // parameters that the device does not know yet
    SlotParams params{};
    std::vector<Edit> edits;
    bool counting = false;
    std::vector<TokenId> counted;  // prompt, then output, until the device has counted them
    std::uint32_t counted_prompt = 0;
  };
  struct StepSize {
    std::uint32_t rows = 0, samples = 0, prefill_items = 0;
    std::uint32_t decode_rows = 0;
  };

  std::size_t step_room() const;
  void write_step(const StepPlan& plan, std::uint32_t padded, StepWriter& writer, StepSize& size);
  std::pair<std::int32_t, std::int32_t> splits_of(std::uint32_t position) const;
  /// Whether the product of gate and up applies the activation itself.
  ProductOut up_kind() const {
    return config_.gated && config_.activation == Activation::silu && !config_.mlp_bias ? ProductOut::gated
                                                                                        : ProductOut::bf16;
  }
  void enqueue(const StepSize& size);
  void capture(std::uint32_t size);
  void count_slots();
  void measure_steps();
  void tune();
  void sink_logits();

  const ModelConfig config_;
  const ModelShape shape_;
  const CudaOptions options_;
  ExecutorInfo info_;
  std::string failure_;
  cudaStream_t stream_ = nullptr;
  std::uint32_t multiprocessors_ = 0;
  bool wide_ = false;  // wgmma for prefill attention
  DeviceModel model_;
  std::unique_ptr<Products> products_;

  struct LayerMatrices {
    Matrix qkv, o, up, down;
  };
  std::vector<LayerMatrices> matrices_;
  Matrix head_;

  Block<unsigned char> kv_;  // [layer][block][kv_head][keys, values]
  Block<std::int32_t> tables_;
  std::uint32_t table_blocks_ = 0;
  Block<SlotParams> params_;
  Block<Edit> edits_;
  Block<std::uint32_t> uses_;
  Block<std::int32_t> drawn_;
  Block<std::int32_t> counted_;  // tokens to be counted

  Block<unsigned char> step_;                    // the step being run, as the device sees it
  Block<unsigned char, Memory::pinned> inputs_;  // [ring][step_room]
  Block<StepResult, Memory::pinned> results_;    // [ring][slots]
  std::array<Flight, kRing> ring_;
  std::uint64_t submitted_ = 0, finished_ = 0;
  std::uint32_t in_flight_ = 0;
  std::vector<Slot> slots_;
  std::vector<SlotId> changed_;
  CudaBusy busy_;
  StepPlan sink_plan_;

  // Of one step. Rows have room for padding.
  Block<float> x_;
  Block<unsigned char> normed_, qkv_, attended_, gate_up_, activated_, last_;
  Block<float> logits_;
  Block<float> partials_;
  RowsBuffer normed_rows_, attended_rows_, activated_rows_, last_rows_;
  std::map<std::uint32_t, cudaGraphExec_t> graphs_;
};

// ---- loading --------------------------------------------------------------------------------------------------------

std::size_t CudaExecutor::step_room() const {
  const std::size_t splits = (info_.context_max + kTokensOfSplit - 1) / kTokensOfSplit;
  return sizeof(StepHeader) + std::size_t{options_.rows_max} * (sizeof(StepRow) + sizeof(PrefillItem)) +
         std::size_t{options_.slots_max} *
             (sizeof(StepSample) + splits * sizeof(DecodeItem) + sizeof(DecodeRow) + sizeof(SlotUpdate) +
              kEditsMax * sizeof(Edit) + table_blocks_ * sizeof(TableUpdate) + sizeof(PrefillItem)) +
         1024;
}

std::string CudaExecutor::prepare(const Weights* weights) {
  const auto say = [&](const std::string& line) {
    if (options_.log) options_.log(line);
  };
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, kDevice), "asking for the device's properties");
  check(cudaSetDevice(kDevice), "choosing the device");
  multiprocessors_ = static_cast<std::uint32_t>(properties.multiProcessorCount);
  wide_ = properties.major == 9 && properties.minor == 0 && !options_.narrow_attention;
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
  std::size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");

  // The arithmetic of memory, before anything is taken.
  const std::uint32_t wanted =
      options_.context_max == 0 ? config_.context_max : std::min(options_.context_max, config_.context_max);
  const std::uint64_t block_bytes = shape_.kv_block_bytes();
  const std::uint64_t weight_bytes = shape_.weight_bytes(config_, wanted);
  const std::uint32_t rows = Products::row_room(options_.rows_max);
  const std::uint32_t sample_rows = Products::row_room(options_.slots_max);
  const HeadShape& heads = shape_.heads;
  const std::uint32_t splits = (wanted + kTokensOfSplit - 1) / kTokensOfSplit;
  const std::uint64_t partials = std::uint64_t{options_.slots_max} * splits * heads.heads * (heads.dim_padded + 2);
  const std::uint64_t row_bytes = std::uint64_t{shape_.hidden_padded} * (4 + 2) + std::uint64_t{shape_.qkv} * 2 +
                                  std::uint64_t{shape_.attended} * 2 + std::uint64_t{shape_.up} * 2 +
                                  std::uint64_t{shape_.intermediate_padded} * 2;
  // While products are tuned, a second copy of the widest output; one at a time.
  const std::uint64_t tune_bytes =
      std::max({std::uint64_t{rows} * shape_.qkv * 2, std::uint64_t{rows} * shape_.up * 2,
                std::uint64_t{rows} * shape_.hidden_padded * 4, std::uint64_t{sample_rows} * shape_.vocab_padded * 4});
  table_blocks_ = (wanted + kTileKeys - 1) / kTileKeys;
  info_.context_max = wanted;
  const std::uint64_t step_bytes =
      row_bytes * rows + std::uint64_t{sample_rows} * (shape_.vocab_padded * 4ull + shape_.hidden_padded * 2ull) +
      partials * 4 + std::uint64_t{options_.slots_max} * shape_.vocab * 4 +
      std::uint64_t{options_.slots_max} * (kEditsMax * sizeof(Edit) + table_blocks_ * 4ull) + step_room() + tune_bytes +
      (std::uint64_t{64} << 20);
  std::uint64_t blocks = options_.kv_blocks;
  const std::uint64_t fixed = weight_bytes + step_bytes + kReserveBytes;
  const std::uint64_t left = free_bytes > fixed ? (free_bytes - fixed) / block_bytes : 0;
  if (blocks == 0 && options_.kv_bytes > 0) blocks = options_.kv_bytes / block_bytes;
  if (blocks == 0 && options_.kv_bytes > 0)
    return fmt::format("{} of KV cache do not hold one block of {} tokens, which takes {}: raise --kv-mib",
                       bytes_text(options_.kv_bytes), kTileKeys, bytes_text(block_bytes));
  if (blocks == 0 && options_.kv_bytes == 0)
    blocks = std::min<std::uint64_t>(left, (std::uint64_t{wanted} / kTileKeys + 1) * options_.slots_max);
  const std::string arithmetic = fmt::format(
      "weights {} + steps of {} rows and {} slots of {} tokens {} + reserve {} + KV cache {} ({} blocks of {} tokens, "
      "{} a block); {} of {} are free",
      bytes_text(weight_bytes), options_.rows_max, options_.slots_max, wanted, bytes_text(step_bytes),
      bytes_text(kReserveBytes), bytes_text(std::max<std::uint64_t>(blocks, 1) * block_bytes),
      std::max<std::uint64_t>(blocks, 1), kTileKeys, bytes_text(block_bytes), bytes_text(free_bytes),
      bytes_text(total_bytes));
  if (blocks == 0 || blocks > left) {
    const std::string way_out =
        left > 0 ? fmt::format("{} blocks ({} tokens) would fit: lower --kv-mib to {}, or lower --slots or --context",
                               left, left * kTileKeys, left * block_bytes >> 20)
                 : std::string(
                       "not even one block fits: take a smaller model, lower --slots and --context, or free the GPU");
    return fmt::format("not enough memory on {}: {}; {}", properties.name, arithmetic, way_out);
  }
  const auto context = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, blocks * kTileKeys));
  say("memory: " + arithmetic);

  model_ = load_model(config_, shape_, weights, context, stream_);
  kv_ = Block<unsigned char>(blocks * block_bytes, "the KV cache");
  check(cudaMemsetAsync(kv_.data(), 0, kv_.bytes(), stream_), "clearing the KV cache");
  x_ = Block<float>(std::size_t{rows} * shape_.hidden_padded, "step buffers");
  normed_ = Block<unsigned char>(std::size_t{rows} * shape_.hidden_padded * 2, "step buffers");
  qkv_ = Block<unsigned char>(std::size_t{rows} * shape_.qkv * 2, "step buffers");
  attended_ = Block<unsigned char>(std::size_t{rows} * shape_.attended * 2, "step buffers");
  gate_up_ = Block<unsigned char>(std::size_t{rows} * shape_.up * 2, "step buffers");
  activated_ = Block<unsigned char>(std::size_t{rows} * shape_.intermediate_padded * 2, "step buffers");
  last_ = Block<unsigned char>(std::size_t{sample_rows} * shape_.hidden_padded * 2, "step buffers");
  logits_ = Block<float>(std::size_t{sample_rows} * shape_.vocab_padded, "logits");
  partials_ = Block<float>(partials, "attention's partial results");
  tables_ = Block<std::int32_t>(std::size_t{options_.slots_max} * table_blocks_, "block tables");
  params_ = Block<SlotParams>(options_.slots_max, "parameters");
  edits_ = Block<Edit>(std::size_t{options_.slots_max} * kEditsMax, "biases");
  uses_ = Block<std::uint32_t>(std::size_t{options_.slots_max} * shape_.vocab, "penalties");
  drawn_ = Block<std::int32_t>(options_.slots_max, "drawn tokens");
  counted_ = Block<std::int32_t>(context, "tokens to count");
  step_ = Block<unsigned char>(step_room(), "the step's input");
  inputs_ = Block<unsigned char, Memory::pinned>(step_room() * kRing, "the steps' inputs");
  results_ = Block<StepResult, Memory::pinned>(std::size_t{options_.slots_max} * kRing, "the steps' results");
  check(cudaMemsetAsync(attended_.data(), 0, attended_.bytes(), stream_), "step buffers");
  check(cudaMemsetAsync(tables_.data(), 0, tables_.bytes(), stream_), "step buffers");
  check(cudaMemsetAsync(drawn_.data(), 0, drawn_.bytes(), stream_), "step buffers");
  check(cudaMemsetAsync(params_.data(), 0, params_.bytes(), stream_), "step buffers");
  for (Flight& flight : ring_) {
    check(cudaEventCreate(&flight.begin), "an event");
    check(cudaEventCreate(&flight.end), "an event");
    flight.samples.reserve(options_.slots_max);
  }
  slots_.resize(options_.slots_max);
  changed_.reserve(options_.slots_max);
  prepare_attention();

  products_ = std::make_unique<Products>(
      ProductsOptions{.multiprocessors = multiprocessors_, .own_only = options_.own_products_only});
  for (const DeviceLayer& layer : model_.layers)
    matrices_.push_back({products_->matrix(layer.qkv, shape_.qkv, shape_.hidden_padded),
                         products_->matrix(layer.o, shape_.hidden_padded, shape_.attended),
                         products_->matrix(layer.up, shape_.up, shape_.hidden_padded),
                         products_->matrix(layer.down, shape_.hidden_padded, shape_.intermediate_padded)});
  head_ = products_->matrix(model_.head, shape_.vocab_padded, shape_.hidden_padded);
  normed_rows_ = products_->rows_buffer(normed_.data(), rows, shape_.hidden_padded);
  attended_rows_ = products_->rows_buffer(attended_.data(), rows, shape_.attended);
  activated_rows_ = products_->rows_buffer(activated_.data(), rows, shape_.intermediate_padded);
  last_rows_ = products_->rows_buffer(last_.data(), sample_rows, shape_.hidden_padded);

  info_ = {.backend = "cuda",
           .device = fmt::format("{}, {} multiprocessors{}", properties.name, multiprocessors_,
                                 products_->has_blas() ? "" : ", without cuBLASLt"),
           .vocab_size = config_.vocab_size,
           .context_max = context,
           .slots_max = options_.slots_max,
           .rows_max = options_.rows_max,
           .blocks = static_cast<std::uint32_t>(blocks),
           .weight_bytes = weight_bytes,
           .kv_bytes = kv_.bytes(),
           .steps_ahead = kStepsAhead};
  tune();
  for (const std::string& note : products_->notes()) say("products: " + note);
  if (products_->candidates_tried() > 0)
    say(fmt::format("products: {} of {} candidates of cuBLASLt's gave other bits and are not used",
                    products_->candidates_refused(), products_->candidates_tried()));
  if (options_.graphs && !options_.logits_sink)
    for (const std::uint32_t size : graph_sizes(options_.slots_max)) capture(size);
  measure_steps();
  check(cudaStreamSynchronize(stream_), "getting ready");
  return {};
}

void CudaExecutor::tune() {
  constexpr std::size_t kMatrices = 6;  // of one shape, in turn: more than the cache holds
  std::vector<const Matrix*> qkv, o, up, down;
  for (std::size_t i = 0; i < std::min(kMatrices, matrices_.size()); ++i) {
    qkv.push_back(&matrices_[i].qkv);
    o.push_back(&matrices_[i].o);
    up.push_back(&matrices_[i].up);
    down.push_back(&matrices_[i].down);
  }
  // Outputs go where they would go; for the second copy there is memory of its own, once for rows and once for samples.
  const std::uint32_t rows = options_.rows_max;
  {
    Block<unsigned char> other(
        std::size_t{Products::row_room(rows)} *
            std::max<std::size_t>(
                {std::size_t{shape_.qkv} * 2, std::size_t{shape_.hidden_padded} * 4, std::size_t{shape_.up} * 2}),
        "tuning");
    products_->tune(qkv, normed_rows_, ProductOut::bf16, shape_.qkv, qkv_.data(), other.data(), rows, stream_);
    products_->tune(o, attended_rows_, ProductOut::add, shape_.hidden_padded, x_.data(), other.data(), rows, stream_);
    products_->tune(up, normed_rows_, up_kind(),
                    up_kind() == ProductOut::gated ? shape_.intermediate_padded : shape_.up, gate_up_.data(),
                    other.data(), rows, stream_);
    products_->tune(down, activated_rows_, ProductOut::add, shape_.hidden_padded, x_.data(), other.data(), rows,
                    stream_);
  }
  {
    Block<unsigned char> other(logits_.bytes(), "tuning");
    products_->tune({&head_}, last_rows_, ProductOut::fp32, shape_.vocab_padded, logits_.data(), other.data(),
                    options_.slots_max, stream_);
  }
  check(cudaMemsetAsync(attended_.data(), 0, attended_.bytes(), stream_), "step buffers");
  check(cudaStreamSynchronize(stream_), "tuning");
}

// ---- a step ---------------------------------------------------------------------------------------------------------

void CudaExecutor::enqueue(const StepSize& size) {
  const auto* step = reinterpret_cast<const StepHeader*>(step_.data());
  const Launch first{stream_, false}, launch{stream_, true};
  const std::uint32_t hidden = shape_.hidden_padded;
  embed(first,
        {.step = step,
         .embedding = model_.embedding,
         .positions = model_.positions,
         .drawn = drawn_.data(),
         .x = x_.data(),
         .hidden = hidden,
         .tables = tables_.data(),
         .table_blocks = table_blocks_,
         .params = params_.data(),
         .edits = edits_.data(),
         .edits_max = kEditsMax},
        size.rows);
  NormJob norm_job{.x = x_.data(),
                   .layer = config_.norm == Norm::layer,
                   .out = normed_.data(),
                   .hidden = hidden,
                   .width = shape_.hidden,
                   .eps = config_.norm_eps,
                   .step = step};
  const std::uint64_t layer_kv = shape_.kv_block_bytes() / shape_.layers * info_.blocks;
  const float* left_out = nullptr;  // a bias of the product before
  for (std::uint32_t i = 0; i < shape_.layers; ++i) {
    const DeviceLayer& layer = model_.layers[i];
    const LayerMatrices& matrices = matrices_[i];
    unsigned char* kv = kv_.data() + i * layer_kv;
    norm_job.add = left_out;
    norm_job.weight = layer.attention_norm;
    norm_job.bias = layer.attention_norm_bias;
    norm(launch, norm_job, size.rows);
    products_->run(launch, matrices.qkv, normed_rows_, size.rows, ProductOut::bf16, qkv_.data(), shape_.qkv, nullptr);
    rope_write(launch,
               {.step = step,
                .shape = shape_.heads,
                .qkv = qkv_.data(),
                .bias = layer.qkv_bias,
                .q_norm = layer.q_norm,
                .k_norm = layer.k_norm,
                .norm_eps = config_.norm_eps,
                .angles = model_.angles,
                .turned = model_.turned,
                .kv = kv,
                .tables = tables_.data(),
                .table_blocks = table_blocks_},
               size.rows);
    const bool windowed = config_.sliding_window != 0 && i >= config_.windowed_from;
    const AttentionJob attention{
        .step = step,
        .shape = shape_.heads,
        .q = qkv_.data(),
        .q_stride = shape_.qkv,
        .kv = kv,
        .tables = tables_.data(),
        .table_blocks = table_blocks_,
        .scale = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(shape_.heads.dim)),
        .window = windowed ? config_.sliding_window : 0,
        .out = attended_.data(),
        .out_stride = shape_.attended,
        .partials = partials_.data(),
        .wide = wide_};
    if (size.decode_rows > 0) decode_attention(launch, attention, size.decode_rows, 2 * multiprocessors_);
    if (size.prefill_items > 0) prefill_attention(launch, attention, size.prefill_items);
    products_->run(launch, matrices.o, attended_rows_, size.rows, ProductOut::add, x_.data(), hidden, nullptr);
    norm_job.add = layer.o_bias;
    norm_job.weight = layer.mlp_norm;
    norm_job.bias = layer.mlp_norm_bias;
    norm(launch, norm_job, size.rows);
    if (up_kind() == ProductOut::gated) {
      products_->run(launch, matrices.up, normed_rows_, size.rows, ProductOut::gated, activated_.data(),
                     shape_.intermediate_padded, gate_up_.data());
    } else {
      products_->run(launch, matrices.up, normed_rows_, size.rows, ProductOut::bf16, gate_up_.data(), shape_.up,
                     nullptr);
      activate(launch,
               {.in = gate_up_.data(),
                .gate_bias = layer.gate_bias,
                .up_bias = layer.up_bias,
                .out = activated_.data(),
                .width = shape_.intermediate_padded,
                .gated = config_.gated,
                .kind = static_cast<std::uint8_t>(config_.activation)},
               size.rows);
    }
    products_->run(launch, matrices.down, activated_rows_, size.rows, ProductOut::add, x_.data(), hidden, nullptr);
    left_out = layer.down_bias;
  }
  if (size.samples == 0) return;
  norm_job.add = left_out;
  norm_job.weight = model_.final_norm;
  norm_job.bias = model_.final_norm_bias;
  norm_job.out = last_.data();
  norm_job.gather = true;
  norm(launch, norm_job, size.samples);
  products_->run(launch, head_, last_rows_, size.samples, ProductOut::fp32, logits_.data(), shape_.vocab_padded,
                 nullptr);
  if (options_.logits_sink) sink_logits();
  draw(launch,
       {.step = step,
        .logits = logits_.data(),
        .vocab = shape_.vocab,
        .vocab_padded = shape_.vocab_padded,
        .params = params_.data(),
        .edits = edits_.data(),
        .edits_max = kEditsMax,
        .uses = uses_.data(),
        .drawn = drawn_.data(),
        .results = results_.data(),
        .samples_max = options_.slots_max,
        .hash = options_.hash_logits},
       size.samples);
}

void CudaExecutor::capture(std::uint32_t size) {
  // The products' first calls may load code, which a capture forbids: run the step once as it is, on padding alone.
  StepWriter writer(inputs_.data(), step_room());
  StepSize all;
  write_step({}, size, writer, all);
  all.decode_rows = size;
  check(cudaMemcpyAsync(step_.data(), inputs_.data(), writer.used(), cudaMemcpyHostToDevice, stream_),
        "a step's input");
  enqueue(all);
  check(cudaStreamSynchronize(stream_), "a step's kernels");
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing a step");
  enqueue(all);
  check(cudaStreamEndCapture(stream_, &graph), "capturing a step");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(made, "making a graph of a step");
  check(cudaGraphUpload(executable, stream_), "uploading a step's graph");
  graphs_.emplace(size, executable);
}

void CudaExecutor::write_step(const StepPlan& plan, std::uint32_t padded, StepWriter& writer, StepSize& size) {
  const std::uint32_t item_rows = prefill_item_rows(shape_.heads);
  StepHeader& header = writer.header();
  header.ring = static_cast<std::int32_t>(submitted_ % kRing);
  header.rows_at = writer.begin();
  std::uint32_t row = 0;
  for (const Slice& slice : plan.slices) {
    const auto count = static_cast<std::uint32_t>(slice.tokens.size());
    SLUICE_ENGINE_CHECK(count > 0 && row + count <= options_.rows_max && slice.slot < options_.slots_max);
    SLUICE_ENGINE_CHECK(slice.position + count <= info_.context_max);
    SLUICE_ENGINE_CHECK(slice.blocks.size() * kTileKeys >= slice.position + count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const TokenId token = slice.tokens[i];
      SLUICE_ENGINE_CHECK(token == kDrawnBefore || (token >= 0 && static_cast<std::uint32_t>(token) < shape_.vocab));
      writer.add<StepRow>() = {token, static_cast<std::int32_t>(slice.slot),
                               static_cast<std::int32_t>(slice.position + i),
                               static_cast<std::int32_t>(slice.position + count - 1)};
    }
    row += count;
  }
  for (; row < padded; ++row) writer.add<StepRow>() = {0, -1, 0, 0};
  size.rows = row;
  header.rows = static_cast<std::int32_t>(row);

  header.samples_at = writer.begin();
  row = 0;
  for (const Slice& slice : plan.slices) {
    row += static_cast<std::uint32_t>(slice.tokens.size());
    if (!slice.sample) continue;
    writer.add<StepSample>() = {static_cast<std::int32_t>(row - 1), static_cast<std::int32_t>(slice.slot),
                                static_cast<std::int32_t>(slice.position + slice.tokens.size()), 0};
    ++header.samples;
  }
  SLUICE_ENGINE_CHECK(static_cast<std::uint32_t>(header.samples) <= options_.slots_max);
  size.samples = std::max(static_cast<std::uint32_t>(header.samples), padded);

  header.prefill_at = writer.begin();
  row = 0;
  for (const Slice& slice : plan.slices) {
    const auto count = static_cast<std::uint32_t>(slice.tokens.size());
    for (std::uint32_t done = 0; count > 1 && done < count; done += item_rows) {
      writer.add<PrefillItem>() = {
          static_cast<std::int32_t>(row + done), static_cast<std::int32_t>(std::min(item_rows, count - done)),
          static_cast<std::int32_t>(slice.slot), static_cast<std::int32_t>(slice.position + done)};
      ++header.prefill_items;
    }
    row += count;
  }
  size.prefill_items = static_cast<std::uint32_t>(header.prefill_items);

  header.decode_at = writer.begin();
  row = 0;
  std::int32_t partial = 0;
  for (const Slice& slice : plan.slices) {
    if (slice.tokens.size() == 1) {
      const auto [first, splits] = splits_of(slice.position);
      for (std::int32_t split = first; split < first + splits; ++split) {
        writer.add<DecodeItem>() = {static_cast<std::int32_t>(row),
                                    static_cast<std::int32_t>(slice.slot),
                                    static_cast<std::int32_t>(slice.position),
                                    split,
                                    first,
                                    splits,
                                    partial,
                                    0};
        ++header.decode_items;
      }
      partial += splits;
    }
    row += static_cast<std::uint32_t>(slice.tokens.size());
  }
  header.decode_rows_at = writer.begin();
  row = 0;
  partial = 0;
  for (const Slice& slice : plan.slices) {
    if (slice.tokens.size() == 1) {
      const std::int32_t splits = splits_of(slice.position).second;
      writer.add<DecodeRow>() = {static_cast<std::int32_t>(row), splits, partial, 0};
      partial += splits;
      ++header.decode_rows;
    }
    row += static_cast<std::uint32_t>(slice.tokens.size());
  }
  size.decode_rows = static_cast<std::uint32_t>(header.decode_rows);

  header.tables_at = writer.begin();
  for (const Slice& slice : plan.slices) {
    Slot& slot = slots_[slice.slot];
    const auto needed = static_cast<std::uint32_t>((slice.position + slice.tokens.size() + kTileKeys - 1) / kTileKeys);
    for (; slot.tables < needed; ++slot.tables) {
      writer.add<TableUpdate>() = {static_cast<std::int32_t>(slice.slot), static_cast<std::int32_t>(slot.tables),
                                   slice.blocks[slot.tables], 0};
      ++header.table_updates;
    }
  }
  header.slots_at = writer.begin();
  std::int32_t edits = 0;
  for (const SlotId id : changed_) {
    Slot& slot = slots_[id];
    if (!slot.changed) continue;
    SlotUpdate& update = writer.add<SlotUpdate>();
    update = {static_cast<std::int32_t>(id), edits, {0, 0}, slot.params};
    edits += static_cast<std::int32_t>(slot.edits.size());
    ++header.slot_updates;
  }
  header.edits_at = writer.begin();
  for (const SlotId id : changed_) {
    Slot& slot = slots_[id];
    if (!std::exchange(slot.changed, false)) continue;
    for (const Edit& edit : slot.edits) writer.add<Edit>() = edit;
  }
  changed_.clear();
}

/// The splits whose keys a row sees: the first, and how many. Layers with a window of their own see fewer; a split
/// before it gives nothing there, which changes no bit.
std::pair<std::int32_t, std::int32_t> CudaExecutor::splits_of(std::uint32_t position) const {
  const std::uint32_t window = config_.windowed_from == 0 ? config_.sliding_window : 0;
  const std::uint32_t oldest = window == 0 || position + 1 < window ? 0 : position + 1 - window;
  const auto first = static_cast<std::int32_t>(oldest / kTokensOfSplit);
  return {first, static_cast<std::int32_t>(position / kTokensOfSplit) + 1 - first};
}

void CudaExecutor::submit(const StepPlan& plan) {
  SLUICE_ENGINE_CHECK(!busy());
  if (plan.slices.empty() || !failure_.empty()) return;
  try {
    const std::size_t at = submitted_ % kRing;
    Flight& flight = ring_[at];
    std::uint32_t padded = 0;
    const bool decodes_only = std::all_of(plan.slices.begin(), plan.slices.end(),
                                          [](const Slice& slice) { return slice.tokens.size() == 1; });
    cudaGraphExec_t graph = nullptr;
    if (decodes_only) {
      const auto found = graphs_.lower_bound(static_cast<std::uint32_t>(plan.slices.size()));
      if (found != graphs_.end()) padded = found->first, graph = found->second;
    }
    count_slots();
    StepWriter writer(inputs_.data() + at * step_room(), step_room());
    StepSize size;
    write_step(plan, padded, writer, size);
    if (options_.logits_sink) sink_plan_ = plan;
    flight.samples.clear();
    for (const Slice& slice : plan.slices)
      if (slice.sample) flight.samples.emplace_back(slice.slot, slots_[slice.slot].binding);
    check(cudaEventRecord(flight.begin, stream_), "a step");
    check(cudaMemcpyAsync(step_.data(), inputs_.data() + at * step_room(), writer.used(), cudaMemcpyHostToDevice,
                          stream_),
          "a step's input");
    if (graph != nullptr)
      check(cudaGraphLaunch(graph, stream_), "a step's graph");
    else
      enqueue(size);
    check(cudaEventRecord(flight.end, stream_), "a step");
    ++submitted_;
    ++in_flight_;
  } catch (const CudaError& error) {
    failure_ = fmt::format("the GPU failed: {}", error.what());
  }
}

std::size_t CudaExecutor::poll(std::vector<Sampled>& out) {
  std::size_t count = 0;
  while (in_flight_ > 0 && failure_.empty()) {
    const std::size_t at = finished_ % kRing;
    Flight& flight = ring_[at];
    const cudaError_t state = cudaEventQuery(flight.end);
    if (state == cudaErrorNotReady) break;
    if (state != cudaSuccess) {
      failure_ = fmt::format("the GPU failed: {}", cudaGetErrorString(state));
      break;
    }
    float ms = 0;
    if (cudaEventElapsedTime(&ms, flight.begin, flight.end) == cudaSuccess) busy_.busy_ms += static_cast<double>(ms);
    ++busy_.steps;
    const StepResult* results = results_.data() + at * options_.slots_max;
    for (std::size_t i = 0; i < flight.samples.size(); ++i) {
      const auto [slot, binding] = flight.samples[i];
      if (slots_[slot].binding != binding) continue;
      const StepResult& from = results[i];
      Sampled& sampled = out.emplace_back();
      sampled.slot = slot;
      sampled.token = from.token;
      sampled.logprob = from.logprob;
      sampled.logits_hash = from.hash;
      sampled.finite = from.finite != 0;
      sampled.top_count = static_cast<std::uint32_t>(from.top_count);
      for (std::uint32_t n = 0; n < sampled.top_count; ++n) sampled.top[n] = {from.top_tokens[n], from.top_logprobs[n]};
      ++count;
    }
    ++finished_;
    --in_flight_;
  }
  return count;
}

// ---- slots ----------------------------------------------------------------------------------------------------------

void CudaExecutor::bind(SlotId id, const SamplingParams& sampling, std::span<const TokenId> prompt, std::uint64_t) {
  release(id);
  Slot& slot = slots_[id];
  slot.edits.clear();
  std::map<TokenId, float> biases;
  const auto known = [&](TokenId token) { return token >= 0 && static_cast<std::uint32_t>(token) < shape_.vocab; };
  for (const auto& [token, bias] : sampling.logit_bias)
    if (known(token)) biases[token] += bias;
  for (const auto& [token, bias] : biases) slot.edits.push_back({token, bias, 0, 0});
  for (const TokenId token : sampling.banned)
    if (known(token)) slot.edits.push_back({token, 0, 1, 0});
  SLUICE_ENGINE_CHECK(slot.edits.size() <= kEditsMax);
  slot.counting =
      sampling.repetition_penalty != 1.0f || sampling.presence_penalty != 0.0f || sampling.frequency_penalty != 0.0f;
  slot.params = {.temperature = sampling.temperature,
                 .top_p = sampling.top_p,
                 .min_p = sampling.min_p,
                 .repetition_penalty = sampling.repetition_penalty,
                 .presence_penalty = sampling.presence_penalty,
                 .frequency_penalty = sampling.frequency_penalty,
                 .top_k = sampling.top_k,
                 .top_logprobs = sampling.top_logprobs,
                 .seed_low = static_cast<std::uint32_t>(sampling.seed),
                 .seed_high = static_cast<std::uint32_t>(sampling.seed >> 32),
                 .choice = sampling.choice,
                 .counting = slot.counting ? 1 : 0,
                 .edits = static_cast<std::int32_t>(slot.edits.size()),
                 .padding = {}};
  slot.changed = true;
  // Once, however often the slot is bound before the next step: its update and its tokens are sent once.
  if (std::find(changed_.begin(), changed_.end(), id) == changed_.end()) changed_.push_back(id);
  if (slot.counting) {
    slot.counted.assign(prompt.begin(), prompt.end());
    slot.counted_prompt = static_cast<std::uint32_t>(prompt.size());
  }
}

void CudaExecutor::resume(SlotId id, std::span<const TokenId> output) {
  Slot& slot = slots_[id];
  if (slot.counting) slot.counted.insert(slot.counted.end(), output.begin(), output.end());
}

void CudaExecutor::release(SlotId id) {
  SLUICE_ENGINE_CHECK(id < slots_.size());
  Slot& slot = slots_[id];
  ++slot.binding;
  slot.tables = 0;
  slot.changed = false;
  slot.counting = false;
  slot.counted.clear();
}

/// Penalties count what the prompt holds. Rare, and pageable memory will do: CUDA copies it before it returns.
void CudaExecutor::count_slots() {
  for (const SlotId id : changed_) {
    Slot& slot = slots_[id];
    if (!slot.changed || !slot.counting) continue;
    const std::size_t count = std::min(slot.counted.size(), counted_.size());
    check(
        cudaMemcpyAsync(counted_.data(), slot.counted.data(), count * sizeof(TokenId), cudaMemcpyHostToDevice, stream_),
        "tokens to count");
    count_uses(stream_, uses_.data() + std::size_t{id} * shape_.vocab, shape_.vocab, counted_.data(),
               slot.counted_prompt, static_cast<std::uint32_t>(count));
    slot.counted.clear();
  }
}

// ---- measuring ------------------------------------------------------------------------------------------------------

/// A step of one row and two prefills give the line that the scheduler plans with.
void CudaExecutor::measure_steps() {
  const std::uint32_t large = std::min({options_.rows_max, info_.context_max, info_.blocks * kTileKeys}) / 64 * 64;
  if (large < 256 || options_.logits_sink) return;
  std::vector<BlockId> blocks(large / kTileKeys);
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<BlockId>(i);
  const std::vector<TokenId> tokens(large, 0);
  SamplingParams greedy;
  greedy.temperature = 0;
  bind(0, greedy, {}, 0);
  std::vector<Sampled> ignored;
  const auto ms_of = [&](std::uint32_t rows) {
    double best = 1e30;
    for (int i = 0; i < 3; ++i) {
      StepPlan plan;
      plan.slices.push_back({0, 0, std::span(tokens).first(rows), blocks, true});
      submit(plan);
      if (!failure_.empty()) throw CudaError(failure_);
      check(cudaStreamSynchronize(stream_), "measuring a step");
      busy_ = {};
      poll(ignored);
      best = std::min(best, busy_.busy_ms);
    }
    return best;
  };
  const double one_ms = ms_of(1), small_ms = ms_of(large / 4), large_ms = ms_of(large);
  info_.step_row_ns = std::max(1.0, (large_ms - small_ms) * 1e6 / (large - large / 4));
  info_.step_base_ns = one_ms * 1e6;
  release(0);
  check(cudaMemsetAsync(kv_.data(), 0, kv_.bytes(), stream_), "clearing the KV cache");
  busy_ = {};
}

void CudaExecutor::sink_logits() {
  check(cudaStreamSynchronize(stream_), "reading logits");
  std::vector<float> row(shape_.vocab);
  std::size_t i = 0;
  for (const Slice& slice : sink_plan_.slices) {
    if (!slice.sample) continue;
    check(cudaMemcpy(row.data(), logits_.data() + i++ * shape_.vocab_padded, row.size() * sizeof(float),
                     cudaMemcpyDeviceToHost),
          "reading logits");
    options_.logits_sink(slice.slot, slice.position + static_cast<std::uint32_t>(slice.tokens.size()) - 1, row);
  }
}

}  // namespace
}  // namespace cuda

Result<std::string> cuda_device() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorInsufficientDriver)
    return fail("no NVIDIA driver, or one too old for CUDA 13 (580 or newer is needed)");
  if (counted != cudaSuccess) return fail(fmt::format("no usable NVIDIA GPU: {}", cudaGetErrorString(counted)));
  if (count == 0) return fail("this machine has no NVIDIA GPU");
  cudaDeviceProp properties{};
  const cudaError_t asked = cudaGetDeviceProperties(&properties, cuda::kDevice);
  if (asked != cudaSuccess) return fail(fmt::format("the GPU does not answer: {}", cudaGetErrorString(asked)));
  if (properties.major < 9)
    return fail(fmt::format("{} has compute capability {}.{}; 9.0 or newer (H100, H200, B200) is needed",
                            properties.name, properties.major, properties.minor));
  return fmt::format("{}, {} multiprocessors, {}", properties.name, properties.multiProcessorCount,
                     cuda::bytes_text(properties.totalGlobalMem));
}

Result<std::unique_ptr<Executor>> make_cuda_executor(const ModelConfig& config, const Weights* weights,
                                                     const CudaOptions& options) {
  const auto device = cuda_device();
  if (!device) return fail("backend cuda: " + device.error().message);
  if (weights != nullptr && (weights->layers.size() != config.layers || config.layers == 0))
    return fail(fmt::format("{} layers of weights for a model of {}", weights->layers.size(), config.layers));
  if (options.slots_max == 0 || options.rows_max < options.slots_max)
    return fail(fmt::format("rows_max is {} and slots_max {}: a step must have room for one row of every slot",
                            options.rows_max, options.slots_max));
  if (options.rows_max > cuda::kRowsMax)
    return fail(fmt::format("rows_max is {}: the CUDA backend takes steps of up to {} tokens", options.rows_max,
                            cuda::kRowsMax));
  if (options.context_max == 1 || config.context_max == 1)
    return fail("a context of 1 token leaves no room for an answer: take at least 2");
  const auto shape = cuda::ModelShape::of(config);
  if (!shape) return shape.error();
  try {
    auto executor = std::make_unique<cuda::CudaExecutor>(config, *shape, options);
    if (std::string problem = executor->prepare(weights); !problem.empty()) return fail(std::move(problem));
    return std::unique_ptr<Executor>(std::move(executor));
  } catch (const cuda::CudaError& error) {
    return fail(fmt::format("backend cuda: {}", error.what()));
  }
}

Result<CudaRoofs> measure_cuda_roofs() {
  const auto found = cuda_device();
  if (!found) return found.error();
  try {
    using namespace cuda;
    check(cudaSetDevice(kDevice), "choosing the device");
    CudaRoofs roofs;
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin), "an event");
    check(cudaEventCreate(&end), "an event");
    const auto best_ms = [&](auto call) {
      float best = 1e30f;
      for (int i = 0; i < 6; ++i) {
        check(cudaEventRecord(begin, nullptr), "timing");
        call();
        check(cudaEventRecord(end, nullptr), "timing");
        check(cudaEventSynchronize(end), "timing");
        float ms = 0;
        check(cudaEventElapsedTime(&ms, begin, end), "timing");
        best = std::min(best, ms);
      }
      return static_cast<double>(best);
    };
    {
      Block<unsigned char> data(std::size_t{2} << 30, "measuring");
      Block<float> sink(1, "measuring");
      fill_random(nullptr, data.data(), 1, data.bytes() / 2, data.bytes() / 2, 1.0f, 5);
      const double ms = best_ms([&] { read_all(nullptr, data.data(), data.bytes(), sink.data()); });
      roofs.read_bytes_per_s = static_cast<double>(data.bytes()) / ms * 1e3;
    }
    constexpr std::uint32_t kSize = 8192;
    const std::size_t elements = std::size_t{kSize} * kSize;
    Block<std::uint16_t> a(elements, "measuring"), b(elements, "measuring"), c(elements, "measuring");
    Block<unsigned char> workspace(std::size_t{64} << 20, "measuring");
    fill_random(nullptr, a.data(), kSize, kSize, kSize, 1.0f, 6);
    fill_random(nullptr, b.data(), kSize, kSize, kSize, 1.0f, 7);
    if (const auto blas = Blas::open(workspace.data(), workspace.bytes())) {
      const auto plans = blas->plans({.n = kSize, .k = kSize, .rows = kSize, .out_stride = kSize}, 1);
      if (!plans.empty()) {
        const double ms = best_ms([&] { blas->run(*plans.front(), a.data(), b.data(), c.data(), nullptr); });
        constexpr double kOperations = 2.0 * kSize * kSize * kSize;
        roofs.operations_per_s = kOperations / ms * 1e3;
        constexpr int kAtOnce = 50;
        float many_ms = 0;
        for (float all_ms = 0; all_ms < 1200; all_ms += many_ms) {
          check(cudaEventRecord(begin, nullptr), "timing");
          for (int i = 0; i < kAtOnce; ++i)
            if (!blas->run(*plans.front(), a.data(), b.data(), c.data(), nullptr))
              throw CudaError("cuBLASLt refused a product");
          check(cudaEventRecord(end, nullptr), "timing");
          check(cudaEventSynchronize(end), "timing");
          check(cudaEventElapsedTime(&many_ms, begin, end), "timing");
        }
        roofs.operations_per_s_sustained = kAtOnce * kOperations / static_cast<double>(many_ms) * 1e3;
      }
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return roofs;
  } catch (const cuda::CudaError& error) {
    return fail(error.what());
  }
}

CudaBusy take_cuda_busy(Executor& executor) {
  auto* ours = dynamic_cast<cuda::CudaExecutor*>(&executor);
  return ours == nullptr ? CudaBusy{} : ours->take_busy();
}

}  // namespace sluice::engine
