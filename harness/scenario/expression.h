// The small grammar of `${...}` and `check:`: literals, variables, comparison, `in a..b`, `contains`, `matches`,
// and/or/not.
//
// Parsed once; evaluated against a Scope. Evaluation cannot fail: an unknown name is refused when parsed, a comparison
// of different kinds is false. Errors of parse() carry the offset in the text.
#pragma once

#include <array>
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

/// What a name holds, so that `status == "200"` is refused when parsed instead of never being true.
enum class ValueKind : std::uint8_t { any, truth, number, text };

struct NameInfo {
  std::string_view name;  // a trailing ".*" allows any member: "header.*"
  ValueKind kind = ValueKind::any;
};

/// What a check may use of the answer. Any may be missing (monostate): then every comparison with it is false.
inline constexpr std::array<NameInfo, 14> kResponseNames{{
    {"status", ValueKind::number},  // HTTP status; missing when no response came
    {"text", ValueKind::text},      // the model's answer, streamed pieces joined
    {"body", ValueKind::text},      // of http steps and unstreamed answers
    {"chunks", ValueKind::number},  // content-bearing events
    {"events", ValueKind::number},  // all events, the end marker included
    {"finish_reason", ValueKind::text},
    {"ttft", ValueKind::number},      // milliseconds
    {"duration", ValueKind::number},  // milliseconds, of the whole request
    {"error", ValueKind::text},       // missing when the request succeeded
    {"header.*", ValueKind::text},    // names in lower case: header.content-type
    {"usage.prompt_tokens", ValueKind::number},
    {"usage.completion_tokens", ValueKind::number},
    {"usage.cached_tokens", ValueKind::number},
    {"tokens", ValueKind::number},  // usage.completion_tokens
}};

/// What Templates may use besides `<data set>.<field>`: the VU's number from 1, and its iteration from 0.
inline constexpr std::array<std::string_view, 2> kIterationNames{"vu", "iteration"};

/// Comparison == != < <= > >=, `in a..b` (both ends belong to it), `in [a, b]`, `contains`, `matches` (PCRE2, anywhere
/// in the text, with a limit on its steps), `and`, `or`, `not`, parentheses. Literals: "text", 'text', a bare word on
/// the right of an operator, numbers, durations (10ms, 2s: milliseconds), true, false. A value alone holds when it is
/// there and neither false, 0 nor empty.
class Expression {
 public:
  /// `names`: what may be used; a trailing ".*" allows any member ("usage.*").
  static Result<Expression> parse(std::string_view text, std::span<const NameInfo> names);
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
  explicit Template(std::string_view literal);
  static Result<Template> parse(std::string_view text, std::span<const std::string_view> names);

  bool is_static() const;  // no holes: render once
  bool empty() const { return parts_.empty(); }
  void render(const Scope& scope, std::string& out) const;  // appends; what is missing renders as nothing
  std::string text() const;                                 // as written

  /// For building piece by piece; the caller knows that the name exists.
  void add_literal(std::string_view text);
  void add_hole(std::string_view name, bool inside_json_string = false);

 private:
  struct Part {
    bool hole = false;
    bool inside_json_string = false;  // the hole's value is escaped as JSON asks
    std::string text;                 // literal, or the name
  };
  std::vector<Part> parts_;
};

}  // namespace sluice
