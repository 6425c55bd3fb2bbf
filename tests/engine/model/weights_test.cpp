#include "engine/model/weights.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "tests/engine/model/folder.h"

namespace sluice::engine {
namespace {

using testing::HasSubstr;

ModelConfig small_config() {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.vocab_size = 6;
  config.hidden_size = 4;
  config.layers = 2;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 2;
  config.intermediate_size = 3;
  config.context_max = 16;
  config.tied_head = true;
  return config;
}

using Shapes = std::map<std::string, std::vector<int>>;

Shapes small_shapes() {
  Shapes shapes{{"model.embed_tokens.weight", {6, 4}}, {"model.norm.weight", {4}}};
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    shapes[prefix + "input_layernorm.weight"] = {4};
    shapes[prefix + "post_attention_layernorm.weight"] = {4};
    shapes[prefix + "self_attn.q_proj.weight"] = {4, 4};
    shapes[prefix + "self_attn.k_proj.weight"] = {2, 4};
    shapes[prefix + "self_attn.v_proj.weight"] = {2, 4};
    shapes[prefix + "self_attn.o_proj.weight"] = {4, 4};
    shapes[prefix + "mlp.gate_proj.weight"] = {3, 4};
    shapes[prefix + "mlp.up_proj.weight"] = {3, 4};
    shapes[prefix + "mlp.down_proj.weight"] = {4, 3};
  }
  return shapes;
}

std::string file_of(const Shapes& shapes, const std::string& dtype = "F32", std::size_t size = 4) {
  std::string header = "{";
  std::size_t at = 0;
  for (const auto& [name, shape] : shapes) {
    std::size_t bytes = size;
    std::string list;
    for (const int each : shape) {
      bytes *= static_cast<std::size_t>(each);
      list += (list.empty() ? "" : ",") + std::to_string(each);
    }
    header += fmt::format("{}\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", at ? "," : "", name,
                          dtype, list, at, at + bytes);
    at += bytes;
  }
  return safetensors_file(header + "}", at);
}

TEST(Weights, FindsEveryTensorByItsName) {
  const TestFolder folder;
  folder.write("model.safetensors", file_of(small_shapes()));
  const auto weights = load_weights(folder.path(), small_config());
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ(weights->embedding.name, "model.embed_tokens.weight");
  EXPECT_EQ(weights->head.name, weights->embedding.name);
  EXPECT_EQ(weights->head.data.data(), weights->embedding.data.data());
  ASSERT_EQ(weights->layers.size(), 2u);
  EXPECT_EQ(weights->layers[1].down.name, "model.layers.1.mlp.down_proj.weight");
  EXPECT_EQ(weights->layers[1].k.name, "model.layers.1.self_attn.k_proj.weight");
  EXPECT_THAT(weights->layers[0].gate.shape, testing::ElementsAre(3, 4));
  EXPECT_EQ(weights->layers[0].q.dtype, Dtype::f32);
}

TEST(Weights, ReadsShardsByTheirIndex) {
  const TestFolder folder;
  Shapes first = small_shapes(), second;
  std::string index;
  for (const auto& [name, shape] : small_shapes()) {
    const bool moves = name.find("layers.1") != std::string::npos;
    if (moves) second.insert(first.extract(name));
    index += fmt::format("{}\"{}\":\"{}.safetensors\"", index.empty() ? "" : ",", name, moves ? "b" : "a");
  }
  folder.write("a.safetensors", file_of(first, "BF16", 2));
  folder.write("b.safetensors", file_of(second, "F16", 2));
  folder.write("model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":{" + index + "}}");
  const auto weights = load_weights(folder.path(), small_config());
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ(weights->layers[0].q.dtype, Dtype::bf16);
  EXPECT_EQ(weights->layers[1].q.dtype, Dtype::f16);

  folder.write("b.safetensors", file_of(first, "F16", 2));
  EXPECT_THAT(load_weights(folder.path(), small_config()).error().message,
              HasSubstr("but not so in model.safetensors.index.json"));
  folder.write("model.safetensors.index.json", R"({"weight_map":{"x":"../a.safetensors"}})");
  EXPECT_THAT(load_weights(folder.path(), small_config()).error().message,
              HasSubstr("tensor 'x': \"../a.safetensors\" is not the name"));
}

TEST(Weights, NamesTheTensorThatIsWrong) {
  const TestFolder folder;
  const auto error_of = [&](const Shapes& shapes, const std::string& dtype = "F32",
                            std::size_t size = 4) -> std::string {
    folder.write("model.safetensors", file_of(shapes, dtype, size));
    const auto weights = load_weights(folder.path(), small_config());
    return weights ? "" : weights.error().message;
  };
  Shapes shapes = small_shapes();
  shapes.erase("model.layers.1.mlp.up_proj.weight");
  shapes["model.norm.weight"] = {5};
  EXPECT_THAT(error_of(shapes), HasSubstr("tensor 'model.layers.1.mlp.up_proj.weight' is missing"));
  EXPECT_THAT(error_of(shapes), HasSubstr("tensor 'model.norm.weight' has shape [5], config.json asks for [4]"));
  shapes = small_shapes();
  shapes["model.layers.0.self_attn.q_proj.bias"] = {4};
  EXPECT_THAT(error_of(shapes), HasSubstr("tensor 'model.layers.0.self_attn.q_proj.bias' has no place"));
  EXPECT_THAT(error_of(small_shapes(), "I32", 4), HasSubstr("has a dtype that is not supported"));
  shapes = small_shapes();
  shapes["lm_head.weight"] = {6, 4};  // transformers ties, whatever the file holds
  shapes["model.layers.0.self_attn.rotary_emb.inv_freq"] = {1};
  EXPECT_EQ(error_of(shapes), "");

  auto untied = small_config();
  untied.tied_head = false;
  folder.write("model.safetensors", file_of(small_shapes()));
  EXPECT_THAT(load_weights(folder.path(), untied).error().message, HasSubstr("tensor 'lm_head.weight' is missing"));
  EXPECT_THAT(load_weights("/nonexistent", untied).error().message, HasSubstr("has neither model.safetensors nor"));
}

/// The floats of a file that file_of made, or of a view of it: its n-th byte is n, mod 256.
std::vector<std::uint32_t> cells(const TensorView& view) {
  std::vector<std::uint32_t> values(view.data.size() / 4);
  std::memcpy(values.data(), view.data.data(), view.data.size());
  return values;
}

TEST(Weights, TakesFusedMatricesApartWithoutCopying) {
  auto config = small_config();
  config.architecture = "Phi3ForCausalLM";
  Shapes shapes = small_shapes();
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    for (const char* name :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"})
      shapes.erase(prefix + name + ".weight");
    shapes[prefix + "self_attn.qkv_proj.weight"] = {8, 4};
    shapes[prefix + "mlp.gate_up_proj.weight"] = {6, 4};
  }
  const TestFolder folder;
  folder.write("model.safetensors", file_of(shapes));
  const auto weights = load_weights(folder.path(), config);
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_TRUE(weights->owned.empty());
  const LayerWeights& layer = weights->layers[1];
  EXPECT_THAT(layer.q.shape, testing::ElementsAre(4, 4));
  EXPECT_THAT(layer.k.shape, testing::ElementsAre(2, 4));
  EXPECT_THAT(layer.v.shape, testing::ElementsAre(2, 4));
  EXPECT_EQ(layer.k.data.data(), layer.q.data.data() + 4 * 4 * 4);
  EXPECT_EQ(layer.v.data.data(), layer.k.data.data() + 2 * 4 * 4);
  EXPECT_EQ(layer.up.data.data(), layer.gate.data.data() + 3 * 4 * 4);
  EXPECT_EQ(layer.up.data.size(), 3u * 4 * 4);

  shapes["model.layers.0.mlp.gate_up_proj.weight"] = {5, 4};
  folder.write("model.safetensors", file_of(shapes));
  EXPECT_THAT(load_weights(folder.path(), config).error().message,
              HasSubstr("'model.layers.0.mlp.gate_up_proj.weight' has shape [5, 4], config.json asks for [6, 4]"));
}

ModelConfig small_gpt2() {
  ModelConfig config;
  config.architecture = "GPT2LMHeadModel";
  config.vocab_size = 6;
  config.hidden_size = 4;
  config.layers = 1;
  config.heads = config.kv_heads = 2;
  config.head_dim = 2;
  config.intermediate_size = 3;
  config.context_max = 5;
  config.norm = Norm::layer;
  config.gated = false;
  config.qkv_bias = config.o_bias = config.mlp_bias = config.learned_positions = config.tied_head = true;
  config.rope = Rope::none;
  return config;
}

TEST(Weights, TurnsGpt2sTransposedMatricesOnce) {
  const Shapes bare{{"wte.weight", {6, 4}},
                    {"wpe.weight", {5, 4}},
                    {"ln_f.weight", {4}},
                    {"ln_f.bias", {4}},
                    {"h.0.ln_1.weight", {4}},
                    {"h.0.ln_1.bias", {4}},
                    {"h.0.ln_2.weight", {4}},
                    {"h.0.ln_2.bias", {4}},
                    {"h.0.attn.bias", {1, 1, 5, 5}},  // buffers of GPT-2's first files
                    {"h.0.attn.masked_bias", {1}},
                    {"h.0.attn.c_attn.weight", {4, 12}},
                    {"h.0.attn.c_attn.bias", {12}},
                    {"h.0.attn.c_proj.weight", {4, 4}},
                    {"h.0.attn.c_proj.bias", {4}},
                    {"h.0.mlp.c_fc.weight", {4, 3}},
                    {"h.0.mlp.c_fc.bias", {3}},
                    {"h.0.mlp.c_proj.weight", {3, 4}},
                    {"h.0.mlp.c_proj.bias", {4}}};
  Shapes prefixed;
  for (const auto& [name, shape] : bare) prefixed["transformer." + name] = shape;
  for (const Shapes& shapes : {bare, prefixed}) {
    const TestFolder folder;
    folder.write("model.safetensors", file_of(shapes));
    const auto weights = load_weights(folder.path(), small_gpt2());
    ASSERT_TRUE(weights) << weights.error().message;
    const auto file = MappedFile::open(folder.path() / "model.safetensors");
    const auto raw = parse_safetensors(file->bytes(), "raw");
    const auto fused = std::find_if(raw->begin(), raw->end(),
                                    [](const TensorView& view) { return view.name.ends_with("attn.c_attn.weight"); });
    const auto in_file = cells(*fused);
    const LayerWeights& layer = weights->layers[0];
    const auto q = cells(layer.q), k = cells(layer.k), v = cells(layer.v);
    for (std::size_t out = 0; out < 4; ++out)
      for (std::size_t in = 0; in < 4; ++in) {
        EXPECT_EQ(q[out * 4 + in], in_file[in * 12 + out]);
        EXPECT_EQ(k[out * 4 + in], in_file[in * 12 + 4 + out]);
        EXPECT_EQ(v[out * 4 + in], in_file[in * 12 + 8 + out]);
      }
    EXPECT_THAT(layer.up.shape, testing::ElementsAre(3, 4));
    EXPECT_THAT(layer.down.shape, testing::ElementsAre(4, 3));
    EXPECT_THAT(layer.v_bias.shape, testing::ElementsAre(4));
    EXPECT_EQ(layer.v_bias.data.data(), layer.q_bias.data.data() + 8 * 4);
    EXPECT_TRUE(layer.gate.data.empty() && layer.gate_bias.data.empty());
    EXPECT_THAT(weights->positions.shape, testing::ElementsAre(5, 4));
    EXPECT_THAT(weights->final_norm_bias.shape, testing::ElementsAre(4));
    EXPECT_EQ(weights->owned.size(), 4u);
  }
  Shapes shapes = prefixed;
  shapes["transformer.h.0.crossattention.c_attn.weight"] = {4, 8};
  shapes.erase("transformer.ln_f.bias");
  const TestFolder folder;
  folder.write("model.safetensors", file_of(shapes));
  const std::string message = load_weights(folder.path(), small_gpt2()).error().message;
  EXPECT_THAT(message, HasSubstr("'transformer.ln_f.bias' is missing"));
  EXPECT_THAT(message, HasSubstr("'transformer.h.0.crossattention.c_attn.weight' has no place"));
}

TEST(Weights, RandomOnesFitEveryFamily) {
  std::vector<ModelConfig> configs{small_config(), small_gpt2(), small_config(), small_config()};
  configs[2].architecture = "Phi3ForCausalLM";
  configs[3].architecture = "Qwen3ForCausalLM";
  configs[3].qkv_bias = configs[3].o_bias = configs[3].mlp_bias = configs[3].qk_norm = true;
  configs[3].tied_head = false;
  for (const ModelConfig& config : configs) {
    const Weights weights = random_weights(config, 7);
    std::uint64_t count = 0;
    for (const auto& memory : weights.owned) count += memory.size() / 2;
    EXPECT_EQ(count, parameter_count(config)) << config.architecture;
    for (const LayerWeights& layer : weights.layers) {
      EXPECT_THAT(layer.k.shape, testing::ElementsAre(config.kv_heads * config.head_dim, config.hidden_size));
      EXPECT_THAT(layer.down.shape, testing::ElementsAre(config.hidden_size, config.intermediate_size));
      EXPECT_EQ(layer.gate.data.empty(), !config.gated);
      EXPECT_EQ(layer.gate_bias.data.empty(), !(config.gated && config.mlp_bias));
    }
  }
}

TEST(Weights, RandomOnesAreNormalAndFollowFromTheSeed) {
  auto config = small_config();
  config.vocab_size = 1000;
  config.hidden_size = 100;
  const Weights weights = random_weights(config, 1), same = random_weights(config, 1),
                other = random_weights(config, 2);
  ASSERT_EQ(weights.embedding.data.size(), 200'000u);
  EXPECT_TRUE(std::equal(weights.embedding.data.begin(), weights.embedding.data.end(), same.embedding.data.begin()));
  EXPECT_FALSE(std::equal(weights.embedding.data.begin(), weights.embedding.data.end(), other.embedding.data.begin()));
  const auto value = [](const TensorView& view, std::size_t i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, view.data.data() + 2 * i, 2);
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
  };
  double sum = 0, squares = 0;
  int beyond_two = 0;
  for (std::size_t i = 0; i < 100'000; ++i) {
    const double each = value(weights.embedding, i) / 0.02;
    sum += each;
    squares += each * each;
    beyond_two += std::abs(each) > 2;
  }
  EXPECT_NEAR(sum / 1e5, 0, 0.02);
  EXPECT_NEAR(squares / 1e5, 1, 0.02);
  EXPECT_NEAR(beyond_two / 1e5, 0.0455, 0.005);
  EXPECT_EQ(value(weights.final_norm, 99), 1.0f);
  EXPECT_EQ(weights.head.data.data(), weights.embedding.data.data());
  EXPECT_EQ(weights.layers.size(), 2u);
  std::uint64_t count = 0;
  for (const auto& memory : weights.owned) count += memory.size() / 2;
  EXPECT_EQ(count, parameter_count(config));
}

}  // namespace
}  // namespace sluice::engine
