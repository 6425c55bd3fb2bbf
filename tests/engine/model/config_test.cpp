#include "engine/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/engine/model/folder.h"

namespace sluice::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kLlama =
    R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":4096,"hidden_size":256,
  "intermediate_size":704,"num_hidden_layers":8,"num_attention_heads":8,"num_key_value_heads":4,"head_dim":32,"hidden_act":"silu",
  "max_position_embeddings":2048,"rms_norm_eps":1e-05,"rope_theta":10000.0,"rope_scaling":null,"attention_bias":false,
  "mlp_bias":false,"tie_word_embeddings":true,"bos_token_id":0,"eos_token_id":1})";

std::string with(std::string json, const std::string& from, const std::string& to) {
  const auto at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? json : json.replace(at, from.size(), to);
}

TEST(ModelConfig, ReadsALlama) {
  const auto config = parse_config(kLlama, "config.json");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->architecture, "LlamaForCausalLM");
  EXPECT_EQ(config->vocab_size, 4096u);
  EXPECT_EQ(config->hidden_size, 256u);
  EXPECT_EQ(config->layers, 8u);
  EXPECT_EQ(config->heads, 8u);
  EXPECT_EQ(config->kv_heads, 4u);
  EXPECT_EQ(config->head_dim, 32u);
  EXPECT_EQ(config->intermediate_size, 704u);
  EXPECT_EQ(config->context_max, 2048u);
  EXPECT_FLOAT_EQ(config->norm_eps, 1e-5f);
  EXPECT_TRUE(config->tied_head);
  EXPECT_EQ(config->rope, Rope::plain);
  EXPECT_FLOAT_EQ(config->rope_theta, 10000.0f);
  EXPECT_THAT(config->eos, ElementsAre(1));
  EXPECT_EQ(config->bos, 0);
  // embedding + final norm + layers of (two norms, q, k, v, o, gate, up, down)
  EXPECT_EQ(parameter_count(*config),
            4096u * 256 + 256 + 8 * (2 * 256 + 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 704));
}

TEST(ModelConfig, ReadsTheDefaultModel) {
  const auto config = load_config(SLUICE_SOURCE_DIR "/models/tiny-coder");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->eos.empty());
}

TEST(ModelConfig, TakesWhatIsAbsentFromWhatIsThere) {
  auto config = parse_config(with(with(kLlama, "\"num_key_value_heads\":4,", ""), "\"head_dim\":32,", ""), "c");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->kv_heads, 8u);
  EXPECT_EQ(config->head_dim, 32u);
  config = parse_config(with(with(kLlama, "\"bos_token_id\":0", "\"bos_token_id\":null"), "\"eos_token_id\":1",
                             "\"eos_token_id\":[7,3,7]"),
                        "c");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->bos, -1);
  EXPECT_THAT(config->eos, ElementsAre(3, 7));
}

TEST(ModelConfig, ReadsRopeWhereverItIsWritten) {
  struct Case {
    std::string from, to;
    Rope rope;
    float theta;
  };
  const std::string llama3 =
      R"("factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192)";
  const Case cases[] = {
      {R"("rope_theta":10000.0,)", R"("rope_theta":500000,)", Rope::plain, 500000},
      {R"("rope_theta":10000.0,)", "", Rope::plain, 10000},
      {R"("rope_theta":10000.0,)", R"("rope_parameters":{"rope_theta":20000.0,"rope_type":"default"},)", Rope::plain,
       20000},
      {R"("rope_theta":10000.0,)", R"("rope_parameters":{"rope_theta":500000.0,"rope_type":"llama3",)" + llama3 + "},",
       Rope::llama3, 500000},
      {R"("rope_scaling":null)", R"("rope_scaling":{"rope_type":"llama3",)" + llama3 + "}", Rope::llama3, 10000},
      {R"("rope_scaling":null)", R"("rope_scaling":{"type":"default"})", Rope::plain, 10000},
  };
  for (const Case& each : cases) {
    const auto config = parse_config(with(kLlama, each.from, each.to), "c");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->rope, each.rope) << each.to;
    EXPECT_FLOAT_EQ(config->rope_theta, each.theta) << each.to;
    if (each.rope == Rope::llama3) {
      EXPECT_FLOAT_EQ(config->rope_factor, 8.0f);
      EXPECT_EQ(config->rope_original_context, 8192u);
    }
  }
}

TEST(ModelConfig, TurnsByTransformersFrequencies) {
  ModelConfig config;
  config.head_dim = 8;
  config.rope_theta = 10000.0f;
  EXPECT_THAT(rope_angles(config, 1024).frequencies,
              testing::Pointwise(testing::FloatEq(), {1.0f, 0.1f, 0.01f, 0.001f}));
  // transformers 5.17, LlamaRotaryEmbedding's formula for Llama 3.1's parameters at head_dim 8, in float64:
  config.rope = Rope::llama3;
  config.rope_theta = 500000.0f;
  config.rope_factor = 8.0f;
  config.rope_low_frequency = 1.0f;
  config.rope_high_frequency = 4.0f;
  config.rope_original_context = 8192;
  const auto frequencies = rope_angles(config, 1024).frequencies;
  const std::vector<double> expected{1.0, 0.03760603093086393, 0.0005248461609929547, 6.647869871181236e-06};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(frequencies[i] / expected[i], 1.0, 1e-6) << i;
}

TEST(ModelConfig, NamesWhatItCannotRun) {
  struct Case {
    std::string from, to, message;
  };
  const Case cases[] = {
      {"LlamaForCausalLM", "GPTNeoXForCausalLM",
       "architecture 'GPTNeoXForCausalLM' is not supported; these are: LlamaForCausalLM, MistralForCausalLM, "
       "Qwen2ForCausalLM, Qwen3ForCausalLM, Phi3ForCausalLM, GPT2LMHeadModel"},
      {R"(["LlamaForCausalLM"])", "null", "architectures is missing"},
      {R"(["LlamaForCausalLM"])", "[]", "architectures is []"},
      {R"("vocab_size":4096,)", "", "vocab_size is missing"},
      {R"("vocab_size":4096)", R"("vocab_size":0)", "vocab_size is 0: must be a whole number from 1"},
      {R"("vocab_size":4096)", R"("vocab_size":-4096)", "vocab_size is -4096"},
      {R"("vocab_size":4096)", R"("vocab_size":4096.5)", "vocab_size is 4096.5"},
      {R"("vocab_size":4096)", R"("vocab_size":"4096")", "vocab_size is \"4096\""},
      {R"("vocab_size":4096)", R"("vocab_size":99999999999999)", "vocab_size is 99999999999999"},
      {R"("num_hidden_layers":8)", R"("num_hidden_layers":1000000)", "num_hidden_layers is 1000000"},
      {R"("num_key_value_heads":4)", R"("num_key_value_heads":3)",
       "num_key_value_heads 3 does not divide num_attention_heads 8"},
      {R"("head_dim":32)", R"("head_dim":33)", "head_dim 33 is odd"},
      {R"("hidden_size":256,)", R"("hidden_size":257,)", ""},
      {R"("hidden_act":"silu")", R"("hidden_act":"relu")", "hidden_act 'relu' is not supported; these are: silu, "},
      {R"("mlp_bias":false)", R"("qk_norm":true)", "qk_norm is true: not supported in LlamaForCausalLM"},
      {R"("mlp_bias":false)", R"("quantization_config":{"bits":4})", "quantization_config is set"},
      {R"("mlp_bias":false)", R"("partial_rotary_factor":0.5)",
       "partial_rotary_factor 0.5 is not supported in LlamaForCausalLM"},
      {R"("rope_scaling":null)", R"("rope_scaling":{"type":"yarn","factor":4})",
       "rope_type 'yarn' is not supported; these are: default, llama3, longrope"},
      {R"("rope_scaling":null)", R"("rope_scaling":{"full_attention":{"rope_type":"default"}})",
       "full_attention: layers with rotations of their own are not supported"},
      {R"("rope_scaling":null)", R"("rope_scaling":{"type":"longrope","long_factor":[1]})",
       "short_factor is missing: must be a list of 16 numbers"},
      {R"("rope_scaling":null)", R"("rope_scaling":{"rope_type":"llama3","factor":8})",
       "rope_scaling: low_freq_factor is missing"},
      {R"("rope_theta":10000.0)", R"("rope_theta":-1)", "rope_theta is -1"},
      {R"("rms_norm_eps":1e-05)", R"("rms_norm_eps":"small")", "rms_norm_eps is \"small\""},
      {R"("eos_token_id":1)", R"("eos_token_id":4096)", "eos_token_id 4096 is outside the vocabulary of 4096"},
      {R"("eos_token_id":1)", R"("eos_token_id":[1,"x"])", "eos_token_id holds \"x\""},
      {R"("bos_token_id":0)", R"("bos_token_id":5000)", "bos_token_id 5000 is outside"},
      {R"("eos_token_id":1)", R"("vocab_size":1)", "the key 'vocab_size' stands twice"},
      {R"("eos_token_id":1})", R"("eos_token_id":1)", "not valid JSON"},
  };
  for (const Case& each : cases) {
    const auto config = parse_config(with(kLlama, each.from, each.to), "config.json");
    if (each.message.empty()) {
      EXPECT_TRUE(config) << config.error().message;  // head_dim is given, so hidden_size need not be divided
      continue;
    }
    ASSERT_FALSE(config) << each.to;
    EXPECT_THAT(config.error().message, testing::StartsWith("config.json: "));
    EXPECT_THAT(config.error().message, HasSubstr(each.message));
  }
}

TEST(ModelConfig, NamesAllProblemsAtOnce) {
  const auto config =
      parse_config(with(with(kLlama, "\"vocab_size\":4096,", ""), "\"mlp_bias\":false", "\"qk_norm\":true"), "c");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("vocab_size is missing"));
  EXPECT_THAT(config.error().message, HasSubstr("qk_norm is true"));
}

/// kLlama as another architecture, with more keys.
std::string family(const std::string& architecture, const std::string& more = "") {
  const std::string named = with(kLlama, "LlamaForCausalLM", architecture);
  return more.empty() ? named : with(named, "\"mlp_bias\":false", more);
}

TEST(ModelConfig, KeepsAWindowOnlyWhereSomeSequenceLeavesIt) {
  struct Case {
    std::string json;
    std::uint32_t window, from;
  };
  const std::string qwen = "Qwen2ForCausalLM";
  const std::string on = R"("use_sliding_window":true)";
  const std::string types = R"("layer_types":["full_attention","full_attention","sliding_attention",)"
                            R"("sliding_attention","sliding_attention","sliding_attention","sliding_attention",)"
                            R"("sliding_attention"])";
  const Case cases[] = {
      {family("MistralForCausalLM"), 0, 0},
      {family("MistralForCausalLM", R"("sliding_window":null)"), 0, 0},
      {family("MistralForCausalLM", R"("sliding_window":2048)"), 0, 0},
      {family("MistralForCausalLM", R"("sliding_window":1024)"), 1024, 0},
      // transformers' default, where the key is not there at all
      {with(family("MistralForCausalLM"), "\"max_position_embeddings\":2048", "\"max_position_embeddings\":8192"), 4096,
       0},
      {family("LlamaForCausalLM", R"("sliding_window":1024)"), 0, 0},
      {family("Phi3ForCausalLM"), 0, 0},
      {family("Phi3ForCausalLM", R"("sliding_window":2047)"), 2047, 0},
      {family(qwen, R"("sliding_window":1024)"), 0, 0},
      {family(qwen, on + R"(,"sliding_window":1024)"), 0, 0},  // max_window_layers is 28 where it is absent
      {family(qwen, on + R"(,"sliding_window":1024,"max_window_layers":5)"), 1024, 5},
      {family(qwen, on + R"(,"sliding_window":1024,"max_window_layers":8)"), 0, 0},
      {family(qwen, on + R"(,"sliding_window":null,"max_window_layers":5)"), 0, 0},
      {family(qwen, on + R"(,"sliding_window":1024,)" + types), 1024, 2},
      {family("Qwen3ForCausalLM", on + R"(,"sliding_window":64,"max_window_layers":0)"), 64, 0},
  };
  for (const Case& each : cases) {
    const auto config = parse_config(each.json, "c");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->sliding_window, each.window) << each.json;
    EXPECT_EQ(config->windowed_from, each.from) << each.json;
  }
  const std::string mixed =
      with(types, "\"full_attention\",\"full_attention\"", "\"sliding_attention\",\"full_attention\"");
  EXPECT_THAT(parse_config(family(qwen, on + R"(,"sliding_window":64,)" + mixed), "c").error().message,
              HasSubstr("layer_types has full_attention after sliding_attention"));
  EXPECT_THAT(parse_config(family(qwen, on + R"(,"layer_types":["x"])"), "c").error().message,
              HasSubstr("layer_types is [\"x\"]: must be a list of 8 names"));
}

TEST(ModelConfig, ReadsTheFamiliesOfLlamasShape) {
  const auto llama = parse_config(family("LlamaForCausalLM", R"("attention_bias":true,"mlp_bias":true)")
                                      .replace(kLlama.find("\"attention_bias\":false,"), 23, ""),
                                  "c");
  ASSERT_TRUE(llama) << llama.error().message;
  EXPECT_TRUE(llama->qkv_bias && llama->o_bias && llama->mlp_bias && llama->gated && !llama->qk_norm);

  const auto qwen2 = parse_config(family("Qwen2ForCausalLM"), "c");
  ASSERT_TRUE(qwen2) << qwen2.error().message;
  EXPECT_TRUE(qwen2->qkv_bias && !qwen2->o_bias && !qwen2->mlp_bias && !qwen2->qk_norm);
  EXPECT_EQ(parameter_count(*qwen2), parameter_count(*parse_config(kLlama, "c")) + 8 * (256 + 2 * 128));

  const auto qwen3 = parse_config(with(family("Qwen3ForCausalLM"), "\"head_dim\":32,", ""), "c");
  ASSERT_TRUE(qwen3) << qwen3.error().message;
  EXPECT_TRUE(qwen3->qk_norm && !qwen3->qkv_bias);
  EXPECT_EQ(qwen3->head_dim, 128u);  // transformers' default where the key is not there; null is hidden / heads
  EXPECT_EQ(parse_config(with(family("Qwen3ForCausalLM"), "\"head_dim\":32", "\"head_dim\":null"), "c")->head_dim, 32u);

  const auto gelu = parse_config(with(kLlama, "\"silu\"", "\"gelu_pytorch_tanh\""), "c");
  ASSERT_TRUE(gelu) << gelu.error().message;
  EXPECT_EQ(gelu->activation, Activation::gelu_tanh);

  for (const char* architecture : {"MistralForCausalLM", "Phi3ForCausalLM"}) {
    const auto refused =
        parse_config(with(family(architecture), "\"attention_bias\":false", "\"attention_bias\":true"), "c");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message,
                HasSubstr(std::string("attention_bias is true: not supported in ") + architecture));
  }
}

std::string ones(std::size_t count, const std::string& value) {
  std::string list = "[";
  for (std::size_t i = 0; i < count; ++i) list += (i == 0 ? "" : ",") + value;
  return list + "]";
}

TEST(ModelConfig, ReadsPhi3sRotation) {
  const auto with_rope = [](const std::string& keys, const std::string& scaling) {
    return parse_config(with(family("Phi3ForCausalLM", keys), "\"rope_scaling\":null", "\"rope_scaling\":" + scaling),
                        "c");
  };
  for (const std::string type : {"longrope", "su", "yarn"}) {
    const auto config = with_rope(
        R"("original_max_position_embeddings":512)",
        R"({"type":")" + type + R"(","short_factor":)" + ones(16, "1.5") + R"(,"long_factor":)" + ones(16, "4") + "}");
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->rope, Rope::longrope);
    EXPECT_EQ(config->rope_original_context, 512u);
    EXPECT_FLOAT_EQ(config->rope_factor, 4.0f);
    EXPECT_THAT(config->rope_long_factors, testing::Each(4.0f));
    const RopeAngles within = rope_angles(*config, 512);
    const RopeAngles beyond = rope_angles(*config, 513);
    EXPECT_EQ(within.dims, 32u);
    EXPECT_FLOAT_EQ(within.frequencies.at(0), 1 / 1.5f);
    EXPECT_FLOAT_EQ(beyond.frequencies.at(0), 0.25f);
    EXPECT_FLOAT_EQ(within.scale, 1.1055416f);  // sqrt(1 + ln 4 / ln 512), and of both: transformers 5 does so
    EXPECT_EQ(beyond.scale, within.scale);
  }
  const auto partial = with_rope(R"("partial_rotary_factor":0.75,"original_max_position_embeddings":512)",
                                 R"({"type":"longrope","attention_factor":1.25,"factor":32,"short_factor":)" +
                                     ones(12, "1") + R"(,"long_factor":)" + ones(12, "2") + "}");
  ASSERT_TRUE(partial) << partial.error().message;
  EXPECT_EQ(partial->rope_dims, 24u);
  EXPECT_EQ(rope_angles(*partial, 10).scale, 1.25f);
  EXPECT_EQ(rope_angles(*partial, 10).frequencies.size(), 12u);
  const auto plain = parse_config(family("Phi3ForCausalLM", R"("partial_rotary_factor":0.5)"), "c");
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->rope_dims, 16u);
  EXPECT_EQ(rope_angles(*plain, 10).scale, 1.0f);
  EXPECT_THAT(parse_config(family("Phi3ForCausalLM", R"("partial_rotary_factor":0.1)"), "c").error().message,
              HasSubstr("partial_rotary_factor 0.1 of head_dim 32 turns 3 dimensions: must be an even number"));
  EXPECT_THAT(
      with_rope(R"("x":1)", R"({"type":"longrope","short_factor":[1,2],"long_factor":[1,"a"]})").error().message,
      HasSubstr("short_factor is [1,2]: must be a list of 16 numbers"));
}

const std::string kGpt2 = R"({"architectures":["GPT2LMHeadModel"],"vocab_size":50257,"n_embd":768,"n_head":12,
  "n_layer":12,"n_positions":1024,"n_ctx":1024,"layer_norm_epsilon":1e-05,"activation_function":"gelu_new",
  "bos_token_id":50256,"eos_token_id":50256})";

TEST(ModelConfig, ReadsAGpt2) {
  const auto config = parse_config(kGpt2, "c");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->norm, Norm::layer);
  EXPECT_EQ(config->activation, Activation::gelu_tanh);
  EXPECT_EQ(config->rope, Rope::none);
  EXPECT_TRUE(config->learned_positions && config->qkv_bias && config->o_bias && config->mlp_bias && config->tied_head);
  EXPECT_FALSE(config->gated);
  EXPECT_EQ(config->intermediate_size, 3072u);
  EXPECT_EQ(config->head_dim, 64u);
  EXPECT_EQ(config->kv_heads, 12u);
  EXPECT_EQ(parameter_count(*config), 124'439'808u);  // as transformers counts GPT-2 small
  EXPECT_EQ(rope_angles(*config, 1024).dims, 0u);

  const auto odd = parse_config(with(kGpt2, "\"n_embd\":768", "\"n_embd\":60,\"n_inner\":100"), "c");
  ASSERT_TRUE(odd) << odd.error().message;  // nothing turns, so a head may have 5 dimensions
  EXPECT_EQ(odd->head_dim, 5u);
  EXPECT_EQ(odd->intermediate_size, 100u);
  EXPECT_EQ(parse_config(with(kGpt2, "gelu_new", "gelu"), "c")->activation, Activation::gelu);

  const std::string eps = "\"layer_norm_epsilon\":1e-05";
  for (const auto& [from, to, message] : std::vector<std::array<std::string, 3>>{
           {eps, "\"scale_attn_weights\":false", "scale_attn_weights is false: not supported"},
           {eps, "\"scale_attn_by_inverse_layer_idx\":true", "scale_attn_by_inverse_layer_idx is true: not supported"},
           {eps, "\"add_cross_attention\":true", "add_cross_attention is true: not supported"},
           {eps, "\"quantization_config\":{}", "quantization_config is set"},
           {"\"n_head\":12", "\"n_head\":7", "n_embd 768 over n_head 7 must be a whole number"},
           {"gelu_new", "relu", "activation_function 'relu' is not supported"},
           {"\"n_positions\":1024,", "", "n_positions is missing"}}) {
    const auto refused = parse_config(with(kGpt2, from, to), "c");
    ASSERT_FALSE(refused) << to;
    EXPECT_THAT(refused.error().message, HasSubstr(message));
  }
}

TEST(ModelConfig, AddsTheEndTokensOfGenerationConfig) {
  const TestFolder folder;
  folder.write("config.json", kLlama);
  EXPECT_THAT(load_config(folder.path())->eos, ElementsAre(1));
  folder.write("generation_config.json", R"({"eos_token_id":[5,1],"temperature":0.7})");
  EXPECT_THAT(load_config(folder.path())->eos, ElementsAre(1, 5));
  folder.write("generation_config.json", R"({"eos_token_id":5000})");
  EXPECT_THAT(load_config(folder.path()).error().message, HasSubstr("generation_config.json: eos_token_id 5000"));
  EXPECT_THAT(load_config("/nonexistent").error().message, HasSubstr("/nonexistent/config.json: no such file"));
}

}  // namespace
}  // namespace sluice::engine
