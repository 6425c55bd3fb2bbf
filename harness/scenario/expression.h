// The small grammar of `${...}`, `check:`, `if:` and `while:`; docs/scenarios.md has it for users.
//
//   expression = and {"or" and}
//   and        = not {"and" not}
//   not        = "not" not | comparison
//   comparison = sum [("==" | "!=" | "<" | "<=" | ">" | ">=" | "contains") sum | "matches" text
//                     | "in" sum ".." sum | "in" "[" sum {"," sum} "]"]
//   sum        = product {("+" | "-") product}
//   product    = factor {("*" | "/" | "%") factor}
//   factor     = "-" factor | number | duration | text | "true" | "false" | name
//                | function "(" [sum {"," sum}] ")" | "(" expression ")"
//
// Parsed once; evaluated against a Scope. Evaluation cannot fail: an unknown name is refused when parsed, a comparison
// of different kinds is false, arithmetic with what is no number is missing. Text that is wholly a decimal number
// counts as one beside a number.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "harness/base/result.h"

namespace sluice {

using Value = std::variant<std::monostate, bool, double, std::string_view>;  // monostate: not there

/// What expressions are evaluated against.
class Scope {
 public:
  virtual ~Scope() = default;
  /// Looks a name up ("status", "usage.completion_tokens", "prompts.text"). Views are good until the next lookup.
  virtual Value lookup(std::string_view name) const = 0;
  /// The next random number of the iteration: what random_int() and its like are made of.
  virtual std::uint64_t draw() const { return 0; }
  virtual double now_ms() const { return 0; }  // since 1970
};

/// What a name holds, so that `status == "200"` is refused when parsed instead of never being true.
enum class ValueKind : std::uint8_t { any, truth, number, text };

struct NameInfo {
  std::string_view name;  // a trailing ".*" allows any member: "header.*"
  ValueKind kind = ValueKind::any;
};

/// What a check may use of the answer. Any may be missing (monostate): then every comparison with it is false.
inline constexpr std::array<NameInfo, 15> kResponseNames{{
    {"status", ValueKind::number},  // HTTP status; missing when no response came
    {"text", ValueKind::text},      // the model's answer, streamed pieces joined
    {"body", ValueKind::text},      // of http steps and unstreamed answers
    {"chunks", ValueKind::number},  // content-bearing events
    {"events", ValueKind::number},  // all events, the end marker included
    {"finish_reason", ValueKind::text},
    {"ttft", ValueKind::number},      // milliseconds
    {"duration", ValueKind::number},  // milliseconds, of the whole request
    {"error", ValueKind::text},       // missing when the request succeeded
    {"outcome", ValueKind::text},     // "ok", "reset", ...: name_of(Outcome)
    {"header.*", ValueKind::text},    // names in lower case: header.content-type
    {"usage.prompt_tokens", ValueKind::number},
    {"usage.completion_tokens", ValueKind::number},
    {"usage.cached_tokens", ValueKind::number},
    {"tokens", ValueKind::number},  // usage.completion_tokens
}};

/// What Templates may use besides `<data set>.<field>`: the VU's number from 1, and its iteration from 0.
inline constexpr std::array<std::string_view, 2> kIterationNames{"vu", "iteration"};

/// What a word stands for while an expression is parsed.
struct Meaning {
  ValueKind kind = ValueKind::any;
  bool lower_case = false;                             // its letters' case does not matter
  std::optional<std::string> constant = std::nullopt;  // its value, where that is known already
};

class Names {
 public:
  virtual ~Names() = default;
  /// None: unknown. `may_be_text`: a word on the right of an operator, which is text unless it is a name.
  virtual std::optional<Meaning> find(std::string_view word, bool may_be_text) const = 0;
  virtual std::vector<std::string_view> all() const = 0;  // for "did you mean"
};

/// A table of names.
class NameTable final : public Names {
 public:
  explicit NameTable(std::span<const NameInfo> names) : names_(names) {}
  std::optional<Meaning> find(std::string_view word, bool may_be_text) const override;
  std::vector<std::string_view> all() const override;

 private:
  std::span<const NameInfo> names_;
};

/// Words that mean something in every expression, so that nothing else can have their name: and, contains, uuid ...
bool is_expression_word(std::string_view word);

/// Texts that an evaluation has made; they live as long as it.
using Texts = std::list<std::string>;

class Expression {
 public:
  Expression() = default;  // of no use but to be assigned to

  /// What is wrong says where: "at character 8: ..."; with `error_at` the place goes there instead, as an offset.
  static Result<Expression> parse(std::string_view text, const Names& names, std::size_t* error_at = nullptr);
  static Result<Expression> parse(std::string_view text, std::span<const NameInfo> names);
  static Result<Expression> parse(std::string_view text, std::span<const std::string_view> names);

  /// A value holds when it is there and neither false, 0 nor empty.
  bool holds(const Scope& scope) const;
  /// A text is good until the scope's next lookup, and as long as `texts`.
  Value value(const Scope& scope, Texts& texts) const;

  bool is_constant() const;  // no names, no chance, no clock
  void for_each_name(const std::function<void(std::string_view)>& visit) const;

  struct Node;

 private:
  std::shared_ptr<const Node> root_;  // shared by copies of the plan; immutable
};

void append_value(const Value& value, std::string& out);  // what is missing: nothing

/// Where the hole ends that begins with the "${" of `text`: the offset of its "}". None: it has no end.
std::optional<std::size_t> end_of_hole(std::string_view text);

}  // namespace sluice
