// The small grammar of `${...}` and `check:`: literals, variables, comparison, `in a..b`, `contains`, `matches`, and/or/not.
//
// Parsed once; evaluated against a Scope. Evaluation cannot fail: an unknown name is refused when parsed, a comparison of
// different kinds is false. Errors of parse() carry the offset in the text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "harness/base/result.h"

namespace sluice {

using Value = std::variant<std::monostate, bool, double, std::string_view>;  // monostate: not there

/// Looks a name up ("status", "usage.completion_tokens", "prompts.text"). Views are good until the next lookup.
class Scope {
 public:
  virtual ~Scope() = default;
  virtual Value lookup(std::string_view name) const = 0;
};

class Expression {
 public:
  /// `names`: what may be used; a trailing ".*" allows any member ("usage.*").
  static Result<Expression> parse(std::string_view text, std::span<const std::string_view> names);
  bool holds(const Scope& scope) const;

  struct Node;

 private:
  std::shared_ptr<const Node> root_;  // shared by copies of the plan; immutable
};

/// Text with `${name}` holes. "$${" writes "${".
class Template {
 public:
  Template() = default;
  explicit Template(std::string literal);
  static Result<Template> parse(std::string_view text, std::span<const std::string_view> names);

  bool is_static() const;                       // no holes: render once
  bool empty() const { return parts_.empty(); }
  void render(const Scope& scope, std::string& out) const;   // appends
  std::string text() const;                     // as written

 private:
  struct Part {
    bool hole = false;
    std::string text;                           // literal, or the name
  };
  std::vector<Part> parts_;
};

}  // namespace sluice
