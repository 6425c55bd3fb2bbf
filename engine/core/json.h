// JSON files of a model folder, read once at load: bounded, and refused where they say a thing twice.
//
// Include from .cpp files only: simdjson's header is large.
#pragma once

#include <simdjson.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace sluice::engine {

using JsonElement = simdjson::dom::element;
using JsonObject = simdjson::dom::object;
using JsonArray = simdjson::dom::array;

/// A parsed document. Elements of it live as long as it does. Keys are unique in every object.
class JsonDocument {
 public:
  /// `text` is untrusted; `name` is used in messages.
  static Result<JsonDocument> parse(std::string_view text, const std::string& name);
  JsonElement root() const { return root_; }

 private:
  std::unique_ptr<simdjson::dom::parser> parser_;  // owns the tape that elements point into
  JsonElement root_;
};

/// The whole of a regular file of at most `bytes_max` bytes.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t bytes_max);

/// The member `key`, or nothing when it is absent or null: the libraries that write these files use the two alike.
std::optional<JsonElement> member(JsonObject object, std::string_view key);

/// The element as a number; nothing when it is of another kind, a fraction or out of int64's range.
std::optional<std::int64_t> as_integer(JsonElement element);
std::optional<double> as_number(JsonElement element);
std::optional<std::string_view> as_string(JsonElement element);
std::optional<bool> as_bool(JsonElement element);

/// By value, so that a range-for may loop over the call.
JsonArray items(JsonElement element);    // REQUIRES: element.is_array()
JsonObject fields(JsonElement element);  // REQUIRES: element.is_object()

/// The element as it would stand in a message: at most 60 characters of JSON.
std::string shown(JsonElement element);

}  // namespace sluice::engine
