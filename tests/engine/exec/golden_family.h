// The small random models of tests/support/golden/families and what transformers says of them, for the parity test of
// any executor: load one, feed its tokens, hand every row to GoldenScore.
//
// Made by tools/golden/families.py. Nothing here knows an executor. Link Boost::json.
#pragma once

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/safetensors.h"
#include "engine/model/weights.h"
#include "tests/engine/exec/normalized_error.h"

namespace sluice::engine::test {

inline const std::filesystem::path kGoldenFamilies = SLUICE_SOURCE_DIR "/tests/support/golden/families";

struct GoldenSequence {
  std::vector<TokenId> tokens;  // the prompt, and the greedy tokens after it
  std::uint32_t prompt = 0;     // tokens of the prompt
  std::vector<float> logits;    // [tokens.size() - 1, vocab]
};

struct GoldenFamily {
  ModelConfig config;
  Weights weights;
  std::uint32_t context = 0;  // tokens a sequence may hold where the model is served: longrope's factors follow from it
  std::vector<GoldenSequence> sequences;
};

/// The folders' names in order.
inline std::vector<std::string> golden_families() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenFamilies))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

inline boost::json::value read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return boost::json::parse(text.str());
}

inline std::vector<TokenId> token_ids(const boost::json::value& ids) {
  std::vector<TokenId> tokens;
  for (const auto& id : ids.as_array()) tokens.push_back(static_cast<TokenId>(id.as_int64()));
  return tokens;
}

inline std::vector<float> floats_named(const std::vector<TensorView>& tensors, const std::string& name) {
  const auto view =
      std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& tensor) { return tensor.name == name; });
  if (view == tensors.end()) return {};
  std::vector<float> values(view->data.size() / sizeof(float));
  std::memcpy(values.data(), view->data.data(), view->data.size());
  return values;
}

/// The value, or an exception with the error's message: a test ends with it.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

inline GoldenFamily load_golden_family(const std::string& name) {
  const auto folder = kGoldenFamilies / name;
  GoldenFamily family;
  family.config = must(load_config(folder));
  family.weights = must(load_weights(folder, family.config));
  const MappedFile file = must(MappedFile::open(folder / "logits.safetensors"));
  const std::vector<TensorView> logits = must(parse_safetensors(file.bytes(), name + "/logits.safetensors"));
  const boost::json::value document = read_json(folder / "golden.json");
  family.context = static_cast<std::uint32_t>(document.at("context").as_int64());
  for (const auto& each : document.at("sequences").as_array()) {
    GoldenSequence sequence;
    sequence.tokens = token_ids(each.at("prompt"));
    sequence.prompt = static_cast<std::uint32_t>(sequence.tokens.size());
    for (const TokenId token : token_ids(each.at("greedy"))) sequence.tokens.push_back(token);
    sequence.logits = floats_named(logits, "logits." + std::to_string(family.sequences.size()));
    if (sequence.logits.size() != (sequence.tokens.size() - 1) * family.config.vocab_size)
      throw std::runtime_error(name + ": logits.safetensors and golden.json differ");
    family.sequences.push_back(std::move(sequence));
  }
  return family;
}

/// What an executor's rows are worth, against the bounds that every back end is held to.
class GoldenScore {
 public:
  static constexpr double kErrorMax = 5e-4;      // normalised mean squared error over all rows
  static constexpr float kNearTieNats = 0.125f;  // a greedy token may differ where the golden logits are so close

  explicit GoldenScore(const GoldenFamily& family) : family_(family) {}

  /// `logits`: what `position` of sequence `sequence` gave; `token`: what was drawn greedily from them.
  void add(std::size_t sequence, std::size_t position, std::span<const float> logits, TokenId token) {
    const std::size_t vocab = family_.config.vocab_size;
    const std::span<const float> golden(family_.sequences.at(sequence).logits.data() + position * vocab, vocab);
    seen_.insert(seen_.end(), logits.begin(), logits.end());
    expected_.insert(expected_.end(), golden.begin(), golden.end());
    ++rows_;
    const auto best = std::max_element(golden.begin(), golden.end());
    same_ += best - golden.begin() == token ? 1 : 0;
    if (!(*best - golden[static_cast<std::size_t>(token)] <= kNearTieNats)) ++wrong_;
    worst_row_ = std::max(worst_row_, normalized_error(logits, golden));
  }

  double error() const { return normalized_error(seen_, expected_); }
  double worst_row() const { return worst_row_; }
  std::size_t rows() const { return rows_; }
  std::size_t same_tokens() const { return same_; }    // of rows()
  std::size_t wrong_tokens() const { return wrong_; }  // neither the same nor a near tie

 private:
  const GoldenFamily& family_;
  std::vector<float> seen_, expected_;
  double worst_row_ = 0;
  std::size_t rows_ = 0, same_ = 0, wrong_ = 0;
};

}  // namespace sluice::engine::test
