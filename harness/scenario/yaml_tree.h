// YAML text -> a tree with the place of every node; the strict part of the reading.
//
// What YAML allows and a scenario should not is refused here: duplicate keys, anchors, aliases, merge keys, tags, keys
// that are no scalars, several documents, text that is not UTF-8; depth and size have bounds. Scalars stay text: what a
// plain `yes` or `0x10` means is for whoever knows what is wanted.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/problem.h"

namespace sluice {

struct YamlMember;

struct YamlNode {
  enum class Kind : std::uint8_t { null, scalar, sequence, mapping } kind = Kind::null;
  Place place;
  bool quoted = false;              // "x", 'x', | or >
  std::size_t at = 0;               // where it begins in the text, in bytes
  std::string text;                 // of a scalar
  std::vector<YamlNode> items;      // of a sequence
  std::vector<YamlMember> members;  // of a mapping, in the file's order; keys unique

  bool is_null() const { return kind == Kind::null; }
  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_sequence() const { return kind == Kind::sequence; }
  bool is_mapping() const { return kind == Kind::mapping; }
  const YamlMember* member(std::string_view key) const;
};

struct YamlMember {
  std::string key;
  Place place;  // of the key
  YamlNode value;
};

/// None when the text is no YAML at all (a syntax error is one problem); else the tree, and problems for what was
/// refused.
std::optional<YamlNode> read_yaml(std::string_view text, ProblemList& problems);

/// Where the byte `offset` of a scalar's value stands in the text that read_yaml() was given; the scalar's own place
/// where that cannot be told (folded lines, rare escapes).
Place place_within(std::string_view text, const YamlNode& scalar, std::size_t offset);

}  // namespace sluice
