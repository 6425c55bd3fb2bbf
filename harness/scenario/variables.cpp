#include "harness/scenario/variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "harness/base/check.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"

namespace sluice {

namespace {

constexpr std::string_view kMask = "***";

bool is_name(std::string_view name) {
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

bool changes_with_iteration(std::string_view name) {
  return name.find('.') != std::string_view::npos ||
         std::find(kIterationNames.begin(), kIterationNames.end(), name) != kIterationNames.end();
}

class NothingInScope final : public Scope {
 public:
  Value lookup(std::string_view) const override { return {}; }
};

std::string_view trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\n");
  if (from == std::string_view::npos) return text.substr(text.size());
  return text.substr(from, text.find_last_not_of(" \t\n") - from + 1);
}

/// A name alone, which is looked up without further ado.
bool is_bare_name(std::string_view text) {
  return !text.empty() && !(text[0] >= '0' && text[0] <= '9') && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  });
}

// "http://user:password@host" -> "http://***@host"
std::string without_credentials(std::string text) {
  const auto scheme = text.find("://");
  if (scheme == std::string::npos) return text;
  const auto authority = scheme + 3;
  const auto at = text.substr(0, text.find_first_of("/?#", authority)).rfind('@');
  if (at != std::string::npos && at >= authority) text.replace(authority, at - authority, kMask);
  return text;
}

void append_literal(std::vector<FilledText::Part>& parts, std::string_view text) {
  if (text.empty()) return;
  if (parts.empty() || parts.back().hole) parts.emplace_back();
  parts.back().text += text;
}

}  // namespace

const std::string& FilledText::plain() const {
  static const std::string empty;
  SLUICE_CHECK(is_plain());
  return parts.empty() ? empty : parts[0].text;
}

bool is_secret_name(std::string_view name) {
  static constexpr std::array<std::string_view, 9> words{"TOKEN",  "KEY",  "SECRET",     "PASSWORD",   "PASSWD",
                                                         "APIKEY", "AUTH", "CREDENTIAL", "CREDENTIALS"};
  std::string word;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    if (i < name.size() && name[i] != '_' && name[i] != '-') {
      word += static_cast<char>(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
      continue;
    }
    if (std::find(words.begin(), words.end(), word) != words.end()) return true;
    word.clear();
  }
  return false;
}

Variables::Variables(const YamlNode* defaults, std::map<std::string, std::string> overrides, Environment environment,
                     ProblemList& problems, std::string_view source)
    : overrides_(std::move(overrides)), environment_(std::move(environment)), problems_(problems), source_(source) {
  if (!defaults || defaults->is_null()) return;
  if (!defaults->is_mapping()) {
    problems_.add(defaults->place, "env: must be a mapping of names to default values");
    return;
  }
  if (defaults->members.size() > limits::variables_max) {
    problems_.add(defaults->place, fmt::format("more than {} variables", limits::variables_max));
    return;
  }
  for (const auto& member : defaults->members) {
    if (!is_name(member.key)) {
      problems_.add(member.place,
                    fmt::format("'{}' is no name of a variable: letters, digits and _, no digit first", member.key));
    } else if (changes_with_iteration(member.key)) {
      problems_.add(member.place, fmt::format("'{}' is the iteration's own and cannot be a variable", member.key));
    } else if (!member.value.is_scalar() && !member.value.is_null()) {
      problems_.add(member.value.place, fmt::format("the default of '{}' must be one value", member.key));
    } else {
      declared_.push_back(&member);
    }
  }
  for (const auto* member : declared_) resolve(member->key, member->place);  // so that every problem shows, used or not
}

std::optional<Variables::Resolved> Variables::resolve(const std::string& name, Place used_at) {
  used_.insert(name);
  if (const auto own = own_.find(name); own != own_.end()) return own->second;
  if (const auto known = resolved_.find(name); known != resolved_.end()) return known->second;
  if (std::find(resolving_.begin(), resolving_.end(), name) != resolving_.end()) {
    problems_.add(used_at, fmt::format("the default of '{}' leads back to itself", name));
    return std::nullopt;
  }
  const auto declared =
      std::find_if(declared_.begin(), declared_.end(), [&](const auto* member) { return member->key == name; });
  if (resolving_.size() >= limits::variable_chain_max) {
    problems_.add(used_at,
                  fmt::format("the default of '{}' goes through too many other variables", resolving_.front()));
    return std::nullopt;
  }
  std::optional<Resolved> found;
  if (const auto given = overrides_.find(name); given != overrides_.end()) {
    found = Resolved{given->second, is_secret_name(name)};
  } else if (auto from_environment = environment_ ? environment_(name) : std::nullopt;
             from_environment && !from_environment->empty()) {
    found = Resolved{std::move(*from_environment), is_secret_name(name)};
  } else if (declared != declared_.end()) {
    resolving_.push_back(name);
    found = resolve_default(**declared);
    resolving_.pop_back();
    if (found) found->secret = found->secret || is_secret_name(name);
  } else {
    std::vector<std::string_view> names;
    for (const auto* member : declared_) names.push_back(member->key);
    problems_.add(
        used_at,
        fmt::format(
            "variable '{}' is not set: give it a default under env:, set it in the environment, or pass -e {}=...{}",
            name, name, did_you_mean(name, names)));
  }
  if (found && found->value.size() > limits::variable_bytes_max) {
    problems_.add(used_at, fmt::format("the value of '{}' is longer than {} bytes", name, limits::variable_bytes_max));
    found.reset();
  }
  resolved_[name] = found;
  return found;
}

std::optional<Variables::Resolved> Variables::resolve_default(const YamlMember& member) {
  if (member.value.is_null()) return Resolved{};
  auto filled = fill(member.value);
  if (!filled) return std::nullopt;
  if (!filled->is_plain()) {
    problems_.add(member.value.place, fmt::format("the default of '{}' cannot change with each iteration", member.key));
    return std::nullopt;
  }
  return Resolved{filled->plain(), filled->shown != filled->plain()};
}

std::optional<FilledText> Variables::fill(const YamlNode& scalar) {
  SLUICE_CHECK(scalar.is_scalar());
  const std::string_view text = scalar.text;
  FilledText filled;
  std::size_t size = 0;
  bool good = true;
  const auto literal = [&](std::string_view piece, std::string_view shown) {
    append_literal(filled.parts, piece);
    filled.shown += shown;
    size += piece.size();
  };
  for (std::size_t from = 0; from < text.size();) {
    const auto dollar = text.find('$', from);
    literal(text.substr(from, dollar - from), text.substr(from, dollar - from));
    if (dollar == std::string_view::npos) break;
    const auto rest = text.substr(dollar);
    if (rest.starts_with("$${")) {
      literal("${", "${");
      from = dollar + 3;
      continue;
    }
    if (!rest.starts_with("${")) {
      literal("$", "$");
      from = dollar + 1;
      continue;
    }
    const auto close = end_of_hole(rest);
    if (!close) {
      problems_.add(place_within(source_, scalar, dollar),
                    fmt::format("'{}': '${{' has no '}}'; write $${{ for the characters themselves", text));
      return std::nullopt;
    }
    const auto inside = rest.substr(2, *close - 2);
    const auto name = trimmed(inside);
    const auto hole = rest.substr(0, *close + 1);
    from = dollar + *close + 1;
    if (is_bare_name(name) && (changes_with_iteration(name) || (live_ && live_->has(name)))) {
      filled.parts.push_back({true, std::string(name)});
      filled.shown += hole;
    } else if (is_name(name) && name != "true" && name != "false") {
      if (const auto resolved = resolve(std::string(name), scalar.place)) {
        filled.has_variables = true;
        literal(resolved->value,
                resolved->secret && !resolved->value.empty() ? hole : std::string_view(resolved->value));
      } else {
        good = false;
      }
    } else if (auto read = read_expression(scalar, inside, dollar + 2, fmt::format("in {}: ", hole), {}, true); !read) {
      good = false;
    } else if (read->expression.is_constant()) {
      Texts texts;
      std::string value;
      append_value(read->expression.value(NothingInScope(), texts), value);
      filled.has_variables = true;
      literal(value, read->secret ? hole : std::string_view(value));
    } else {
      filled.parts.push_back({true, std::string(inside), std::move(read->expression)});
      filled.shown += hole;
    }
    if (size > limits::variable_bytes_max + text.size()) {
      problems_.add(scalar.place, fmt::format("with its variables filled in, this is longer than {} bytes",
                                              limits::variable_bytes_max));
      return std::nullopt;
    }
  }
  if (!good) return std::nullopt;
  return filled;
}

class Variables::ExpressionNames final : public Names {
 public:
  ExpressionNames(Variables& variables, Place place, std::span<const NameInfo> also, bool undeclared_too)
      : variables_(variables), place_(place), also_(also), undeclared_too_(undeclared_too) {}

  std::optional<Meaning> find(std::string_view word, bool may_be_text) const override {
    if (auto known = also_.find(word, may_be_text)) return known;
    if (std::find(kIterationNames.begin(), kIterationNames.end(), word) != kIterationNames.end())
      return Meaning{ValueKind::number};
    if (variables_.live_ && variables_.live_->has(word)) return Meaning{};
    const bool is_variable =
        variables_.is_declared(word) || (undeclared_too_ && !may_be_text && is_name(word) && !is_expression_word(word));
    if (!is_variable) return std::nullopt;
    const auto resolved = variables_.resolve(std::string(word), place_);
    if (!resolved) {
      lacks_ = true;
    } else if (resolved->secret && !resolved->value.empty()) {
      secret_ = true;
    }
    return Meaning{ValueKind::any, false, resolved ? resolved->value : std::string()};
  }

  std::vector<std::string_view> all() const override {
    auto all = also_.all();
    all.insert(all.end(), kIterationNames.begin(), kIterationNames.end());
    if (variables_.live_) variables_.live_->list(all);
    for (const auto* member : variables_.declared_) all.push_back(member->key);
    for (const auto& [name, value] : variables_.own_) all.push_back(name);
    return all;
  }

  bool secret() const { return secret_; }
  bool lacks() const { return lacks_; }  // a variable had no value, which is a problem recorded already

 private:
  Variables& variables_;
  Place place_;
  NameTable also_;
  bool undeclared_too_;
  mutable bool secret_ = false, lacks_ = false;
};

bool Variables::is_declared(std::string_view name) const {
  return own_.contains(name) ||
         std::any_of(declared_.begin(), declared_.end(), [&](const auto* member) { return member->key == name; });
}

void Variables::push(const YamlNode& env) {
  std::map<std::string, Resolved, std::less<>> own;  // their values are those outside: MODEL: ${MODEL} is no circle
  if (!env.is_mapping()) return problems_.add(env.place, "env: must be a mapping of names to values");
  for (const auto& member : env.members) {
    if (!is_name(member.key)) {
      problems_.add(member.place,
                    fmt::format("'{}' is no name of a variable: letters, digits and _, no digit first", member.key));
    } else if (changes_with_iteration(member.key) || (live_ && live_->has(member.key))) {
      problems_.add(member.place, fmt::format("'{}' is the iteration's own and cannot be a variable", member.key));
    } else if (!member.value.is_scalar() && !member.value.is_null()) {
      problems_.add(member.value.place, fmt::format("the value of '{}' must be one value", member.key));
    } else if (auto value = resolve_default(member)) {
      value->secret = value->secret || is_secret_name(member.key);
      own.emplace(member.key, std::move(*value));
    }
  }
  own_ = std::move(own);
}

std::optional<Variables::ReadExpression> Variables::read_expression(const YamlNode& scalar, std::string_view text,
                                                                    std::optional<std::size_t> offset,
                                                                    std::string_view before,
                                                                    std::span<const NameInfo> also,
                                                                    bool undeclared_too) {
  const ExpressionNames names(*this, scalar.place, also, undeclared_too);
  std::size_t at = 0;
  auto expression = Expression::parse(text, names, &at);
  if (!expression) {
    if (offset) {
      problems_.add(place_within(source_, scalar, *offset + at),
                    fmt::format("{}{}", before, expression.error().message));
    } else {
      problems_.add(scalar.place, fmt::format("{}at character {}: {}", before, at + 1, expression.error().message));
    }
    return std::nullopt;
  }
  if (names.lacks()) return std::nullopt;
  return ReadExpression{std::move(*expression), names.secret()};
}

std::map<std::string, std::string> Variables::shown() {
  std::map<std::string, std::string> out;
  for (const auto* member : declared_) {
    const auto resolved = resolve(member->key, member->place);
    if (!resolved) continue;
    out[member->key] =
        resolved->secret && !resolved->value.empty() ? std::string(kMask) : without_credentials(resolved->value);
  }
  return out;
}

void Variables::report_unused_overrides() {
  std::vector<std::string_view> names;
  for (const auto* member : declared_) names.push_back(member->key);
  for (const auto& name : used_) names.push_back(name);
  for (const auto& [name, value] : overrides_) {
    if (used_.contains(name)) continue;
    problems_.add({}, fmt::format("-e {}: this scenario has no such variable{}", name, did_you_mean(name, names)));
  }
}

}  // namespace sluice
