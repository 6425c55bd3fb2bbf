#include "harness/scenario/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/nearest.h"
#include "harness/scenario/regex.h"

namespace sluice {

namespace {

// ---- words

struct Token {
  enum class Kind : std::uint8_t { word, number, text, symbol, end } kind = Kind::end;
  std::string text;  // of a text: its value
  double number = 0;
  std::size_t offset = 0;
};

/// What is wrong, and where in the text.
struct Fault {
  std::size_t offset = 0;
  std::string what;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool starts_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool in_word(char c) { return starts_word(c) || is_digit(c) || c == '.' || c == '-'; }

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  /// None: `fault` says why.
  std::optional<Token> next(Fault& fault) {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
    Token token;
    token.offset = at_;
    if (at_ == text_.size()) return token;
    const char c = text_[at_];
    if (c == '"' || c == '\'') return quoted(c, fault);
    if (is_digit(c)) return number(fault);
    if (starts_word(c)) {
      token.kind = Token::Kind::word;
      token.text = take([](char x) { return in_word(x); });
      return token;
    }
    struct Foreign {
      std::string_view symbol, instead;
    };
    static constexpr Foreign foreign[] = {{"===", "=="}, {"!==", "!="}, {"&&", "and"}, {"||", "or"}};
    for (const auto& [symbol, instead] : foreign) {
      if (text_.substr(at_).starts_with(symbol)) return write_instead(symbol, instead, fault);
    }
    for (const std::string_view symbol :
         {"==", "!=", "<=", ">=", "..", "<", ">", "(", ")", "[", "]", ",", "+", "-", "*", "/", "%"}) {
      if (!text_.substr(at_).starts_with(symbol)) continue;
      at_ += symbol.size();
      token.kind = Token::Kind::symbol;
      token.text = symbol;
      return token;
    }
    if (c == '=') return write_instead("=", "==", fault);
    if (c == '!') return write_instead("!", "not", fault);
    fault = {at_, static_cast<unsigned char>(c) < 0x80 ? fmt::format("'{}' cannot stand here; text needs quotes", c)
                                                       : std::string("text needs quotes")};
    return std::nullopt;
  }

 private:
  std::optional<Token> write_instead(std::string_view symbol, std::string_view instead, Fault& fault) const {
    fault = {at_, fmt::format("write '{}' instead of '{}'", instead, symbol)};
    return std::nullopt;
  }

  template <class Belongs>
  std::string take(Belongs belongs) {
    const std::size_t from = at_;
    while (at_ < text_.size() && belongs(text_[at_]) && text_.substr(at_, 2) != "..") ++at_;
    return std::string(text_.substr(from, at_ - from));
  }

  std::optional<Token> number(Fault& fault) {
    Token token;
    token.kind = Token::Kind::number;
    token.offset = at_;
    token.text =
        take([](char x) { return is_digit(x) || x == '.' || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z'); });
    if (!parse_decimal(token.text, token.number)) {
      const auto duration = parse_duration(token.text);
      if (!duration) {
        fault = {token.offset, fmt::format("'{}' is neither a number nor a duration such as 250ms", token.text)};
        return std::nullopt;
      }
      token.number = static_cast<double>(duration->count()) / 1e6;
    }
    return token;
  }

  std::optional<Token> quoted(char quote, Fault& fault) {
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
    fault = {token.offset, fmt::format("the text that starts here has no closing {}", quote)};
    return std::nullopt;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

void to_lower(std::string& text) {
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

// ---- functions

enum class Function : std::uint8_t { random_int, random_choice, random_string, uuid, len, lower, upper, now_ms };

struct FunctionInfo {
  std::string_view name;
  Function function;
  ValueKind kind;
  std::size_t least, most;  // arguments
  ValueKind takes;
  std::string_view usage;
};

constexpr FunctionInfo kFunctions[] = {
    {"random_int", Function::random_int, ValueKind::number, 2, 2, ValueKind::number, "random_int(least, most)"},
    {"random_choice", Function::random_choice, ValueKind::any, 1, 1000, ValueKind::any, "random_choice(a, b, ...)"},
    {"random_string", Function::random_string, ValueKind::text, 1, 1, ValueKind::number, "random_string(length)"},
    {"uuid", Function::uuid, ValueKind::text, 0, 0, ValueKind::any, "uuid()"},
    {"len", Function::len, ValueKind::number, 1, 1, ValueKind::text, "len(text)"},
    {"lower", Function::lower, ValueKind::text, 1, 1, ValueKind::text, "lower(text)"},
    {"upper", Function::upper, ValueKind::text, 1, 1, ValueKind::text, "upper(text)"},
    {"now_ms", Function::now_ms, ValueKind::number, 0, 0, ValueKind::any, "now_ms()"},
};

const FunctionInfo* function_named(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                   [name](const auto& function) { return function.name == name; });
  return found == std::end(kFunctions) ? nullptr : found;
}

// ---- values

std::optional<double> number_of(const Value& value) {
  if (const auto* number = std::get_if<double>(&value)) return *number;
  double number = 0;
  if (const auto* text = std::get_if<std::string_view>(&value); text && parse_decimal(*text, number)) return number;
  return std::nullopt;
}

/// Numbers are written out, into `texts`.
std::optional<std::string_view> text_of(const Value& value, Texts& texts) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return *text;
  if (!std::holds_alternative<double>(value)) return std::nullopt;
  append_value(value, texts.emplace_back());
  return std::string_view(texts.back());
}

bool are_equal(const Value& a, const Value& b) {
  if (a.index() == b.index()) return a == b;
  const auto x = number_of(a), y = number_of(b);
  return x && y && *x == *y;
}

bool are_comparable(const Value& a, const Value& b) {
  if (a.index() == 0 || b.index() == 0) return false;
  return a.index() == b.index() || (number_of(a) && number_of(b));
}

bool is_truthy(const Value& value) {
  if (const auto* truth = std::get_if<bool>(&value)) return *truth;
  if (const auto* number = std::get_if<double>(&value)) return *number != 0;
  if (const auto* text = std::get_if<std::string_view>(&value)) return !text->empty();
  return false;
}

double code_points(std::string_view text) {
  return static_cast<double>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

// ---- the tree

struct Expression::Node {
  enum class Kind : std::uint8_t {
    number,
    text,
    truth,
    name,
    call,
    add,
    subtract,
    multiply,
    divide,
    remainder,
    negative,  // values, up to here
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
  bool looks_up = false;  // a name is somewhere in it: evaluating it ends what an earlier lookup gave
  std::string text;       // of a text or a name
  std::string label;      // a variable's name, whose value `text` is: messages must not show that
  ValueKind value_kind = ValueKind::any;
  Function function{};
  std::optional<Regex> regex;
  std::vector<Node> kids;

  bool is_value() const { return kind <= Kind::negative; }

  Value value(const Scope& scope, Texts& texts) const {
    switch (kind) {
      case Kind::number:
        return number;
      case Kind::text:
        return std::string_view(text);
      case Kind::truth:
        return truth;
      case Kind::name:
        return scope.lookup(text);
      case Kind::call:
        return call(scope, texts);
      case Kind::negative:
        if (const auto operand = number_of(kids[0].value(scope, texts))) return -*operand;
        return {};
      case Kind::add:
      case Kind::subtract:
      case Kind::multiply:
      case Kind::divide:
      case Kind::remainder:
        return arithmetic(scope, texts);
      default:
        return holds(scope, texts);
    }
  }

  bool holds(const Scope& scope, Texts& texts) const {
    switch (kind) {
      case Kind::both:
        return std::all_of(kids.begin(), kids.end(), [&](const Node& kid) { return kid.holds(scope, texts); });
      case Kind::either:
        return std::any_of(kids.begin(), kids.end(), [&](const Node& kid) { return kid.holds(scope, texts); });
      case Kind::negation:
        return !kids[0].holds(scope, texts);
      default:
        return is_value() ? is_truthy(value(scope, texts)) : compare(scope, texts);
    }
  }

 private:
  Value arithmetic(const Scope& scope, Texts& texts) const {
    const auto a = number_of(kids[0].value(scope, texts));
    const auto b = number_of(kids[1].value(scope, texts));
    if (!a || !b) return {};
    const bool divides = kind == Kind::divide || kind == Kind::remainder;
    if (divides && *b == 0) return {};
    const double result = kind == Kind::add        ? *a + *b
                          : kind == Kind::subtract ? *a - *b
                          : kind == Kind::multiply ? *a * *b
                          : kind == Kind::divide   ? *a / *b
                                                   : std::fmod(*a, *b);
    return std::isfinite(result) ? Value(result) : Value{};
  }

  Value call(const Scope& scope, Texts& texts) const {
    static constexpr std::string_view hex = "0123456789abcdef", letters = "abcdefghijklmnopqrstuvwxyz0123456789";
    switch (function) {
      case Function::now_ms:
        return scope.now_ms();
      case Function::uuid: {
        std::string& made = texts.emplace_back("xxxxxxxx-xxxx-4xxx-Yxxx-xxxxxxxxxxxx");
        std::uint64_t bits = 0;
        int left = 0;
        for (char& c : made) {
          if (c != 'x' && c != 'Y') continue;
          if (left == 0) bits = scope.draw(), left = 16;
          c = hex[c == 'Y' ? 8 + bits % 4 : bits % 16];
          bits >>= 4U;
          --left;
        }
        return std::string_view(made);
      }
      case Function::random_choice:
        return kids[scope.draw() % kids.size()].value(scope, texts);
      case Function::random_int: {
        const auto least = number_of(kids[0].value(scope, texts)), most = number_of(kids[1].value(scope, texts));
        const std::uint64_t drawn = scope.draw();
        if (!least || !most) return {};
        const double from = std::ceil(*least), to = std::floor(*most);
        if (from > to || std::abs(from) > 1e15 || std::abs(to) > 1e15) return {};
        return from + static_cast<double>(drawn % (static_cast<std::uint64_t>(to - from) + 1));
      }
      case Function::random_string: {
        const auto length = number_of(kids[0].value(scope, texts));
        if (!length || *length < 0) return {};
        auto left = static_cast<std::size_t>(std::min(*length, static_cast<double>(limits::random_string_max)));
        std::string& made = texts.emplace_back();
        for (; left > 0; --left) made += letters[scope.draw() % letters.size()];
        return std::string_view(made);
      }
      case Function::len:
      case Function::lower:
      case Function::upper:
        break;
    }
    const auto argument = text_of(kids[0].value(scope, texts), texts);
    if (!argument) return {};
    if (function == Function::len) return code_points(*argument);
    std::string& made = texts.emplace_back(*argument);
    if (function == Function::lower) {
      to_lower(made);
    } else {
      for (char& c : made) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return std::string_view(made);
  }

  bool compare(const Scope& scope, Texts& texts) const {
    Value left = kids[0].value(scope, texts);
    const auto* view = std::get_if<std::string_view>(&left);
    if (view && std::any_of(kids.begin() + 1, kids.end(), [](const Node& kid) { return kid.looks_up; }))
      left = std::string_view(texts.emplace_back(*view));  // a view is good only until the next lookup
    if (kind == Kind::matches) {
      const auto subject = text_of(left, texts);
      return subject && regex->found_in(*subject);
    }
    if (kind == Kind::within) {
      const auto here = number_of(left), from = number_of(kids[1].value(scope, texts)),
                 to = number_of(kids[2].value(scope, texts));
      return here && from && to && *here >= *from && *here <= *to;
    }
    if (kind == Kind::one_of) {
      return std::any_of(kids.begin() + 1, kids.end(), [&](const Node& kid) {
        const Value right = kid.value(scope, texts);
        return are_comparable(left, right) && are_equal(left, right);
      });
    }
    const Value right = kids[1].value(scope, texts);
    if (kind == Kind::contains) {
      const auto subject = text_of(left, texts), part = text_of(right, texts);
      return subject && part && subject->find(*part) != std::string_view::npos;
    }
    if (kind == Kind::equal || kind == Kind::not_equal)
      return are_comparable(left, right) && are_equal(left, right) == (kind == Kind::equal);
    const auto a = number_of(left), b = number_of(right);
    if (!a || !b) return false;
    switch (kind) {
      case Kind::less:
        return *a < *b;
      case Kind::less_equal:
        return *a <= *b;
      case Kind::greater:
        return *a > *b;
      default:
        return *a >= *b;
    }
  }
};

// ---- the parser

namespace {

using Node = Expression::Node;

// Recursive descent. The first error wins and is kept aside, so that the rules read as the grammar does.
class Parser {
 public:
  Parser(std::string_view text, const Names& names) : lexer_(text), names_(names) {}

  /// None: fault() says why.
  std::optional<Node> parse() {
    advance();
    Node root = either();
    if (!fault_ && token_.kind != Token::Kind::end) {
      stop(token_.offset,
           token_.kind == Token::Kind::text || token_.kind == Token::Kind::word
               ? fmt::format("'{}' is left over: join conditions by 'and' or 'or', put text in quotes", token_.text)
               : fmt::format("'{}' is left over", token_.text));
    }
    if (fault_) return std::nullopt;
    return root;
  }
  const Fault& fault() const { return *fault_; }

 private:
  static Node parent_of(Node::Kind kind, ValueKind value_kind, std::vector<Node> kids) {
    Node node;
    node.kind = kind;
    node.value_kind = value_kind;
    node.looks_up = std::any_of(kids.begin(), kids.end(), [](const Node& kid) { return kid.looks_up; });
    node.kids = std::move(kids);
    return node;
  }
  template <class... Kids>
  static std::vector<Node> kids_of(Kids... kid) {
    std::vector<Node> kids;
    (kids.push_back(std::move(kid)), ...);
    return kids;
  }

  Node either() { return joined("or", Node::Kind::either, &Parser::both); }
  Node both() { return joined("and", Node::Kind::both, &Parser::negation); }

  Node joined(std::string_view word, Node::Kind kind, Node (Parser::*part)()) {
    Node first = (this->*part)();
    if (!is_word(word)) return first;
    std::vector<Node> kids = kids_of(std::move(first));
    while (!fault_ && is_word(word)) {
      advance();
      kids.push_back((this->*part)());
    }
    return parent_of(kind, ValueKind::truth, std::move(kids));
  }

  Node negation() {
    if (!is_word("not")) return comparison();
    if (!deeper()) return {};
    advance();
    Node node = parent_of(Node::Kind::negation, ValueKind::truth, kids_of(negation()));
    --depth_;
    return node;
  }

  Node comparison() {
    Node left = sum(false);
    if (fault_) return {};
    if (is_word("in")) return membership(std::move(left));
    Node::Kind kind{};
    if (!comparison_kind(kind)) return left;
    const Token operation = token_;
    advance();
    Node right = sum(true);
    if (fault_) return {};
    check_kinds(operation, kind, left, right);
    std::optional<Regex> pattern;
    if (kind == Node::Kind::matches && !fault_) {
      auto regex = Regex::compile(right.text);
      if (regex) {
        pattern = std::move(*regex);
      } else {
        stop(operation.offset, regex.error().message);
      }
    }
    Node node = parent_of(kind, ValueKind::truth, kids_of(std::move(left), std::move(right)));
    node.regex = std::move(pattern);
    return node;
  }

  Node membership(Node left) {
    const Token operation = token_;
    advance();
    std::vector<Node> kids = kids_of(std::move(left));
    if (is_symbol("[")) {
      do {
        advance();
        kids.push_back(sum(true));
        if (!fault_) check_kinds(operation, Node::Kind::equal, kids.front(), kids.back());
      } while (!fault_ && is_symbol(","));
      expect("]");
      return parent_of(Node::Kind::one_of, ValueKind::truth, std::move(kids));
    }
    for (const bool first : {true, false}) {
      if (fault_) return {};
      const bool stray = token_.kind == Token::Kind::word && !function_named(token_.text) &&
                         !names_.find(token_.text, true).has_value();
      if (stray || token_.kind == Token::Kind::text || token_.kind == Token::Kind::end) {
        stop(token_.offset, "after 'in' comes a range such as 50..100, or a list such as [200, 201]");
        return {};
      }
      kids.push_back(sum(false));
      check_kinds(operation, Node::Kind::less, kids.front(), kids.back());
      if (first) expect("..");
    }
    const bool literal = !fault_ && kids[1].kind == Node::Kind::number && kids[2].kind == Node::Kind::number;
    if (literal && kids[1].number > kids[2].number) stop(operation.offset, "the range ends before it begins");
    return parent_of(Node::Kind::within, ValueKind::truth, std::move(kids));
  }

  struct Operator {
    std::string_view symbol;
    Node::Kind kind;
  };

  Node sum(bool on_the_right) {
    static constexpr Operator operators[] = {{"+", Node::Kind::add}, {"-", Node::Kind::subtract}};
    return chain(on_the_right, operators, &Parser::product);
  }
  Node product(bool on_the_right) {
    static constexpr Operator operators[] = {
        {"*", Node::Kind::multiply}, {"/", Node::Kind::divide}, {"%", Node::Kind::remainder}};
    return chain(on_the_right, operators, &Parser::factor);
  }

  Node chain(bool on_the_right, std::span<const Operator> operators, Node (Parser::*part)(bool)) {
    Node left = (this->*part)(on_the_right);
    int length = 0;
    while (!fault_) {
      const auto found = std::find_if(operators.begin(), operators.end(),
                                      [&](const Operator& candidate) { return is_symbol(candidate.symbol); });
      if (found == operators.end()) break;
      const Token operation = token_;
      if (++length > limits::expression_depth_max) {  // each makes the tree deeper by one
        stop(operation.offset, "too many terms in a row");
        break;
      }
      advance();
      Node right = (this->*part)(on_the_right);
      wants_number(operation, left);
      wants_number(operation, right);
      left = parent_of(found->kind, ValueKind::number, kids_of(std::move(left), std::move(right)));
    }
    return left;
  }

  Node factor(bool on_the_right) {
    if (fault_) return {};
    if (is_symbol("-")) {
      if (!deeper()) return {};
      const Token operation = token_;
      advance();
      Node operand = factor(on_the_right);
      --depth_;
      wants_number(operation, operand);
      if (operand.kind == Node::Kind::number) {
        operand.number = -operand.number;
        return operand;
      }
      return parent_of(Node::Kind::negative, ValueKind::number, kids_of(std::move(operand)));
    }
    if (is_symbol("(")) {
      if (!deeper()) return {};
      advance();
      Node node = either();
      expect(")");
      --depth_;
      return node;
    }
    const Token token = token_;
    Node node;
    node.text = token.text;
    switch (token.kind) {
      case Token::Kind::number:
        node.kind = Node::Kind::number;
        node.value_kind = ValueKind::number;
        node.number = token.number;
        break;
      case Token::Kind::text:
        node.kind = Node::Kind::text;
        node.value_kind = ValueKind::text;
        break;
      case Token::Kind::word:
        advance();
        return is_symbol("(") ? call(token) : word(token, on_the_right);
      case Token::Kind::symbol:
      case Token::Kind::end:
        stop(token.offset, token.kind == Token::Kind::end ? std::string("the expression ends too early")
                                                          : fmt::format("'{}' cannot stand here", token.text));
    }
    advance();
    return node;
  }

  Node word(const Token& token, bool on_the_right) {
    Node node;
    node.text = token.text;
    if (token.text == "true" || token.text == "false") {
      node.kind = Node::Kind::truth;
      node.value_kind = ValueKind::truth;
      node.truth = token.text == "true";
    } else if (auto known = names_.find(token.text, on_the_right)) {
      node.value_kind = known->kind;
      if (known->constant) {
        node.kind = Node::Kind::text;
        node.label = token.text;
        node.text = std::move(*known->constant);
      } else {
        node.kind = Node::Kind::name;
        node.looks_up = true;
        if (known->lower_case) to_lower(node.text);
      }
    } else if (on_the_right) {
      node.kind = Node::Kind::text;
      node.value_kind = ValueKind::text;
    } else {
      const auto all = names_.all();
      const bool a_difference = token.text.find('-') != std::string::npos && !nearest(token.text, all);
      stop(token.offset, fmt::format("unknown name '{}'{}", token.text,
                                     a_difference ? std::string(": a difference has blanks around its '-'")
                                     : function_named(token.text)
                                         ? fmt::format("; the function is {}", function_named(token.text)->usage)
                                         : did_you_mean(token.text, all)));
    }
    return node;
  }

  Node call(const Token& name) {
    const auto* known = function_named(name.text);
    if (!known) {
      std::vector<std::string_view> all;
      for (const auto& function : kFunctions) all.push_back(function.name);
      stop(name.offset, fmt::format("unknown function '{}'{}", name.text,
                                    nearest(name.text, all) ? did_you_mean(name.text, all)
                                                            : fmt::format("; there is {}", fmt::join(all, ", "))));
      return {};
    }
    if (!deeper()) return {};
    std::vector<Node> kids;
    advance();
    while (!fault_ && !is_symbol(")")) {
      if (!kids.empty()) {
        if (!is_symbol(",")) break;
        advance();
      }
      kids.push_back(sum(false));
      if (fault_) break;
      const Node& kid = kids.back();
      const bool fits = kid.is_value() && (known->takes == ValueKind::any || kid.value_kind == ValueKind::any ||
                                           kid.value_kind == known->takes ||
                                           (known->takes == ValueKind::text && kid.value_kind == ValueKind::number));
      if (!fits)
        stop(name.offset, fmt::format("{} takes {}, and {} is {}", known->usage, kind_in_words(known->takes),
                                      shown(kid), kind_in_words(kid.value_kind)));
    }
    expect(")");
    --depth_;
    if (!fault_ && (kids.size() < known->least || kids.size() > known->most))
      stop(name.offset,
           fmt::format("the function is {}: it has {} here", known->usage,
                       kids.size() == 1 ? std::string("one argument") : fmt::format("{} arguments", kids.size())));
    const bool literal = !fault_ && known->function == Function::random_int && kids[0].kind == Node::Kind::number &&
                         kids[1].kind == Node::Kind::number;
    if (literal && kids[0].number > kids[1].number) stop(name.offset, "random_int: the range ends before it begins");
    Node node = parent_of(Node::Kind::call, known->kind, std::move(kids));
    node.function = known->function;
    node.text = known->name;
    return node;
  }

  bool comparison_kind(Node::Kind& kind) const {
    static constexpr Operator symbols[] = {{"==", Node::Kind::equal},  {"!=", Node::Kind::not_equal},
                                           {"<", Node::Kind::less},    {"<=", Node::Kind::less_equal},
                                           {">", Node::Kind::greater}, {">=", Node::Kind::greater_equal}};
    static constexpr Operator words[] = {
        {"contains", Node::Kind::contains}, {"matches", Node::Kind::matches}, {"equals", Node::Kind::equal}};
    for (const auto& row : symbols) {
      if (is_symbol(row.symbol)) return kind = row.kind, true;
    }
    for (const auto& row : words) {
      if (is_word(row.symbol)) return kind = row.kind, true;
    }
    return false;
  }

  // Refuses what could never be true.
  void check_kinds(const Token& operation, Node::Kind kind, const Node& left, const Node& right) {
    if (fault_) return;
    if (!left.is_value() || !right.is_value()) {
      return stop(
          operation.offset,
          fmt::format("'{}' compares values, not conditions: join conditions by 'and' or 'or'", operation.text));
    }
    if (kind == Node::Kind::matches && right.kind != Node::Kind::text) {
      return stop(operation.offset, "after 'matches' comes a pattern in quotes");
    }
    const bool wants_text = kind == Node::Kind::contains || kind == Node::Kind::matches;
    const bool wants_numbers = kind >= Node::Kind::less && kind <= Node::Kind::greater_equal;
    for (const Node* side : {&left, &right}) {
      const bool wrong =
          side->value_kind != ValueKind::any && ((wants_text && side->value_kind != ValueKind::text) ||
                                                 (wants_numbers && side->value_kind != ValueKind::number));
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

  void wants_number(const Token& operation, const Node& operand) {
    if (fault_) return;
    if (!operand.is_value())
      return stop(operation.offset, fmt::format("'{}' takes numbers, not conditions", operation.text));
    if (operand.value_kind == ValueKind::any || operand.value_kind == ValueKind::number) return;
    const std::string_view way_out =
        operation.text == "+" && operand.value_kind == ValueKind::text ? ": texts are joined as in \"${a}${b}\"" : "";
    stop(operation.offset, fmt::format("'{}' takes numbers, and {} is {}{}", operation.text, shown(operand),
                                       kind_in_words(operand.value_kind), way_out));
  }

  static std::string shown(const Node& node) {
    if (!node.label.empty()) return node.label;
    if (node.kind == Node::Kind::text) return fmt::format("'{}'", node.text);
    if (node.kind == Node::Kind::call) return fmt::format("{}()", node.text);
    return node.text.empty() ? std::string("this") : node.text;
  }

  bool is_word(std::string_view word) const { return token_.kind == Token::Kind::word && token_.text == word; }
  bool is_symbol(std::string_view symbol) const { return token_.kind == Token::Kind::symbol && token_.text == symbol; }

  void expect(std::string_view symbol) {
    if (fault_) return;
    if (!is_symbol(symbol)) return stop(token_.offset, fmt::format("'{}' is missing", symbol));
    advance();
  }

  void advance() {
    if (fault_) return;
    Fault fault;
    if (auto token = lexer_.next(fault)) {
      token_ = std::move(*token);
    } else {
      fault_ = std::move(fault);
    }
  }

  bool deeper() {
    if (++depth_ <= limits::expression_depth_max) return true;
    stop(token_.offset, "nested too deeply");
    return false;
  }

  void stop(std::size_t offset, std::string_view what) {
    if (!fault_) fault_ = Fault{offset, std::string(what)};
  }

  Lexer lexer_;
  const Names& names_;
  Token token_;
  std::optional<Fault> fault_;
  int depth_ = 0;
};

bool is_constant(const Node& node) {
  if (node.kind == Node::Kind::name) return false;
  if (node.kind == Node::Kind::call && node.function != Function::len && node.function != Function::lower &&
      node.function != Function::upper) {
    return false;
  }
  return std::all_of(node.kids.begin(), node.kids.end(), [](const Node& kid) { return is_constant(kid); });
}

void visit_names(const Node& node, const std::function<void(std::string_view)>& visit) {
  if (node.kind == Node::Kind::name) visit(node.text);
  for (const Node& kid : node.kids) visit_names(kid, visit);
}

}  // namespace

std::optional<Meaning> NameTable::find(std::string_view word, bool) const {
  for (const auto& name : names_) {
    if (name.name == word) return Meaning{name.kind};
    if (name.name.ends_with(".*") && word.size() >= name.name.size() &&
        word.starts_with(name.name.substr(0, name.name.size() - 1))) {
      return Meaning{name.kind, name.name == "header.*"};  // as HTTP has it: Content-Type and content-type are one
    }
  }
  return std::nullopt;
}

std::vector<std::string_view> NameTable::all() const {
  std::vector<std::string_view> all;
  for (const auto& name : names_) all.push_back(name.name);
  return all;
}

bool is_expression_word(std::string_view word) {
  static constexpr std::string_view words[] = {"and",     "or",     "not",  "in",   "contains",
                                               "matches", "equals", "true", "false"};
  return std::find(std::begin(words), std::end(words), word) != std::end(words) || function_named(word) != nullptr;
}

Result<Expression> Expression::parse(std::string_view text, const Names& names, std::size_t* error_at) {
  if (error_at) *error_at = 0;
  if (text.size() > limits::expression_bytes_max) {
    return fail(fmt::format("longer than {} bytes", limits::expression_bytes_max));
  }
  Parser parser(text, names);
  auto root = parser.parse();
  if (!root) {
    const Fault& fault = parser.fault();
    if (!error_at) return fail(fmt::format("at character {}: {}", fault.offset + 1, fault.what));
    *error_at = fault.offset;
    return fail(fault.what);
  }
  Expression expression;
  expression.root_ = std::make_shared<const Node>(std::move(*root));
  return expression;
}

Result<Expression> Expression::parse(std::string_view text, std::span<const NameInfo> names) {
  return parse(text, NameTable(names));
}

Result<Expression> Expression::parse(std::string_view text, std::span<const std::string_view> names) {
  std::vector<NameInfo> infos;
  for (const auto name : names) infos.push_back({name, ValueKind::any});
  return parse(text, NameTable(infos));
}

bool Expression::holds(const Scope& scope) const {
  SLUICE_CHECK(root_ != nullptr);
  Texts texts;
  return root_->holds(scope, texts);
}

Value Expression::value(const Scope& scope, Texts& texts) const {
  SLUICE_CHECK(root_ != nullptr);
  return root_->value(scope, texts);
}

bool Expression::is_constant() const { return sluice::is_constant(*root_); }

void Expression::for_each_name(const std::function<void(std::string_view)>& visit) const { visit_names(*root_, visit); }

void append_value(const Value& value, std::string& out) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    out += *text;
  } else if (const auto* number = std::get_if<double>(&value)) {
    fmt::format_to(std::back_inserter(out), "{}", *number);
  } else if (const auto* truth = std::get_if<bool>(&value)) {
    out += *truth ? "true" : "false";
  }
}

std::optional<std::size_t> end_of_hole(std::string_view text) {
  char quote = '\0';
  for (std::size_t i = 2; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != '\0') {
      if (c == '\\' && i + 1 < text.size()) {
        ++i;
      } else if (c == quote) {
        quote = '\0';
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '}') {
      return i;
    }
  }
  return std::nullopt;
}

}  // namespace sluice
