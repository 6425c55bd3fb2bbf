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

/// What families differ in where config.json does not say it.
struct Family {
  std::string_view architecture{};
  double norm_eps = 1e-6;          // where rms_norm_eps is absent
  bool qkv_bias = false;           // always
  bool attention_bias = false;     // the key adds biases to q, k, v and o
  bool mlp_bias = false;           // the key adds biases to gate, up and down
  bool qk_norm = false;            // always
  bool partial_rotary = false;     // partial_rotary_factor below 1 is possible
  std::uint32_t head_dim = 0;      // where head_dim is absent; 0: hidden_size / num_attention_heads
  bool has_window = false;         // sliding_window means something
  bool window_has_switch = false;  // use_sliding_window, and layers that it leaves alone (Qwen)
  std::uint32_t window = 0;        // where sliding_window is absent; 0: none
  std::uint32_t rope_context = 0;  // where original_max_position_embeddings is absent; 0: max_position_embeddings
};

constexpr std::array kFamilies{
    Family{.architecture = "LlamaForCausalLM", .attention_bias = true, .mlp_bias = true},
    Family{.architecture = "MistralForCausalLM", .has_window = true, .window = 4096},
    Family{.architecture = "Qwen2ForCausalLM",
           .qkv_bias = true,
           .has_window = true,
           .window_has_switch = true,
           .window = 4096},
    Family{.architecture = "Qwen3ForCausalLM",
           .attention_bias = true,
           .qk_norm = true,
           .head_dim = 128,
           .has_window = true,
           .window_has_switch = true,
           .window = 4096},
    Family{.architecture = "Phi3ForCausalLM",
           .norm_eps = 1e-5,
           .partial_rotary = true,
           .has_window = true,
           .rope_context = 4096},
    Family{.architecture = "GPT2LMHeadModel"},
};

constexpr std::array<std::pair<std::string_view, Activation>, 8> kActivations{{
    {"silu", Activation::silu},
    {"swish", Activation::silu},
    {"gelu", Activation::gelu},
    {"gelu_python", Activation::gelu},
    {"gelu_new", Activation::gelu_tanh},
    {"gelu_pytorch_tanh", Activation::gelu_tanh},
    {"gelu_fast", Activation::gelu_tanh},
    {"gelu_accurate", Activation::gelu_tanh},
}};

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

  double number(std::string_view key, double low, double high, std::optional<double> fallback) {
    const auto element = member(object_, key);
    if (!element) {
      if (!fallback) problem(fmt::format("{} is missing", key));
      return fallback.value_or(low);
    }
    const auto value = as_number(*element);
    if (!value || *value < low || *value > high) {
      problem(fmt::format("{} is {}: must be a number from {} to {}", key, shown(*element), low, high));
      return low;
    }
    return *value;
  }

  float number_f(std::string_view key, double low, double high, std::optional<double> fallback) {
    return static_cast<float>(number(key, low, high, fallback));
  }

  /// A list of exactly `count` numbers.
  std::vector<float> numbers(std::string_view key, std::size_t count, double low, double high) {
    std::vector<float> values;
    const auto element = member(object_, key);
    if (!element || !element->is_array() || items(*element).size() != count) {
      problem(fmt::format("{} is {}: must be a list of {} numbers", key, element ? shown(*element) : "missing", count));
      return values;
    }
    for (const JsonElement each : items(*element)) {
      const auto value = as_number(each);
      if (!value || *value < low || *value > high) {
        problem(fmt::format("{} holds {}: must be numbers from {} to {}", key, shown(each), low, high));
        return values;
      }
      values.push_back(static_cast<float>(*value));
    }
    return values;
  }

  /// There, and null: some libraries mean something else by that than by leaving the key away.
  bool is_null(std::string_view key) const {
    const auto value = object_.at_key(key);
    return !value.error() && value.value_unsafe().is_null();
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

/// The family of the one name in `architectures`; null after a problem.
const Family* read_family(JsonObject root, Reader& reader) {
  const auto list = member(root, "architectures");
  std::optional<std::string_view> name;
  if (list && list->is_array() && items(*list).size() == 1) {
    name = as_string(items(*list).at(0).value_unsafe());
  }
  if (!name) {
    reader.problem(fmt::format("architectures is {}: must be a list of one name, such as [\"LlamaForCausalLM\"]",
                               list ? shown(*list) : "missing"));
    return nullptr;
  }
  const auto* const family =
      std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family& each) { return each.architecture == *name; });
  if (family != kFamilies.end()) return family;
  std::string names;
  for (const Family& each : kFamilies) names += (names.empty() ? "" : ", ") + std::string(each.architecture);
  reader.problem(fmt::format("architecture '{}' is not supported; these are: {}", name->substr(0, 100), names));
  return nullptr;
}

Activation read_activation(Reader& reader, std::string_view key, std::string_view fallback) {
  const std::string name = reader.text(key, fallback);
  for (const auto& [known, activation] : kActivations)
    if (name == known) return activation;
  std::string names;
  for (const auto& [known, activation] : kActivations) names += (names.empty() ? "" : ", ") + std::string(known);
  reader.problem(fmt::format("{} '{}' is not supported; these are: {}", key, name.substr(0, 100), names));
  return Activation::silu;
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
}

void read_head_dim(JsonObject root, const Family& family, Reader& reader, ModelConfig& config) {
  if (member(root, "head_dim") || (family.head_dim != 0 && !reader.is_null("head_dim"))) {
    config.head_dim = reader.integer("head_dim", 2, kHeadDimMax, std::max(family.head_dim, 2u));
  } else if (config.hidden_size % config.heads != 0) {
    reader.problem(fmt::format("num_attention_heads {} does not divide hidden_size {}, and head_dim is not given",
                               config.heads, config.hidden_size));
    config.head_dim = 2;
  } else {
    config.head_dim = config.hidden_size / config.heads;
    if (config.head_dim > kHeadDimMax) {
      reader.problem(fmt::format("hidden_size / num_attention_heads is {}: at most {} is supported", config.head_dim,
                                 kHeadDimMax));
    }
  }
}

/// How many leading dimensions of a head are turned: an even number, as positions turn pairs.
void read_rope_dims(const Family& family, Reader& reader, double part, ModelConfig& config) {
  if (part == 1.0) {
    if (config.head_dim % 2 != 0)
      reader.problem(fmt::format("head_dim {} is odd: rotary positions turn pairs of dimensions", config.head_dim));
    return;
  }
  if (!family.partial_rotary) {
    reader.problem(fmt::format("partial_rotary_factor {} is not supported in {}", part, family.architecture));
    return;
  }
  config.rope_dims = static_cast<std::uint32_t>(config.head_dim * part);
  if (config.rope_dims == 0 || config.rope_dims % 2 != 0) {
    reader.problem(fmt::format("partial_rotary_factor {} of head_dim {} turns {} dimensions: must be an even number",
                               part, config.head_dim, config.rope_dims));
    config.rope_dims = 2;
  }
}

void read_llama3(Reader& rope, ModelConfig& config) {
  config.rope = Rope::llama3;
  config.rope_factor = rope.number_f("factor", 1.0, 1e6, {});
  config.rope_low_frequency = rope.number_f("low_freq_factor", 1e-6, 1e6, {});
  config.rope_high_frequency = rope.number_f("high_freq_factor", 1e-6, 1e6, {});
  if (config.rope_low_frequency >= config.rope_high_frequency) {
    rope.problem(fmt::format("low_freq_factor {} is not below high_freq_factor {}", config.rope_low_frequency,
                             config.rope_high_frequency));
  }
}

void read_longrope(Reader& rope, ModelConfig& config) {
  constexpr double kFactorMin = 1e-3;
  constexpr double kFactorMax = 1e6;
  config.rope = Rope::longrope;
  const std::size_t pairs = (config.rope_dims == 0 ? config.head_dim : config.rope_dims) / 2;
  config.rope_short_factors = rope.numbers("short_factor", pairs, kFactorMin, kFactorMax);
  config.rope_long_factors = rope.numbers("long_factor", pairs, kFactorMin, kFactorMax);
  if (config.rope_original_context < 2)
    rope.problem("original_max_position_embeddings is 1: longrope takes its logarithm, so must be at least 2");
  config.rope_factor = rope.number_f("factor", kFactorMin, kFactorMax,
                                     static_cast<double>(config.context_max) / config.rope_original_context);
  config.rope_attention_factor = rope.number_f("attention_factor", kFactorMin, kFactorMax, 0.0);
}

/// transformers 5 writes everything into rope_parameters; before that rope_theta stood at the top and rope_scaling
/// beside it. Of two, transformers takes rope_scaling.
void read_rope(JsonObject root, const Family& family, Reader& reader, const std::string& name,
               std::vector<std::string>& problems, ModelConfig& config) {
  constexpr double kThetaMax = 1e12;
  std::string place = "rope_parameters";
  auto object = reader.object("rope_parameters");
  if (const auto older = reader.object("rope_scaling"); older && (!object || older->size() > 0)) {
    object = older;
    place = "rope_scaling";
  }
  const double theta = reader.number("rope_theta", 1.0, kThetaMax, 10000.0);
  const double part = reader.number("partial_rotary_factor", 0.0, 1.0, 1.0);
  if (!object) {
    config.rope_theta = static_cast<float>(theta);
    read_rope_dims(family, reader, part, config);
    return;
  }
  Reader rope(*object, name + ": " + place, problems);
  config.rope_theta = rope.number_f("rope_theta", 1.0, kThetaMax, theta);
  read_rope_dims(family, rope, rope.number("partial_rotary_factor", 0.0, 1.0, part), config);
  for (const std::string_view kind : {"full_attention", "sliding_attention"})
    if (member(*object, kind))
      rope.problem(fmt::format("{}: layers with rotations of their own are not supported", kind));
  std::string type = rope.text("rope_type", rope.text("type", "default"));
  if (family.rope_context != 0 && (type == "su" || type == "yarn")) type = "longrope";  // as Phi-3's first files say
  if (type == "default") return;
  if (type != "llama3" && type != "longrope") {
    rope.problem(
        fmt::format("rope_type '{}' is not supported; these are: default, llama3, longrope", type.substr(0, 100)));
    return;
  }
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  if (member(root, kOriginal)) {
    config.rope_original_context = reader.integer(kOriginal, 1, kContextMax, {});
  } else if (family.rope_context != 0) {
    config.rope_original_context = family.rope_context;  // whatever the object says: so does transformers
  } else {
    config.rope_original_context = rope.integer(kOriginal, 1, kContextMax, config.context_max);
  }
  if (type == "llama3") {
    read_llama3(rope, config);
  } else {
    read_longrope(rope, config);
  }
}

/// The first of the layers that have the window, all later ones included; the number of layers where none has.
std::uint32_t read_layer_types(JsonElement element, Reader& reader, std::uint32_t layers) {
  if (!element.is_array() || items(element).size() != layers) {
    reader.problem(fmt::format("layer_types is {}: must be a list of {} names", shown(element), layers));
    return layers;
  }
  std::uint32_t first = layers;
  std::uint32_t i = 0;
  for (const JsonElement each : items(element)) {
    const auto type = as_string(each);
    if (type == "sliding_attention") {
      first = std::min(first, i);
    } else if (type != "full_attention") {
      reader.problem(fmt::format("layer_types holds {}: must be full_attention or sliding_attention", shown(each)));
      return layers;
    } else if (first < layers) {
      reader.problem(
          "layer_types has full_attention after sliding_attention: only windows of all later layers are "
          "supported");
      return layers;
    }
    ++i;
  }
  return first;
}

void read_window(JsonObject root, const Family& family, Reader& reader, ModelConfig& config) {
  if (family.window_has_switch && !reader.flag("use_sliding_window", false)) return;
  if (!family.has_window || reader.is_null("sliding_window")) return;
  const std::uint32_t window =
      reader.integer("sliding_window", 1, kContextMax, family.window == 0 ? kContextMax : family.window);
  std::uint32_t from = 0;
  if (family.window_has_switch) {
    from = reader.integer("max_window_layers", 0, kLayersMax, 28);
    if (const auto types = member(root, "layer_types")) from = read_layer_types(*types, reader, config.layers);
  }
  if (window >= config.context_max || from >= config.layers) return;  // no sequence can leave it, or no layer has it
  config.sliding_window = window;
  config.windowed_from = from;
}

void read_llama_like(JsonObject root, const Family& family, Reader& reader, const std::string& name,
                     std::vector<std::string>& problems, ModelConfig& config) {
  read_sizes(reader, config);
  read_head_dim(root, family, reader, config);
  config.norm_eps = reader.number_f("rms_norm_eps", 1e-12, 1.0, family.norm_eps);
  config.tied_head = reader.flag("tie_word_embeddings", false);
  config.activation = read_activation(reader, "hidden_act", "silu");
  const bool attention_bias = reader.flag("attention_bias", false);
  const bool mlp_bias = reader.flag("mlp_bias", false);
  if (attention_bias && !family.attention_bias && !family.qkv_bias)
    reader.problem(fmt::format("attention_bias is true: not supported in {}", family.architecture));
  if (mlp_bias && !family.mlp_bias)
    reader.problem(fmt::format("mlp_bias is true: not supported in {}", family.architecture));
  config.o_bias = family.attention_bias && attention_bias;
  config.qkv_bias = family.qkv_bias || config.o_bias;
  config.mlp_bias = mlp_bias;
  config.qk_norm = family.qk_norm;
  for (const std::string_view key : {"use_qk_norm", "qk_norm"}) {
    if (reader.flag(key, false) && !family.qk_norm)
      reader.problem(fmt::format("{} is true: not supported in {}", key, family.architecture));
  }
  read_rope(root, family, reader, name, problems, config);
  read_window(root, family, reader, config);
}

void read_gpt2(Reader& reader, ModelConfig& config) {
  config.vocab_size = reader.integer("vocab_size", 1, kVocabMax, {});
  config.hidden_size = reader.integer("n_embd", 1, kHiddenMax, {});
  config.layers = reader.integer("n_layer", 1, kLayersMax, {});
  config.heads = config.kv_heads = reader.integer("n_head", 1, kHeadsMax, {});
  config.context_max = reader.integer("n_positions", 1, kContextMax, {});
  config.intermediate_size = reader.integer("n_inner", 1, kIntermediateMax, 4 * std::int64_t{config.hidden_size});
  config.head_dim = config.hidden_size / config.heads;
  if (config.hidden_size % config.heads != 0 || config.head_dim > kHeadDimMax) {
    reader.problem(fmt::format("n_embd {} over n_head {} must be a whole number up to {}", config.hidden_size,
                               config.heads, kHeadDimMax));
  }
  config.norm = Norm::layer;
  config.norm_eps = reader.number_f("layer_norm_epsilon", 1e-12, 1.0, 1e-5);
  config.activation = read_activation(reader, "activation_function", "gelu_new");
  config.gated = false;
  config.qkv_bias = config.o_bias = config.mlp_bias = true;
  config.learned_positions = true;
  config.rope = Rope::none;
  config.tied_head = reader.flag("tie_word_embeddings", true);
  if (!reader.flag("scale_attn_weights", true)) reader.problem("scale_attn_weights is false: not supported");
  for (const std::string_view key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
    if (reader.flag(key, false)) reader.problem(fmt::format("{} is true: not supported", key));
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
  const Family* const family = read_family(root, reader);
  if (family == nullptr) return joined(problems);  // what else the file must say depends on it
  config.architecture = family->architecture;
  if (config.architecture == "GPT2LMHeadModel") {
    read_gpt2(reader, config);
  } else {
    read_llama_like(root, *family, reader, name, problems, config);
  }
  if (member(root, "quantization_config")) {
    reader.problem(
        "quantization_config is set: quantized weights are not supported; use the model's bf16 or f16 files");
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

namespace {

/// Longer wavelengths stretched, shorter ones left alone, those between in between.
float stretched(const ModelConfig& config, float frequency) {
  const float context = static_cast<float>(config.rope_original_context);
  const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
  if (wavelength > context / config.rope_low_frequency) return frequency / config.rope_factor;
  if (wavelength < context / config.rope_high_frequency) return frequency;
  const float smooth =
      (context / wavelength - config.rope_low_frequency) / (config.rope_high_frequency - config.rope_low_frequency);
  return (1.0f - smooth) * frequency / config.rope_factor + smooth * frequency;
}

float attention_factor(const ModelConfig& config) {
  if (config.rope_attention_factor > 0) return config.rope_attention_factor;
  if (config.rope_factor <= 1.0f) return 1.0f;
  return static_cast<float>(std::sqrt(1 + std::log(static_cast<double>(config.rope_factor)) /
                                              std::log(static_cast<double>(config.rope_original_context))));
}

}  // namespace

RopeAngles rope_angles(const ModelConfig& config, std::uint32_t context) {
  RopeAngles angles;
  if (config.rope == Rope::none) return angles;
  angles.dims = config.rope_dims == 0 ? config.head_dim : config.rope_dims;
  if (config.rope == Rope::longrope) angles.scale = attention_factor(config);
  const std::vector<float>& factors =
      context > config.rope_original_context ? config.rope_long_factors : config.rope_short_factors;
  for (std::uint32_t i = 0; i < angles.dims / 2; ++i) {
    const float power = std::pow(config.rope_theta, static_cast<float>(2 * i) / static_cast<float>(angles.dims));
    float frequency = 1.0f / (config.rope == Rope::longrope ? factors.at(i) * power : power);
    if (config.rope == Rope::llama3) frequency = stretched(config, frequency);
    angles.frequencies.push_back(frequency);
  }
  return angles;
}

std::uint64_t parameter_count(const ModelConfig& config) {
  const std::uint64_t hidden = config.hidden_size;
  const std::uint64_t q = std::uint64_t{config.heads} * config.head_dim;
  const std::uint64_t kv = std::uint64_t{config.kv_heads} * config.head_dim;
  const std::uint64_t norm = hidden * (config.norm == Norm::layer ? 2 : 1);
  const std::uint64_t into_mlp = config.gated ? 2 : 1;  // gate and up, or up alone
  std::uint64_t layer = 2 * norm;
  layer += hidden * q * 2 + hidden * kv * 2;  // q and o, k and v
  layer += hidden * config.intermediate_size * (into_mlp + 1);
  if (config.qkv_bias) layer += q + 2 * kv;
  if (config.o_bias) layer += hidden;
  if (config.mlp_bias) layer += into_mlp * config.intermediate_size + hidden;
  if (config.qk_norm) layer += 2 * std::uint64_t{config.head_dim};
  std::uint64_t tables = hidden * config.vocab_size * (config.tied_head ? 1 : 2);
  if (config.learned_positions) tables += hidden * config.context_max;
  return tables + norm + layer * config.layers;
}

}  // namespace sluice::engine
