#include "engine/core/json.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <sstream>
#include <unordered_set>
#include <vector>

#include "engine/core/check.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kDepthMax = 64;       // the deepest file we know, a tokenizer.json, has 7
constexpr std::size_t kLinearKeysMax = 16;  // up to here comparing all pairs is cheaper than hashing

std::optional<std::string> repeated_key(JsonElement element) {
  if (element.is_array()) {
    for (const JsonElement child : items(element)) {
      if (auto key = repeated_key(child)) return key;
    }
    return std::nullopt;
  }
  if (!element.is_object()) return std::nullopt;
  const JsonObject object = fields(element);
  std::vector<std::string_view> few;
  std::unordered_set<std::string_view> many;
  for (const auto field : object) {
    if (few.size() < kLinearKeysMax) {
      for (const std::string_view seen : few) {
        if (seen == field.key) return std::string(field.key);
      }
      few.push_back(field.key);
      continue;
    }
    if (many.empty()) many.insert(few.begin(), few.end());
    if (!many.insert(field.key).second) return std::string(field.key);
  }
  for (const auto field : object) {
    if (auto key = repeated_key(field.value)) return key;
  }
  return std::nullopt;
}

}  // namespace

Result<JsonDocument> JsonDocument::parse(std::string_view text, const std::string& name) {
  JsonDocument document;
  document.parser_ = std::make_unique<simdjson::dom::parser>();
  if (const auto error = document.parser_->allocate(text.size(), kDepthMax)) {
    return fail(fmt::format("{}: {}", name, simdjson::error_message(error)));
  }
  const simdjson::padded_string padded(text);  // strings are copied to the parser's own buffer
  const auto root = document.parser_->parse(padded);
  if (root.error()) return fail(fmt::format("{}: not valid JSON: {}", name, simdjson::error_message(root.error())));
  document.root_ = root.value_unsafe();
  if (const auto key = repeated_key(document.root_)) {
    return fail(fmt::format("{}: the key '{}' stands twice in one object", name, *key));
  }
  return document;
}

Result<std::string> read_file(const std::filesystem::path& path, std::size_t bytes_max) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return fail(fmt::format("{}: no such file", path.string()));
  if (!std::filesystem::is_regular_file(status)) return fail(fmt::format("{}: not a regular file", path.string()));
  const auto size = std::filesystem::file_size(path, error);
  if (error) return fail(fmt::format("{}: {}", path.string(), error.message()));
  if (size > bytes_max) {
    return fail(
        fmt::format("{}: {} bytes, more than the {} this kind of file may have", path.string(), size, bytes_max));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(fmt::format("{}: cannot be opened for reading", path.string()));
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (static_cast<std::size_t>(file.gcount()) != text.size()) {
    return fail(fmt::format("{}: read {} of {} bytes", path.string(), file.gcount(), size));
  }
  return text;
}

std::optional<JsonElement> member(JsonObject object, std::string_view key) {
  const auto found = object.at_key(key);
  if (found.error()) return std::nullopt;
  const JsonElement element = found.value_unsafe();
  if (element.is_null()) return std::nullopt;
  return element;
}

std::optional<std::int64_t> as_integer(JsonElement element) {
  const auto value = element.get_int64();
  if (value.error()) return std::nullopt;
  return value.value_unsafe();
}

std::optional<double> as_number(JsonElement element) {
  const auto value = element.get_double();  // converts integers
  if (value.error() || !std::isfinite(value.value_unsafe())) return std::nullopt;
  return value.value_unsafe();
}

std::optional<std::string_view> as_string(JsonElement element) {
  const auto value = element.get_string();
  if (value.error()) return std::nullopt;
  return value.value_unsafe();
}

std::optional<bool> as_bool(JsonElement element) {
  const auto value = element.get_bool();
  if (value.error()) return std::nullopt;
  return value.value_unsafe();
}

JsonArray items(JsonElement element) {
  SLUICE_ENGINE_CHECK(element.is_array());
  return element.get_array().value_unsafe();
}

JsonObject fields(JsonElement element) {
  SLUICE_ENGINE_CHECK(element.is_object());
  return element.get_object().value_unsafe();
}

std::string shown(JsonElement element) {
  constexpr std::size_t kShownMax = 60;
  std::string text;
  if (element.is_object()) {
    text = "{...}";
  } else if (element.is_array() && items(element).size() > 16) {
    text = "[...]";
  } else {
    text = simdjson::minify(element);
  }
  if (text.size() > kShownMax) {
    std::size_t end = kShownMax;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a code point
    text = text.substr(0, end) + "...";
  }
  return text;
}

}  // namespace sluice::engine
