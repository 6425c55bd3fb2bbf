#include "harness/scenario/yaml_tree.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <sstream>
#include <unordered_map>

#include "harness/base/limits.h"

namespace sluice {

namespace {

Place place_of(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

struct Stop {};  // thrown through yaml-cpp out of a handler; the problem is recorded already

// Where the text stops being UTF-8; its size when it does not.
std::size_t utf8_until(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned lead = byte(at);
    if (lead == 0) return at;
    if (lead < 0x80) {
      ++at;
      continue;
    }
    const std::size_t length = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4) return at;
    for (std::size_t i = 1; i < length; ++i) {
      if ((byte(at + i) & 0xc0) != 0x80) return at;
    }
    if ((lead == 0xe0 && byte(at + 1) < 0xa0) || (lead == 0xed && byte(at + 1) > 0x9f) ||
        (lead == 0xf0 && byte(at + 1) < 0x90) || (lead == 0xf4 && byte(at + 1) > 0x8f)) {
      return at;
    }
    at += length;
  }
  return at;
}

Place place_at(std::string_view text, std::size_t offset) {
  Place place{1, 1};
  for (const char c : text.substr(0, offset)) {
    if (c == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  }
  return place;
}

// yaml-cpp takes the end of the file for the end of a quoted text.
bool is_closed(std::string_view text, std::size_t from) {
  if (from >= text.size() || (text[from] != '"' && text[from] != '\'')) return true;
  const char quote = text[from];
  for (std::size_t i = from + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '\'' && i + 1 < text.size() && text[i + 1] == '\'') {
        ++i;
      } else {
        return true;
      }
    }
  }
  return false;
}

class Builder : public YAML::EventHandler {
 public:
  Builder(std::string_view text, ProblemList& problems) : text_(text), problems_(problems) {}

  YamlNode take() { return std::move(root_); }
  int documents() const { return documents_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1)
      stop(mark,
           "a scenario file is one YAML document: remove the '---' and what follows, or make it a file of its own");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    YamlNode node;
    node.place = place_of(mark);
    add(std::move(node));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    refuse_tag(mark, tag);
    if (tag == "!" && mark.pos >= 0 && !is_closed(text_, static_cast<std::size_t>(mark.pos))) {
      stop(mark, "the text that starts here has no closing quote");
    }
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.place = place_of(mark);
    node.quoted = tag == "!";
    node.at = mark.pos >= 0 ? static_cast<std::size_t>(mark.pos) : 0;
    node.text = value;
    add(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problems_.add(place_of(mark),
                  "aliases (*name) are not taken here: write the value out, or give a flow a name under 'flows:'");
    OnNull(mark, 0);
  }
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    problems_.add(
        place_of(mark),
        fmt::format("anchors (&{}) are not taken here: write values out, or give a flow a name under 'flows:'", name));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(YamlNode::Kind::sequence, mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(YamlNode::Kind::mapping, mark);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    std::optional<YamlMember> pending;                  // a key that waits for its value
    std::unordered_map<std::string, std::size_t> keys;  // -> index in node.members
  };

  [[noreturn]] void stop(const YAML::Mark& mark, std::string_view message) {
    problems_.add(place_of(mark), message);
    throw Stop{};
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    problems_.add(place_of(mark), fmt::format("tags ({}) are not taken here", tag));
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (open_.size() >= static_cast<std::size_t>(limits::scenario_depth_max)) stop(mark, "nested too deeply");
    Open opened;
    opened.node.kind = kind;
    opened.node.place = place_of(mark);
    open_.push_back(std::move(opened));
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }

  void add(YamlNode node) {
    if (++nodes_ > limits::scenario_nodes_max) {
      problems_.add(node.place, fmt::format("the file has more than {} values", limits::scenario_nodes_max));
      throw Stop{};
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::sequence) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.pending) {
      YamlMember member;
      member.place = node.place;
      if (node.is_scalar()) {
        member.key = std::move(node.text);
      } else {
        problems_.add(node.place, "a key must be text");
      }
      parent.pending = std::move(member);
    } else {
      add_member(parent, std::move(node));
    }
  }

  void add_member(Open& parent, YamlNode value) {
    YamlMember member = std::move(*parent.pending);
    parent.pending.reset();
    if (value.is_null()) value.place = member.place;  // yaml-cpp marks what is missing on the line after
    member.value = std::move(value);
    const auto [known, is_new] = parent.keys.emplace(member.key, parent.node.members.size());
    if (is_new) {
      parent.node.members.push_back(std::move(member));
    } else {
      problems_.add(member.place, fmt::format("duplicate key '{}': it stands in line {} already", member.key,
                                              parent.node.members[known->second].place.line));
    }
  }

  std::string_view text_;
  ProblemList& problems_;
  std::vector<Open> open_;
  YamlNode root_;
  int documents_ = 0;
  std::size_t nodes_ = 0;
};

// `{url: ${BASE_URL}}`: YAML takes the inner { for a mapping of its own.
std::string explain(std::string_view text, const YAML::Exception& error) {
  const auto at = static_cast<std::size_t>(std::max(error.mark.pos, 0));
  if (at > 0 && at < text.size() && text[at] == '{' && text[at - 1] == '$') {
    const auto end = text.find_first_of("}\n", at);
    const auto name = text.substr(at - 1, end == std::string_view::npos ? end : end - at + 2);
    return fmt::format("{} inside {{...}} or [...] needs quotes: write \"{}\"", name, name);
  }
  if (at < text.size() && text[at] == '\t') return "a tab cannot indent YAML: write spaces";
  if (error.msg == "end of map flow not found" || error.msg == "end of sequence flow not found") {
    return fmt::format(
        "this is not YAML: {}: inside {{...}} and [...] a value with one of [ ] {{ }} , ? in it needs quotes",
        error.msg);
  }
  return fmt::format("this is not YAML: {}", error.msg);
}

}  // namespace

Place place_within(std::string_view text, const YamlNode& scalar, std::size_t offset) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::string_view value = scalar.text;
  if (scalar.at >= text.size() || offset > value.size()) return scalar.place;
  const char first = text[scalar.at];
  if (first == '|') {
    // The value's lines are the lines below, less their indentation.
    Place place = scalar.place;
    auto from = text.find('\n', scalar.at);
    std::size_t line_from = 0;
    for (std::size_t i = 0; i < offset; ++i) {
      if (value[i] == '\n') {
        line_from = i + 1;
        ++place.line;
        if (from != std::string_view::npos) from = text.find('\n', from + 1);
      }
    }
    if (from == std::string_view::npos) return scalar.place;
    const auto line = text.substr(from + 1, text.find('\n', from + 1) - from - 1);
    const auto wanted = value.substr(line_from, value.find('\n', line_from) - line_from);
    const auto indent = line.find(wanted);
    if (indent == std::string_view::npos) return scalar.place;
    return {place.line + 1, static_cast<int>(indent + (offset - line_from)) + 1};
  }
  const char quote = scalar.quoted && (first == '"' || first == '\'') ? first : '\0';
  std::size_t raw = scalar.at + (quote != '\0' ? 1 : 0);
  for (std::size_t i = 0; i < offset; ++i) {
    if (raw + 1 >= text.size()) return scalar.place;
    if (quote == '\'' && text[raw] == '\'') ++raw;
    if (quote == '"' && text[raw] == '\\') {
      if (value[i] != '"' && value[i] != '\\' && value[i] != '\n' && value[i] != '\t') return scalar.place;
      raw += 2;
      continue;
    }
    if (text[raw] != value[i]) return scalar.place;
    ++raw;
  }
  return {scalar.place.line, scalar.place.column + static_cast<int>(raw - scalar.at)};
}

const YamlMember* YamlNode::member(std::string_view key) const {
  for (const auto& candidate : members) {
    if (candidate.key == key) return &candidate;
  }
  return nullptr;
}

std::optional<YamlNode> read_yaml(std::string_view text, ProblemList& problems) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (text.size() > limits::scenario_bytes_max) {
    problems.add({},
                 fmt::format("the file has {} bytes: at most {} are read", text.size(), limits::scenario_bytes_max));
    return std::nullopt;
  }
  if (const auto end = utf8_until(text); end != text.size()) {
    problems.add(place_at(text, end), "this byte is not UTF-8 text");
    return std::nullopt;
  }
  Builder builder(text, problems);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    problems.add(place_of(error.mark), explain(text, error));
    return std::nullopt;
  } catch (const Stop&) {
    return std::nullopt;
  }
  if (builder.documents() == 0) {
    problems.add({1, 1}, "the file is empty");
    return std::nullopt;
  }
  return builder.take();
}

}  // namespace sluice
