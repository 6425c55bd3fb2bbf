#include "engine/exec/cuda/device_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <thread>

#include "engine/core/check.h"
#include "engine/model/tensor_values.h"

namespace sluice::engine::cuda {
namespace {

constexpr std::size_t kAlign = 1024;
constexpr std::size_t kStagingBytes = std::size_t{64} << 20;

std::uint32_t up_to(std::uint32_t value, std::uint32_t unit) { return (value + unit - 1) / unit * unit; }

/// Hands out pieces of one allocation; without memory it only counts.
class Arena {
 public:
  explicit Arena(unsigned char* memory) : memory_(memory) {}
  template <class T>
  T* take(std::uint64_t count) {
    T* at = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return at;
  }
  std::uint64_t used() const { return used_; }

 private:
  unsigned char* memory_;
  std::uint64_t used_ = 0;
};

/// Fills device memory from the host through two pinned buffers, all cores at work on the rows of one while the other
/// is on its way.
class Uploader {
 public:
  explicit Uploader(cudaStream_t stream) : stream_(stream) {
    for (int i = 0; i < 2; ++i) {
      staging_[i] = Block<unsigned char, Memory::pinned>(kStagingBytes, "pinned memory for loading");
      check(cudaEventCreateWithFlags(&done_[i], cudaEventDisableTiming), "an event");
    }
  }
  ~Uploader() {
    cudaStreamSynchronize(stream_);
    for (cudaEvent_t event : done_) cudaEventDestroy(event);
  }
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// `fill(row, out)`: `out` is a row of `columns` zeros. Called from several threads.
  void rows(void* to, std::uint32_t rows, std::uint32_t columns,
            const std::function<void(std::uint32_t, std::uint16_t*)>& fill) {
    const std::size_t row_bytes = std::size_t{columns} * 2;
    const auto at_once = static_cast<std::uint32_t>(std::max<std::size_t>(1, kStagingBytes / row_bytes));
    SLUICE_ENGINE_CHECK(row_bytes <= kStagingBytes);
    for (std::uint32_t first = 0; first < rows; first += at_once) {
      const std::uint32_t count = std::min(at_once, rows - first);
      unsigned char* out = next();
      parallel(count, row_bytes, [&](std::uint32_t row) {
        auto* at = reinterpret_cast<std::uint16_t*>(out + row * row_bytes);
        std::memset(at, 0, row_bytes);
        fill(first + row, at);
      });
      send(static_cast<unsigned char*>(to) + first * row_bytes, count * row_bytes);
    }
  }

  void floats(float* to, const std::vector<float>& values) {
    for (std::size_t first = 0; first < values.size(); first += kStagingBytes / sizeof(float)) {
      const std::size_t count = std::min(kStagingBytes / sizeof(float), values.size() - first);
      std::memcpy(next(), values.data() + first, count * sizeof(float));
      send(to + first, count * sizeof(float));
    }
  }

 private:
  unsigned char* next() {
    check(cudaEventSynchronize(done_[turn_]), "loading");
    return staging_[turn_].data();
  }
  void send(void* to, std::size_t bytes) {
    check(cudaMemcpyAsync(to, staging_[turn_].data(), bytes, cudaMemcpyHostToDevice, stream_), "loading");
    check(cudaEventRecord(done_[turn_], stream_), "loading");
    turn_ ^= 1;
  }
  static void parallel(std::uint32_t count, std::size_t row_bytes, const std::function<void(std::uint32_t)>& body) {
    const auto most = static_cast<std::uint32_t>(count * row_bytes / (1 << 20) + 1);  // a thread a MiB, not more
    const std::uint32_t threads = std::min({std::max(1u, std::thread::hardware_concurrency()), 16u, most});
    std::atomic<std::uint32_t> next{0};
    constexpr std::uint32_t kRows = 16;
    const auto work = [&] {
      for (std::uint32_t first = next.fetch_add(kRows); first < count; first = next.fetch_add(kRows))
        for (std::uint32_t row = first; row < std::min(count, first + kRows); ++row) body(row);
    };
    std::vector<std::jthread> others;
    for (std::uint32_t i = 1; i < threads; ++i) others.emplace_back(work);
    work();
  }

  cudaStream_t stream_;
  Block<unsigned char, Memory::pinned> staging_[2];
  cudaEvent_t done_[2] = {};
  int turn_ = 0;
};

/// Takes every piece of the model from the arena, in one order; what is not there stays null.
void lay_out(const ModelConfig& config, const ModelShape& shape, std::uint32_t context, Arena& arena,
             DeviceModel& model) {
  const std::uint64_t hidden = shape.hidden_padded;
  const auto floats = [&](bool there, std::uint64_t count) { return there ? arena.take<float>(count) : nullptr; };
  const auto matrix = [&](std::uint64_t rows, std::uint64_t columns) {
    return arena.take<std::uint16_t>(rows * columns);
  };
  const bool layer_norm = config.norm == Norm::layer;
  model.embedding = matrix(shape.vocab_padded, hidden);
  model.head = config.tied_head ? model.embedding : matrix(shape.vocab_padded, hidden);
  model.positions = config.learned_positions ? matrix(context, hidden) : nullptr;
  model.final_norm = floats(true, hidden);
  model.final_norm_bias = floats(layer_norm, hidden);
  const RopeAngles angles = rope_angles(config, context);
  model.turned = angles.dims;
  model.angles = angles.dims == 0 ? nullptr : arena.take<float2>(std::uint64_t{context} * angles.dims / 2);
  model.layers.resize(shape.layers);
  for (DeviceLayer& layer : model.layers) {
    layer.attention_norm = floats(true, hidden);
    layer.attention_norm_bias = floats(layer_norm, hidden);
    layer.qkv = matrix(shape.qkv, hidden);
    layer.qkv_bias = floats(config.qkv_bias, shape.qkv);
    layer.q_norm = floats(config.qk_norm, shape.heads.dim_padded);
    layer.k_norm = floats(config.qk_norm, shape.heads.dim_padded);
    layer.o = matrix(hidden, shape.attended);
    layer.o_bias = floats(config.o_bias, hidden);
    layer.mlp_norm = floats(true, hidden);
    layer.mlp_norm_bias = floats(layer_norm, hidden);
    layer.up = matrix(shape.up, hidden);
    layer.gate_bias = floats(config.mlp_bias && config.gated, shape.intermediate_padded);
    layer.up_bias = floats(config.mlp_bias, shape.intermediate_padded);
    layer.down = matrix(hidden, shape.intermediate_padded);
    layer.down_bias = floats(config.mlp_bias, hidden);
  }
}

std::vector<float> padded_floats(const TensorView& tensor, std::uint32_t count, std::uint32_t padded) {
  std::vector<float> values(padded);
  read_float(tensor, 0, count, values.data());
  return values;
}

void upload(const ModelConfig& config, const Weights& weights, DeviceModel& model, std::uint32_t context,
            Uploader& uploader) {
  const ModelShape& shape = model.shape;
  const HeadShape& heads = shape.heads;
  const std::uint32_t hidden = shape.hidden;
  const auto plain = [&](const void* to, std::uint32_t rows, std::uint32_t columns_padded, const TensorView& tensor,
                         std::uint32_t used, std::uint32_t columns) {
    uploader.rows(const_cast<void*>(to), rows, columns_padded,
                  [&tensor, used, columns](std::uint32_t row, std::uint16_t* out) {
                    if (row < used) read_bf16(tensor, std::uint64_t{row} * columns, columns, out);
                  });
  };
  const auto floats = [&](const float* to, const TensorView& tensor, std::uint32_t count, std::uint32_t padded) {
    if (to != nullptr) uploader.floats(const_cast<float*>(to), padded_floats(tensor, count, padded));
  };
  plain(model.embedding, shape.vocab_padded, shape.hidden_padded, weights.embedding, shape.vocab, hidden);
  if (!config.tied_head) plain(model.head, shape.vocab_padded, shape.hidden_padded, weights.head, shape.vocab, hidden);
  if (model.positions != nullptr)
    plain(model.positions, context, shape.hidden_padded, weights.positions, context, hidden);
  floats(model.final_norm, weights.final_norm, hidden, shape.hidden_padded);
  floats(model.final_norm_bias, weights.final_norm_bias, hidden, shape.hidden_padded);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const LayerWeights& from = weights.layers[i];
    DeviceLayer& to = model.layers[i];
    floats(to.attention_norm, from.attention_norm, hidden, shape.hidden_padded);
    floats(to.attention_norm_bias, from.attention_norm_bias, hidden, shape.hidden_padded);
    floats(to.mlp_norm, from.mlp_norm, hidden, shape.hidden_padded);
    floats(to.mlp_norm_bias, from.mlp_norm_bias, hidden, shape.hidden_padded);
    floats(to.q_norm, from.q_norm, heads.dim, heads.dim_padded);
    floats(to.k_norm, from.k_norm, heads.dim, heads.dim_padded);
    floats(to.o_bias, from.o_bias, hidden, shape.hidden_padded);
    floats(to.gate_bias, from.gate_bias, shape.intermediate, shape.intermediate_padded);
    floats(to.up_bias, from.up_bias, shape.intermediate, shape.intermediate_padded);
    floats(to.down_bias, from.down_bias, hidden, shape.hidden_padded);
    // A row of the product of queries, keys and values: which tensor's, and which row of it.
    const auto source = [&](std::uint32_t row, const TensorView& q, const TensorView& k, const TensorView& v) {
      std::uint32_t head = row / heads.dim_padded;
      const TensorView* tensor = &q;
      if (head >= heads.heads + heads.kv_heads) {
        head -= heads.heads + heads.kv_heads;
        tensor = &v;
      } else if (head >= heads.heads) {
        head -= heads.heads;
        tensor = &k;
      }
      return std::pair(tensor, std::uint64_t{head} * heads.dim + row % heads.dim_padded);
    };
    uploader.rows(const_cast<void*>(to.qkv), shape.qkv, shape.hidden_padded,
                  [&](std::uint32_t row, std::uint16_t* out) {
                    if (row % heads.dim_padded >= heads.dim) return;
                    const auto [tensor, at] = source(row, from.q, from.k, from.v);
                    read_bf16(*tensor, at * hidden, hidden, out);
                  });
    if (to.qkv_bias != nullptr) {
      std::vector<float> bias(shape.qkv);
      for (std::uint32_t row = 0; row < shape.qkv; ++row) {
        if (row % heads.dim_padded >= heads.dim) continue;
        const auto [tensor, at] = source(row, from.q_bias, from.k_bias, from.v_bias);
        read_float(*tensor, at, 1, &bias[row]);
      }
      uploader.floats(const_cast<float*>(to.qkv_bias), bias);
    }
    uploader.rows(const_cast<void*>(to.o), shape.hidden_padded, shape.attended,
                  [&](std::uint32_t row, std::uint16_t* out) {
                    if (row >= hidden) return;
                    for (std::uint32_t head = 0; head < heads.heads; ++head)
                      read_bf16(from.o, (std::uint64_t{row} * heads.heads + head) * heads.dim, heads.dim,
                                out + std::size_t{head} * heads.dim_padded);
                  });
    uploader.rows(const_cast<void*>(to.up), shape.up, shape.hidden_padded, [&](std::uint32_t row, std::uint16_t* out) {
      const TensorView* tensor = &from.up;
      if (config.gated) {
        if (row % 16 < 8) tensor = &from.gate;
        row = row / 16 * 8 + row % 8;
      }
      if (row < shape.intermediate) read_bf16(*tensor, std::uint64_t{row} * hidden, hidden, out);
    });
    plain(to.down, shape.hidden_padded, shape.intermediate_padded, from.down, hidden, shape.intermediate);
  }
}

void randomize(const ModelConfig& config, DeviceModel& model, std::uint32_t context, Uploader& uploader,
               cudaStream_t stream) {
  const ModelShape& shape = model.shape;
  std::uint64_t seed = 1;
  const auto matrix = [&](const void* to, std::uint32_t rows, std::uint32_t padded, std::uint32_t used) {
    if (to != nullptr) fill_random(stream, const_cast<void*>(to), rows, padded, used, 0.02f, seed++ << 40);
  };
  const auto ones = [&](const float* to, std::uint32_t used, std::uint32_t padded) {
    if (to == nullptr) return;
    std::vector<float> values(padded);
    std::fill_n(values.begin(), used, 1.0f);
    uploader.floats(const_cast<float*>(to), values);
  };
  const auto zeros = [&](const float* to, std::uint32_t padded) { ones(to, 0, padded); };
  check(cudaMemsetAsync(model.memory.data(), 0, model.memory.bytes(), stream), "clearing the weights");
  matrix(model.embedding, shape.vocab, shape.hidden_padded, shape.hidden);
  if (!config.tied_head) matrix(model.head, shape.vocab, shape.hidden_padded, shape.hidden);
  matrix(model.positions, context, shape.hidden_padded, shape.hidden);
  ones(model.final_norm, shape.hidden, shape.hidden_padded);
  zeros(model.final_norm_bias, shape.hidden_padded);
  for (DeviceLayer& layer : model.layers) {
    ones(layer.attention_norm, shape.hidden, shape.hidden_padded);
    ones(layer.mlp_norm, shape.hidden, shape.hidden_padded);
    ones(layer.q_norm, shape.heads.dim, shape.heads.dim_padded);
    ones(layer.k_norm, shape.heads.dim, shape.heads.dim_padded);
    zeros(layer.attention_norm_bias, shape.hidden_padded);
    zeros(layer.mlp_norm_bias, shape.hidden_padded);
    zeros(layer.qkv_bias, shape.qkv);
    zeros(layer.o_bias, shape.hidden_padded);
    zeros(layer.gate_bias, shape.intermediate_padded);
    zeros(layer.up_bias, shape.intermediate_padded);
    zeros(layer.down_bias, shape.hidden_padded);
    // A head's own rows only: what pads its dimensions stays zero.
    for (std::uint32_t head = 0; head < shape.heads.heads + 2 * shape.heads.kv_heads; ++head)
      matrix(static_cast<const std::uint16_t*>(layer.qkv) +
                 std::size_t{head} * shape.heads.dim_padded * shape.hidden_padded,
             shape.heads.dim, shape.hidden_padded, shape.hidden);
    matrix(layer.o, shape.hidden, shape.attended, shape.heads.heads * shape.heads.dim_padded);
    matrix(layer.up, shape.up, shape.hidden_padded, shape.hidden);
    matrix(layer.down, shape.hidden, shape.intermediate_padded, shape.intermediate);
  }
}

}  // namespace

Result<ModelShape> ModelShape::of(const ModelConfig& config) {
  if (config.heads == 0 || config.kv_heads == 0 || config.heads % config.kv_heads != 0)
    return fail(fmt::format("{} query heads cannot share {} key heads evenly", config.heads, config.kv_heads));
  if (config.head_dim == 0 || config.head_dim > kHeadDimMax)
    return fail(fmt::format("head_dim is {}; the CUDA backend takes up to {}: use --backend cpu", config.head_dim,
                            kHeadDimMax));
  if (rope_angles(config, config.context_max).dims % 2 != 0)
    return fail(fmt::format("head_dim is {}: rotary positions turn pairs of dimensions", config.head_dim));
  if (config.heads / config.kv_heads > kPrefillRows)
    return fail(fmt::format("{} query heads share a key head; the CUDA backend takes up to {}: use --backend cpu",
                            config.heads / config.kv_heads, kPrefillRows));
  ModelShape shape;
  shape.heads = {config.heads, config.kv_heads, config.head_dim, up_to(config.head_dim, 32)};
  shape.layers = config.layers;
  shape.hidden = config.hidden_size;
  shape.hidden_padded = up_to(config.hidden_size, 64);
  shape.intermediate = config.intermediate_size;
  shape.intermediate_padded = up_to(config.intermediate_size, 64);
  shape.vocab = config.vocab_size;
  shape.vocab_padded = up_to(config.vocab_size, 16);
  shape.qkv = (config.heads + 2 * config.kv_heads) * shape.heads.dim_padded;
  shape.attended = up_to(config.heads * shape.heads.dim_padded, 64);
  shape.up = config.gated ? 2 * shape.intermediate_padded : shape.intermediate_padded;
  return shape;
}

std::uint64_t ModelShape::weight_bytes(const ModelConfig& config, std::uint32_t context) const {
  Arena arena(nullptr);
  DeviceModel model;
  lay_out(config, *this, context, arena, model);
  return arena.used();
}

DeviceModel load_model(const ModelConfig& config, const ModelShape& shape, const Weights* weights,
                       std::uint32_t context, cudaStream_t stream) {
  DeviceModel model;
  model.shape = shape;
  model.memory = Block<unsigned char>(shape.weight_bytes(config, context), "weights");
  Arena arena(model.memory.data());
  lay_out(config, shape, context, arena, model);
  Uploader uploader(stream);
  if (weights != nullptr)
    upload(config, *weights, model, context, uploader);
  else
    randomize(config, model, context, uploader, stream);

  if (model.turned != 0) {
    const RopeAngles angles = rope_angles(config, context);
    std::vector<float> values(std::size_t{context} * angles.dims);
    for (std::size_t t = 0, at = 0; t < context; ++t)
      for (const float frequency : angles.frequencies) {
        const double angle = static_cast<double>(static_cast<float>(t) * frequency);
        values[at++] = static_cast<float>(std::cos(angle)) * angles.scale;
        values[at++] = static_cast<float>(std::sin(angle)) * angles.scale;
      }
    uploader.floats(reinterpret_cast<float*>(const_cast<float2*>(model.angles)), values);
  }
  check(cudaStreamSynchronize(stream), "loading the weights");
  return model;
}

}  // namespace sluice::engine::cuda
