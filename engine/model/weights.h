// A model's weights by their place in the graph, found in the folder's safetensors by Hugging Face's names.
//
// Views, not copies: `files` owns the mappings (`owned` the memory of random weights, and of GPT-2's matrices, which
// its files hold transposed). Executors pack what they need at load and may drop the Weights afterwards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/safetensors.h"

namespace sluice::engine {

/// Every matrix is [out, in], whatever the file has: what families fuse or transpose is taken apart by the loader.
/// A tensor that the config does not ask for is empty (data.empty()).
struct LayerWeights {
  TensorView attention_norm, attention_norm_bias;  // [hidden]; the bias with Norm::layer
  TensorView q, k, v;                              // [heads*head_dim, hidden], [kv_heads*head_dim, hidden] twice
  TensorView q_bias, k_bias, v_bias;               // [rows of q, k, v]; with qkv_bias
  TensorView q_norm, k_norm;                       // [head_dim]; with qk_norm
  TensorView o, o_bias;                            // [hidden, heads*head_dim]; [hidden], with o_bias
  TensorView mlp_norm, mlp_norm_bias;              // [hidden]; the bias with Norm::layer
  TensorView gate, up;                             // [intermediate, hidden] twice; the gate with `gated`
  TensorView gate_bias, up_bias;  // [intermediate] twice, with mlp_bias; the gate's with `gated` as well
  TensorView down, down_bias;     // [hidden, intermediate]; [hidden], with mlp_bias
};

struct Weights {
  TensorView embedding;                    // [vocab, hidden]
  TensorView positions;                    // [context_max, hidden]; with learned_positions
  TensorView final_norm, final_norm_bias;  // [hidden]; the bias with Norm::layer
  TensorView head;                         // [vocab, hidden]; the embedding again when tied
  std::vector<LayerWeights> layers;

  std::vector<MappedFile> files;
  std::vector<std::vector<std::byte>> owned;
};

/// Every tensor the graph needs must be there with the right shape and a supported dtype; the error names it.
Result<Weights> load_weights(const std::filesystem::path& folder, const ModelConfig& config);

/// bf16 weights of this shape from a seed, normal(0, 0.02), biases too, norms 1: for benchmarks and tests.
Weights random_weights(const ModelConfig& config, std::uint64_t seed);

}  // namespace sluice::engine
