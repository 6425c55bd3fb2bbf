// Against logits that transformers computed in float32 (tests/support/golden, made by tools/golden).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "tests/engine/exec/cpu_model.h"
#include "tests/engine/exec/golden_family.h"

namespace sluice::engine {
namespace {

using namespace test;

const std::filesystem::path kSource = SLUICE_SOURCE_DIR;

struct FamilyCase {
  cpu::Isa isa;
  std::string family;
};

void PrintTo(const FamilyCase& each, std::ostream* out) { *out << to_string(each.isa) << ' ' << each.family; }

std::vector<FamilyCase> family_cases() {
  std::vector<FamilyCase> all;
  for (const cpu::Isa isa : cpu::supported_isas())
    for (const std::string& family : golden_families()) all.push_back({isa, family});
  return all;
}

std::string name_of(const testing::TestParamInfo<FamilyCase>& info) {
  std::string name = std::string(to_string(info.param.isa)) + "_" + info.param.family;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class CpuFamilies : public testing::TestWithParam<FamilyCase> {};
INSTANTIATE_TEST_SUITE_P(, CpuFamilies, testing::ValuesIn(family_cases()), name_of);

TEST_P(CpuFamilies, LogitsAndGreedyTokensAreTransformers) {
  const GoldenFamily family = load_golden_family(GetParam().family);
  GoldenScore score(family);
  for (std::size_t s = 0; s < family.sequences.size(); ++s) {
    const std::vector<TokenId>& tokens = family.sequences[s].tokens;
    CpuOptions options;
    options.isa = GetParam().isa;
    options.threads = 2;
    options.slots_max = 1;
    options.context_max = family.context;
    std::vector<float> row;
    options.logits_sink = [&](SlotId, std::uint32_t, std::span<const float> logits) {
      row.assign(logits.begin(), logits.end());
    };
    const auto executor = make_executor(family.config, family.weights, options);
    const auto blocks = first_blocks(4);
    for (std::uint32_t position = 0; position + 1 < tokens.size(); ++position) {
      const Sampled sampled = step(*executor, {{0, position, 1, &tokens, &blocks}}).at(0);
      score.add(s, position, row, sampled.token);
    }
  }
  EXPECT_GT(score.rows(), 50u);
  EXPECT_LE(score.error(), GoldenScore::kErrorMax);
  EXPECT_EQ(score.wrong_tokens(), 0u);
  std::printf("NMSE %.2e, of the worst position %.2e; %zu of %zu greedy tokens equal\n", score.error(),
              score.worst_row(), score.same_tokens(), score.rows());
}

TEST(GoldenFamilies, CoverEveryArchitectureAndOption) {
  std::vector<std::string> architectures;
  std::vector<std::uint32_t> groups;
  bool tied = false, untied = false, window = false, some_layers = false, biases = false, qk_norm = false;
  bool llama3 = false, short_rope = false, long_rope = false, partial = false, own_head_dim = false;
  bool f32 = false, f16 = false, bf16 = false, gelu = false, gelu_tanh = false, sharded = false;
  for (const std::string& name : golden_families()) {
    const GoldenFamily family = load_golden_family(name);
    const ModelConfig& c = family.config;
    std::size_t longest = 0;
    for (const auto& sequence : family.sequences) longest = std::max(longest, sequence.tokens.size());
    architectures.push_back(c.architecture);
    groups.push_back(c.heads / c.kv_heads);
    (c.tied_head ? tied : untied) = true;
    window |= c.sliding_window > 0 && c.sliding_window < longest;
    some_layers |= c.sliding_window > 0 && c.windowed_from > 0;
    biases |= c.qkv_bias && c.o_bias && c.mlp_bias && c.gated;
    qk_norm |= c.qk_norm;
    llama3 |= c.rope == Rope::llama3;
    short_rope |= c.rope == Rope::longrope && family.context <= c.rope_original_context;
    long_rope |= c.rope == Rope::longrope && longest > c.rope_original_context;
    partial |= c.rope_dims != 0;
    own_head_dim |= c.head_dim * c.heads != c.hidden_size;
    const Dtype dtype = family.weights.embedding.dtype;
    (dtype == Dtype::f32 ? f32 : dtype == Dtype::f16 ? f16 : bf16) = true;
    gelu |= c.activation == Activation::gelu;
    gelu_tanh |= c.activation == Activation::gelu_tanh;
    sharded |= family.weights.files.size() > 1;
    EXPECT_NE(c.vocab_size % 8, 0u) << name;
  }
  for (const char* each : {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM",
                           "Phi3ForCausalLM", "GPT2LMHeadModel"})
    EXPECT_TRUE(std::count(architectures.begin(), architectures.end(), each)) << each;
  for (const std::uint32_t each : {1u, 2u, 4u, 6u, 7u})
    EXPECT_TRUE(std::count(groups.begin(), groups.end(), each)) << each;
  EXPECT_TRUE(tied && untied && window && some_layers && biases && qk_norm);
  EXPECT_TRUE(llama3 && short_rope && long_rope && partial && own_head_dim);
  EXPECT_TRUE(f32 && f16 && bf16 && gelu && gelu_tanh && sharded);
}

class CpuParity : public testing::TestWithParam<cpu::Isa> {};
INSTANTIATE_TEST_SUITE_P(, CpuParity, testing::ValuesIn(cpu::supported_isas()),
                         [](const auto& each) { return std::string(to_string(each.param)); });

// The model that ships: its prompts prefilled whole, its greedy answers fed back token by token.
TEST_P(CpuParity, TinyCoderAnswersAsItDoesInTransformers) {
  const auto folder = kSource / "models/tiny-coder";
  const auto golden_folder = kSource / "tests/support/golden/tiny-coder";
  const auto config = load_config(folder);
  ASSERT_TRUE(config.has_value()) << config.error().message;
  const auto weights = load_weights(folder, *config);
  ASSERT_TRUE(weights.has_value()) << weights.error().message;
  const auto file = MappedFile::open(golden_folder / "logits.safetensors");
  ASSERT_TRUE(file.has_value());
  const auto golden = parse_safetensors(file->bytes(), "logits.safetensors");
  ASSERT_TRUE(golden.has_value()) << golden.error().message;
  const auto document = read_json(golden_folder / "golden.json");

  CpuOptions options;
  options.isa = GetParam();
  options.threads = 2;
  options.slots_max = 1;
  options.rows_max = options.context_max = 2048;
  std::vector<float> row;
  options.logits_sink = [&](SlotId, std::uint32_t, std::span<const float> logits) {
    row.assign(logits.begin(), logits.end());
  };
  const auto executor = make_executor(*config, *weights, options);
  const auto blocks = first_blocks(32);
  double error = 0;
  std::size_t exact = 0;
  std::size_t all = 0;
  // Every fourth prompt: the portable path is slow, and CI has two cores.
  const auto& prompts = document.at("prompts").as_array();
  for (std::size_t i = 0; i < prompts.size(); i += 4) {
    std::vector<TokenId> tokens = token_ids(prompts[i].at("tokens"));
    const auto prompt_size = static_cast<std::uint32_t>(tokens.size());
    const std::vector<TokenId> greedy = token_ids(prompts[i].at("greedy"));
    const std::vector<float> expected = floats_named(*golden, "logits." + std::to_string(i));
    ASSERT_EQ(expected.size(), config->vocab_size);
    tokens.insert(tokens.end(), greedy.begin(), greedy.end());
    Sampled sampled = step(*executor, {{0, 0, prompt_size, &tokens, &blocks}}).at(0);
    const double here = normalized_error(row, expected);
    EXPECT_LT(here, 1e-3) << "prompt " << i;
    error = std::max(error, here);
    for (std::uint32_t n = 0; n < greedy.size(); ++n) {
      if (n > 0) sampled = step(*executor, {{0, prompt_size + n - 1, 1, &tokens, &blocks}}).at(0);
      ++all;
      exact += sampled.token == greedy[n] ? 1 : 0;
      EXPECT_LE(row[static_cast<std::size_t>(sampled.token)] - row[static_cast<std::size_t>(greedy[n])], 0.125f)
          << "prompt " << i << " token " << n;
    }
  }
  EXPECT_GE(all, 100u);
  std::printf("NMSE of the worst prompt %.2e; %zu of %zu greedy tokens equal\n", error, exact, all);
}

}  // namespace
}  // namespace sluice::engine
