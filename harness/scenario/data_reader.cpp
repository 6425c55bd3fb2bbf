#include "harness/scenario/data_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

#include "harness/base/limits.h"
#include "harness/scenario/data_file.h"
#include "harness/scenario/prompt_generator.h"

namespace sluice {
namespace {

bool parse_whole(std::string_view text, std::uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

class DataReader {
 public:
  DataReader(const LoadOptions& options, Plan& plan, ScalarReader& scalars, ProblemList& problems)
      : options_(options), plan_(plan), scalars_(scalars), problems_(problems) {}

  void read(const YamlMember& entry) {
    scalars_.unknown_data.insert(entry.key);  // until it has been read
    Section section(entry.value, "data", fmt::format("data '{}'", entry.key), problems_);
    if (!section.is_mapping()) return;
    DataSet set;
    set.name = entry.key;
    const auto *file = section.take("file"), *generate = section.take("generate");
    const auto* format = section.take("format");
    const auto* limit = section.take("limit");
    const std::size_t rows_max = scalars_.whole(limit, 1, limits::data_rows_max).value_or(limits::data_rows_max);
    read_order(section, set);
    if ((file == nullptr) == (generate == nullptr)) {
      problems_.add(
          generate != nullptr ? generate->place : entry.place,
          fmt::format("data '{}': {}", entry.key,
                      file != nullptr ? "has file and generate: one of them is wanted" : "needs file: or generate:"));
      return;
    }
    for (const YamlMember* only_of_files : {format, limit}) {
      if (generate != nullptr && only_of_files != nullptr)
        problems_.add(only_of_files->place,
                      fmt::format("{}: is for files, and this data is generated", only_of_files->key));
    }
    const auto format_name = scalars_.word(format, "data");
    auto rows = file != nullptr ? read_file(*file, format_name, rows_max) : generated(*generate);
    if (!rows) return;
    if (!rows->rows.empty()) scalars_.unknown_data.erase(entry.key);
    for (const auto& field : rows->fields) {
      const auto lacking = rows->lacking.find(field);
      scalars_.hole_names[set.name + "." + field] = lacking == rows->lacking.end() ? 0 : lacking->second;
    }
    set.fields = std::move(rows->fields);
    set.rows = std::move(rows->rows);
    plan_.data.push_back(std::move(set));
  }

 private:
  void read_order(Section& section, DataSet& set) {
    const auto order = scalars_.word(section.take("order"), "data");
    set.order = order == "random"   ? DataSet::Order::random
                : order == "unique" ? DataSet::Order::unique
                                    : DataSet::Order::sequential;
    set.seed = scalars_.whole(section.take("seed"), 0, kWholeMax).value_or(plan_.seed);
    const auto* at_end = section.take("at_end");
    if (scalars_.word(at_end, "data") == "wrap") set.at_end = DataSet::AtEnd::wrap;
    if (at_end != nullptr && set.order != DataSet::Order::unique)
      problems_.add(at_end->place, "at_end: is for order: unique; in the other orders rows never run out");
  }

  std::optional<DataRows> read_file(const YamlMember& file, const std::optional<std::string>& format_name,
                                    std::size_t rows_max) {
    const auto path = scalars_.text(&file);
    if (!path) return std::nullopt;
    if (path->empty()) {
      problems_.add(file.value.place, "file: names no file");
      return std::nullopt;
    }
    const auto full = (std::filesystem::path(plan_.file).parent_path() / *path).string();
    const auto cannot = [&](std::string_view why) {
      problems_.add(file.value.place, fmt::format("file: {}: {}", full, why));
      return std::nullopt;
    };
    const DataFormat format = !format_name                 ? data_format_of(*path)
                              : *format_name == "jsonl"    ? DataFormat::jsonl
                              : *format_name == "json"     ? DataFormat::json
                              : *format_name == "sharegpt" ? DataFormat::sharegpt
                              : *format_name == "csv"      ? DataFormat::csv
                                                           : DataFormat::text;
    DataRows rows;
    if (is_streamed(format)) {
      const auto why = read_in_blocks(options_, full, [&](const NextBlock& next_block) {
        rows = read_data_stream(next_block, format, full, problems_, rows_max);
      });
      if (why) return cannot(*why);
    } else {
      const auto bytes =
          options_.read_file ? options_.read_file(full) : read_whole_file(full, limits::data_file_bytes_max);
      if (!bytes) return cannot(bytes.error().message);
      rows = read_data(*bytes, format, full, problems_, rows_max);
    }
    if (rows.rows.empty() && problems_.empty())
      problems_.add(file.value.place,
                    format == DataFormat::sharegpt
                        ? fmt::format("file: {} has no conversation with a human turn and an answer", full)
                        : fmt::format("file: {} has no rows", full));
    return rows;
  }

  /// "512" or "100..500".
  std::optional<std::pair<std::uint64_t, std::uint64_t>> token_range(const YamlMember* member) {
    const auto text = scalars_.text(member);
    if (!text) return std::nullopt;
    const auto dots = text->find("..");
    std::pair<std::uint64_t, std::uint64_t> range;
    const std::string_view first = std::string_view(*text).substr(0, dots);
    const std::string_view second = dots == std::string::npos ? first : std::string_view(*text).substr(dots + 2);
    constexpr std::uint64_t kMost = 1u << 20;
    if (parse_whole(first, range.first) && parse_whole(second, range.second) && range.first >= 1 &&
        range.first <= range.second && range.second <= kMost)
      return range;
    if (const auto filled = scalars_.filled(member->value, member->key))
      scalars_.refuse(member->value, *filled, member->key,
                      fmt::format("'{}' is no number of tokens: write 512, or 100..500; at most {}", *text, kMost));
    return std::nullopt;
  }

  std::optional<DataRows> generated(const YamlMember& member) {
    Section section(member.value, "generate", "generate", problems_);
    if (!section.is_mapping()) return std::nullopt;
    PromptSpec spec;
    const auto prompts = scalars_.whole(section.take("prompts"), 1, limits::data_rows_max);
    const auto* tokens = section.take("tokens");
    const auto range = token_range(tokens);
    const auto* prefix = section.take("prefix_tokens");
    const auto prefix_tokens = scalars_.whole(prefix, 0, 1u << 20);
    spec.seed = scalars_.whole(section.take("seed"), 0, kWholeMax).value_or(plan_.seed);
    if (!prompts || !range || (prefix != nullptr && !prefix_tokens)) return std::nullopt;
    spec.prompts = *prompts;
    spec.tokens_min = range->first;
    spec.tokens_max = range->second;
    spec.prefix_tokens = prefix_tokens.value_or(0);
    if (spec.prefix_tokens > spec.tokens_min) {
      problems_.add(prefix->value.place,
                    fmt::format("prefix_tokens: {} are more than the {} of the shortest prompt, to which they belong",
                                spec.prefix_tokens, spec.tokens_min));
      return std::nullopt;
    }
    if (spec.prompts * spec.tokens_max > limits::generated_tokens_max) {
      problems_.add(member.place, fmt::format("generate: {} prompts of {} tokens: at most {} tokens together",
                                              spec.prompts, spec.tokens_max, limits::generated_tokens_max));
      return std::nullopt;
    }
    DataRows rows;
    rows.fields = {"text", "tokens"};
    for (GeneratedPrompt& prompt : generate_prompts(spec))
      rows.rows.push_back({std::move(prompt.text), std::to_string(prompt.tokens)});
    return rows;
  }

  const LoadOptions& options_;
  Plan& plan_;
  ScalarReader& scalars_;
  ProblemList& problems_;
};

bool is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

/// Does `name.field` stand in the text?
bool names(std::string_view text, std::string_view name) {
  for (auto at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
    const std::size_t after = at + name.size();
    if (after + 1 < text.size() && text[after] == '.' && is_word_character(text[after + 1]) &&
        (at == 0 || !is_word_character(text[at - 1])))
      return true;
  }
  return false;
}

bool mentions(const YamlNode& node, std::string_view name) {
  return names(node.text, name) ||
         std::any_of(node.items.begin(), node.items.end(), [&](const auto& item) { return mentions(item, name); }) ||
         std::any_of(node.members.begin(), node.members.end(),
                     [&](const auto& member) { return mentions(member.value, name); });
}

}  // namespace

Result<std::string> read_whole_file(const std::string& path, std::size_t bytes_max) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return fail("this is a folder");
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(std::filesystem::exists(path, error) ? "cannot be opened" : "there is no such file");
  std::string bytes;
  std::array<char, 65536> block{};
  while (file) {
    file.read(block.data(), block.size());
    bytes.append(block.data(), static_cast<std::size_t>(file.gcount()));
    if (bytes.size() > bytes_max) return fail(fmt::format("is larger than {} bytes", bytes_max));
  }
  if (file.bad()) return fail("cannot be read");
  return {boost::system::in_place_value, std::move(bytes)};  // both T and Error can be made of a string
}

std::optional<std::string> read_in_blocks(const LoadOptions& options, const std::string& path,
                                          const std::function<void(const NextBlock&)>& read) {
  if (options.read_file) {
    const auto bytes = options.read_file(path);
    if (!bytes) return bytes.error().message;
    std::string_view left = *bytes;
    read([&left] { return std::exchange(left, {}); });
    return std::nullopt;
  }
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return "this is a folder";
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return std::filesystem::exists(path, error) ? "cannot be opened" : "there is no such file";
  std::string block(1u << 18, '\0');
  read([&] {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    return std::string_view(block).substr(0, static_cast<std::size_t>(stream.gcount()));
  });
  return stream.bad() ? std::optional<std::string>("cannot be read") : std::nullopt;
}

void read_data_sets(const YamlMember& data, const LoadOptions& options, Plan& plan, ScalarReader& scalars,
                    ProblemList& problems) {
  if (!data.value.is_mapping()) return problems.add(data.value.place, "data: must be a mapping of names to files");
  DataReader reader(options, plan, scalars, problems);
  for (const auto& entry : data.value.members) {
    if (!is_word(entry.key))
      problems.add(entry.place, fmt::format("'{}' is no name for data: letters, digits, _ and -", entry.key));
    reader.read(entry);
  }
}

void deal_unique_rows(const YamlNode& file, Plan& plan) {
  const YamlMember *scenarios = file.member("scenarios"), *flows = file.member("flows");
  if (scenarios == nullptr) return;
  for (DataSet& set : plan.data) {
    if (set.order != DataSet::Order::unique) continue;
    for (std::uint32_t i = 0; i < plan.scenarios.size(); ++i) {
      const YamlMember* scenario = scenarios->value.member(plan.scenarios[i].name);
      if (scenario == nullptr) continue;
      const YamlMember* flow = scenario->value.member("flow");
      const bool named = flow != nullptr && flow->value.is_scalar() && flows != nullptr;
      const YamlMember* shared = named ? flows->value.member(flow->value.text) : nullptr;
      if (mentions(scenario->value, set.name) || (shared != nullptr && mentions(shared->value, set.name)))
        set.dealt_to.push_back(i);
    }
  }
}

}  // namespace sluice
