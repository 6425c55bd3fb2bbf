// Every key of a scenario file: where it may stand, what it holds, and a sentence about it. The one list: the reader
// takes no other key, and schema.json is generated from it.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace sluice {

struct KeyInfo {
  std::string_view name;
  /// What it holds: text, truth, whole, number, duration, range, json, section:NAME, map:SHAPE, list:SHAPE,
  /// words:a b c; several joined by "|", in parentheses where they are of a map or a list: map:(text|list:text).
  std::string_view shape;
  std::string_view help;
  bool required = false;
};

struct SectionInfo {
  std::string_view name;
  std::string_view help;
  std::span<const KeyInfo> keys;
};

/// All of them; the first is the file itself.
std::span<const SectionInfo> scenario_sections();
const SectionInfo& section_named(std::string_view name);

/// The JSON Schema of scenario files, for editors; ends in a line feed.
std::string scenario_schema();

}  // namespace sluice
