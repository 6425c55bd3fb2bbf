#include "engine/model/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/json.h"
#include "engine/core/limits.h"

namespace sluice::engine {
namespace {

// Far above any model there is, and low enough that no product of them overflows 64 bits.
constexpr std::int64_t kVocabMax = 1 << 22;
constexpr std::int64_t kHiddenMax = 1 << 16;
constexpr std::int64_t kLayersMax = 1 << 10;
constexpr std::int64_t kHeadsMax = 1 << 10;
constexpr std::int64_t kHeadDimMax = 1 << 10;
constexpr std::int64_t kIntermediateMax = 1 << 20;
constexpr std::int64_t kContextMax = 1 << 24;
constexpr std::size_t kEosMax = 64;

constexpr std::array<std::string_view, 2> kArchitectures{"LlamaForCausalLM", "MistralForCausalLM"};

/// Reads members of one object and gathers every problem on the way.
class Reader {
 public:
  Reader(JsonObject object, std::string place, std::vector<std::string>& problems)
      : object_(object), place_(std::move(place)), problems_(problems) {}

  void problem(const std::string& what) { problems_.push_back(fmt::format("{}: {}", place_, what)); }

  std::uint32_t integer(std::string_view key, std::int64_t low, std::int64_t high,
                        std::optional<std::int64_t> fallback) {
    const auto element = member(object_, key);
    if (!element) {
      if (!fallback) problem(fmt::format("{} is missing", key));
      return static_cast<std::uint32_t>(std::clamp(fallback.value_or(low), low, high));
    }
    const auto value = as_integer(*element);
    if (!value || *value < low || *value > high) {
      problem(fmt::format("{} is {}: must be a whole number from {} to {}", key, shown(*element), low, high));
      return static_cast<std::uint32_t>(low);
    }
    return static_cast<std::uint32_t>(*value);
  }

  float number(std::string_view key, double low, double high, std::optional<double> fallback) {
    const auto element = member(object_, key);
    if (!element) {
      if (!fallback) problem(fmt::format("{} is missing", key));
      return static_cast<float>(fallback.value_or(low));
    }
    const auto value = as_number(*element);
    if (!value || *value < low || *value > high) {
      problem(fmt::format("{} is {}: must be a number from {} to {}", key, shown(*element), low, high));
      return static_cast<float>(low);
    }
    return static_cast<float>(*value);
  }

  bool flag(std::string_view key, bool fallback) {
    const auto element = member(object_, key);
    if (!element) return fallback;
    const auto value = as_bool(*element);
    if (!value) problem(fmt::format("{} is {}: must be true or false", key, shown(*element)));
    return value.value_or(fallback);
  }

  std::string text(std::string_view key, std::string_view fallback) {
    const auto element = member(object_, key);
    if (!element) return std::string(fallback);
    const auto value = as_string(*element);
    if (!value) problem(fmt::format("{} is {}: must be a string", key, shown(*element)));
    return std::string(value.value_or(fallback));
  }

  /// A token id or a list of them; absent and null are none.
  std::vector<TokenId> tokens(std::string_view key) {
    std::vector<TokenId> ids;
    const auto element = member(object_, key);
    if (!element) return ids;
    const auto take = [&](JsonElement each) {
      const auto value = as_integer(each);
      if (!value || *value < 0 || *value >= kVocabMax) {
        problem(fmt::format("{} holds {}: must be a token's id or a list of ids", key, shown(each)));
      } else {
        ids.push_back(static_cast<TokenId>(*value));
      }
    };
    if (!element->is_array()) {
      take(*element);
    } else if (items(*element).size() > kEosMax) {
      problem(fmt::format("{} holds {} ids: at most {} are read", key, items(*element).size(), kEosMax));
    } else {
      for (const JsonElement each : items(*element)) take(each);
    }
    return ids;
  }

  std::optional<JsonObject> object(std::string_view key) {
    const auto element = member(object_, key);
    if (!element) return std::nullopt;
    const auto value = element->get_object();
    if (value.error()) {
      problem(fmt::format("{} is {}: must be an object", key, shown(*element)));
      return std::nullopt;
    }
    return value.value_unsafe();
  }

 private:
  JsonObject object_;
  std::string place_;
  std::vector<std::string>& problems_;
};

Error joined(const std::vector<std::string>& problems) { return fail(fmt::format("{}", fmt::join(problems, "\n"))); }

void read_architecture(JsonObject root, Reader& reader, ModelConfig& config) {
  const auto list = member(root, "architectures");
  std::optional<std::string_view> name;
  if (list && list->is_array() && items(*list).size() == 1) {
    name = as_string(items(*list).at(0).value_unsafe());
  }
  if (!name) {
    reader.problem(fmt::format("architectures is {}: must be a list of one name, such as [\"LlamaForCausalLM\"]",
                               list ? shown(*list) : "missing"));
  } else if (std::find(kArchitectures.begin(), kArchitectures.end(), *name) == kArchitectures.end()) {
    reader.problem(fmt::format("architecture '{}' is not supported; these are: {}", name->substr(0, 100),
                               fmt::join(kArchitectures, ", ")));
  } else {
    config.architecture = *name;
  }
}

void read_sizes(Reader& reader, ModelConfig& config) {
  config.vocab_size = reader.integer("vocab_size", 1, kVocabMax, {});
  config.hidden_size = reader.integer("hidden_size", 1, kHiddenMax, {});
  config.layers = reader.integer("num_hidden_layers", 1, kLayersMax, {});
  config.heads = reader.integer("num_attention_heads", 1, kHeadsMax, {});
  config.kv_heads = reader.integer("num_key_value_heads", 1, kHeadsMax, config.heads);
  config.intermediate_size = reader.integer("intermediate_size", 1, kIntermediateMax, {});
  config.context_max = reader.integer("max_position_embeddings", 1, kContextMax, {});
  if (config.heads % config.kv_heads != 0) {
    reader.problem(
        fmt::format("num_key_value_heads {} does not divide num_attention_heads {}", config.kv_heads, config.heads));
  }
  // Absent is not an error: read_head_dim computes it then.
  config.head_dim = reader.integer("head_dim", 2, kHeadDimMax, 2);
}

void read_head_dim(JsonObject root, Reader& reader, ModelConfig& config) {
  if (!member(root, "head_dim")) {
    if (config.hidden_size % config.heads != 0) {
      reader.problem(fmt::format("num_attention_heads {} does not divide hidden_size {}, and head_dim is not given",
                                 config.heads, config.hidden_size));
      return;
    }
    config.head_dim = config.hidden_size / config.heads;
    if (config.head_dim > kHeadDimMax) {
      reader.problem(fmt::format("hidden_size / num_attention_heads is {}: at most {} is supported", config.head_dim,
                                 kHeadDimMax));
    }
  }
  if (config.head_dim % 2 != 0) {
    reader.problem(fmt::format("head_dim {} is odd: rotary positions turn pairs of dimensions", config.head_dim));
  }
}

/// transformers 5 writes everything into rope_parameters; before that rope_theta stood at the top and rope_scaling
/// beside it.
void read_rope(Reader& reader, const std::string& name, std::vector<std::string>& problems, ModelConfig& config) {
  constexpr double kThetaMax = 1e12;
  config.rope_theta = reader.number("rope_theta", 1.0, kThetaMax, 10000.0);
  std::string place = "rope_parameters";
  auto object = reader.object("rope_parameters");
  if (const auto older = reader.object("rope_scaling"); older && !object) {
    object = older;
    place = "rope_scaling";
  }
  if (!object) return;
  Reader rope(*object, name + ": " + place, problems);
  config.rope_theta = rope.number("rope_theta", 1.0, kThetaMax, config.rope_theta);
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (const float part = rope.number("partial_rotary_factor", 0.0, 1.0, 1.0); part != 1.0f) {
    rope.problem(fmt::format("partial_rotary_factor {} is not supported", part));
  }
  if (type == "default") return;
  if (type != "llama3") {
    rope.problem(fmt::format("rope_type '{}' is not supported; these are: default, llama3", type.substr(0, 100)));
    return;
  }
  config.rope = Rope::llama3;
  config.rope_factor = rope.number("factor", 1.0, 1e6, {});
  config.rope_low_frequency = rope.number("low_freq_factor", 1e-6, 1e6, {});
  config.rope_high_frequency = rope.number("high_freq_factor", 1e-6, 1e6, {});
  config.rope_original_context = rope.integer("original_max_position_embeddings", 1, kContextMax, {});
  if (config.rope_low_frequency >= config.rope_high_frequency) {
    rope.problem(fmt::format("low_freq_factor {} is not below high_freq_factor {}", config.rope_low_frequency,
                             config.rope_high_frequency));
  }
}

/// Options that would change what the graph computes, where ours computes without them.
void refuse_unknown(JsonObject root, Reader& reader) {
  for (const std::string_view key : {"attention_bias", "mlp_bias", "use_qk_norm", "qk_norm"}) {
    if (reader.flag(key, false)) reader.problem(fmt::format("{} is true: not supported", key));
  }
  if (const auto element = member(root, "quantization_config")) {
    reader.problem(
        "quantization_config is set: quantized weights are not supported; use the model's bf16 or f16 files");
  }
  if (const auto part = reader.number("partial_rotary_factor", 0.0, 1.0, 1.0); part != 1.0f) {
    reader.problem(fmt::format("partial_rotary_factor {} is not supported", part));
  }
  if (const auto activation = reader.text("hidden_act", "silu"); activation != "silu" && activation != "swish") {
    reader.problem(fmt::format("hidden_act '{}' is not supported; these are: silu", activation.substr(0, 100)));
  }
}

void check_tokens(Reader& reader, ModelConfig& config) {
  std::sort(config.eos.begin(), config.eos.end());
  config.eos.erase(std::unique(config.eos.begin(), config.eos.end()), config.eos.end());
  for (const TokenId id : config.eos) {
    if (static_cast<std::uint32_t>(id) >= config.vocab_size) {
      reader.problem(fmt::format("eos_token_id {} is outside the vocabulary of {}", id, config.vocab_size));
    }
  }
  if (config.bos >= 0 && static_cast<std::uint32_t>(config.bos) >= config.vocab_size) {
    reader.problem(fmt::format("bos_token_id {} is outside the vocabulary of {}", config.bos, config.vocab_size));
  }
}

}  // namespace

Result<ModelConfig> parse_config(std::string_view json, const std::string& name) {
  const auto document = JsonDocument::parse(json, name);
  if (!document) return document.error();
  if (!document->root().is_object()) return fail(fmt::format("{}: not a JSON object", name));
  const JsonObject root = fields(document->root());

  ModelConfig config;
  std::vector<std::string> problems;
  Reader reader(root, name, problems);
  read_architecture(root, reader, config);
  read_sizes(reader, config);
  read_head_dim(root, reader, config);
  config.norm_eps = reader.number("rms_norm_eps", 1e-12, 1.0, 1e-6);
  config.tied_head = reader.flag("tie_word_embeddings", false);
  read_rope(reader, name, problems, config);
  refuse_unknown(root, reader);
  if (config.architecture == "MistralForCausalLM") {
    // A window that no sequence can leave changes nothing.
    const auto window = reader.integer("sliding_window", 1, kContextMax, kContextMax);
    if (window < config.context_max) {
      reader.problem(fmt::format("sliding_window {} below max_position_embeddings {} is not supported", window,
                                 config.context_max));
    }
  }
  config.eos = reader.tokens("eos_token_id");
  if (const auto bos = reader.tokens("bos_token_id"); !bos.empty()) config.bos = bos.front();
  if (problems.empty()) check_tokens(reader, config);
  if (!problems.empty()) return joined(problems);
  return config;
}

Result<ModelConfig> load_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  const auto json = read_file(path, limits::json_file_bytes_max);
  if (!json) return json.error();
  auto config = parse_config(*json, path.string());
  if (!config) return config;

  const auto generation = folder / "generation_config.json";
  std::error_code error;
  if (!std::filesystem::exists(generation, error)) return config;
  const auto text = read_file(generation, limits::json_file_bytes_max);
  if (!text) return text.error();
  const auto document = JsonDocument::parse(*text, generation.string());
  if (!document) return document.error();
  const auto root = document->root().get_object();
  if (root.error()) return fail(fmt::format("{}: not a JSON object", generation.string()));
  std::vector<std::string> problems;
  Reader reader(root.value_unsafe(), generation.string(), problems);
  const auto more = reader.tokens("eos_token_id");
  config->eos.insert(config->eos.end(), more.begin(), more.end());
  check_tokens(reader, *config);
  if (!problems.empty()) return joined(problems);
  return config;
}

std::vector<float> rope_frequencies(const ModelConfig& config) {
  SLUICE_ENGINE_CHECK(config.rope == Rope::plain || config.rope == Rope::llama3);
  std::vector<float> frequencies(config.head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    float frequency = 1.0f / std::pow(config.rope_theta, exponent);
    if (config.rope == Rope::llama3) {
      const float context = static_cast<float>(config.rope_original_context);
      const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
      if (wavelength > context / config.rope_low_frequency) {
        frequency /= config.rope_factor;
      } else if (wavelength >= context / config.rope_high_frequency) {
        const float smooth = (context / wavelength - config.rope_low_frequency) /
                             (config.rope_high_frequency - config.rope_low_frequency);
        frequency = (1.0f - smooth) * frequency / config.rope_factor + smooth * frequency;
      }
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

RopeAngles rope_angles(const ModelConfig& config, std::uint32_t) {
  if (config.rope == Rope::none) return {};
  return {.dims = config.head_dim, .frequencies = rope_frequencies(config), .scale = 1.0f};
}

std::uint64_t parameter_count(const ModelConfig& config) {
  const std::uint64_t hidden = config.hidden_size;
  const std::uint64_t q = std::uint64_t{config.heads} * config.head_dim;
  const std::uint64_t kv = std::uint64_t{config.kv_heads} * config.head_dim;
  std::uint64_t layer = 2 * hidden;           // the two norms
  layer += hidden * q * 2 + hidden * kv * 2;  // q and o, k and v
  layer += hidden * config.intermediate_size * (config.gated ? 3 : 2);
  if (config.qkv_bias) layer += q + 2 * kv;
  if (config.qk_norm) layer += 2 * std::uint64_t{config.head_dim};
  const std::uint64_t tables = hidden * config.vocab_size * (config.tied_head ? 1 : 2);
  return tables + hidden + layer * config.layers;
}

}  // namespace sluice::engine
