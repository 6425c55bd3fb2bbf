// Reads the golden files that tools/golden_text makes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/types.h"

namespace sluice::engine {

struct GoldenInput {
  std::string text;
  bool special = false;
};

inline std::string golden_path(const std::string& file) {
  return SLUICE_SOURCE_DIR "/tests/support/golden_text/" + file;
}

inline std::string golden_file(const std::string& file) { return read_file(golden_path(file), 16u << 20).value(); }

inline std::string tokenizer_path(const std::string& name) {
  return name == "tiny-coder" ? SLUICE_SOURCE_DIR "/models/tiny-coder/tokenizer.json" : golden_path(name + ".json");
}

/// Each line of a file as a document.
inline std::vector<JsonDocument> golden_lines(const std::string& file) {
  std::vector<JsonDocument> lines;
  const std::string text = golden_file(file);
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    lines.push_back(JsonDocument::parse(text.substr(begin, end - begin), file).value());
    begin = end + 1;
  }
  return lines;
}

inline std::vector<TokenId> golden_ids(JsonElement list) {
  std::vector<TokenId> ids;
  for (const JsonElement id : items(list)) ids.push_back(static_cast<TokenId>(as_integer(id).value()));
  return ids;
}

inline std::string from_base64(std::string_view text) {
  std::string out;
  unsigned bits = 0, count = 0;
  for (const char c : text) {
    if (c == '=') break;
    const auto value = std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/").find(c);
    bits = (bits << 6) | static_cast<unsigned>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>(bits >> count));
    }
  }
  return out;
}

inline std::vector<GoldenInput> golden_inputs() {
  std::vector<GoldenInput> inputs;
  for (const JsonDocument& line : golden_lines("inputs.jsonl")) {
    const JsonObject object = fields(line.root());
    inputs.push_back({from_base64(*as_string(*member(object, "input"))), *as_bool(*member(object, "special"))});
  }
  return inputs;
}

}  // namespace sluice::engine
