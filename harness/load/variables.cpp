#include "harness/load/variables.h"

#include <algorithm>

#include "harness/base/letters.h"
#include "harness/base/limits.h"

namespace sluice {
namespace {

template <class List>
auto* find_in(List& list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(), [name](const auto& entry) { return entry.first == name; });
  return found == list.end() ? nullptr : &found->second;
}

OwnValue text_or_nothing(std::optional<std::string_view> text) {
  return text ? OwnValue(std::string(*text)) : OwnValue{};
}

}  // namespace

void FlowVariables::clear() {
  for (auto& [name, value] : values_) value = std::monostate{};
}

bool FlowVariables::set(std::string_view name, OwnValue value) {
  const auto* text = std::get_if<std::string>(&value);
  if (text != nullptr && text->size() > limits::flow_variable_bytes_max) return false;
  if (OwnValue* known = find_in(values_, name)) {
    *known = std::move(value);
  } else {
    values_.emplace_back(std::string(name), std::move(value));
  }
  return true;
}

Value FlowVariables::find(std::string_view name) const {
  const OwnValue* known = find_in(values_, name);
  if (known == nullptr) return {};
  if (const auto* text = std::get_if<std::string>(known)) return std::string_view(*text);
  if (const auto* number = std::get_if<double>(known)) return *number;
  if (const auto* truth = std::get_if<bool>(known)) return *truth;
  return {};
}

OwnValue own(const Value& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return std::string(*text);
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* truth = std::get_if<bool>(&value)) return *truth;
  return {};
}

OwnValue captured(const Capture& capture, const RequestRecord& record, std::string_view text, JsonFinder& json) {
  if (const auto* path = std::get_if<JsonPath>(&capture.from)) return json.find(text, *path);
  if (const auto* pattern = std::get_if<Capture::Pattern>(&capture.from))
    return text_or_nothing(pattern->regex.group_in(text, pattern->group));
  if (const auto* header = std::get_if<Capture::Header>(&capture.from)) {
    for (const auto& [name, value] : record.headers) {
      if (same_letters(name, header->name)) return value;
    }
    return {};
  }
  return text.empty() ? OwnValue{} : OwnValue(std::string(text));
}

void Conversations::clear() {
  for (auto& [name, messages] : told_) messages.clear();
}

std::string& Conversations::messages(std::string_view name) {
  if (std::string* known = find_in(told_, name)) return *known;
  return told_.emplace_back(std::string(name), std::string()).second;
}

}  // namespace sluice
