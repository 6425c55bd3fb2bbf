#include "harness/app/suite_file.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "harness/base/nearest.h"
#include "harness/scenario/yaml_tree.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

/// Complains of keys that are not among `known`.
void check_keys(const YamlNode& node, std::string_view what, std::span<const std::string_view> known,
                ProblemList& problems) {
  for (const YamlMember& member : node.members) {
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    problems.add(member.place, fmt::format("unknown key '{}' of {}{}", member.key, what,
                                           did_you_mean(member.key, {known.begin(), known.end()})));
  }
}

std::string text_of(const YamlNode& node, std::string_view key, ProblemList& problems) {
  const YamlMember* member = node.member(key);
  if (member != nullptr && member->value.is_scalar() && !member->value.text.empty()) return member->value.text;
  problems.add(member != nullptr ? member->value.place : node.place, fmt::format("{}: a text is wanted", key));
  return {};
}

}  // namespace

std::optional<SuiteFile> read_suite(std::string_view text, ProblemList& problems) {
  const auto tree = read_yaml(text, problems);
  if (!tree) return std::nullopt;
  if (!tree->is_mapping()) {
    problems.add(tree->place, "a suite is a mapping of name: and cases:");
    return std::nullopt;
  }
  check_keys(*tree, "a suite", std::array<std::string_view, 2>{"name", "cases"}, problems);
  SuiteFile suite;
  suite.name = text_of(*tree, "name", problems);
  const YamlMember* cases = tree->member("cases");
  if (cases == nullptr || !cases->value.is_sequence() || cases->value.items.empty()) {
    problems.add(cases != nullptr ? cases->value.place : tree->place, "cases: must be a list of at least one case");
    return std::nullopt;
  }
  for (const YamlNode& node : cases->value.items) {
    if (!node.is_mapping()) {
      problems.add(node.place, "a case is a mapping: {run: file.yaml}");
      continue;
    }
    check_keys(node, "a case", std::array<std::string_view, 2>{"run", "needs_model"}, problems);
    SuiteFile::Case& each = suite.cases.emplace_back();
    each.run = text_of(node, "run", problems);
    if (const YamlMember* needs = node.member("needs_model"); needs != nullptr) {
      if (needs->value.text != "true" && needs->value.text != "false")
        problems.add(needs->value.place, "needs_model: true or false is wanted");
      each.needs_model = needs->value.text == "true";
    }
  }
  return problems.empty() ? std::optional(std::move(suite)) : std::nullopt;
}

Result<std::string> find_suite(const std::string& name) {
  std::error_code error;
  if (fs::is_regular_file(name, error)) return {boost::system::in_place_value, name};
  std::vector<fs::path> places;
  if (const char* scenarios = std::getenv("SLUICE_SCENARIOS"); scenarios != nullptr && *scenarios != '\0')
    places.push_back(fs::path(scenarios) / "suites");
  places.push_back(fs::path("scenarios") / "suites");
  const auto self = fs::read_symlink("/proc/self/exe", error);
  if (!error) places.push_back((self.parent_path() / "../../../scenarios/suites").lexically_normal());
  std::string tried;
  for (const fs::path& place : places) {
    const fs::path file = place / (name + ".yaml");
    if (fs::is_regular_file(file, error)) return {boost::system::in_place_value, file.string()};
    tried += (tried.empty() ? "" : ", ") + file.string();
  }
  return fail(fmt::format("there is no suite '{}': looked for it as a file, and for {}", name, tried));
}

}  // namespace sluice
