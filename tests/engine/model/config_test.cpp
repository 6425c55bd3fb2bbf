#include "engine/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  EXPECT_THAT(rope_frequencies(config), testing::Pointwise(testing::FloatEq(), {1.0f, 0.1f, 0.01f, 0.001f}));
  // transformers 5.17, LlamaRotaryEmbedding's formula for Llama 3.1's parameters at head_dim 8, in float64:
  config.rope = Rope::llama3;
  config.rope_theta = 500000.0f;
  config.rope_factor = 8.0f;
  config.rope_low_frequency = 1.0f;
  config.rope_high_frequency = 4.0f;
  config.rope_original_context = 8192;
  const auto frequencies = rope_frequencies(config);
  const std::vector<double> expected{1.0, 0.03760603093086393, 0.0005248461609929547, 6.647869871181236e-06};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(frequencies[i] / expected[i], 1.0, 1e-6) << i;
}

TEST(ModelConfig, NamesWhatItCannotRun) {
  struct Case {
    std::string from, to, message;
  };
  const Case cases[] = {
      {"LlamaForCausalLM", "GPTNeoXForCausalLM",
       "architecture 'GPTNeoXForCausalLM' is not supported; these are: LlamaForCausalLM"},
      {"LlamaForCausalLM", "Qwen2ForCausalLM", "architecture 'Qwen2ForCausalLM' is not supported"},
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
      {R"("hidden_act":"silu")", R"("hidden_act":"gelu")", "hidden_act 'gelu' is not supported"},
      {R"("attention_bias":false)", R"("attention_bias":true)", "attention_bias is true"},
      {R"("mlp_bias":false)", R"("mlp_bias":true)", "mlp_bias is true"},
      {R"("mlp_bias":false)", R"("quantization_config":{"bits":4})", "quantization_config is set"},
      {R"("mlp_bias":false)", R"("partial_rotary_factor":0.5)", "partial_rotary_factor 0.5"},
      {R"("rope_scaling":null)", R"("rope_scaling":{"type":"yarn","factor":4})", "rope_type 'yarn' is not supported"},
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
      parse_config(with(with(kLlama, "\"vocab_size\":4096,", ""), "\"mlp_bias\":false", "\"mlp_bias\":true"), "c");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("vocab_size is missing"));
  EXPECT_THAT(config.error().message, HasSubstr("mlp_bias is true"));
}

TEST(ModelConfig, RunsAMistralWhoseWindowNoSequenceLeaves) {
  const std::string mistral = with(kLlama, "LlamaForCausalLM", "MistralForCausalLM");
  EXPECT_TRUE(parse_config(mistral, "c"));
  EXPECT_TRUE(parse_config(with(mistral, "\"mlp_bias\":false", "\"sliding_window\":null"), "c"));
  EXPECT_TRUE(parse_config(with(mistral, "\"mlp_bias\":false", "\"sliding_window\":2048"), "c"));
  const auto config = parse_config(with(mistral, "\"mlp_bias\":false", "\"sliding_window\":1024"), "c");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("sliding_window 1024 below max_position_embeddings 2048"));
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
