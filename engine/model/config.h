// A model's shape, read from Hugging Face's config.json: one decoder graph, families are flags.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/types.h"

namespace sluice::engine {

enum class Norm : std::uint8_t { rms, layer };
enum class Activation : std::uint8_t { silu, gelu, gelu_tanh };
enum class Rope : std::uint8_t { none, plain, llama3, longrope };

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  std::uint32_t vocab_size = 0;
  std::uint32_t hidden_size = 0;
  std::uint32_t layers = 0;
  std::uint32_t heads = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;  // need not be hidden_size / heads
  std::uint32_t intermediate_size = 0;
  std::uint32_t context_max = 0;  // max_position_embeddings
  Norm norm = Norm::rms;
  float norm_eps = 1e-5f;
  Activation activation = Activation::silu;
  bool gated = true;  // act(gate(x)) * up(x), else act(up(x))
  bool qkv_bias = false;
  bool qk_norm = false;
  bool tied_head = false;
  Rope rope = Rope::plain;
  float rope_theta = 10000.0f;
  float rope_factor = 1.0f;          // llama3: how much longer wavelengths are stretched
  float rope_low_frequency = 1.0f;   // llama3: wavelengths beyond rope_original_context / this are stretched in full
  float rope_high_frequency = 4.0f;  // llama3: wavelengths below rope_original_context / this are left alone
  std::uint32_t rope_original_context = 0;  // llama3: the context the model was first trained with
  std::uint32_t sliding_window = 0;         // 0: none
  std::vector<TokenId> eos;                 // from config.json and generation_config.json
  TokenId bos = -1;                         // -1: none
};

/// Reads <folder>/config.json (and generation_config.json where there is one). Every number is checked against what the
/// graph can run; an architecture or option that is not supported is refused by name.
Result<ModelConfig> load_config(const std::filesystem::path& folder);
Result<ModelConfig> parse_config(std::string_view json, const std::string& name);

/// What one position turns each pair of dimensions by, in radians: head_dim / 2 values, as transformers computes them.
/// The angle of pair i at position t is float(t) * frequency[i]; pair i is dimensions i and i + head_dim / 2 of a head.
/// Every rope kind that load_config lets through is in these values, so an executor needs no more than them.
/// REQUIRES: config.rope is plain or llama3.
std::vector<float> rope_frequencies(const ModelConfig& config);

/// Number of weights of this shape.
std::uint64_t parameter_count(const ModelConfig& config);

}  // namespace sluice::engine
