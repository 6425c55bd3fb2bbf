#include "engine/exec/cpu/cpu_executor.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/limits.h"
#include "engine/exec/cpu/memory.h"
#include "engine/exec/cpu/packed_matrix.h"
#include "engine/exec/cpu/sampler.h"
#include "engine/exec/cpu/thread_pool.h"
#include "engine/model/tensor_values.h"

namespace sluice::engine {
namespace cpu {
namespace {

static_assert(limits::block_tokens == kTileKeys);

constexpr std::uint32_t kHeadDimMax = 512;  // kernels rotate a head in memory of this size
constexpr std::uint64_t kKvBytesDefault = std::uint64_t{256} << 20;

// ---- reading weights ------------------------------------------------------------------------------------------------

/// A norm's weights or a bias, padded with zeros; empty where the graph has none.
std::vector<float> read_vector(const TensorView& tensor, std::uint32_t size) {
  if (tensor.data.empty()) return {};
  std::vector<float> values(padded(size));
  read_float(tensor, 0, size, values.data());
  return values;
}

// ---- the model, packed ----------------------------------------------------------------------------------------------

struct NormWeights {
  std::vector<float> weight;  // [padded hidden]
  std::vector<float> bias;    // the same, of a layer norm
};

/// A vector that is empty has no part in the graph. Biases are by the columns of their product.
struct Layer {
  NormWeights attention_norm, mlp_norm;
  std::vector<float> q_norm, k_norm;  // [dim_padded]
  PackedMatrix qkv, o, up, down;      // `up`: with a gate, vectors of gate and up in turn
  std::vector<float> qkv_bias, o_bias, up_bias, down_bias;
};

struct Model {
  HeadShape shape;
  std::uint32_t hidden = 0, hidden_padded = 0;
  std::uint32_t intermediate = 0, intermediate_padded = 0;
  std::uint32_t vocab = 0, vocab_padded = 0;
  Buffer<Bf16> embedding;  // [vocab, hidden_padded]: rows, while the head is packed by columns
  Buffer<Bf16> positions;  // [context, hidden_padded]; empty unless positions are learned
  NormWeights final_norm;
  std::vector<Layer> layers;
  PackedMatrix head;
  std::uint32_t turned = 0;      // leading dimensions of a head that positions turn
  Buffer<float> cosines, sines;  // [context, dim_padded]; empty without rope

  std::uint64_t bytes() const {
    std::uint64_t sum = embedding.bytes() + positions.bytes() + head.bytes();
    for (const Layer& layer : layers)
      sum += layer.qkv.bytes() + layer.o.bytes() + layer.up.bytes() + layer.down.bytes();
    return sum;
  }
};

/// Row `n` of a [.., in] tensor as the K of one packed column.
PackedMatrix::FillRow rows_of(const TensorView& tensor, std::uint32_t rows, std::uint32_t in) {
  return [&tensor, rows, in](std::uint32_t column, Bf16* out) {
    if (column < rows) read_bf16(tensor, std::uint64_t{column} * in, in, out);
  };
}

NormWeights read_norm(const TensorView& weight, const TensorView& bias, std::uint32_t size) {
  return {read_vector(weight, size), read_vector(bias, size)};
}

/// Where column `column` of the product for queries, keys and values comes from: each head's columns are padded to
/// whole vectors, so that heads never share one.
struct QkvColumn {
  const TensorView* weight = nullptr;
  const TensorView* bias = nullptr;
  std::uint64_t row = 0;
  bool padding = false;
};

QkvColumn qkv_column(const HeadShape& shape, const LayerWeights& weights, std::uint32_t column) {
  std::uint32_t head = column / shape.dim_padded;
  const std::uint32_t d = column % shape.dim_padded;
  QkvColumn from{&weights.q, &weights.q_bias};
  if (head >= shape.heads + shape.kv_heads) {
    head -= shape.heads + shape.kv_heads;
    from = {&weights.v, &weights.v_bias};
  } else if (head >= shape.heads) {
    head -= shape.heads;
    from = {&weights.k, &weights.k_bias};
  }
  from.row = std::uint64_t{head} * shape.dim + d;
  from.padding = d >= shape.dim;
  return from;
}

/// Where column `column` of gate and up comes from: vectors of the two in turn, so that both halves of an activation
/// are in registers of one tile.
struct GatedColumn {
  bool up = false;
  std::uint32_t row = 0;
};

GatedColumn gated_column(std::uint32_t column) {
  const std::uint32_t vector = column / kLanes;
  return {vector % 2 == 1, vector / 2 * kLanes + column % kLanes};
}

void pack_mlp(ThreadPool& pool, const Model& model, const ModelConfig& config, const LayerWeights& weights,
              Layer& layer) {
  const std::uint32_t hidden = model.hidden;
  if (config.gated) {
    layer.up =
        PackedMatrix(pool, 2 * model.intermediate_padded, model.hidden_padded, 2, [&](std::uint32_t column, Bf16* out) {
          const GatedColumn from = gated_column(column);
          if (from.row < model.intermediate)
            read_bf16(from.up ? weights.up : weights.gate, std::uint64_t{from.row} * hidden, hidden, out);
        });
    if (config.mlp_bias) {
      layer.up_bias.resize(std::size_t{2} * model.intermediate_padded);
      for (std::uint32_t column = 0; column < layer.up_bias.size(); ++column) {
        const GatedColumn from = gated_column(column);
        if (from.row < model.intermediate)
          read_float(from.up ? weights.up_bias : weights.gate_bias, from.row, 1, &layer.up_bias[column]);
      }
    }
  } else {
    layer.up = PackedMatrix(pool, model.intermediate_padded, model.hidden_padded, 1,
                            rows_of(weights.up, model.intermediate, hidden));
    layer.up_bias = read_vector(weights.up_bias, model.intermediate);
  }
  layer.down = PackedMatrix(pool, model.hidden_padded, model.intermediate_padded, 1,
                            rows_of(weights.down, hidden, model.intermediate));
  layer.down_bias = read_vector(weights.down_bias, hidden);
}

Layer pack_layer(ThreadPool& pool, const Model& model, const ModelConfig& config, const LayerWeights& weights) {
  const HeadShape& shape = model.shape;
  const std::uint32_t hidden = model.hidden;
  const std::uint32_t qkv_width = (shape.heads + 2 * shape.kv_heads) * shape.dim_padded;
  Layer layer;
  layer.attention_norm = read_norm(weights.attention_norm, weights.attention_norm_bias, hidden);
  layer.mlp_norm = read_norm(weights.mlp_norm, weights.mlp_norm_bias, hidden);
  layer.q_norm = read_vector(weights.q_norm, shape.dim);
  layer.k_norm = read_vector(weights.k_norm, shape.dim);
  layer.qkv = PackedMatrix(pool, qkv_width, model.hidden_padded, 1, [&](std::uint32_t column, Bf16* out) {
    const QkvColumn from = qkv_column(shape, weights, column);
    if (!from.padding) read_bf16(*from.weight, from.row * hidden, hidden, out);
  });
  if (config.qkv_bias) {
    layer.qkv_bias.resize(qkv_width);
    for (std::uint32_t column = 0; column < qkv_width; ++column)
      if (const QkvColumn from = qkv_column(shape, weights, column); !from.padding)
        read_float(*from.bias, from.row, 1, &layer.qkv_bias[column]);
  }
  layer.o =
      PackedMatrix(pool, model.hidden_padded, shape.heads * shape.dim_padded, 1, [&](std::uint32_t column, Bf16* out) {
        if (column >= hidden) return;
        for (std::uint32_t head = 0; head < shape.heads; ++head)
          read_bf16(weights.o, (std::uint64_t{column} * shape.heads + head) * shape.dim, shape.dim,
                    out + std::size_t{head} * shape.dim_padded);
      });
  layer.o_bias = read_vector(weights.o_bias, hidden);
  pack_mlp(pool, model, config, weights, layer);
  return layer;
}

/// What stands in the tables for dimensions that are not turned multiplies them by 1.
void fill_rope(const ModelConfig& config, std::uint32_t positions, Model& model) {
  const RopeAngles angles = rope_angles(config, positions);
  if (angles.dims == 0) return;
  model.turned = angles.dims;
  const std::size_t half = angles.dims / 2;
  const std::size_t width = model.shape.dim_padded;
  model.cosines = Buffer<float>(positions * width);
  model.sines = Buffer<float>(positions * width);
  if (model.cosines.size() == 0 || model.sines.size() == 0) return;
  for (std::size_t t = 0; t < positions; ++t) {
    float* const cosines = model.cosines.data() + t * width;
    float* const sines = model.sines.data() + t * width;
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<float>(t) * angles.frequencies[i];
      cosines[i] = cosines[half + i] = static_cast<float>(std::cos(angle)) * angles.scale;
      sines[half + i] = static_cast<float>(std::sin(angle)) * angles.scale;
      sines[i] = -sines[half + i];
    }
    for (std::size_t d = angles.dims; d < width; ++d) cosines[d] = 1;
  }
}

/// Every tensor that the config's flags ask for, or the name of one that is not there.
std::string_view lacking(const ModelConfig& config, const Weights& weights) {
  const auto lacks = [](bool wanted, const TensorView& tensor) { return wanted && tensor.data.empty(); };
  const bool layer_norm = config.norm == Norm::layer;
  if (lacks(config.learned_positions, weights.positions)) return "positions";
  if (lacks(layer_norm, weights.final_norm_bias)) return "a norm's bias";
  for (const LayerWeights& layer : weights.layers) {
    if (lacks(layer_norm, layer.attention_norm_bias) || lacks(layer_norm, layer.mlp_norm_bias)) return "a norm's bias";
    if (lacks(config.qkv_bias, layer.q_bias) || lacks(config.qkv_bias, layer.k_bias) ||
        lacks(config.qkv_bias, layer.v_bias))
      return "biases of queries, keys and values";
    if (lacks(config.qk_norm, layer.q_norm) || lacks(config.qk_norm, layer.k_norm)) return "norms of queries and keys";
    if (lacks(config.o_bias, layer.o_bias)) return "a bias of attention's output";
    if (lacks(config.gated, layer.gate) || lacks(config.mlp_bias && config.gated, layer.gate_bias)) return "a gate";
    if (lacks(config.mlp_bias, layer.up_bias) || lacks(config.mlp_bias, layer.down_bias)) return "biases of the MLP";
  }
  return {};
}

Unit unit_of(Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return Unit::gelu;
    case Activation::gelu_tanh:
      return Unit::gelu_tanh;
    case Activation::silu:
      return Unit::silu;
  }
  return Unit::silu;
}

const float* or_null(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

// ---- the executor ---------------------------------------------------------------------------------------------------

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(const ModelConfig& config, const Kernels& kernels, const CpuOptions& options, unsigned threads)
      : config_(config),
        kernels_(kernels),
        options_(options),
        pool_(threads),
        sampler_(kernels, config.vocab_size, options.slots_max, threads) {}

  /// Packs the weights and reserves everything that steps use. An empty message is success.
  std::string prepare(const Weights& weights);

  const ExecutorInfo& info() const override { return info_; }
  void bind(SlotId slot, const SamplingParams& sampling, std::span<const TokenId> prompt, std::uint64_t) override {
    sampler_.bind(slot, sampling, prompt);
  }
  void resume(SlotId slot, std::span<const TokenId> output) override { sampler_.resume(slot, output); }
  void release(SlotId slot) override {
    sampler_.release(slot);
    std::erase_if(results_, [slot](const Sampled& result) { return result.slot == slot; });
  }
  void submit(const StepPlan& plan) override;
  bool busy() const override { return false; }
  std::size_t poll(std::vector<Sampled>& out) override {
    const std::size_t count = results_.size();
    out.insert(out.end(), results_.begin(), results_.end());
    results_.clear();
    return count;
  }

 private:
  struct Head {  // a row whose logits are wanted
    std::uint32_t row = 0;
    SlotId slot = 0;
    std::uint32_t position = 0;  // of the row's token
  };
  void lay_out(const StepPlan& plan);
  void norm_row(const NormWeights& weights, std::size_t row, Bf16* out) const;
  void norm_rows(const NormWeights& weights);
  void multiply(const PackedMatrix& matrix, const Product& product);
  void run_layer(std::size_t index);
  void sample();

  KvLayer kv_layer(std::size_t layer) {
    return {kv_.data() + layer * info_.blocks * block_stride_, block_stride_, head_stride_};
  }

  const ModelConfig config_;
  const Kernels& kernels_;
  const CpuOptions options_;
  ThreadPool pool_;
  Sampler sampler_;
  ExecutorInfo info_;
  Model model_;

  Buffer<Bf16> kv_;  // [layer][block][kv_head][keys, values]
  std::size_t block_stride_ = 0, head_stride_ = 0;

  // The step being run.
  std::uint32_t step_rows_ = 0;
  std::vector<TokenId> tokens_;           // [rows]
  std::vector<std::uint32_t> positions_;  // [rows]
  std::vector<Segment> segments_;
  std::vector<AttentionItem> items_;
  std::vector<std::uint64_t> item_costs_;  // up to and with the item
  std::vector<std::size_t> item_shares_;   // first item of each thread, and one past the last
  std::vector<Head> heads_;
  std::vector<LogitStats> stats_;  // [heads][chunks]
  std::vector<Sampled> results_;

  Buffer<float> x_;                     // [rows, hidden]: the residual stream
  Buffer<Bf16> normed_;                 // [rows, hidden]
  Buffer<float> qkv_;                   // [rows, (heads + 2 kv_heads) * dim]
  Buffer<Bf16> q_;                      // [kv_heads, rows, group, dim]
  Buffer<Bf16> attended_;               // [rows, heads * dim]
  Buffer<Bf16> activated_;              // [rows, intermediate]
  Buffer<Bf16> last_;                   // [heads, hidden]: normed rows whose logits are wanted
  Buffer<float> logits_;                // [heads, vocab]
  std::vector<Buffer<float>> scratch_;  // per thread
};

std::string CpuExecutor::prepare(const Weights& weights) {
  Model& model = model_;
  model.shape = {config_.heads, config_.kv_heads, config_.head_dim, padded(config_.head_dim)};
  model.hidden = config_.hidden_size;
  model.hidden_padded = padded(config_.hidden_size);
  model.intermediate = config_.intermediate_size;
  model.intermediate_padded = padded(config_.intermediate_size);
  model.vocab = config_.vocab_size;
  model.vocab_padded = padded(config_.vocab_size);

  head_stride_ = std::size_t{2} * kTileKeys * model.shape.dim_padded;
  block_stride_ = head_stride_ * model.shape.kv_heads;
  const std::uint64_t bytes_per_block = block_stride_ * sizeof(Bf16) * config_.layers;
  const std::uint32_t wanted =
      options_.context_max == 0 ? config_.context_max : std::min(options_.context_max, config_.context_max);
  const std::uint64_t wanted_blocks = (wanted + kTileKeys - 1) / kTileKeys;
  std::uint64_t blocks = options_.kv_blocks;
  if (blocks == 0 && options_.kv_bytes > 0) blocks = options_.kv_bytes / bytes_per_block;
  if (blocks == 0 && options_.kv_bytes == 0)
    blocks = std::min(wanted_blocks * options_.slots_max, kKvBytesDefault / bytes_per_block);
  if (blocks == 0)
    return fmt::format("{} bytes of KV cache do not hold one block of {} tokens, which takes {}",
                       options_.kv_bytes > 0 ? options_.kv_bytes : kKvBytesDefault, kTileKeys, bytes_per_block);
  const auto context = static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, blocks * kTileKeys));

  kv_ = Buffer<Bf16>(config_.layers * blocks * block_stride_);
  if (kv_.size() == 0)
    return fmt::format("no memory for {} bytes of KV cache; ask for fewer blocks", blocks * bytes_per_block);

  const std::size_t rows = options_.rows_max;
  const HeadShape& shape = model.shape;
  x_ = Buffer<float>(rows * model.hidden_padded);
  normed_ = Buffer<Bf16>(rows * model.hidden_padded);
  qkv_ = Buffer<float>(rows * (shape.heads + 2 * shape.kv_heads) * shape.dim_padded + 2 * kLanes);
  q_ = Buffer<Bf16>(rows * shape.heads * shape.dim_padded);
  attended_ = Buffer<Bf16>(rows * shape.heads * shape.dim_padded);
  activated_ = Buffer<Bf16>(rows * model.intermediate_padded);
  last_ = Buffer<Bf16>(std::size_t{options_.slots_max} * model.hidden_padded);
  logits_ = Buffer<float>(std::size_t{options_.slots_max} * model.vocab_padded);
  for (unsigned thread = 0; thread < pool_.size(); ++thread) scratch_.emplace_back(attention_scratch_floats(shape));
  model.embedding = Buffer<Bf16>(std::size_t{model.vocab} * model.hidden_padded);
  if (config_.learned_positions) model.positions = Buffer<Bf16>(std::size_t{context} * model.hidden_padded);
  fill_rope(config_, context, model);
  const bool lacks_rope = model.turned != 0 && (model.cosines.size() == 0 || model.sines.size() == 0);
  const bool lacks_positions = config_.learned_positions && model.positions.size() == 0;
  if (x_.size() == 0 || normed_.size() == 0 || qkv_.size() == 0 || q_.size() == 0 || attended_.size() == 0 ||
      activated_.size() == 0 || last_.size() == 0 || logits_.size() == 0 || model.embedding.size() == 0 || lacks_rope ||
      lacks_positions)
    return fmt::format("no memory for steps of {} rows of this model", rows);

  // Touched now: a page that the system clears within a step would delay somebody's token.
  constexpr std::size_t kTouch = std::size_t{1} << 20;
  pool_.each((kv_.size() + kTouch - 1) / kTouch, 1, [&](std::size_t i, unsigned) {
    std::memset(kv_.data() + i * kTouch, 0, std::min(kTouch, kv_.size() - i * kTouch) * sizeof(Bf16));
  });
  std::memset(logits_.data(), 0, logits_.bytes());

  tokens_.resize(rows);
  positions_.resize(rows);
  segments_.reserve(rows);
  items_.reserve(rows * shape.kv_heads);
  item_costs_.reserve(rows * shape.kv_heads);
  item_shares_.resize(pool_.size() + 1);
  heads_.reserve(options_.slots_max);
  results_.reserve(std::size_t{2} * options_.slots_max);
  stats_.resize(std::size_t{options_.slots_max} * ((model.vocab_padded + kStatsChunk - 1) / kStatsChunk));

  const auto read_table = [&](const TensorView& table, std::uint32_t count, Buffer<Bf16>& out) {
    for (std::uint32_t i = 0; i < count; ++i)
      read_bf16(table, std::uint64_t{i} * model.hidden, model.hidden,
                out.data() + std::size_t{i} * model.hidden_padded);
  };
  read_table(weights.embedding, model.vocab, model.embedding);
  if (config_.learned_positions) read_table(weights.positions, context, model.positions);
  model.final_norm = read_norm(weights.final_norm, weights.final_norm_bias, model.hidden);
  model.layers.reserve(weights.layers.size());
  for (const LayerWeights& layer : weights.layers) {
    model.layers.push_back(pack_layer(pool_, model, config_, layer));
    const Layer& packed = model.layers.back();
    if (packed.qkv.empty() || packed.o.empty() || packed.up.empty() || packed.down.empty())
      return "no memory for the packed weights";
  }
  model.head =
      PackedMatrix(pool_, model.vocab_padded, model.hidden_padded, 1, rows_of(weights.head, model.vocab, model.hidden));
  if (model.head.empty()) return "no memory for the packed weights";

  info_ = {.backend = "cpu",
           .device = fmt::format("{}, {}, {} thread{}", processor_name(), kernels_.name, pool_.size(),
                                 pool_.size() == 1 ? "" : "s"),
           .vocab_size = config_.vocab_size,
           .context_max = context,
           .slots_max = options_.slots_max,
           .rows_max = options_.rows_max,
           .blocks = static_cast<std::uint32_t>(blocks),
           .weight_bytes = model.bytes(),
           .kv_bytes = kv_.bytes()};
  return {};
}

/// Cuts the plan into rows, segments that lie in one block, and attention items, and deals the items to the threads.
void CpuExecutor::lay_out(const StepPlan& plan) {
  const HeadShape& shape = model_.shape;
  const std::uint32_t group = shape.heads / shape.kv_heads;
  const std::uint32_t item_rows = std::max(1u, kAttentionRows / group);
  std::uint32_t row = 0;
  segments_.clear();
  items_.clear();
  item_costs_.clear();
  heads_.clear();
  std::uint64_t cost = 0;
  for (const Slice& slice : plan.slices) {
    const auto count = static_cast<std::uint32_t>(slice.tokens.size());
    SLUICE_ENGINE_CHECK(count > 0 && row + count <= options_.rows_max && slice.slot < options_.slots_max);
    SLUICE_ENGINE_CHECK(slice.position + count <= info_.context_max);
    SLUICE_ENGINE_CHECK(slice.blocks.size() * kTileKeys >= slice.position + count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const TokenId token = slice.tokens[i];
      SLUICE_ENGINE_CHECK(token >= 0 && static_cast<std::uint32_t>(token) < model_.vocab);
      tokens_[row + i] = token;
      positions_[row + i] = slice.position + i;
    }
    for (std::uint32_t done = 0; done < count;) {
      const std::uint32_t position = slice.position + done;
      const std::uint32_t rows = std::min(count - done, kTileKeys - position % kTileKeys);
      const BlockId block = slice.blocks[position / kTileKeys];
      SLUICE_ENGINE_CHECK(block >= 0 && static_cast<std::uint32_t>(block) < info_.blocks);
      segments_.push_back({row + done, rows, position, block});
      done += rows;
    }
    for (std::uint32_t head = 0; head < shape.kv_heads; ++head)
      for (std::uint32_t done = 0; done < count; done += item_rows) {
        const std::uint32_t rows = std::min(item_rows, count - done);
        items_.push_back({slice.blocks.data(), row + done, rows, slice.position + done, head});
        const std::uint64_t tiles = (slice.position + done + rows + kTileKeys - 1) / kTileKeys;
        cost += tiles * (4 + std::uint64_t{rows} * group);  // a tile costs its reading, and each row
        item_costs_.push_back(cost);
      }
    row += count;
    if (slice.sample) heads_.push_back({row - 1, slice.slot, slice.position + count - 1});
  }
  SLUICE_ENGINE_CHECK(heads_.size() <= options_.slots_max);
  step_rows_ = row;
  for (unsigned thread = 0; thread <= pool_.size(); ++thread) {
    const std::uint64_t from = cost * thread / pool_.size();
    item_shares_[thread] =
        static_cast<std::size_t>(std::upper_bound(item_costs_.begin(), item_costs_.end(), from) - item_costs_.begin());
  }
}

void CpuExecutor::submit(const StepPlan& plan) {
  if (plan.slices.empty()) return;
  lay_out(plan);
  const std::size_t hidden = model_.hidden_padded;
  pool_.each(step_rows_, 8, [&](std::size_t row, unsigned) {
    const Bf16* const position =
        model_.positions.size() == 0 ? nullptr : model_.positions.data() + positions_[row] * hidden;
    kernels_.widen(model_.embedding.data() + static_cast<std::size_t>(tokens_[row]) * hidden, position,
                   x_.data() + row * hidden, hidden);
  });
  for (std::size_t layer = 0; layer < model_.layers.size(); ++layer) run_layer(layer);
  if (!heads_.empty()) sample();
}

void CpuExecutor::norm_row(const NormWeights& weights, std::size_t row, Bf16* out) const {
  const std::size_t width = model_.hidden_padded;
  const float* const x = x_.data() + row * width;
  if (config_.norm == Norm::layer) {
    kernels_.layer_norm(x, weights.weight.data(), weights.bias.data(), out, model_.hidden, width, config_.norm_eps);
  } else {
    kernels_.rms_norm(x, weights.weight.data(), out, model_.hidden, width, config_.norm_eps);
  }
}

void CpuExecutor::norm_rows(const NormWeights& weights) {
  pool_.each(step_rows_, 8,
             [&](std::size_t row, unsigned) { norm_row(weights, row, normed_.data() + row * model_.hidden_padded); });
}

void CpuExecutor::multiply(const PackedMatrix& matrix, const Product& product) {
  pool_.each_share(matrix.shares(), [&](std::size_t group, unsigned) {
    Product part = product;
    matrix.take_group(group, part);
    kernels_.product(part);
  });
}

void CpuExecutor::run_layer(std::size_t index) {
  const Layer& layer = model_.layers[index];
  const HeadShape& shape = model_.shape;
  const std::size_t hidden = model_.hidden_padded;
  const std::size_t intermediate = model_.intermediate_padded;
  const std::size_t qkv_width = (std::size_t{shape.heads} + 2 * shape.kv_heads) * shape.dim_padded;
  const std::size_t attended_width = std::size_t{shape.heads} * shape.dim_padded;
  const KvLayer kv = kv_layer(index);

  norm_rows(layer.attention_norm);
  multiply(layer.qkv, {.a = normed_.data(),
                       .lda = hidden,
                       .rows = step_rows_,
                       .bias = or_null(layer.qkv_bias),
                       .out = qkv_.data(),
                       .ldo = qkv_width});

  const RopeJob rope{.shape = shape,
                     .qkv = qkv_.data(),
                     .ld = qkv_width,
                     .q_norm = or_null(layer.q_norm),
                     .k_norm = or_null(layer.k_norm),
                     .eps = config_.norm_eps,
                     .turned = model_.turned,
                     .cosines = model_.cosines.data(),
                     .sines = model_.sines.data(),
                     .q = q_.data(),
                     .rows = step_rows_,
                     .kv = kv};
  const std::size_t parts = segments_.size() * shape.kv_heads;
  pool_.each(parts, step_rows_ > 4 * segments_.size() ? 1 : 8, [&](std::size_t part, unsigned) {
    kernels_.rope_write(rope, segments_[part / shape.kv_heads], static_cast<std::uint32_t>(part % shape.kv_heads));
  });
  const AttentionJob attention{.shape = shape,
                               .q = q_.data(),
                               .rows = step_rows_,
                               .kv = kv,
                               .scale = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(shape.dim)),
                               .window = index >= config_.windowed_from ? config_.sliding_window : 0,
                               .out = attended_.data(),
                               .ldo = attended_width};
  pool_.each_share(item_shares_.data(), [&](std::size_t item, unsigned thread) {
    kernels_.attention(attention, items_[item], scratch_[thread].data());
  });

  multiply(layer.o, {.a = attended_.data(),
                     .lda = attended_width,
                     .rows = step_rows_,
                     .finish = Finish::add,
                     .bias = or_null(layer.o_bias),
                     .out = x_.data(),
                     .ldo = hidden});
  norm_rows(layer.mlp_norm);
  multiply(layer.up, {.a = normed_.data(),
                      .lda = hidden,
                      .rows = step_rows_,
                      .bias = or_null(layer.up_bias),
                      .unit = unit_of(config_.activation),
                      .gated = config_.gated,
                      .out_bf16 = activated_.data(),
                      .ldo = intermediate});
  multiply(layer.down, {.a = activated_.data(),
                        .lda = intermediate,
                        .rows = step_rows_,
                        .finish = Finish::add,
                        .bias = or_null(layer.down_bias),
                        .out = x_.data(),
                        .ldo = hidden});
}

void CpuExecutor::sample() {
  const std::size_t hidden = model_.hidden_padded;
  const std::size_t vocab = model_.vocab_padded;
  const std::size_t chunks = (vocab + kStatsChunk - 1) / kStatsChunk;
  const std::size_t count = heads_.size();

  pool_.each(count, 8,
             [&](std::size_t i, unsigned) { norm_row(model_.final_norm, heads_[i].row, last_.data() + i * hidden); });
  multiply(model_.head, {.a = last_.data(),
                         .lda = hidden,
                         .rows = static_cast<std::uint32_t>(count),
                         .out = logits_.data(),
                         .ldo = vocab});

  if (options_.logits_sink)
    for (std::size_t i = 0; i < count; ++i)
      options_.logits_sink(heads_[i].slot, heads_[i].position, {logits_.data() + i * vocab, model_.vocab});
  results_.resize(results_.size() + count);
  Sampled* const results = results_.data() + (results_.size() - count);
  pool_.each(count, options_.hash_logits ? 1 : 32, [&](std::size_t i, unsigned) {
    float* const logits = logits_.data() + i * vocab;
    results[i] = {.slot = heads_[i].slot, .logits_hash = options_.hash_logits ? hash_bits({logits, model_.vocab}) : 0};
    sampler_.edit(heads_[i].slot, logits);
  });
  pool_.each(count * chunks, 1, [&](std::size_t i, unsigned) {
    const std::size_t begin = i % chunks * kStatsChunk;
    kernels_.logit_stats(logits_.data() + i / chunks * vocab + begin, std::min(kStatsChunk, vocab - begin), &stats_[i]);
  });
  pool_.each(count, 1, [&](std::size_t i, unsigned thread) {
    const RowStats stats = merge_stats({stats_.data() + i * chunks, chunks});
    const Drawn drawn = sampler_.draw(heads_[i].slot, {logits_.data() + i * vocab, model_.vocab}, stats,
                                      heads_[i].position + 1, thread);
    results[i].token = drawn.token;
    results[i].logprob = drawn.logprob;
    results[i].finite = drawn.finite;
    if (drawn.finite) {
      results[i].top_count =
          sampler_.rank(heads_[i].slot, {logits_.data() + i * vocab, model_.vocab}, stats, results[i].top);
    }
  });
}

}  // namespace
}  // namespace cpu

Result<std::unique_ptr<Executor>> make_cpu_executor(const ModelConfig& config, const Weights& weights,
                                                    const CpuOptions& options) {
  if (config.heads == 0 || config.kv_heads == 0 || config.heads % config.kv_heads != 0)
    return fail(fmt::format("{} query heads cannot share {} key heads evenly", config.heads, config.kv_heads));
  if (config.head_dim == 0 || config.head_dim > cpu::kHeadDimMax)
    return fail(fmt::format("head_dim is {}; the CPU executor takes up to {}", config.head_dim, cpu::kHeadDimMax));
  const std::uint32_t turned = config.rope == Rope::none ? 0
                               : config.rope_dims == 0   ? config.head_dim
                                                         : config.rope_dims;
  if (turned % 2 != 0 || turned > config.head_dim)
    return fail(
        fmt::format("positions turn {} of {} dimensions; that must be an even number", turned, config.head_dim));
  if (weights.layers.size() != config.layers || config.layers == 0)
    return fail(fmt::format("{} layers of weights for a model of {}", weights.layers.size(), config.layers));
  if (const std::string_view lacks = cpu::lacking(config, weights); !lacks.empty())
    return fail(fmt::format("{} asks for {}, which the weights lack", config.architecture, lacks));
  if (options.slots_max == 0 || options.rows_max < options.slots_max)
    return fail(fmt::format("rows_max is {} and slots_max {}: a step must have room for one row of every slot",
                            options.rows_max, options.slots_max));
  const auto kernels = cpu::kernels_for(options.isa);
  if (!kernels) return kernels.error();
  const unsigned threads = options.threads == 0 ? cpu::available_cores() : options.threads;
  auto executor = std::make_unique<cpu::CpuExecutor>(config, **kernels, options, threads);
  if (std::string problem = executor->prepare(weights); !problem.empty()) return fail(std::move(problem));
  return std::unique_ptr<Executor>(std::move(executor));
}

std::uint64_t hash_bits(std::span<const float> values) {
  std::uint64_t hash = 0x9E3779B97F4A7C15u ^ values.size();
  for (const float value : values) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    hash = (hash ^ bits) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace sluice::engine
