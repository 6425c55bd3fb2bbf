#include "harness/scenario/expression.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <optional>

#include "harness/base/check.h"
#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"

namespace sluice {

namespace {

// ---- regular expressions
// ----------------------------------------------------------------------------------------------

class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* compiled =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                      PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
    if (!compiled) {
      char message[256] = {};
      pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
      return fail(fmt::format("the pattern '{}' is wrong at character {}: {}", pattern, offset + 1, message));
    }
    Regex regex;
    regex.code_.reset(compiled, pcre2_code_free);
    return regex;
  }

  /// False as well when the limits are reached.
  bool found_in(std::string_view subject) const {
    const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create(1, nullptr),
                                                                              pcre2_match_data_free);
    const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
        pcre2_match_context_create(nullptr), pcre2_match_context_free);
    if (!data || !context) return false;
    pcre2_set_match_limit(context.get(), limits::regex_match_steps_max);
    pcre2_set_heap_limit(context.get(), limits::regex_heap_kib_max);
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), 0, 0, data.get(),
                       context.get()) >= 0;
  }

 private:
  std::shared_ptr<const pcre2_code>
      code_;  // shared by copies of the expression; immutable, matching does not write to it
};

// ---- words
// ------------------------------------------------------------------------------------------------------------

struct Token {
  enum class Kind : std::uint8_t { word, number, text, symbol, end } kind = Kind::end;
  std::string text;  // of a text: its value
  double number = 0;
  std::size_t offset = 0;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool in_word(char c) { return starts_word(c) || is_digit(c) || c == '.' || c == '-'; }

Error at(std::size_t offset, std::string_view what) {
  return fail(fmt::format("at character {}: {}", offset + 1, what));
}

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  Result<Token> next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
    Token token;
    token.offset = at_;
    if (at_ == text_.size()) return token;
    const char c = text_[at_];
    const char after = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (c == '"' || c == '\'') return quoted(c);
    if (is_digit(c) || (c == '-' && is_digit(after))) return number();
    if (starts_word(c)) {
      token.kind = Token::Kind::word;
      token.text = take([](char x) { return in_word(x); });
      return token;
    }
    for (const std::string_view symbol :
         {"===", "!==", "==", "!=", "<=", ">=", "&&", "||", "..", "<", ">", "(", ")", "[", "]", ",", "=", "!"}) {
      if (!text_.substr(at_).starts_with(symbol)) continue;
      if (symbol == "&&" || symbol == "||" || symbol == "=" || symbol == "!" || symbol == "===" || symbol == "!==") {
        const auto instead = symbol == "&&"    ? "and"
                             : symbol == "||"  ? "or"
                             : symbol == "!"   ? "not"
                             : symbol == "!==" ? "!="
                                               : "==";
        return at(at_, fmt::format("write '{}' instead of '{}'", instead, symbol));
      }
      at_ += symbol.size();
      token.kind = Token::Kind::symbol;
      token.text = symbol;
      return token;
    }
    return at(at_, static_cast<unsigned char>(c) < 0x80 ? fmt::format("'{}' cannot stand here; text needs quotes", c)
                                                        : std::string("text needs quotes"));
  }

 private:
  template <class Belongs>
  std::string take(Belongs belongs) {
    const std::size_t from = at_;
    while (at_ < text_.size() && belongs(text_[at_]) && text_.substr(at_, 2) != "..") ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

  Result<Token> number() {
    Token token;
    token.kind = Token::Kind::number;
    token.offset = at_;
    const bool negative = text_[at_] == '-';
    if (negative) ++at_;
    token.text =
        take([](char x) { return is_digit(x) || x == '.' || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z'); });
    if (!parse_decimal(token.text, token.number)) {
      const auto duration = parse_duration(token.text);
      if (!duration)
        return at(token.offset, fmt::format("'{}' is neither a number nor a duration such as 250ms", token.text));
      token.number = static_cast<double>(duration->count()) / 1e6;
    }
    if (negative) token.number = -token.number;
    return token;
  }

  Result<Token> quoted(char quote) {
    Token token;
    token.kind = Token::Kind::text;
    token.offset = at_++;
    for (; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == quote) {
        ++at_;
        return token;
      }
      if (c == '\\' && at_ + 1 < text_.size()) {
        const char escaped = text_[at_ + 1];
        if (escaped == 'n' || escaped == 't' || escaped == '\\' || escaped == quote) {
          ++at_;
          c = escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
        }  // else the backslash stands for itself, so that a pattern's \d needs no doubling
      }
      token.text += c;
    }
    return at(token.offset, fmt::format("the text that starts here has no closing {}", quote));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

void lower(std::string& text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string_view kind_in_words(ValueKind kind) {
  switch (kind) {
    case ValueKind::number:
      return "a number";
    case ValueKind::text:
      return "text";
    case ValueKind::truth:
      return "true or false";
    case ValueKind::any:
      break;
  }
  return "a value";
}

}  // namespace

// ---- the tree
// ---------------------------------------------------------------------------------------------------------

struct Expression::Node {
  enum class Kind : std::uint8_t {
    number,
    text,
    truth,
    name,  // values
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
    within,
    one_of,
    contains,
    matches,
    both,
    either,
    negation  // conditions
  };
  Kind kind = Kind::truth;
  double number = 0;
  bool truth = false;
  std::string text;  // of a text or a name
  ValueKind value_kind = ValueKind::any;
  std::optional<Regex> regex;
  std::vector<Node> kids;

  bool is_value() const { return kind <= Kind::name; }

  Value value(const Scope& scope) const {
    switch (kind) {
      case Kind::number:
        return number;
      case Kind::text:
        return std::string_view(text);
      case Kind::truth:
        return truth;
      case Kind::name:
        return scope.lookup(text);
      default:
        return holds(scope);
    }
  }

  bool holds(const Scope& scope) const {
    switch (kind) {
      case Kind::both:
        return std::all_of(kids.begin(), kids.end(), [&](const Node& kid) { return kid.holds(scope); });
      case Kind::either:
        return std::any_of(kids.begin(), kids.end(), [&](const Node& kid) { return kid.holds(scope); });
      case Kind::negation:
        return !kids[0].holds(scope);
      case Kind::number:
      case Kind::text:
      case Kind::truth:
      case Kind::name:
        return is_truthy(value(scope));
      default:
        return compare(scope);
    }
  }

 private:
  static bool is_truthy(const Value& value) {
    if (const auto* truth = std::get_if<bool>(&value)) return *truth;
    if (const auto* number = std::get_if<double>(&value)) return *number != 0;
    if (const auto* text = std::get_if<std::string_view>(&value)) return !text->empty();
    return false;
  }

  bool compare(const Scope& scope) const {
    Value left = kids[0].value(scope);
    std::string kept;  // a view is good only until the next lookup
    const auto* view = std::get_if<std::string_view>(&left);
    if (view && std::any_of(kids.begin() + 1, kids.end(), [](const Node& kid) { return kid.kind == Kind::name; })) {
      kept = *view;
      left = std::string_view(kept);
    }
    if (kind == Kind::matches) {
      const auto* subject = std::get_if<std::string_view>(&left);
      return subject && regex->found_in(*subject);
    }
    if (kind == Kind::within) {
      const auto* number_here = std::get_if<double>(&left);
      return number_here && *number_here >= kids[1].number && *number_here <= kids[2].number;
    }
    if (kind == Kind::one_of) {
      return std::any_of(kids.begin() + 1, kids.end(),
                         [&](const Node& kid) { return kid.value(scope) == left && left.index() != 0; });
    }
    const Value right = kids[1].value(scope);
    if (left.index() != right.index() || left.index() == 0) return false;
    if (kind == Kind::equal) return left == right;
    if (kind == Kind::not_equal) return left != right;
    if (const auto* text_here = std::get_if<std::string_view>(&left)) {
      return kind == Kind::contains && text_here->find(std::get<std::string_view>(right)) != std::string_view::npos;
    }
    const auto* a = std::get_if<double>(&left);
    const auto* b = std::get_if<double>(&right);
    if (!a || !b) return false;
    switch (kind) {
      case Kind::less:
        return *a < *b;
      case Kind::less_equal:
        return *a <= *b;
      case Kind::greater:
        return *a > *b;
      case Kind::greater_equal:
        return *a >= *b;
      default:
        return false;
    }
  }
};

// ---- the parser
// -------------------------------------------------------------------------------------------------------

namespace {

using Node = Expression::Node;

// Recursive descent. The first error wins and is kept aside, so that the rules read as the grammar does.
class Parser {
 public:
  Parser(std::string_view text, std::span<const NameInfo> names) : lexer_(text), names_(names) {}

  Result<Node> parse() {
    advance();
    Node root = either();
    if (!error_ && token_.kind != Token::Kind::end) {
      stop(token_.offset,
           fmt::format("'{}' is left over: join conditions by 'and' or 'or', put text in quotes", token_.text));
    }
    if (error_) return *error_;
    return root;
  }

 private:
  Node either() { return joined("or", Node::Kind::either, &Parser::both); }
  Node both() { return joined("and", Node::Kind::both, &Parser::negation); }

  Node joined(std::string_view word, Node::Kind kind, Node (Parser::*part)()) {
    Node first = (this->*part)();
    if (!is_word(word)) return first;
    Node node;
    node.kind = kind;
    node.kids.push_back(std::move(first));
    while (!error_ && is_word(word)) {
      advance();
      node.kids.push_back((this->*part)());
    }
    return node;
  }

  Node negation() {
    if (!is_word("not")) return comparison();
    if (!deeper()) return {};
    advance();
    Node node;
    node.kind = Node::Kind::negation;
    node.kids.push_back(negation());
    --depth_;
    return node;
  }

  Node comparison() {
    Node left = operand(false);
    if (error_) return {};
    if (is_word("in")) return membership(std::move(left));
    Node node;
    if (!comparison_kind(node.kind)) return left;
    const Token operation = token_;
    advance();
    Node right = operand(true);
    if (error_) return {};
    check_kinds(operation, node.kind, left, right);
    if (node.kind == Node::Kind::matches && !error_) {
      auto regex = Regex::compile(right.text);
      if (!regex)
        stop(operation.offset, regex.error().message);
      else
        node.regex = std::move(*regex);
    }
    node.kids.push_back(std::move(left));
    node.kids.push_back(std::move(right));
    return node;
  }

  Node membership(Node left) {
    Node node;
    const Token operation = token_;
    advance();
    node.kids.push_back(std::move(left));
    if (is_symbol("[")) {
      node.kind = Node::Kind::one_of;
      do {
        advance();
        node.kids.push_back(operand(true));
        if (!error_) check_kinds(operation, Node::Kind::equal, node.kids.front(), node.kids.back());
      } while (!error_ && is_symbol(","));
      expect("]");
      return node;
    }
    node.kind = Node::Kind::within;
    for (const bool first : {true, false}) {
      if (error_) return {};
      if (token_.kind != Token::Kind::number) {
        stop(token_.offset, "after 'in' comes a range such as 50..100, or a list such as [200, 201]");
        return {};
      }
      Node end;
      end.kind = Node::Kind::number;
      end.value_kind = ValueKind::number;
      end.number = token_.number;
      check_kinds(operation, Node::Kind::less, node.kids.front(), end);
      node.kids.push_back(std::move(end));
      advance();
      if (first) expect("..");
    }
    if (!error_ && node.kids[1].number > node.kids[2].number) stop(operation.offset, "the range ends before it begins");
    return node;
  }

  Node operand(bool on_the_right) {
    if (error_) return {};
    Node node;
    if (is_symbol("(")) {
      if (!deeper()) return {};
      advance();
      node = either();
      expect(")");
      --depth_;
      return node;
    }
    node.text = token_.text;
    switch (token_.kind) {
      case Token::Kind::number:
        node.kind = Node::Kind::number;
        node.value_kind = ValueKind::number;
        node.number = token_.number;
        break;
      case Token::Kind::text:
        node.kind = Node::Kind::text;
        node.value_kind = ValueKind::text;
        break;
      case Token::Kind::word:
        if (token_.text == "true" || token_.text == "false") {
          node.kind = Node::Kind::truth;
          node.value_kind = ValueKind::truth;
          node.truth = token_.text == "true";
        } else if (const auto* known = name_named(token_.text)) {
          node.kind = Node::Kind::name;
          node.value_kind = known->kind;
          if (known->name == "header.*") lower(node.text);  // as HTTP has it: Content-Type and content-type are one
        } else if (on_the_right) {
          node.kind = Node::Kind::text;
          node.value_kind = ValueKind::text;
        } else {
          std::vector<std::string_view> known_names;
          for (const auto& name : names_) known_names.push_back(name.name);
          stop(token_.offset, fmt::format("unknown name '{}'{}", token_.text, did_you_mean(token_.text, known_names)));
        }
        break;
      case Token::Kind::symbol:
      case Token::Kind::end:
        stop(token_.offset, token_.kind == Token::Kind::end ? std::string("the expression ends too early")
                                                            : fmt::format("'{}' cannot stand here", token_.text));
    }
    advance();
    return node;
  }

  bool comparison_kind(Node::Kind& kind) const {
    struct Row {
      std::string_view text;
      Node::Kind kind;
    };
    static constexpr Row symbols[] = {{"==", Node::Kind::equal},  {"!=", Node::Kind::not_equal},
                                      {"<", Node::Kind::less},    {"<=", Node::Kind::less_equal},
                                      {">", Node::Kind::greater}, {">=", Node::Kind::greater_equal}};
    static constexpr Row words[] = {
        {"contains", Node::Kind::contains}, {"matches", Node::Kind::matches}, {"equals", Node::Kind::equal}};
    for (const auto& row : symbols) {
      if (is_symbol(row.text)) return kind = row.kind, true;
    }
    for (const auto& row : words) {
      if (is_word(row.text)) return kind = row.kind, true;
    }
    return false;
  }

  // Refuses what could never be true.
  void check_kinds(const Token& operation, Node::Kind kind, const Node& left, const Node& right) {
    if (error_) return;
    if (!left.is_value() || !right.is_value()) {
      return stop(
          operation.offset,
          fmt::format("'{}' compares values, not conditions: join conditions by 'and' or 'or'", operation.text));
    }
    if (kind == Node::Kind::matches && right.kind != Node::Kind::text) {
      return stop(operation.offset, "after 'matches' comes a pattern in quotes");
    }
    const bool wants_text = kind == Node::Kind::contains || kind == Node::Kind::matches;
    const bool wants_number = kind >= Node::Kind::less && kind <= Node::Kind::greater_equal;
    for (const Node* side : {&left, &right}) {
      const bool wrong =
          side->value_kind != ValueKind::any && ((wants_text && side->value_kind != ValueKind::text) ||
                                                 (wants_number && side->value_kind != ValueKind::number));
      if (wrong) {
        return stop(operation.offset,
                    fmt::format("'{}' takes {}, and {} is {}", operation.text, wants_text ? "text" : "numbers",
                                shown(*side), kind_in_words(side->value_kind)));
      }
    }
    if (left.value_kind != ValueKind::any && right.value_kind != ValueKind::any &&
        left.value_kind != right.value_kind) {
      stop(operation.offset,
           fmt::format("{} is {}, {} is {}: they are never equal", shown(left), kind_in_words(left.value_kind),
                       shown(right), kind_in_words(right.value_kind)));
    }
  }

  static std::string shown(const Node& node) {
    return node.kind == Node::Kind::text ? fmt::format("'{}'", node.text) : node.text;
  }

  const NameInfo* name_named(std::string_view word) const {
    for (const auto& name : names_) {
      if (name.name == word) return &name;
      if (name.name.ends_with(".*") && word.size() >= name.name.size() &&
          word.starts_with(name.name.substr(0, name.name.size() - 1))) {
        return &name;
      }
    }
    return nullptr;
  }

  bool is_word(std::string_view word) const { return token_.kind == Token::Kind::word && token_.text == word; }
  bool is_symbol(std::string_view symbol) const { return token_.kind == Token::Kind::symbol && token_.text == symbol; }

  void expect(std::string_view symbol) {
    if (error_) return;
    if (!is_symbol(symbol)) return stop(token_.offset, fmt::format("'{}' is missing", symbol));
    advance();
  }

  void advance() {
    if (error_) return;
    auto token = lexer_.next();
    if (token) {
      token_ = std::move(*token);
    } else {
      error_ = token.error();
    }
  }

  bool deeper() {
    if (++depth_ <= limits::expression_depth_max) return true;
    stop(token_.offset, "nested too deeply");
    return false;
  }

  void stop(std::size_t offset, std::string_view what) {
    if (!error_) error_ = at(offset, what);
  }

  Lexer lexer_;
  std::span<const NameInfo> names_;
  Token token_;
  std::optional<Error> error_;
  int depth_ = 0;
};

}  // namespace

Result<Expression> Expression::parse(std::string_view text, std::span<const NameInfo> names) {
  if (text.size() > limits::expression_bytes_max) {
    return fail(fmt::format("longer than {} bytes", limits::expression_bytes_max));
  }
  auto root = Parser(text, names).parse();
  if (!root) return root.error();
  Expression expression;
  expression.root_ = std::make_shared<const Node>(std::move(*root));
  return expression;
}

Result<Expression> Expression::parse(std::string_view text, std::span<const std::string_view> names) {
  std::vector<NameInfo> infos;
  for (const auto name : names) infos.push_back({name, ValueKind::any});
  return parse(text, infos);
}

bool Expression::holds(const Scope& scope) const {
  SLUICE_CHECK(root_ != nullptr);
  return root_->holds(scope);
}

// ---- templates
// --------------------------------------------------------------------------------------------------------

namespace {

void append_value(const Value& value, std::string& out) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    out += *text;
  } else if (const auto* number = std::get_if<double>(&value)) {
    fmt::format_to(std::back_inserter(out), "{}", *number);
  } else if (const auto* truth = std::get_if<bool>(&value)) {
    out += *truth ? "true" : "false";
  }
}

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

}  // namespace

Template::Template(std::string_view literal) { add_literal(literal); }

void Template::add_literal(std::string_view text) {
  if (text.empty()) return;
  if (parts_.empty() || parts_.back().hole) parts_.emplace_back();
  parts_.back().text += text;
}

void Template::add_hole(std::string_view name, bool inside_json_string) {
  Part part;
  part.hole = true;
  part.inside_json_string = inside_json_string;
  part.text = name;
  parts_.push_back(std::move(part));
}

Result<Template> Template::parse(std::string_view text, std::span<const std::string_view> names) {
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
      const auto close = rest.find('}');
      if (close == std::string_view::npos)
        return at(dollar, "'${' has no '}'; write $${ for the characters themselves");
      const auto name = rest.substr(2, close - 2);
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        return at(dollar, fmt::format("unknown name '{}'{}", name, did_you_mean(name, names)));
      }
      made.add_hole(name);
      from = dollar + close + 1;
    } else {
      made.add_literal("$");
      from = dollar + 1;
    }
  }
  return made;
}

bool Template::is_static() const {
  return std::none_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.hole; });
}

void Template::render(const Scope& scope, std::string& out) const {
  for (const auto& part : parts_) {
    if (!part.hole) {
      out += part.text;
    } else if (part.inside_json_string) {
      std::string value;
      append_value(scope.lookup(part.text), value);
      append_json_escaped(value, out);
    } else {
      append_value(scope.lookup(part.text), out);
    }
  }
}

std::string Template::text() const {
  std::string out;
  for (const auto& part : parts_) {
    if (part.hole) {
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
