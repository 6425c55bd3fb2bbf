// The model's weights as the device has them.
//
// Sizes are padded: hidden and intermediate to 64, a head to 32, 64, 96 or 128, the vocabulary to 16; what lies between
// is zero and changes no sum. Queries, keys and values are one product; so are gate and up, eight rows of each in turn.
// Everything lies in one allocation. A tied head is the embedding's own memory.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/result.h"
#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace sluice::engine::cuda {

struct ModelShape {
  HeadShape heads;
  std::uint32_t layers = 0;
  std::uint32_t hidden = 0, hidden_padded = 0;
  std::uint32_t intermediate = 0, intermediate_padded = 0;
  std::uint32_t vocab = 0, vocab_padded = 0;
  std::uint32_t qkv = 0;       // rows of the product: (heads + 2 kv_heads) * dim_padded
  std::uint32_t attended = 0;  // heads * dim_padded, padded to 64
  std::uint32_t up = 0;        // rows of the product: intermediate_padded, twice that when gated

  /// Empty message: the graph runs it.
  static Result<ModelShape> of(const ModelConfig& config);
  std::uint64_t weight_bytes(const ModelConfig& config, std::uint32_t context) const;
  std::uint64_t kv_block_bytes() const {
    return std::uint64_t{layers} * heads.kv_heads * 2 * kTileKeys * heads.dim_padded * 2;
  }
};

struct DeviceLayer {
  const float* attention_norm = nullptr;       // [hidden_padded]
  const float* attention_norm_bias = nullptr;  // null: none; so all the others
  const void* qkv = nullptr;                   // [qkv, hidden_padded]
  const float* qkv_bias = nullptr;
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  const void* o = nullptr;  // [hidden_padded, attended]
  const float* o_bias = nullptr;
  const float* mlp_norm = nullptr;
  const float* mlp_norm_bias = nullptr;
  const void* up = nullptr;  // [up, hidden_padded]
  const float* gate_bias = nullptr;
  const float* up_bias = nullptr;
  const void* down = nullptr;  // [hidden_padded, intermediate_padded]
  const float* down_bias = nullptr;
};

struct DeviceModel {
  ModelShape shape;
  const void* embedding = nullptr;  // [vocab_padded, hidden_padded]
  const void* positions = nullptr;  // [context, hidden_padded]
  const void* head = nullptr;       // [vocab_padded, hidden_padded]
  const float* final_norm = nullptr;
  const float* final_norm_bias = nullptr;
  const float2* angles = nullptr;  // [context, turned / 2]
  std::uint32_t turned = 0;
  std::vector<DeviceLayer> layers;
  Block<unsigned char> memory;
};

/// Brings the weights to the device; null `weights`: random ones, made there. Throws CudaError.
DeviceModel load_model(const ModelConfig& config, const ModelShape& shape, const Weights* weights,
                       std::uint32_t context, cudaStream_t stream);

}  // namespace sluice::engine::cuda
