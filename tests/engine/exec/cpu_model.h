// Small models for the tests of the CPU executor: odd shapes, weights large enough that masks and rotations matter, a
// plain double-precision forward pass to compare with, and a driver that feeds given tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "engine/exec/cpu/cpu_executor.h"
#include "tests/engine/exec/normalized_error.h"

namespace sluice::engine::test {

inline float bf16_value(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

inline std::uint16_t bf16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline ModelConfig odd_model(std::uint32_t hidden, std::uint32_t heads, std::uint32_t kv_heads, std::uint32_t head_dim,
                             std::uint32_t intermediate, std::uint32_t vocab) {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = vocab;
  config.hidden_size = hidden;
  config.layers = 2;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.intermediate_size = intermediate;
  config.context_max = 512;
  return config;
}

/// random_weights are so small that attention is nearly uniform; these are scaled until it is not.
inline Weights lively_weights(const ModelConfig& config, std::uint64_t seed) {
  Weights weights = random_weights(config, seed);
  const auto scale = [](TensorView& view, float factor) {
    auto* bytes = const_cast<std::byte*>(view.data.data());  // the tests own this memory
    for (std::size_t i = 0; i < view.data.size(); i += 2) {
      std::uint16_t bits;
      std::memcpy(&bits, bytes + i, 2);
      bits = bf16_bits(bf16_value(bits) * factor);
      std::memcpy(bytes + i, &bits, 2);
    }
  };
  std::mt19937_64 random(seed);
  const auto vary = [&](TensorView& view) {
    auto* bytes = const_cast<std::byte*>(view.data.data());
    for (std::size_t i = 0; i < view.data.size(); i += 2) {
      const std::uint16_t bits = bf16_bits(0.5f + static_cast<float>(random() % 1000) / 1000.0f);
      std::memcpy(bytes + i, &bits, 2);
    }
  };
  scale(weights.embedding, 20);
  if (!config.tied_head) scale(weights.head, 10);
  vary(weights.final_norm);
  const float in = 50.0f / std::sqrt(static_cast<float>(config.hidden_size));
  // A tensor that the model has not is empty, and stays so.
  scale(weights.positions, 10);
  scale(weights.final_norm_bias, 20);
  for (LayerWeights& layer : weights.layers) {
    vary(layer.attention_norm);
    vary(layer.mlp_norm);
    scale(layer.q, 1.4f * in);
    scale(layer.k, 1.4f * in);
    for (TensorView* view : {&layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) scale(*view, in);
    vary(layer.q_norm);
    vary(layer.k_norm);
    for (TensorView* view : {&layer.q_bias, &layer.k_bias, &layer.v_bias, &layer.o_bias, &layer.gate_bias,
                             &layer.up_bias, &layer.down_bias, &layer.attention_norm_bias, &layer.mlp_norm_bias})
      scale(*view, 15);
  }
  return weights;
}

/// Logits of every position, by the plainest loops there are. `context`: as rope_angles takes it.
inline std::vector<std::vector<double>> reference_logits(const ModelConfig& config, const Weights& weights,
                                                         const std::vector<TokenId>& tokens, std::uint32_t context) {
  using Row = std::vector<double>;
  const auto at = [](const TensorView& view, std::size_t i) {
    std::uint16_t bits;
    std::memcpy(&bits, view.data.data() + 2 * i, 2);
    return static_cast<double>(bf16_value(bits));
  };
  const auto linear = [&](const TensorView& matrix, const TensorView& bias, const Row& x, std::size_t rows) {
    Row y(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t c = 0; c < x.size(); ++c) y[r] += at(matrix, r * x.size() + c) * x[c];
      if (!bias.data.empty()) y[r] += at(bias, r);
    }
    return y;
  };
  const auto rms_norm = [&](const TensorView& weight, Row x) {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(config.norm_eps));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scale * at(weight, i);
    return x;
  };
  const auto norm = [&](const TensorView& weight, const TensorView& bias, Row x) {
    if (config.norm == Norm::rms) return rms_norm(weight, std::move(x));
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
    double squares = 0;
    for (const double value : x) squares += (value - mean) * (value - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(config.norm_eps));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - mean) * scale * at(weight, i) + at(bias, i);
    return x;
  };
  const auto activate = [&](double x) {
    if (config.activation == Activation::gelu) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    if (config.activation == Activation::gelu_tanh)
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    return x / (1 + std::exp(-x));
  };
  const RopeAngles angles = rope_angles(config, context);
  const std::size_t dim = config.head_dim;
  // Each head of x: normed where there is a weight for it, then its leading dimensions turned.
  const auto turn = [&](Row& x, const TensorView& head_norm, std::size_t position) {
    for (std::size_t head = 0; head < x.size() / dim; ++head) {
      double* const values = x.data() + head * dim;
      if (!head_norm.data.empty()) {
        const Row normed = rms_norm(head_norm, Row(values, values + dim));
        std::copy(normed.begin(), normed.end(), values);
      }
      for (std::size_t i = 0; i < angles.dims / 2; ++i) {
        const double angle = static_cast<double>(position) * static_cast<double>(angles.frequencies[i]);
        const double cosine = std::cos(angle) * static_cast<double>(angles.scale);
        const double sine = std::sin(angle) * static_cast<double>(angles.scale);
        double& a = values[i];
        double& b = values[i + angles.dims / 2];
        const double turned = a * cosine - b * sine;
        b = b * cosine + a * sine;
        a = turned;
      }
    }
  };
  std::vector<std::vector<Row>> keys(config.layers), values(config.layers);
  std::vector<Row> logits;
  for (std::size_t position = 0; position < tokens.size(); ++position) {
    Row x(config.hidden_size);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = at(weights.embedding, static_cast<std::size_t>(tokens[position]) * x.size() + i);
      if (config.learned_positions) x[i] += at(weights.positions, position * x.size() + i);
    }
    for (std::size_t l = 0; l < config.layers; ++l) {
      const LayerWeights& layer = weights.layers[l];
      const Row normed = norm(layer.attention_norm, layer.attention_norm_bias, x);
      Row q = linear(layer.q, layer.q_bias, normed, config.heads * dim);
      Row k = linear(layer.k, layer.k_bias, normed, config.kv_heads * dim);
      turn(q, layer.q_norm, position);
      turn(k, layer.k_norm, position);
      keys[l].push_back(k);
      values[l].push_back(linear(layer.v, layer.v_bias, normed, config.kv_heads * dim));
      const std::size_t window = l >= config.windowed_from ? config.sliding_window : 0;
      const std::size_t first = window == 0 || position + 1 < window ? 0 : position + 1 - window;
      Row attended(config.heads * dim);
      for (std::size_t head = 0; head < config.heads; ++head) {
        const std::size_t kv = head / (config.heads / config.kv_heads);
        Row scores;
        for (std::size_t t = first; t <= position; ++t) {
          double score = 0;
          for (std::size_t d = 0; d < dim; ++d) score += q[head * dim + d] * keys[l][t][kv * dim + d];
          scores.push_back(score / std::sqrt(static_cast<double>(dim)));
        }
        const double top = *std::max_element(scores.begin(), scores.end());
        double sum = 0;
        for (double& score : scores) sum += score = std::exp(score - top);
        for (std::size_t t = first; t <= position; ++t)
          for (std::size_t d = 0; d < dim; ++d)
            attended[head * dim + d] += scores[t - first] / sum * values[l][t][kv * dim + d];
      }
      const Row o = linear(layer.o, layer.o_bias, attended, x.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += o[i];
      const Row mlp = norm(layer.mlp_norm, layer.mlp_norm_bias, x);
      Row active = linear(layer.up, layer.up_bias, mlp, config.intermediate_size);
      if (config.gated) {
        const Row gate = linear(layer.gate, layer.gate_bias, mlp, config.intermediate_size);
        for (std::size_t i = 0; i < gate.size(); ++i) active[i] *= activate(gate[i]);
      } else {
        for (double& each : active) each = activate(each);
      }
      const Row down = linear(layer.down, layer.down_bias, active, x.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += down[i];
    }
    const Row last = norm(weights.final_norm, weights.final_norm_bias, x);
    logits.push_back(linear(weights.head, {}, last, config.vocab_size));
  }
  return logits;
}

inline std::vector<TokenId> random_tokens(std::size_t count, std::uint32_t vocab, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % vocab);
  return tokens;
}

/// One sequence's share of the next step.
struct Feed {
  SlotId slot = 0;
  std::uint32_t position = 0;
  std::uint32_t count = 1;
  const std::vector<TokenId>* tokens = nullptr;
  const std::vector<BlockId>* blocks = nullptr;
};

inline std::vector<Sampled> step(Executor& executor, const std::vector<Feed>& feeds) {
  StepPlan plan;
  for (const Feed& feed : feeds)
    plan.slices.push_back(
        {feed.slot, feed.position, std::span(*feed.tokens).subspan(feed.position, feed.count), *feed.blocks, true});
  executor.submit(plan);
  std::vector<Sampled> results;
  executor.poll(results);
  return results;
}

inline std::vector<BlockId> first_blocks(std::size_t count) {
  std::vector<BlockId> blocks(count);
  std::iota(blocks.begin(), blocks.end(), 0);
  return blocks;
}

inline std::unique_ptr<Executor> make_executor(const ModelConfig& config, const Weights& weights, CpuOptions options) {
  options.hash_logits = true;
  auto made = make_cpu_executor(config, weights, options);
  if (!made) throw std::runtime_error(made.error().message);
  SamplingParams greedy;
  greedy.temperature = 0;
  for (SlotId slot = 0; slot < options.slots_max; ++slot) (*made)->bind(slot, greedy, {}, slot);
  return std::move(*made);
}

}  // namespace sluice::engine::test
