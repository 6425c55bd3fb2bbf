#include "harness/scenario/json_path.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <charconv>
#include <span>

#include "harness/base/limits.h"

namespace sluice {

namespace {

bool in_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
         static_cast<unsigned char>(c) >= 0x80;
}

Error at(std::size_t offset, std::string_view what) {
  return fail(fmt::format("at character {}: {}", offset + 1, what));
}

}  // namespace

Result<JsonPath> JsonPath::parse(std::string_view text) {
  constexpr std::string_view example = "a path looks like $.choices[0].id";
  if (text.size() > limits::expression_bytes_max)
    return fail(fmt::format("longer than {} bytes", limits::expression_bytes_max));
  if (!text.starts_with('$')) return at(0, fmt::format("a path begins with '$': {}", example));
  JsonPath path;
  for (std::size_t i = 1; i < text.size();) {
    if (path.parts_.size() == limits::json_path_steps_max)
      return at(i, fmt::format("more than {} steps", limits::json_path_steps_max));
    Part part;
    if (text[i] == '.') {
      const std::size_t from = ++i;
      if (from < text.size() && text[from] == '.')
        return at(from, "'..' (search at any depth) is not taken: name each step");
      if (from < text.size() && text[from] == '*') return at(from, "write [*] instead of .*");
      while (i < text.size() && in_name(text[i])) ++i;
      if (i == from) return at(from, "a name is missing after '.'; other names stand as ['name']");
      part.name = text.substr(from, i - from);
    } else if (text[i] == '[') {
      const std::size_t from = ++i;
      const char first = from < text.size() ? text[from] : '\0';
      if (first == '\'' || first == '"') {
        for (++i; i < text.size() && text[i] != first; ++i) {
          if (text[i] == '\\' && i + 1 < text.size()) ++i;
          part.name += text[i];
        }
        if (i >= text.size()) return at(from, "the name that starts here has no closing quote");
        ++i;
      } else if (first == '*') {
        part.kind = Part::Kind::any;
        ++i;
      } else if (first == '?' || first == '(') {
        return at(from, "filters are not taken; [*] finds the first item under which the rest of the path fits");
      } else {
        part.kind = Part::Kind::index;
        const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), part.index);
        if (error != std::errc{}) return at(from, "in brackets stands a number from 0, *, or a name in quotes");
        i = static_cast<std::size_t>(end - text.data());
      }
      if (i >= text.size() || text[i] != ']') {
        const bool slice = i < text.size() && (text[i] == ':' || text[i] == ',');
        return at(i, slice ? "slices and unions are not taken: one number, or *" : "']' is missing");
      }
      ++i;
    } else {
      return at(i, fmt::format("'.' or '[' is wanted: {}", example));
    }
    path.parts_.push_back(std::move(part));
  }
  return path;
}

struct JsonFinder::State {
  simdjson::dom::parser parser{limits::body_bytes_kept + 1};
  std::size_t visits = 0;  // of the search under way

  OwnValue take(const simdjson::dom::element& element) const {
    using simdjson::dom::element_type;
    constexpr std::int64_t exact = std::int64_t{1} << 53;
    switch (element.type()) {
      case element_type::BOOL:
        return element.get_bool().value_unsafe();
      case element_type::DOUBLE:
        return element.get_double().value_unsafe();
      case element_type::INT64: {
        const std::int64_t number = element.get_int64().value_unsafe();
        if (number >= -exact && number <= exact) return static_cast<double>(number);
        return std::to_string(number);
      }
      case element_type::UINT64:
        return std::to_string(element.get_uint64().value_unsafe());  // too large for INT64
      case element_type::STRING:
        return std::string(element.get_string().value_unsafe());
      case element_type::NULL_VALUE:
        return {};
      default:
        return simdjson::minify(element);
    }
  }

  OwnValue find(const simdjson::dom::element& element, std::span<const JsonPath::Part> rest) {
    if (rest.empty()) return take(element);
    if (++visits > limits::json_path_visits_max) return {};
    const JsonPath::Part& part = rest.front();
    simdjson::dom::element next;
    switch (part.kind) {
      case JsonPath::Part::Kind::member: {
        simdjson::dom::object object;
        if (element.get_object().get(object) || object.at_key(part.name).get(next)) return {};
        return find(next, rest.subspan(1));
      }
      case JsonPath::Part::Kind::index: {
        simdjson::dom::array array;
        if (element.get_array().get(array) || array.at(part.index).get(next)) return {};
        return find(next, rest.subspan(1));
      }
      case JsonPath::Part::Kind::any:
        break;
    }
    if (simdjson::dom::array array; !element.get_array().get(array)) {
      for (const auto item : array) {
        if (auto found = find(item, rest.subspan(1)); found.index() != 0) return found;
        if (visits > limits::json_path_visits_max) break;
      }
    } else if (simdjson::dom::object object; !element.get_object().get(object)) {
      for (const auto member : object) {
        if (auto found = find(member.value, rest.subspan(1)); found.index() != 0) return found;
        if (visits > limits::json_path_visits_max) break;
      }
    }
    return {};
  }
};

JsonFinder::JsonFinder() = default;
JsonFinder::~JsonFinder() = default;

OwnValue JsonFinder::find(std::string_view json, const JsonPath& path) {
  if (json.empty()) return {};  // simdjson would copy from a null pointer
  if (state_ == nullptr) state_ = std::make_unique<State>();
  simdjson::dom::element root;
  if (state_->parser.parse(json.data(), json.size(), true).get(root)) return {};
  state_->visits = 0;
  return state_->find(root, path.parts());
}

}  // namespace sluice
