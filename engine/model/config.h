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
  bool o_bias = false;             // of attention's output (GPT-2; Llama's attention_bias)
  bool mlp_bias = false;           // of up and down, and of the gate where there is one (GPT-2; Llama's mlp_bias)
  bool qk_norm = false;            // RMS norm over each head's queries and keys, before the rotation (Qwen3)
  bool learned_positions = false;  // a table of positions is added to the embedding (GPT-2); then rope is none
  bool tied_head = false;
  Rope rope = Rope::plain;
  float rope_theta = 10000.0f;
  float rope_factor = 1.0f;          // llama3: how much longer wavelengths are stretched; longrope: for its scale
  float rope_low_frequency = 1.0f;   // llama3: wavelengths beyond rope_original_context / this are stretched in full
  float rope_high_frequency = 4.0f;  // llama3: wavelengths below rope_original_context / this are left alone
  std::uint32_t rope_original_context = 0;  // llama3, longrope: the context the model was first trained with
  std::uint32_t rope_dims = 0;              // leading dimensions of a head that are turned; 0: all of them
  std::vector<float> rope_short_factors, rope_long_factors;  // longrope: one for each pair of turned dimensions
  float rope_attention_factor = 0.0f;  // longrope: cosines and sines are multiplied by it; 0: as transformers computes
  std::uint32_t sliding_window = 0;    // keys that a query sees, itself included; 0: all
  std::uint32_t windowed_from = 0;     // the first layer that has the window (Qwen2's max_window_layers)
  std::vector<TokenId> eos;            // from config.json and generation_config.json
  TokenId bos = -1;                    // -1: none
};

/// Reads <folder>/config.json (and generation_config.json where there is one). Every number is checked against what the
/// graph can run; an architecture or option that is not supported is refused by name.
Result<ModelConfig> load_config(const std::filesystem::path& folder);
Result<ModelConfig> parse_config(std::string_view json, const std::string& name);

/// How positions turn queries and keys, as transformers computes it.
///
/// The angle of pair i at position t is float(t) * frequencies[i]; pair i is dimensions i and i + dims / 2 of a head;
/// dimensions from `dims` on are left alone. Cosines and sines are multiplied by `scale`. Every rope kind that
/// load_config lets through is in these values, so an executor needs no more than them.
struct RopeAngles {
  std::uint32_t dims = 0;          // 0: nothing is turned
  std::vector<float> frequencies;  // dims / 2
  float scale = 1.0f;
};

/// `context`: the tokens a sequence may hold where the model is served. longrope takes its long factors when that
/// is beyond the context the model was first trained with, for every position alike: what a position gives must not
/// depend on how long its sequence will become.
RopeAngles rope_angles(const ModelConfig& config, std::uint32_t context);

/// Number of weights of this shape.
std::uint64_t parameter_count(const ModelConfig& config);

}  // namespace sluice::engine
