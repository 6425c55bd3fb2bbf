// The parts of reading a plan that every section needs: keys by table, scalars by kind. Used by load_plan.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/keys.h"
#include "harness/scenario/plan.h"
#include "harness/scenario/problem.h"
#include "harness/scenario/variables.h"
#include "harness/scenario/yaml_tree.h"

namespace sluice {

/// One mapping of the file, read by its table of keys: what the table does not have is a problem, and what the table
/// has must be asked for, so that no key is taken in silence. Asking for a key that is not in the table is a bug.
class Section {
 public:
  /// `what` names it in problems: "a step", "scenario 'chat'".
  Section(const YamlNode& node, std::string_view table, std::string what, ProblemList& problems);
  ~Section();
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

  bool is_mapping() const { return node_.is_mapping(); }
  Place place() const { return node_.place; }
  const YamlNode& node() const { return node_; }

  /// The value of a key of the table; null when the file does not have it. A key without a value is a problem and null.
  const YamlMember* take(std::string_view key);

 private:
  void report_unknown(const YamlMember& member) const;

  const YamlNode& node_;
  const SectionInfo& info_;
  std::string what_;
  ProblemList& problems_;
  std::vector<bool> asked_;
};

/// Scalars with their variables filled in, checked for what is wanted. Each function: none when the member is null
/// (absent), or wrong, which is then a problem.
class ScalarReader final : public LiveNames {
 public:
  ScalarReader(Variables& variables, ProblemList& problems) : variables_(variables), problems_(problems) {
    variables.set_live(*this);
  }
  ScalarReader(const ScalarReader&) = delete;
  ScalarReader& operator=(const ScalarReader&) = delete;

  /// Names that holes may have: "prompts.text" -> the first line of the file without it, 0 when every row has it.
  std::map<std::string, int, std::less<>> hole_names;
  /// Data that could not be read: what its fields are is not known, so holes that name it are no further problem.
  std::set<std::string, std::less<>> unknown_data;
  /// What `setup:` has captured and set, and what the flow being read has, up to the step being read.
  std::set<std::string, std::less<>> setup_names, flow_names;

  bool has(std::string_view name) const override;
  void list(std::vector<std::string_view>& into) const override;
  Variables& variables() { return variables_; }

  std::optional<FilledText> filled(const YamlNode& node, std::string_view key);
  std::optional<std::string> text(const YamlMember* member);
  std::optional<std::string> text(const YamlNode& node, std::string_view key);
  std::optional<std::string> shown_text(const YamlNode& node, std::string_view key);  // for people: secrets masked
  std::optional<Template> pattern(const YamlNode& node, std::string_view key,
                                  Template::Form form = Template::Form::plain);
  /// An expression as `check:`, `if:` and `set:` have it: names stand in it without ${}. `shown`: as written, without
  /// secrets.
  std::optional<Expression> expression(const YamlNode& node, std::string_view key, std::span<const NameInfo> also,
                                       std::string* shown = nullptr);
  std::optional<bool> truth(const YamlMember* member);
  std::optional<std::uint64_t> whole(const YamlMember* member, std::uint64_t least, std::uint64_t most);
  std::optional<double> number(const YamlMember* member, double least, double most);
  std::optional<Nanoseconds> duration(const YamlMember* member);
  std::optional<Nanoseconds> duration(const YamlNode& node, std::string_view key);
  std::optional<Nanoseconds> positive_duration(const YamlMember* member);  // longer than 0s
  /// "1s" or "1s..3s".
  std::optional<std::pair<Nanoseconds, Nanoseconds>> range(const YamlMember* member);
  /// One of the words of the key's shape ("words:a b").
  std::optional<std::string> word(const YamlMember* member, std::string_view table);
  /// A mapping of names to texts.
  std::vector<std::pair<const YamlMember*, std::string>> text_map(const YamlMember* member);

  /// Appends a tree as JSON. Holes stand only inside strings. False when something is wrong.
  bool json(const YamlNode& node, std::string_view key, int depth, Template& out);

  /// Where a message would show a secret, it says so instead.
  void refuse(const YamlNode& node, const FilledText& filled, std::string_view key, std::string_view message);

 private:
  bool knows_holes(const YamlNode& node, const FilledText& filled, std::string_view key);
  bool knows_name(const YamlNode& node, std::string_view name, std::string_view key);

  Variables& variables_;
  ProblemList& problems_;
};

/// Sorted; none that Sluice sets itself.
Tags read_tags(const YamlMember* member, ScalarReader& scalars, ProblemList& problems);
std::vector<std::pair<std::string, Template>> read_headers(const YamlMember& member, ScalarReader& scalars,
                                                           ProblemList& problems);

std::string json_quoted(std::string_view text);
bool is_word(std::string_view text);                          // 1 to 64 letters, digits, _ and -
inline constexpr std::uint64_t kWholeMax = (1ull << 53) - 1;  // what JSON readers hold exactly

}  // namespace sluice
