#include "harness/scenario/plan_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>

#include "harness/base/check.h"
#include "harness/base/duration.h"
#include "harness/base/letters.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"

namespace sluice {

namespace {

// startTime -> start_time, startVUs -> start_vus
std::string snake_case(std::string_view name) {
  std::string out;
  bool after_lower = false;
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && after_lower) out += '_';
    out += upper ? static_cast<char>(c - 'A' + 'a') : c == '-' ? '_' : c;
    after_lower = !upper && c != '_' && c != '-';
  }
  return out;
}

struct Hint {
  std::string_view section, key, text;
};
// What people coming from k6 write, and what the design has for later: a clear sentence instead of a guess by spelling.
constexpr auto kHints = std::to_array<Hint>({
    {"file", "options", "k6's options stand at the top of the file here"},
    {"file", "stages", "stages: belongs to a scenario, as of executor: ramping-vus"},
    {"file", "vus", "vus: belongs to a scenario, as of executor: constant-vus"},
    {"file", "duration", "duration: belongs to a scenario, as of executor: constant-vus"},
    {"file", "url", "url: belongs to target:"},
    {"file", "engine", "engine: belongs to target:"},
    {"target", "conformance", "conformance: stands at the top of the file, or in a scenario"},
    {"file", "fail_on", "fail_on: belongs to conformance:"},
    {"file", "dialect", "dialect: belongs to target:, or to conformance:"},
    {"scenario", "exec", "name a flow instead: flow: NAME, with the steps under flows:"},
    {"scenario", "steps", "the steps of a scenario stand under flow:"},
    {"scenario", "options", "write its members here directly"},
    {"step", "parallel", "this version has no parallel steps"},
    {"step", "checks", "write check:"},
    {"step", "loop", "write repeat:"},
    {"step", "while", "write repeat: {while: condition}"},
    {"step", "captures", "write capture:"},
    {"step", "random", "write choose:"},
    {"step", "think_time", "write sleep:"},
    {"step", "pause", "write sleep:"},
    {"step", "get", "write http: {get: ...}"},
    {"step", "post", "write http: {post: ...}"},
    {"step", "prompt", "write chat: {prompt: ...}"},
    {"chat", "check", "check: stands beside chat:, not beneath it"},
    {"chat", "n", "this version reads one choice an answer"},
    {"chat", "max_completion_tokens", "write max_tokens, or body: {max_completion_tokens: ...}"},
    {"http", "check", "check: stands beside http:, not beneath it"},
    {"http", "capture", "capture: stands beside http:, not beneath it"},
    {"chat", "capture", "capture: stands beside chat:, not beneath it"},
    {"chat", "abandon", "abandon: stands beside chat:, not beneath it"},
    {"http", "timeout", "timeout: stands beside http:, not beneath it"},
    {"http", "cookies",
     "cookies: belongs to target: or to a scenario; one of its own is a header: headers: {Cookie: ...}"},
    {"websocket", "timeout", "timeout: stands beside websocket:, not beneath it"},
    {"websocket", "check", "check: stands beside websocket:, not beneath it"},
    {"chat", "timeout", "timeout: stands beside chat:, not beneath it"},
    {"target", "base_url", "write url:"},
});

bool is_json_number(std::string_view text) {
  boost::system::error_code error;
  if (text.empty() || !((text[0] >= '0' && text[0] <= '9') || text[0] == '-')) return false;
  const auto value = boost::json::parse(text, error);
  return !error && value.is_number();
}

}  // namespace

std::string json_quoted(std::string_view text) { return boost::json::serialize(boost::json::string(text)); }

// ---- sections
// ---------------------------------------------------------------------------------------------------------

Section::Section(const YamlNode& node, std::string_view table, std::string what, ProblemList& problems)
    : node_(node),
      info_(section_named(table)),
      what_(std::move(what)),
      problems_(problems),
      asked_(info_.keys.size(), false) {
  if (!node.is_mapping()) {
    problems_.add(node.place, fmt::format("{} must be a mapping, of {}", what_, info_.keys[0].name));
    return;
  }
  for (const auto& member : node.members) {
    const bool known =
        std::any_of(info_.keys.begin(), info_.keys.end(), [&](const auto& key) { return key.name == member.key; });
    if (!known) report_unknown(member);
  }
  for (const auto& key : info_.keys) {
    if (key.required && !node.member(key.name)) problems_.add(node.place, fmt::format("{} needs {}:", what_, key.name));
  }
}

Section::~Section() {
  if (is_mapping()) SLUICE_CHECK(std::find(asked_.begin(), asked_.end(), false) == asked_.end());
}

const YamlMember* Section::take(std::string_view key) {
  const auto known =
      std::find_if(info_.keys.begin(), info_.keys.end(), [key](const auto& info) { return info.name == key; });
  SLUICE_CHECK(known != info_.keys.end());
  asked_[static_cast<std::size_t>(known - info_.keys.begin())] = true;
  const auto* member = node_.member(key);
  if (member && member->value.is_null() && known->shape != "json") {
    problems_.add(member->place, fmt::format("{}: has no value", key));
    return nullptr;
  }
  return member;
}

void Section::report_unknown(const YamlMember& member) const {
  const auto& key = member.key;
  std::vector<std::string_view> names;
  for (const auto& known : info_.keys) names.push_back(known.name);
  const auto snake = snake_case(key);
  if (snake != key && std::find(names.begin(), names.end(), snake) != names.end()) {
    return problems_.add(member.place, fmt::format("unknown key '{}'; here it is written '{}'", key, snake));
  }
  for (const auto& hint : kHints) {
    if (hint.section == info_.name && (hint.key == key || hint.key == snake)) {
      return problems_.add(member.place, fmt::format("unknown key '{}': {}", key, hint.text));
    }
  }
  if (info_.name == "step" && (key.starts_with("http.") || key.starts_with("http_"))) {
    const auto method = key.substr(5, key.find('(') - 5);
    return problems_.add(member.place, fmt::format("unknown key '{}': write http: {{{}: ...}}", key, method));
  }
  if (nearest(key, names))
    return problems_.add(member.place, fmt::format("unknown key '{}'{}", key, did_you_mean(key, names)));
  problems_.add(member.place, fmt::format("unknown key '{}' in {}; it has {}", key, what_, fmt::join(names, ", ")));
}

// ---- scalars
// ----------------------------------------------------------------------------------------------------------

void ScalarReader::refuse(const YamlNode& node, const FilledText& filled, std::string_view key,
                          std::string_view message) {
  const bool secret = filled.is_plain() && filled.shown != filled.plain();
  problems_.add(node.place, secret ? fmt::format("{}: what {} stands for does not fit here", key, filled.shown)
                                   : fmt::format("{}: {}", key, message));
}

std::optional<FilledText> ScalarReader::filled(const YamlNode& node, std::string_view key) {
  if (!node.is_scalar()) {
    const char* is = node.is_sequence() ? "a list" : node.is_mapping() ? "a mapping" : "nothing";
    problems_.add(node.place, fmt::format("{}: one value is wanted, and this is {}", key, is));
    return std::nullopt;
  }
  return variables_.fill(node);
}

std::optional<std::string> ScalarReader::text(const YamlNode& node, std::string_view key) {
  const auto value = filled(node, key);
  if (!value) return std::nullopt;
  if (!value->is_plain()) {
    problems_.add(node.place,
                  fmt::format("{}: '{}' changes with each iteration and cannot stand here", key, value->shown));
    return std::nullopt;
  }
  return value->plain();
}

std::optional<std::string> ScalarReader::text(const YamlMember* member) {
  if (!member) return std::nullopt;
  return text(member->value, member->key);
}

bool ScalarReader::has(std::string_view name) const {
  if (flow_names.contains(name) || setup_names.contains(name) || hole_names.contains(name)) return true;
  if (name.starts_with("setup.") && setup_names.contains(name.substr(6))) return true;
  return name.find('.') != std::string_view::npos && unknown_data.contains(name.substr(0, name.find('.')));
}

void ScalarReader::list(std::vector<std::string_view>& into) const {
  for (const auto* names : {&flow_names, &setup_names}) into.insert(into.end(), names->begin(), names->end());
  for (const auto& [name, line] : hole_names) into.push_back(name);
}

bool ScalarReader::knows_name(const YamlNode& node, std::string_view name, std::string_view key) {
  if (std::find(kIterationNames.begin(), kIterationNames.end(), name) != kIterationNames.end()) return true;
  const auto known = hole_names.find(name);
  if (known != hole_names.end() && known->second != 0) {
    problems_.add(node.place, fmt::format("{}: line {} of the data file has no '{}'", key, known->second, name));
    return false;
  }
  if (has(name)) return true;
  if (name.starts_with("setup.")) {
    std::vector<std::string_view> names(setup_names.begin(), setup_names.end());
    problems_.add(node.place,
                  fmt::format("{}: setup captures nothing named '{}'{}", key, name.substr(6),
                              names.empty() ? std::string() : fmt::format("; there is {}", fmt::join(names, ", "))));
    return false;
  }
  std::vector<std::string_view> names;
  for (const auto& [known_name, line] : hole_names) names.push_back(known_name);
  const auto hint = nearest(name, names) ? did_you_mean(name, names)
                    : names.empty()      ? std::string(": the file has no data:")
                                         : fmt::format("; there is {}", fmt::join(names, ", "));
  problems_.add(node.place, fmt::format("{}: no data has '{}'{}", key, name, hint));
  return false;
}

bool ScalarReader::knows_holes(const YamlNode& node, const FilledText& filled, std::string_view key) {
  bool good = true;
  for (const auto& part : filled.parts) {
    if (part.expression) {
      part.expression->for_each_name([&](std::string_view name) { good = knows_name(node, name, key) && good; });
    } else if (part.hole) {
      good = knows_name(node, part.text, key) && good;
    }
  }
  return good;
}

namespace {

void add_hole(const FilledText::Part& part, Template::Form form, Template& out) {
  if (part.expression) {
    out.add_hole(*part.expression, part.text, form);
  } else {
    out.add_hole(part.text, form);
  }
}

}  // namespace

std::optional<std::string> ScalarReader::shown_text(const YamlNode& node, std::string_view key) {
  if (!text(node, key)) return std::nullopt;
  return filled(node, key)->shown;
}

std::optional<Template> ScalarReader::pattern(const YamlNode& node, std::string_view key, Template::Form form) {
  const auto value = filled(node, key);
  if (!value || !knows_holes(node, *value, key)) return std::nullopt;
  Template made;
  for (const auto& part : value->parts) {
    if (part.hole) {
      add_hole(part, form, made);
    } else {
      made.add_literal(part.text);
    }
  }
  return made;
}

std::optional<Expression> ScalarReader::expression(const YamlNode& node, std::string_view key,
                                                   std::span<const NameInfo> also, std::string* shown) {
  const auto value = filled(node, key);
  if (!value) return std::nullopt;
  if (!value->is_plain()) {
    const auto hole =
        std::find_if(value->parts.begin(), value->parts.end(), [](const auto& part) { return part.hole; });
    problems_.add(node.place, fmt::format("{}: write {} instead of ${{{}}}: here names are read as they are", key,
                                          hole->text, hole->text));
    return std::nullopt;
  }
  if (shown) *shown = value->shown;
  const auto& text = value->plain();
  const bool secret = value->shown != text;
  if (secret) {
    // What the parser says would show it.
    std::vector<std::string_view> names;
    list(names);
    std::vector<NameInfo> infos(also.begin(), also.end());
    for (const auto name : names) infos.push_back({name});
    for (const auto name : kIterationNames) infos.push_back({name, ValueKind::number});
    auto parsed = Expression::parse(text, infos);
    if (!parsed) return refuse(node, *value, key, ""), std::nullopt;
    return std::move(*parsed);
  }
  const bool exact = text == node.text;
  auto read = variables_.read_expression(node, text, exact ? std::optional<std::size_t>(0) : std::nullopt,
                                         fmt::format("{}: {}: ", key, text), also, false);
  if (!read) return std::nullopt;
  bool good = true;
  read->expression.for_each_name([&](std::string_view name) {
    if (!NameTable(also).find(name, false)) good = knows_name(node, name, key) && good;
  });
  if (!good) return std::nullopt;
  return std::move(read->expression);
}

std::optional<bool> ScalarReader::truth(const YamlMember* member) {
  const auto value = text(member);
  if (!value) return std::nullopt;
  if (*value == "true") return true;
  if (*value == "false") return false;
  refuse(member->value, *filled(member->value, member->key), member->key,
         fmt::format("'{}' is neither true nor false", *value));
  return std::nullopt;
}

std::optional<std::uint64_t> ScalarReader::whole(const YamlMember* member, std::uint64_t least, std::uint64_t most) {
  const auto value = text(member);
  if (!value) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
  const bool octal = value->size() > 1 && (*value)[0] == '0';
  std::string message;
  if (value->empty() || end != value->data() + value->size() || octal || error == std::errc::invalid_argument) {
    message = fmt::format("'{}' is not a whole number in decimal digits", *value);
  } else if (error != std::errc() || number < least || number > most) {
    message = fmt::format("{} is out of bounds: {} to {}", *value, least, most);
  } else {
    return number;
  }
  refuse(member->value, *filled(member->value, member->key), member->key, message);
  return std::nullopt;
}

std::optional<double> ScalarReader::number(const YamlMember* member, double least, double most) {
  const auto value = text(member);
  if (!value) return std::nullopt;
  double number = 0;
  std::string message;
  if (!parse_decimal(*value, number)) {
    message = fmt::format("'{}' is not a decimal number", *value);
  } else if (number < least || number > most) {
    message = fmt::format("{} is out of bounds: {} to {}", *value, least, most);
  } else {
    return number;
  }
  refuse(member->value, *filled(member->value, member->key), member->key, message);
  return std::nullopt;
}

std::optional<Nanoseconds> ScalarReader::duration(const YamlNode& node, std::string_view key) {
  const auto value = text(node, key);
  if (!value) return std::nullopt;
  const auto duration = parse_duration(*value);
  if (duration) return *duration;
  refuse(node, *filled(node, key), key, duration.error().message);
  return std::nullopt;
}

std::optional<Nanoseconds> ScalarReader::duration(const YamlMember* member) {
  if (!member) return std::nullopt;
  return duration(member->value, member->key);
}

std::optional<std::pair<Nanoseconds, Nanoseconds>> ScalarReader::range(const YamlMember* member) {
  const auto value = text(member);
  if (!value) return std::nullopt;
  const auto dots = value->find("..");
  const auto from = parse_duration(std::string_view(*value).substr(0, dots));
  const auto to = dots == std::string::npos ? from : parse_duration(std::string_view(*value).substr(dots + 2));
  if (from && to && *from <= *to) return std::pair(*from, *to);
  const auto message = !from ? from.error().message
                       : !to ? to.error().message
                             : fmt::format("'{}' ends before it begins", *value);
  refuse(member->value, *filled(member->value, member->key), member->key, message);
  return std::nullopt;
}

std::optional<std::string> ScalarReader::word(const YamlMember* member, std::string_view table) {
  const auto value = text(member);
  if (!value) return std::nullopt;
  std::vector<std::string_view> words;
  for (const auto& key : section_named(table).keys) {
    if (key.name != member->key) continue;
    SLUICE_CHECK(key.shape.starts_with("words:"));
    for (auto rest = key.shape.substr(6); !rest.empty();) {
      const auto blank = rest.find(' ');
      words.push_back(rest.substr(0, blank));
      rest = blank == std::string_view::npos ? std::string_view() : rest.substr(blank + 1);
    }
  }
  if (std::find(words.begin(), words.end(), *value) != words.end()) return *value;
  refuse(member->value, *filled(member->value, member->key), member->key,
         nearest(*value, words) ? fmt::format("unknown '{}'{}", *value, did_you_mean(*value, words))
                                : fmt::format("unknown '{}'; this version has {}", *value, fmt::join(words, ", ")));
  return std::nullopt;
}

std::vector<std::pair<const YamlMember*, std::string>> ScalarReader::text_map(const YamlMember* member) {
  std::vector<std::pair<const YamlMember*, std::string>> out;
  if (!member) return out;
  if (!member->value.is_mapping()) {
    problems_.add(member->value.place, fmt::format("{}: must be a mapping of names to values", member->key));
    return out;
  }
  for (const auto& entry : member->value.members) {
    if (auto value = text(entry.value, entry.key)) out.emplace_back(&entry, std::move(*value));
  }
  return out;
}

bool ScalarReader::json(const YamlNode& node, std::string_view key, int depth, Template& out) {
  SLUICE_CHECK(depth <= limits::scenario_depth_max);  // held by read_yaml
  if (node.is_null()) return out.add_literal("null"), true;
  bool good = true;
  if (node.is_sequence()) {
    out.add_literal("[");
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      if (i > 0) out.add_literal(",");
      good &= json(node.items[i], key, depth + 1, out);
    }
    out.add_literal("]");
    return good;
  }
  if (node.is_mapping()) {
    out.add_literal("{");
    for (std::size_t i = 0; i < node.members.size(); ++i) {
      if (i > 0) out.add_literal(",");
      out.add_literal(json_quoted(node.members[i].key) + ":");
      good &= json(node.members[i].value, node.members[i].key, depth + 1, out);
    }
    out.add_literal("}");
    return good;
  }
  const auto value = filled(node, key);
  if (!value || !knows_holes(node, *value, key)) return false;
  // In braces a variable needs quotes, so quotes alone do not make a value text when the whole of it is one variable.
  const bool is_one_hole = node.text.starts_with("${") && end_of_hole(node.text) == node.text.size() - 1;
  if (is_one_hole && value->parts.size() == 1 && value->parts[0].hole)
    return add_hole(value->parts[0], Template::Form::json, out), true;
  const bool may_be_typed = !node.quoted || (value->has_variables && is_one_hole);
  if (may_be_typed && value->is_plain()) {
    const auto& plain = value->plain();
    if (plain == "true" || plain == "false" || is_json_number(plain)) return out.add_literal(plain), true;
    static constexpr std::string_view ambiguous[] = {
        "yes",  "no",    "on",    "off",  "Yes",  "No",   "On",   "Off",  "YES",  "NO",    "ON",    "OFF",   "True",
        "TRUE", "False", "FALSE", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "-.inf", "-.Inf", "-.INF", "+.inf"};
    const bool looks_numeric = !plain.empty() && plain[0] >= '0' && plain[0] <= '9' &&
                               (plain.starts_with("0x") || plain.starts_with("0o") || plain.starts_with("0b") ||
                                plain.find_first_not_of("0123456789_") == std::string::npos);
    if (!node.quoted &&
        (looks_numeric || std::find(std::begin(ambiguous), std::end(ambiguous), plain) != std::end(ambiguous))) {
      refuse(node, *value, key,
             fmt::format("'{}' is read differently by different readers of YAML: write true, false or a decimal "
                         "number, or put it in quotes",
                         plain));
      return false;
    }
  }
  out.add_literal("\"");
  for (const auto& part : value->parts) {
    if (part.hole) {
      add_hole(part, Template::Form::inside_json_string, out);
    } else {
      const auto quoted = json_quoted(part.text);
      out.add_literal(std::string_view(quoted).substr(1, quoted.size() - 2));
    }
  }
  out.add_literal("\"");
  return true;
}

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

static bool is_header_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

std::optional<Nanoseconds> ScalarReader::positive_duration(const YamlMember* member) {
  const auto value = duration(member);
  if (value && value->count() == 0)
    problems_.add(member->value.place, fmt::format("{}: must be longer than 0s", member->key));
  return value;
}

Tags read_tags(const YamlMember* member, ScalarReader& scalars, ProblemList& problems) {
  Tags tags;
  for (const auto& [entry, value] : scalars.text_map(member)) {
    static constexpr std::string_view own[] = {"scenario", "group", "method", "status", "expected_response",
                                               "rule",     "url",   "name",   "stage"};
    const auto fits = [](std::string_view text) {
      return !text.empty() && text.size() <= 200 && text.find_first_of("{},\n\r\t") == std::string_view::npos;
    };
    if (!fits(entry->key) || entry->key.find(':') != std::string::npos || !fits(value)) {
      problems.add(
          entry->place,
          fmt::format("tags: '{}': a name and a value without {{ }} , and line breaks are wanted", entry->key));
    } else if (std::find(std::begin(own), std::end(own), entry->key) != std::end(own)) {
      problems.add(entry->place, fmt::format("tags: '{}' is a tag that Sluice sets itself", entry->key));
    } else {
      tags.emplace_back(entry->key, value);
    }
  }
  std::sort(tags.begin(), tags.end());
  return tags;
}

std::vector<std::pair<std::string, Template>> read_headers(const YamlMember& member, ScalarReader& scalars,
                                                           ProblemList& problems) {
  std::vector<std::pair<std::string, Template>> headers;
  if (!member.value.is_mapping()) {
    problems.add(member.value.place, "headers: must be a mapping of names to values");
    return headers;
  }
  for (const auto& entry : member.value.members) {
    if (!is_header_name(entry.key)) {
      problems.add(entry.place, fmt::format("'{}' is no name of a header", entry.key));
      continue;
    }
    for (const auto taken : {"content-length", "transfer-encoding", "connection"}) {
      if (same_letters(entry.key, taken))
        problems.add(entry.place, fmt::format("{}: this header is Sluice's own", entry.key));
    }
    for (const auto& [name, value] : headers) {
      if (same_letters(name, entry.key))
        problems.add(entry.place, fmt::format("{}: this header stands twice", entry.key));
    }
    auto value = scalars.pattern(entry.value, entry.key);
    if (!value) continue;
    if (value->text().find_first_of("\r\n") != std::string::npos) {
      problems.add(entry.value.place, fmt::format("{}: a header has no line breaks", entry.key));
    }
    headers.emplace_back(entry.key, std::move(*value));
  }
  return headers;
}

}  // namespace sluice
