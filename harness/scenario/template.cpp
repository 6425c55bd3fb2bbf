#include "harness/scenario/template.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/duration.h"

namespace sluice {

namespace {

void append_json_escaped(std::string_view text, std::string& out) {
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
}

void write_value(const Value& value, Template::Form form, std::string& out) {
  if (form == Template::Form::plain) return append_value(value, out);
  if (form == Template::Form::json_number) {
    double number = 0;
    const auto* text = std::get_if<std::string_view>(&value);
    if (text != nullptr && parse_decimal(*text, number)) return append_value(number, out);
    form = Template::Form::json;
  }
  if (form == Template::Form::json && value.index() == 0) {
    out += "null";
    return;
  }
  const bool quotes = form == Template::Form::json && std::holds_alternative<std::string_view>(value);
  if (quotes) out += '"';
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    append_json_escaped(*text, out);
  } else {
    append_value(value, out);
  }
  if (quotes) out += '"';
}

}  // namespace

Template::Template(std::string_view literal) { add_literal(literal); }

void Template::add_literal(std::string_view text) {
  if (text.empty()) return;
  if (parts_.empty() || parts_.back().kind != Part::Kind::literal) parts_.emplace_back();
  parts_.back().text += text;
}

void Template::add_hole(std::string_view name, bool inside_json_string) {
  add_hole(name, inside_json_string ? Form::inside_json_string : Form::plain);
}

void Template::add_hole(std::string_view name, Form form) {
  parts_.push_back(Part{Part::Kind::name, form, std::string(name)});
}

void Template::add_hole(Expression expression, std::string_view as_written, Form form) {
  parts_.push_back(Part{Part::Kind::expression, form, std::string(as_written), std::move(expression)});
}

Result<Template> Template::parse(std::string_view text, std::span<const std::string_view> names) {
  const auto wrong = [](std::size_t offset, std::string_view what) {
    return fail(fmt::format("at character {}: {}", offset + 1, what));
  };
  std::vector<NameInfo> infos;
  for (const auto name : names) infos.push_back({name, ValueKind::any});
  Template made;
  std::size_t from = 0;
  while (from < text.size()) {
    const auto dollar = text.find('$', from);
    made.add_literal(text.substr(from, dollar - from));
    if (dollar == std::string_view::npos) break;
    const auto rest = text.substr(dollar);
    if (rest.starts_with("$${")) {
      made.add_literal("${");
      from = dollar + 3;
    } else if (rest.starts_with("${")) {
      const auto close = end_of_hole(rest);
      if (!close) return wrong(dollar, "'${' has no '}'; write $${ for the characters themselves");
      const auto inside = rest.substr(2, *close - 2);
      if (std::find(names.begin(), names.end(), inside) != names.end()) {
        made.add_hole(inside);
      } else {
        std::size_t at = 0;
        auto expression = Expression::parse(inside, NameTable(infos), &at);
        if (!expression) return wrong(dollar + 2 + at, expression.error().message);
        made.add_hole(std::move(*expression), inside, Form::plain);
      }
      from = dollar + *close + 1;
    } else {
      made.add_literal("$");
      from = dollar + 1;
    }
  }
  return made;
}

bool Template::is_static() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.kind == Part::Kind::literal; });
}

void Template::render_hole(const Part& part, const Scope& scope, std::string& out) {
  if (part.kind == Part::Kind::name) return write_value(scope.lookup(part.text), part.form, out);
  Texts texts;
  write_value(part.expression.value(scope, texts), part.form, out);
}

void Template::render(const Scope& scope, std::string& out) const {
  for (const auto& part : parts_) {
    if (part.kind == Part::Kind::literal) {
      out += part.text;
    } else {
      render_hole(part, scope, out);
    }
  }
}

Value Template::value(const Scope& scope, Texts& texts) const {
  if (parts_.size() == 1 && parts_[0].form == Form::plain) {
    if (parts_[0].kind == Part::Kind::name) return scope.lookup(parts_[0].text);
    if (parts_[0].kind == Part::Kind::expression) return parts_[0].expression.value(scope, texts);
  }
  std::string& text = texts.emplace_back();
  render(scope, text);
  return std::string_view(text);
}

std::string Template::text() const {
  std::string out;
  for (const auto& part : parts_) {
    if (part.kind != Part::Kind::literal) {
      out += "${" + part.text + "}";
    } else {
      for (std::size_t from = 0; from < part.text.size();) {  // so that what it returns reads back as the same
        const auto open = part.text.find("${", from);
        out += part.text.substr(from, open - from);
        if (open == std::string::npos) break;
        out += "$${";
        from = open + 2;
      }
    }
  }
  return out;
}

}  // namespace sluice
