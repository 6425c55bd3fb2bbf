// `${NAME}`: values of the scenario's variables, and which of them are secrets.
//
// Precedence: -e NAME=VALUE, then the environment (an empty value there counts as not set), then the default under
// `env:`, which may itself use variables; the `env:` of a scenario wins over them all in its flow. `${data.field}`,
// `${vu}`, `${iteration}` and what the flow captures stay holes, and so do expressions with them: they change with each
// iteration. "$${" writes "${".
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/expression.h"
#include "harness/scenario/problem.h"
#include "harness/scenario/yaml_tree.h"

namespace sluice {

/// A scalar with its variables filled in.
struct FilledText {
  struct Part {
    bool hole = false;
    std::string text;                                     // literal, or what stands in the hole
    std::optional<Expression> expression = std::nullopt;  // of a hole that is more than a name
  };
  std::vector<Part> parts;  // neighbours are never both literal
  std::string shown;        // for messages and reports: secrets as written
  bool has_variables = false;

  bool is_plain() const { return parts.empty() || (parts.size() == 1 && !parts[0].hole); }
  const std::string& plain() const;  // REQUIRES: is_plain()
};

/// Names whose values are not known before the run.
class LiveNames {
 public:
  virtual ~LiveNames() = default;
  virtual bool has(std::string_view name) const = 0;
  virtual void list(std::vector<std::string_view>& into) const = 0;
};

class Variables {
 public:
  using Environment = std::function<std::optional<std::string>(const std::string& name)>;

  /// `defaults`: the mapping under `env:`, or none. Problems of defaults go to `problems`, which must outlive this.
  Variables(const YamlNode* defaults, std::map<std::string, std::string> overrides, Environment environment,
            ProblemList& problems, std::string_view source = {});

  /// From now on holes may have these too; must outlive this.
  void set_live(const LiveNames& live) { live_ = &live; }

  /// From now on, until pop(): the `env:` of a scenario.
  void push(const YamlNode& env);
  void pop() { own_.clear(); }

  bool is_declared(std::string_view name) const;

  /// An expression over live names, variables and `also`, that stands at `offset` of the scalar's value. None when
  /// something is wrong; the problem is recorded, with `before` before it.
  struct ReadExpression {
    Expression expression;
    bool secret = false;  // the value of a secret is in it
  };
  std::optional<ReadExpression> read_expression(const YamlNode& scalar, std::string_view text,
                                                std::optional<std::size_t> offset, std::string_view before,
                                                std::span<const NameInfo> also, bool undeclared_too);

  /// None when something is wrong; the problem is recorded.
  std::optional<FilledText> fill(const YamlNode& scalar);

  /// What `env:` declares, as resolved; secrets are masked, and so are passwords in URLs.
  std::map<std::string, std::string> shown();

  /// A problem for each override that no `env:` declares and nothing has used.
  void report_unused_overrides();

 private:
  struct Resolved {
    std::string value;
    bool secret = false;
  };
  std::optional<Resolved> resolve(const std::string& name, Place used_at);
  std::optional<Resolved> resolve_default(const YamlMember& member);
  class ExpressionNames;

  std::vector<const YamlMember*> declared_;
  std::map<std::string, std::string> overrides_;
  Environment environment_;
  ProblemList& problems_;
  std::string_view source_;  // of the file, for places
  const LiveNames* live_ = nullptr;
  std::map<std::string, Resolved, std::less<>> own_;  // of the scenario being read
  std::map<std::string, std::optional<Resolved>, std::less<>> resolved_;
  std::vector<std::string> resolving_;  // a default that leads back to itself
  std::set<std::string, std::less<>> used_;
};

/// TOKEN, KEY, SECRET, PASSWORD and the like as a word of the name: API_TOKEN is one, MAX_TOKENS is not.
bool is_secret_name(std::string_view name);

}  // namespace sluice
