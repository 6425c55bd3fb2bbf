// Against logits that transformers computed in float32 (tests/support/golden, made by tools/golden).
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/model/safetensors.h"
#include "tests/engine/exec/cpu_model.h"

namespace sluice::engine {
namespace {

using namespace test;

const std::filesystem::path kSource = SLUICE_SOURCE_DIR;
const std::filesystem::path kGolden = kSource / "tests/support/golden/random-llama";

boost::json::value read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return boost::json::parse(text.str());
}

std::vector<TokenId> token_ids(const boost::json::value& ids) {
  std::vector<TokenId> tokens;
  for (const auto& id : ids.as_array()) tokens.push_back(static_cast<TokenId>(id.as_int64()));
  return tokens;
}

std::vector<float> floats_named(const std::vector<TensorView>& tensors, const std::string& name) {
  const auto view =
      std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& tensor) { return tensor.name == name; });
  if (view == tensors.end()) return {};
  std::vector<float> values(view->data.size() / sizeof(float));
  std::memcpy(values.data(), view->data.data(), view->data.size());
  return values;
}

class CpuParity : public testing::TestWithParam<cpu::Isa> {};
INSTANTIATE_TEST_SUITE_P(, CpuParity, testing::ValuesIn(cpu::supported_isas()),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST_P(CpuParity, LogitsAndGreedyTokensAreTransformers) {
  const auto config = load_config(kGolden);
  ASSERT_TRUE(config.has_value()) << config.error().message;
  const auto weights = load_weights(kGolden, *config);
  ASSERT_TRUE(weights.has_value()) << weights.error().message;
  const auto file = MappedFile::open(kGolden / "logits.safetensors");
  ASSERT_TRUE(file.has_value());
  const auto golden = parse_safetensors(file->bytes(), "logits.safetensors");
  ASSERT_TRUE(golden.has_value()) << golden.error().message;
  const auto document = read_json(kGolden / "golden.json");
  const std::size_t vocab = config->vocab_size;

  double worst = 0;
  std::vector<float> all_seen, all_expected;
  std::size_t sequences = 0;
  for (const auto& [length, ids] : document.at("tokens").as_object()) {
    const std::vector<TokenId> tokens = token_ids(ids);
    const std::vector<float> expected = floats_named(*golden, "logits." + std::string(length));
    ASSERT_EQ(expected.size(), tokens.size() * vocab) << length;

    CpuOptions options;
    options.isa = GetParam();
    options.threads = 2;
    options.slots_max = 1;
    std::vector<float> seen;
    options.logits_sink = [&](SlotId, std::uint32_t, std::span<const float> logits) {
      seen.insert(seen.end(), logits.begin(), logits.end());
    };
    const auto executor = make_executor(*config, *weights, options);
    const auto blocks = first_blocks(4);
    for (std::uint32_t position = 0; position < tokens.size(); ++position) {
      const Sampled sampled = step(*executor, {{0, position, 1, &tokens, &blocks}}).at(0);
      const float* row = expected.data() + position * vocab;
      const float best = *std::max_element(row, row + vocab);
      EXPECT_LE(best - row[sampled.token], 0.125f) << "length " << length << " position " << position;
      worst =
          std::max(worst, normalized_error(std::span(seen).subspan(position * vocab, vocab), std::span(row, vocab)));
    }
    all_seen.insert(all_seen.end(), seen.begin(), seen.end());
    all_expected.insert(all_expected.end(), expected.begin(), expected.end());
    ++sequences;
  }
  EXPECT_EQ(sequences, 4u);
  EXPECT_LT(worst, 1e-3);
  const double overall = normalized_error(all_seen, all_expected);
  EXPECT_LT(overall, 2e-4);
  std::printf("NMSE %.2e, of the worst position %.2e\n", overall, worst);
}

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
