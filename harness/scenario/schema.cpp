#include <fmt/format.h>

#include <boost/json.hpp>
#include <string>

#include "harness/base/check.h"
#include "harness/scenario/keys.h"

namespace sluice {

namespace {

namespace json = boost::json;

// A variable may stand wherever a scalar stands.
json::value or_variable(json::object plain) {
  return json::object{
      {"anyOf", json::array{std::move(plain), json::object{{"type", "string"}, {"pattern", "\\$\\{"}}}}};
}

// The first "|" that is not inside parentheses.
std::size_t top_bar(std::string_view shape) {
  int depth = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == '(') ++depth;
    if (shape[i] == ')') --depth;
    if (shape[i] == '|' && depth == 0) return i;
  }
  return std::string_view::npos;
}

json::value schema_of(std::string_view shape) {
  if (shape.starts_with('(') && shape.ends_with(')')) return schema_of(shape.substr(1, shape.size() - 2));
  if (top_bar(shape) != std::string_view::npos) {
    json::array choices;
    while (true) {
      const auto at = top_bar(shape);
      choices.push_back(schema_of(shape.substr(0, at)));
      if (at == std::string_view::npos) break;
      shape.remove_prefix(at + 1);
    }
    return json::object{{"anyOf", std::move(choices)}};
  }
  const auto colon = shape.find(':');
  const auto head = shape.substr(0, colon);
  const auto rest = colon == std::string_view::npos ? std::string_view() : shape.substr(colon + 1);
  if (head == "text") return json::object{{"type", json::array{"string", "number", "boolean", "null"}}};
  if (head == "truth") return or_variable({{"type", "boolean"}});
  if (head == "whole") return or_variable({{"type", "integer"}});
  if (head == "number") return or_variable({{"type", "number"}});
  if (head == "json") return json::object{};
  if (head == "duration") return or_variable({{"type", "string"}, {"pattern", "^([0-9.]+(ns|us|ms|s|m|h|d))+$"}});
  if (head == "range") {
    return or_variable(
        {{"type", "string"}, {"pattern", "^([0-9.]+(ns|us|ms|s|m|h|d))+(\\.\\.([0-9.]+(ns|us|ms|s|m|h|d))+)?$"}});
  }
  if (head == "section") return json::object{{"$ref", fmt::format("#/$defs/{}", rest)}};
  if (head == "map") return json::object{{"type", "object"}, {"additionalProperties", schema_of(rest)}};
  if (head == "list") return json::object{{"type", "array"}, {"items", schema_of(rest)}};
  SLUICE_CHECK(head == "words");
  json::array words;
  for (std::string_view left = rest; !left.empty();) {
    const auto blank = left.find(' ');
    words.emplace_back(left.substr(0, blank));
    left = blank == std::string_view::npos ? std::string_view() : left.substr(blank + 1);
  }
  return or_variable({{"enum", std::move(words)}});
}

json::object schema_of(const SectionInfo& section) {
  json::object properties;
  json::array required;
  for (const auto& key : section.keys) {
    auto property = schema_of(key.shape).as_object();
    property["description"] = key.help;
    properties[key.name] = std::move(property);
    if (key.required) required.emplace_back(key.name);
  }
  json::object schema{{"type", "object"},
                      {"description", section.help},
                      {"additionalProperties", false},
                      {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

// Boost.JSON writes no line breaks, and this file is read in diffs.
void write(const json::value& value, int indent, std::string& out) {
  const std::string inner(static_cast<std::size_t>(indent) + 2, ' ');
  if (const auto* object = value.if_object(); object && !object->empty()) {
    const char* before = "{\n";
    for (const auto& [key, member] : *object) {
      out += before + inner + json::serialize(json::string(key)) + ": ";
      write(member, indent + 2, out);
      before = ",\n";
    }
    out += "\n" + std::string(static_cast<std::size_t>(indent), ' ') + "}";
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string scenario_schema() {
  const auto sections = scenario_sections();
  json::object schema = schema_of(sections.front());
  json::object definitions;
  for (const auto& section : sections.subspan(1)) definitions[section.name] = schema_of(section);
  json::object whole{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "Sluice scenario"}};
  for (auto& [key, value] : schema) whole[key] = std::move(value);
  whole["$defs"] = std::move(definitions);
  std::string out;
  write(whole, 0, out);
  return out + "\n";
}

}  // namespace sluice
