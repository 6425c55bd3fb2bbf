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

const std::filesystem::path kGolden = std::filesystem::path(SLUICE_SOURCE_DIR) / "tests/support/golden/random-llama";

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
  std::ifstream text(kGolden / "golden.json");
  std::stringstream json;
  json << text.rdbuf();
  const auto document = boost::json::parse(json.str());
  const std::size_t vocab = config->vocab_size;

  double worst = 0;
  std::vector<float> all_seen, all_expected;
  std::size_t sequences = 0;
  for (const auto& [length, ids] : document.at("tokens").as_object()) {
    std::vector<TokenId> tokens;
    for (const auto& id : ids.as_array()) tokens.push_back(static_cast<TokenId>(id.as_int64()));
    const auto view = std::find_if(
        golden->begin(), golden->end(),
        [name = "logits." + std::string(length)](const TensorView& tensor) { return tensor.name == name; });
    ASSERT_NE(view, golden->end()) << length;
    ASSERT_EQ(view->data.size(), tokens.size() * vocab * sizeof(float));
    std::vector<float> expected(tokens.size() * vocab);
    std::memcpy(expected.data(), view->data.data(), view->data.size());

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

}  // namespace
}  // namespace sluice::engine
