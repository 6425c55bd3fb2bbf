#include "engine/model/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "engine/core/json.h"
#include "engine/core/limits.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kFilesMax = 1000;  // shards of one model; the largest have some 200

using Found = std::map<std::string, TensorView, std::less<>>;

/// The safetensors files of a folder; for a sharded model also which tensor the index puts where.
struct Files {
  std::vector<std::string> names;
  std::map<std::string, std::string, std::less<>> file_of;  // empty for a single file
};

Result<Files> list_files(const std::filesystem::path& folder) {
  std::error_code error;
  Files files;
  if (std::filesystem::exists(folder / "model.safetensors", error)) {
    files.names.push_back("model.safetensors");
    return files;
  }
  const auto index_path = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(index_path, error)) {
    return fail(fmt::format("{}: has neither model.safetensors nor model.safetensors.index.json", folder.string()));
  }
  const auto text = read_file(index_path, limits::json_file_bytes_max);
  if (!text) return text.error();
  const std::string name = index_path.string();
  const auto document = JsonDocument::parse(*text, name);
  if (!document) return document.error();
  const auto root = document->root().get_object();
  if (root.error()) return fail(fmt::format("{}: not a JSON object", name));
  const auto map = member(root.value_unsafe(), "weight_map");
  if (!map || !map->is_object()) return fail(fmt::format("{}: weight_map is not an object", name));
  std::set<std::string> distinct;
  for (const auto field : fields(*map)) {
    const auto file = as_string(field.value);
    // A name from an untrusted file must not lead out of the folder.
    if (!file || file->empty() || file->find('/') != std::string_view::npos || !file->ends_with(".safetensors")) {
      return fail(fmt::format("{}: weight_map: tensor '{}': {} is not the name of a .safetensors file in this folder",
                              name, field.key, shown(field.value)));
    }
    distinct.emplace(*file);
    files.file_of.emplace(field.key, *file);
  }
  if (distinct.size() > kFilesMax)
    return fail(fmt::format("{}: {} files, at most {} are read", name, distinct.size(), kFilesMax));
  files.names.assign(distinct.begin(), distinct.end());
  return files;
}

/// Takes tensors out of what was found, by name; what is left over at the end was not part of the graph.
class Taker {
 public:
  Taker(Found& found, std::string place) : found_(found), place_(std::move(place)) {}

  TensorView take(const std::string& name, std::vector<std::uint64_t> shape) {
    const auto at = found_.find(name);
    if (at == found_.end()) {
      problem(name, "is missing");
      return {};
    }
    TensorView view = std::move(at->second);
    found_.erase(at);
    if (view.dtype == Dtype::other) {
      problem(name, "has a dtype that is not supported; these are: F32, F16, BF16");
      return {};
    }
    if (view.shape != shape) {
      problem(name, fmt::format("has shape [{}], config.json asks for [{}]", fmt::join(view.shape, ", "),
                                fmt::join(shape, ", ")));
      return {};
    }
    return view;
  }

  void problem(std::string_view name, const std::string& what) {
    constexpr std::size_t kShownMax = 20;  // a wrong config.json makes every tensor wrong
    if (problems_.size() < kShownMax) problems_.push_back(fmt::format("{}: tensor '{}' {}", place_, name, what));
  }
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  Found& found_;
  std::string place_;
  std::vector<std::string> problems_;
};

/// Where a family's files keep the tensors: what stands before ".weight" and ".bias". Empty: the family has no such.
struct Names {
  std::string_view prefix = "model.";  // of all but the head; files of the bare decoder leave it out
  std::string_view embedding = "embed_tokens", positions{}, final_norm = "norm", layers = "layers";
  std::string_view attention_norm = "input_layernorm", mlp_norm = "post_attention_layernorm";
  std::string_view q = "self_attn.q_proj", k = "self_attn.k_proj", v = "self_attn.v_proj";
  std::string_view q_norm = "self_attn.q_norm", k_norm = "self_attn.k_norm";
  std::string_view qkv{};  // instead of q, k and v: their rows one after the other
  std::string_view o = "self_attn.o_proj";
  std::string_view gate = "mlp.gate_proj", up = "mlp.up_proj", down = "mlp.down_proj";
  std::string_view gate_up{};  // instead of gate and up: their rows one after the other
  bool transposed = false;     // a layer's matrices lie as [in, out]
};

constexpr Names kLlamaNames{};
constexpr Names kPhi3Names{.qkv = "self_attn.qkv_proj", .gate_up = "mlp.gate_up_proj"};
constexpr Names kGpt2Names{.prefix = "transformer.",
                           .embedding = "wte",
                           .positions = "wpe",
                           .final_norm = "ln_f",
                           .layers = "h",
                           .attention_norm = "ln_1",
                           .mlp_norm = "ln_2",
                           .qkv = "attn.c_attn",
                           .o = "attn.c_proj",
                           .gate = "",
                           .up = "mlp.c_fc",
                           .down = "mlp.c_proj",
                           .transposed = true};

/// Buffers that older files carry; they follow from config.json.
bool is_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

const Names& names_of(const ModelConfig& config) {
  if (config.architecture == "GPT2LMHeadModel") return kGpt2Names;
  return config.architecture == "Phi3ForCausalLM" ? kPhi3Names : kLlamaNames;
}

/// `rows` consecutive rows of a matrix, or values of a vector, from `first`.
TensorView rows_of(const TensorView& all, std::uint64_t first, std::uint64_t rows) {
  if (all.data.empty()) return {};  // it was missing: somebody has said so
  TensorView part = all;
  const std::uint64_t row_bytes = all.data.size() / all.shape[0];
  part.shape[0] = rows;
  part.data = all.data.subspan(first * row_bytes, rows * row_bytes);
  return part;
}

/// Every tensor of the graph with its name in the file and its shape, in the order of LayerWeights' members.
/// `take(name, shape)` gives a tensor, `matrix(name, out, in)` one of a layer's matrices as [out, in].
template <class Take, class Matrix>
void fill(Weights& weights, const ModelConfig& config, const Names& names, std::string_view prefix, Take take,
          Matrix matrix) {
  const std::uint64_t hidden = config.hidden_size;
  const std::uint64_t q = std::uint64_t{config.heads} * config.head_dim;
  const std::uint64_t kv = std::uint64_t{config.kv_heads} * config.head_dim;
  const std::uint64_t intermediate = config.intermediate_size;
  const auto norm = [&](const std::string& name, TensorView& weight, TensorView& bias) {
    weight = take(name + ".weight", {hidden});
    if (config.norm == Norm::layer) bias = take(name + ".bias", {hidden});
  };
  const std::string top{prefix};
  weights.embedding = take(fmt::format("{}{}.weight", top, names.embedding), {config.vocab_size, hidden});
  if (config.learned_positions)
    weights.positions = take(fmt::format("{}{}.weight", top, names.positions), {config.context_max, hidden});
  norm(fmt::format("{}{}", top, names.final_norm), weights.final_norm, weights.final_norm_bias);
  weights.head = config.tied_head ? weights.embedding : take("lm_head.weight", {config.vocab_size, hidden});
  weights.layers.resize(config.layers);
  for (std::uint32_t i = 0; i < config.layers; ++i) {
    LayerWeights& layer = weights.layers[i];
    const auto named = [&](std::string_view name) { return fmt::format("{}{}.{}.{}", top, names.layers, i, name); };
    const auto bias = [&](bool has, std::string_view name, std::uint64_t size) {
      return has ? take(named(name) + ".bias", {size}) : TensorView{};
    };
    norm(named(names.attention_norm), layer.attention_norm, layer.attention_norm_bias);
    if (names.qkv.empty()) {
      layer.q = matrix(named(names.q), q, hidden);
      layer.k = matrix(named(names.k), kv, hidden);
      layer.v = matrix(named(names.v), kv, hidden);
      layer.q_bias = bias(config.qkv_bias, names.q, q);
      layer.k_bias = bias(config.qkv_bias, names.k, kv);
      layer.v_bias = bias(config.qkv_bias, names.v, kv);
    } else {
      const TensorView all = matrix(named(names.qkv), q + 2 * kv, hidden);
      const TensorView biases = bias(config.qkv_bias, names.qkv, q + 2 * kv);
      layer.q = rows_of(all, 0, q);
      layer.k = rows_of(all, q, kv);
      layer.v = rows_of(all, q + kv, kv);
      layer.q_bias = rows_of(biases, 0, q);
      layer.k_bias = rows_of(biases, q, kv);
      layer.v_bias = rows_of(biases, q + kv, kv);
    }
    if (config.qk_norm) {
      layer.q_norm = take(named(names.q_norm) + ".weight", {config.head_dim});
      layer.k_norm = take(named(names.k_norm) + ".weight", {config.head_dim});
    }
    layer.o = matrix(named(names.o), hidden, q);
    layer.o_bias = bias(config.o_bias, names.o, hidden);
    norm(named(names.mlp_norm), layer.mlp_norm, layer.mlp_norm_bias);
    if (names.gate_up.empty()) {
      if (config.gated) layer.gate = matrix(named(names.gate), intermediate, hidden);
      layer.up = matrix(named(names.up), intermediate, hidden);
      layer.gate_bias = bias(config.mlp_bias && config.gated, names.gate, intermediate);
      layer.up_bias = bias(config.mlp_bias, names.up, intermediate);
    } else {
      const TensorView all = matrix(named(names.gate_up), 2 * intermediate, hidden);
      layer.gate = rows_of(all, 0, intermediate);
      layer.up = rows_of(all, intermediate, intermediate);
    }
    layer.down = matrix(named(names.down), hidden, intermediate);
    layer.down_bias = bias(config.mlp_bias, names.down, hidden);
  }
}

/// [in, out] as [out, in], in memory of `owned`.
TensorView transposed(const TensorView& from, std::vector<std::vector<std::byte>>& owned) {
  if (from.data.empty()) return {};
  const std::uint64_t in = from.shape[0];
  const std::uint64_t out = from.shape[1];
  const std::size_t size = from.dtype == Dtype::f32 ? 4 : 2;
  auto& memory = owned.emplace_back(from.data.size());
  constexpr std::uint64_t kTile = 32;  // both sides of a tile stay in the nearest cache
  for (std::uint64_t i = 0; i < in; i += kTile)
    for (std::uint64_t o = 0; o < out; o += kTile)
      for (std::uint64_t a = i; a < std::min(in, i + kTile); ++a)
        for (std::uint64_t b = o; b < std::min(out, o + kTile); ++b)
          std::memcpy(memory.data() + (b * in + a) * size, from.data.data() + (a * out + b) * size, size);
  return {from.name, from.dtype, {out, in}, memory};
}

std::uint16_t to_bf16(double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);  // to nearest, ties to even
}

/// The value below which a fraction `p` of the normal distribution lies: Newton's method on erfc, from a rough start.
double normal_quantile(double p) {
  double x = 0;
  for (int i = 0; i < 60; ++i) {
    const double error = 0.5 * std::erfc(-x / std::sqrt(2.0)) - p;
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2.0 * 3.14159265358979323846);
    const double step =
        std::clamp(error / density, -0.5, 0.5);  // far out the density is tiny and a full step flies off
    x -= step;
    if (std::abs(step) < 1e-12) break;
  }
  return x;
}

}  // namespace

Result<Weights> load_weights(const std::filesystem::path& folder, const ModelConfig& config) {
  const auto files = list_files(folder);
  if (!files) return files.error();
  Weights weights;
  Found found;
  for (const std::string& name : files->names) {
    auto file = MappedFile::open(folder / name);
    if (!file) return file.error();
    auto views = parse_safetensors(file->bytes(), (folder / name).string());
    if (!views) return views.error();
    for (TensorView& view : *views) {
      if (!files->file_of.empty()) {
        const auto at = files->file_of.find(view.name);
        if (at == files->file_of.end() || at->second != name) {
          return fail(fmt::format("{}: tensor '{}' is in this file, but not so in model.safetensors.index.json",
                                  (folder / name).string(), view.name));
        }
      }
      std::string key = view.name;
      found.emplace(std::move(key), std::move(view));
    }
    weights.files.push_back(std::move(*file));
  }

  const Names& names = names_of(config);
  const bool bare = found.contains(fmt::format("{}.weight", names.embedding));
  Taker taker(found, folder.string());
  const auto take = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    return taker.take(name, std::move(shape));
  };
  const auto matrix = [&](const std::string& name, std::uint64_t out, std::uint64_t in) {
    if (!names.transposed) return taker.take(name + ".weight", {out, in});
    return transposed(taker.take(name + ".weight", {in, out}), weights.owned);
  };
  fill(weights, config, names, bare ? "" : names.prefix, take, matrix);
  for (const auto& [name, view] : found) {
    if (config.tied_head && name == "lm_head.weight") continue;  // transformers ties whatever the file holds
    if (is_buffer(name)) continue;
    taker.problem(name, "has no place in this architecture: config.json does not fit these weights");
  }
  if (!taker.problems().empty()) return fail(fmt::format("{}", fmt::join(taker.problems(), "\n")));
  return weights;
}

Weights random_weights(const ModelConfig& config, std::uint64_t seed) {
  // A table of 65,536 quantiles drawn from by 16 random bits: as normal as bf16's 8 bits can tell, at a nanosecond a
  // weight.
  std::vector<std::uint16_t> quantiles(1 << 16);
  for (std::size_t i = 0; i < quantiles.size() / 2; ++i) {
    const double value = 0.02 * normal_quantile((static_cast<double>(i) + 0.5) / static_cast<double>(quantiles.size()));
    quantiles[i] = to_bf16(value);
    quantiles[quantiles.size() - 1 - i] = to_bf16(-value);
  }
  std::uint64_t state = seed;
  const auto next = [&state] {  // splitmix64
    std::uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  };
  Weights weights;
  const auto take = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : shape) count *= size;
    auto& memory = weights.owned.emplace_back(count * sizeof(std::uint16_t));
    const bool norm = shape.size() == 1 && !name.ends_with(".bias");
    for (std::uint64_t i = 0; i < count; i += 4) {
      std::array<std::uint16_t, 4> four;
      const std::uint64_t bits = norm ? 0 : next();
      for (std::size_t k = 0; k < four.size(); ++k)
        four[k] = norm ? to_bf16(1.0) : quantiles[(bits >> (16 * k)) & 0xFFFF];
      const std::size_t here = std::min<std::size_t>(four.size(), count - i);
      std::memcpy(memory.data() + i * sizeof(std::uint16_t), four.data(), here * sizeof(std::uint16_t));
    }
    return TensorView{name, Dtype::bf16, std::move(shape), memory};
  };
  const Names& names = names_of(config);
  fill(weights, config, names, names.prefix, take, [&](const std::string& name, std::uint64_t out, std::uint64_t in) {
    return take(name + ".weight", {out, in});
  });
  return weights;
}

}  // namespace sluice::engine
