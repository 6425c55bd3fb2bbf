// A model's weights by their place in the graph, found in the folder's safetensors by Hugging Face's names.
//
// Views, not copies: `files` owns the mappings (or `owned` the memory of random weights). Executors pack what they need
// at load and may drop the Weights afterwards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/safetensors.h"

namespace sluice::engine {

struct LayerWeights {
  TensorView attention_norm;  // [hidden]
  TensorView q, k, v;         // [heads*head_dim, hidden], [kv_heads*head_dim, hidden] twice
  TensorView o;               // [hidden, heads*head_dim]
  TensorView mlp_norm;        // [hidden]
  TensorView gate, up;        // [intermediate, hidden]
  TensorView down;            // [hidden, intermediate]
};

struct Weights {
  TensorView embedding;   // [vocab, hidden]
  TensorView final_norm;  // [hidden]
  TensorView head;        // [vocab, hidden]; the embedding again when tied
  std::vector<LayerWeights> layers;

  std::vector<MappedFile> files;
  std::vector<std::vector<std::byte>> owned;
};

/// Every tensor the graph needs must be there with the right shape and a supported dtype; the error names it.
Result<Weights> load_weights(const std::filesystem::path& folder, const ModelConfig& config);

/// bf16 weights of this shape from a seed, normal(0, 0.02), norms 1: for benchmarks.
Weights random_weights(const ModelConfig& config, std::uint64_t seed);

}  // namespace sluice::engine
