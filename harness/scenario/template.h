// Text with `${expression}` holes. "$${" writes "${". A hole that is a name alone is looked up and nothing more.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/expression.h"

namespace sluice {

class Template {
 public:
  /// How a hole's value is written: as it is; escaped, for within a string of JSON; as a value of JSON; or as one that
  /// is a number if it can be.
  enum class Form : std::uint8_t { plain, inside_json_string, json, json_number };

  Template() = default;
  explicit Template(std::string_view literal);
  static Result<Template> parse(std::string_view text, std::span<const std::string_view> names);

  bool is_static() const;  // no holes: render once
  bool empty() const { return parts_.empty(); }
  void render(const Scope& scope, std::string& out) const;  // appends; what is missing renders as nothing
  /// The one hole that is all of it keeps its kind; else a text, in `texts`.
  Value value(const Scope& scope, Texts& texts) const;
  std::string text() const;  // as written

  /// For building piece by piece; the caller knows that the name exists.
  void add_literal(std::string_view text);
  void add_hole(std::string_view name, bool inside_json_string = false);
  void add_hole(std::string_view name, Form form);
  void add_hole(Expression expression, std::string_view as_written, Form form);

 private:
  struct Part {
    enum class Kind : std::uint8_t { literal, name, expression } kind = Kind::literal;
    Form form = Form::plain;
    std::string text;  // literal, name, or the expression as written
    Expression expression = {};
  };
  static void render_hole(const Part& part, const Scope& scope, std::string& out);
  std::vector<Part> parts_;
};

}  // namespace sluice
