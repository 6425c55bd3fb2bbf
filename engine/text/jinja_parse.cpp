#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "engine/text/jinja.h"
#include "engine/text/utf8.h"

namespace sluice::engine::jinja {
namespace {

constexpr std::size_t kSourceBytesMax = 256 * 1024;  // the longest in use have some 20 kB
constexpr int kDepthMax = 200;                       // of the tree: evaluation recurses as deep
constexpr std::size_t kNodesMax = 100'000;

enum class TokenKind : std::uint8_t {
  data,
  variable_begin,
  variable_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  op,
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  int line = 1;
};

/// A problem on the way down; caught in parse() alone.
struct Refused {
  std::string message;
};

[[noreturn]] void refuse(int line, const std::string& what) { throw Refused{fmt::format("line {}: {}", line, what)}; }

/// Jinja's lexer with trim_blocks and lstrip_blocks on and keep_trailing_newline off, as transformers sets them.
class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    for (std::size_t i = 0; i < source.size(); ++i) {  // all newlines become \n
      if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
      source_.push_back(source[i] == '\r' ? '\n' : source[i]);
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) step();
    push(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  bool at(std::string_view what) const { return std::string_view(source_).substr(at_).starts_with(what); }

  std::size_t behind_spaces(std::size_t from) const {
    while (from < source_.size()) {
      const Utf8Part part = utf8_part(source_, from);
      if (!is_python_space(part.point)) break;
      from += part.length;
    }
    return from;
  }

  static std::string_view without_trailing_spaces(std::string_view text) {
    while (!text.empty()) {
      std::size_t begin = text.size() - 1;
      while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
      if (!is_python_space(utf8_part(text, begin).point)) break;
      text = text.substr(0, begin);
    }
    return text;
  }

  void step() {
    std::size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        tag = std::string::npos;
        break;
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    if (tag == std::string::npos) {
      push(TokenKind::data, source_.substr(at_));
      advance(source_.size());
      return;
    }
    std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign == '-') {
      text = without_trailing_spaces(text);
    } else if (sign != '+' && kind != '{') {         // lstrip_blocks: a tag's indentation is not text
      const auto line_begin = text.rfind('\n') + 1;  // 0 when there is none
      const std::string_view indent = text.substr(line_begin);
      if ((line_begin > 0 || line_starting_) && without_trailing_spaces(indent).empty())
        text = text.substr(0, line_begin);
    }
    if (!text.empty()) push(TokenKind::data, std::string(text));
    advance(tag);
    const int begun = line_;
    advance(tag + 2 + (sign == '-' || sign == '+' ? 1 : 0));
    if (kind == '#') {
      const auto close = source_.find("#}", at_);
      if (close == std::string::npos) refuse(begun, "a comment is not closed");
      // A sign right before the end belongs to it.
      advance(close > at_ && (source_[close - 1] == '-' || source_[close - 1] == '+') ? close - 1 : close);
      end_tag("#}");
      return;
    }
    push(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin, "");
    inside(kind == '{' ? "}}" : "%}", begun);
  }

  /// Takes an end with its sign, and the white space that goes with it. False when it is not here.
  bool end_tag(std::string_view end) {
    const bool minus = at(std::string("-") + std::string(end)),
               plus = end != "}}" && at(std::string("+") + std::string(end));
    if (!minus && !plus && !at(end)) return false;
    std::size_t behind = at_ + end.size() + (minus || plus ? 1 : 0);
    if (minus) behind = behind_spaces(behind);
    if (!minus && !plus && end != "}}" && behind < source_.size() && source_[behind] == '\n') ++behind;  // trim_blocks
    advance(behind);
    line_starting_ = source_[at_ - 1] == '\n';
    return true;
  }

  void inside(std::string_view end, int begun) {
    while (true) {
      advance(behind_spaces(at_));
      if (at_ >= source_.size()) refuse(begun, fmt::format("a tag is not closed by '{}'", end));
      if (at("-" + std::string(end)) || at(end) || (end == "%}" && at("+%}"))) {
        push(end == "}}" ? TokenKind::variable_end : TokenKind::block_end, "");
        end_tag(end);
        return;
      }
      token();
    }
  }

  void token() {
    const char c = source_[at_];
    const auto is_name = [](char each) {
      return each == '_' || (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') ||
             (each >= '0' && each <= '9');
    };
    if (c >= '0' && c <= '9') {
      std::size_t end = at_;
      while (end < source_.size() && is_name(source_[end])) ++end;
      const std::string text = source_.substr(at_, end - at_);
      const bool decimal = std::all_of(text.begin(), text.end(), [](char each) { return each >= '0' && each <= '9'; });
      const bool fraction =
          end + 1 < source_.size() && source_[end] == '.' && source_[end + 1] >= '0' && source_[end + 1] <= '9';
      if (!decimal || fraction || text.size() > 15)
        refuse(line_, fmt::format("the number '{}' is not supported: whole decimal ones are", text.substr(0, 40)));
      push(TokenKind::integer, text);
      return advance(end);
    }
    if (is_name(c)) {
      std::size_t end = at_;
      while (end < source_.size() && is_name(source_[end])) ++end;
      push(TokenKind::name, source_.substr(at_, end - at_));
      return advance(end);
    }
    if (c == '\'' || c == '"') return string(c);
    for (const std::string_view op : {"//", "**", "==", "!=", "<=", ">="}) {
      if (at(op)) {
        push(TokenKind::op, std::string(op));
        return advance(at_ + op.size());
      }
    }
    if (std::string_view("+-*/%~<>=()[]{}|.,:").find(c) == std::string_view::npos) {
      const Utf8Part part = utf8_part(source_, at_);
      refuse(line_, fmt::format("the character '{}' has no meaning here",
                                part.whole ? source_.substr(at_, part.length) : "?"));
    }
    push(TokenKind::op, std::string(1, c));
    advance(at_ + 1);
  }

  void string(char quote) {
    const int begun = line_;
    std::string value;
    std::size_t i = at_ + 1;
    const auto hexadecimal = [&](std::size_t digits) {
      std::uint32_t point = 0;
      for (std::size_t k = 0; k < digits; ++k, ++i) {
        const char d = i < source_.size() ? source_[i] : '\0';
        const char lower = static_cast<char>(d | 0x20);
        if (d >= '0' && d <= '9') {
          point = point * 16 + static_cast<std::uint32_t>(d - '0');
        } else if (lower >= 'a' && lower <= 'f') {
          point = point * 16 + static_cast<std::uint32_t>(lower - 'a' + 10);
        } else {
          refuse(begun, "a hexadecimal escape is too short");
        }
      }
      if (point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) refuse(begun, "an escape stands for no character");
      append_utf8(point, value);
    };
    while (true) {
      if (i >= source_.size()) refuse(begun, "a string is not closed");
      const char c = source_[i++];
      if (c == quote) break;
      if (c != '\\') {
        value.push_back(c);
        continue;
      }
      if (i >= source_.size()) refuse(begun, "a string is not closed");
      const char escaped = source_[i++];
      constexpr std::string_view kNames = "ntr\\'\"abfv";
      constexpr std::string_view kValues = "\n\t\r\\'\"\a\b\f\v";
      if (const auto index = kNames.find(escaped); index != std::string_view::npos) {
        value.push_back(kValues[index]);
      } else if (escaped == 'x' || escaped == 'u' || escaped == 'U') {
        hexadecimal(escaped == 'x' ? 2 : escaped == 'u' ? 4 : 8);
      } else if (escaped == 'N' || (escaped >= '0' && escaped <= '7')) {
        refuse(begun, fmt::format("the escape '\\{}' is not supported", escaped));
      } else if (escaped != '\n') {  // Python keeps the backslash of what is no escape
        value.push_back('\\');
        value.push_back(escaped);
      }
    }
    push(TokenKind::string, std::move(value));
    advance(i);
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag took its line's end with it
  std::vector<Token> tokens_;
};

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  NodePtr run() {
    NodePtr root = body({});
    return root;
  }

 private:
  const Token& peek() const { return tokens_[at_]; }
  Token next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is_op(std::string_view op) const { return peek().kind == TokenKind::op && peek().text == op; }
  bool is_word(std::string_view word) const { return peek().kind == TokenKind::name && peek().text == word; }
  bool take_op(std::string_view op) {
    if (!is_op(op)) return false;
    next();
    return true;
  }
  bool take_word(std::string_view word) {
    if (!is_word(word)) return false;
    next();
    return true;
  }
  std::string shown() const {
    switch (peek().kind) {
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::variable_end:
        return "'}}'";
      case TokenKind::block_end:
        return "'%}'";
      case TokenKind::data:
        return "text";
      case TokenKind::variable_begin:
        return "'{{'";
      case TokenKind::block_begin:
        return "'{%'";
      case TokenKind::string:
        return "a string";
      default:
        return fmt::format("'{}'", peek().text.substr(0, 60));
    }
  }
  void expect_op(std::string_view op) {
    if (!take_op(op)) refuse(peek().line, fmt::format("expected '{}', found {}", op, shown()));
  }
  void expect(TokenKind kind, std::string_view what) {
    if (peek().kind != kind) refuse(peek().line, fmt::format("expected {}, found {}", what, shown()));
    next();
  }
  std::string expect_name(std::string_view what) {
    if (peek().kind != TokenKind::name) refuse(peek().line, fmt::format("expected {}, found {}", what, shown()));
    return next().text;
  }

  NodePtr make(NodeKind kind, int line, std::string text = {}) {
    if (++nodes_ > kNodesMax) refuse(line, fmt::format("more than {} parts", kNodesMax));
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = line;
    node->text = std::move(text);
    return node;
  }
  void add(Node& parent, NodePtr child) {
    if (child) parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kDepthMax) refuse(parent.line, fmt::format("nested deeper than {}", kDepthMax));
    parent.children.push_back(std::move(child));
  }

  /// Counts how deep the parser itself is in; trees grow by loops as well, which add() counts.
  class Deeper {
   public:
    Deeper(int& depth, int line) : depth_(depth) {
      if (++depth_ > kDepthMax) refuse(line, fmt::format("nested deeper than {}", kDepthMax));
    }
    ~Deeper() { --depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    int& depth_;
  };

  /// Statements up to a tag that begins with one of `ends`, whose name is taken but nothing behind it; at top level, to
  /// the end.
  NodePtr body(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(depth_, peek().line);
    NodePtr block = make(NodeKind::block, peek().line);
    while (true) {
      const int line = peek().line;
      switch (peek().kind) {
        case TokenKind::end:
          if (ends.size() != 0)
            refuse(line, fmt::format("the template ends where '{}' is expected", *(ends.end() - 1)));
          return block;
        case TokenKind::data:
          add(*block, make(NodeKind::data, line, next().text));
          break;
        case TokenKind::variable_begin: {
          next();
          NodePtr output = make(NodeKind::output, line);
          add(*output, expression());
          expect(TokenKind::variable_end, "'}}'");
          add(*block, std::move(output));
          break;
        }
        case TokenKind::block_begin: {
          next();
          const std::string word = expect_name("a statement's name");
          if (std::find(ends.begin(), ends.end(), word) != ends.end()) {
            end_ = word;
            return block;
          }
          add(*block, statement(word, line));
          break;
        }
        default:
          refuse(line, fmt::format("found {} between tags", shown()));
      }
    }
  }

  void close_tag() { expect(TokenKind::block_end, "'%}'"); }

  NodePtr statement(const std::string& word, int line) {
    if (word == "set") return set_statement(line);
    if (word == "if") return if_statement(line);
    if (word == "for") return for_statement(line);
    if (word == "generation") {  // marks what an assistant said, for training; the text is the same
      close_tag();
      NodePtr inner = body({"endgeneration"});
      close_tag();
      return inner;
    }
    if (word == "break" || word == "continue") {
      if (loops_ == 0) refuse(line, fmt::format("'{}' outside a loop", word));
      close_tag();
      return make(word == "break" ? NodeKind::break_loop : NodeKind::continue_loop, line);
    }
    refuse(line,
           fmt::format("the statement '{}' is not supported; these are: set, if, for, break, continue, generation",
                       word.substr(0, 60)));
  }

  NodePtr set_statement(int line) {
    NodePtr set = make(NodeKind::set, line, expect_name("a variable's name"));
    if (take_op(".")) set->names.push_back(expect_name("an attribute's name"));
    if (is_op(",")) refuse(line, "'set' of several variables is not supported");
    if (peek().kind == TokenKind::block_end) refuse(line, "'set' of a block is not supported");
    expect_op("=");
    add(*set, expression());
    close_tag();
    return set;
  }

  NodePtr if_statement(int line) {
    NodePtr branches = make(NodeKind::branches, line);
    add(*branches, expression());
    close_tag();
    add(*branches, body({"elif", "else", "endif"}));
    while (end_ == "elif") {
      add(*branches, expression());
      close_tag();
      add(*branches, body({"elif", "else", "endif"}));
    }
    if (end_ == "else") {
      close_tag();
      add(*branches, nullptr);
      add(*branches, body({"endif"}));
    }
    close_tag();
    return branches;
  }

  NodePtr for_statement(int line) {
    NodePtr loop = make(NodeKind::loop, line);
    const bool parenthesis = take_op("(");
    do {
      loop->names.push_back(expect_name("a loop's variable"));
    } while (take_op(","));
    if (parenthesis) expect_op(")");
    if (!take_word("in")) refuse(line, fmt::format("expected 'in', found {}", shown()));
    add(*loop, disjunction());  // not a conditional: `if` here filters
    add(*loop, take_word("if") ? expression() : nullptr);
    if (is_word("recursive")) refuse(line, "'recursive' loops are not supported");
    close_tag();
    ++loops_;
    add(*loop, body({"else", "endfor"}));
    --loops_;
    if (end_ == "else") {
      close_tag();
      add(*loop, body({"endfor"}));
    } else {
      add(*loop, nullptr);
    }
    close_tag();
    return loop;
  }

  NodePtr expression() {
    const Deeper deeper(depth_, peek().line);
    NodePtr left = disjunction();
    while (is_word("if")) {
      const int line = next().line;
      NodePtr conditional = make(NodeKind::conditional, line);
      add(*conditional, std::move(left));
      add(*conditional, disjunction());
      add(*conditional, take_word("else") ? expression() : nullptr);
      left = std::move(conditional);
    }
    return left;
  }

  NodePtr binary(NodePtr left, std::string op, int line, NodePtr right) {
    NodePtr node = make(NodeKind::binary, line, std::move(op));
    add(*node, std::move(left));
    add(*node, std::move(right));
    return node;
  }

  NodePtr disjunction() {
    NodePtr left = conjunction();
    while (is_word("or")) {
      const int line = next().line;
      left = binary(std::move(left), "or", line, conjunction());
    }
    return left;
  }

  NodePtr conjunction() {
    NodePtr left = negation();
    while (is_word("and")) {
      const int line = next().line;
      left = binary(std::move(left), "and", line, negation());
    }
    return left;
  }

  NodePtr negation() {
    if (!is_word("not")) return comparison();
    const Deeper deeper(depth_, peek().line);
    NodePtr node = make(NodeKind::unary, next().line, "not");
    add(*node, negation());
    return node;
  }

  NodePtr comparison() {
    NodePtr first = sum();
    NodePtr node;
    while (true) {
      std::string op;
      for (const std::string_view each : {"==", "!=", "<", "<=", ">", ">="}) {
        if (is_op(each)) op = each;
      }
      if (is_word("in")) op = "in";
      if (is_word("not") && tokens_[at_ + 1].kind == TokenKind::name && tokens_[at_ + 1].text == "in") {
        next();
        op = "not in";
      }
      if (op.empty()) return node ? std::move(node) : std::move(first);
      const int line = next().line;
      if (!node) {
        node = make(NodeKind::comparison, line);
        add(*node, std::move(first));
      }
      node->names.push_back(op);
      add(*node, sum());
    }
  }

  NodePtr sum() {
    NodePtr left = concatenation();
    while (is_op("+") || is_op("-")) {
      const Token op = next();
      left = binary(std::move(left), op.text, op.line, concatenation());
    }
    return left;
  }

  NodePtr concatenation() {
    NodePtr left = product();
    while (is_op("~")) {
      const int line = next().line;
      left = binary(std::move(left), "~", line, product());
    }
    return left;
  }

  NodePtr product() {
    NodePtr left = unary(true);
    while (is_op("*") || is_op("//") || is_op("%") || is_op("/") || is_op("**")) {
      const Token op = next();
      if (op.text == "/" || op.text == "**")
        refuse(op.line, fmt::format("the operator '{}' is not supported", op.text));
      left = binary(std::move(left), op.text, op.line, unary(true));
    }
    return left;
  }

  NodePtr unary(bool with_filters) {
    const Deeper deeper(depth_, peek().line);
    NodePtr node;
    if (is_op("-") || is_op("+")) {
      const Token op = next();
      node = make(NodeKind::unary, op.line, op.text);
      add(*node, unary(false));
    } else {
      node = primary();
    }
    node = postfix(std::move(node));
    return with_filters ? filters(std::move(node)) : std::move(node);
  }

  NodePtr primary() {
    const Token token = next();
    switch (token.kind) {
      case TokenKind::string: {
        NodePtr node = make(NodeKind::string_literal, token.line, token.text);
        while (peek().kind == TokenKind::string) node->text += next().text;  // side by side they are one
        return node;
      }
      case TokenKind::integer: {
        NodePtr node = make(NodeKind::integer_literal, token.line);
        node->number = std::stoll(token.text);  // digits only, at most 15
        return node;
      }
      case TokenKind::name: {
        constexpr std::array<std::string_view, 6> kConstants{"false", "true", "none", "False", "True", "None"};
        if (const auto at = std::find(kConstants.begin(), kConstants.end(), token.text); at != kConstants.end()) {
          NodePtr node = make(NodeKind::constant, token.line);
          node->number = (at - kConstants.begin()) % 3;
          return node;
        }
        return make(NodeKind::name, token.line, token.text);
      }
      case TokenKind::op:
        if (token.text == "(" || token.text == "[") return sequence(token);
        if (token.text == "{") refuse(token.line, "a literal mapping '{...}' is not supported");
        break;
      default:
        break;
    }
    --at_;
    refuse(token.line, fmt::format("expected an expression, found {}", shown()));
  }

  /// (a), (a, b) or [a, b]; tuples are lists here.
  NodePtr sequence(const Token& open) {
    const std::string_view close = open.text == "(" ? ")" : "]";
    NodePtr list = make(NodeKind::list, open.line);
    bool comma = false;
    while (!take_op(close)) {
      if (!list->children.empty() && !comma) expect_op(",");
      add(*list, expression());
      comma = take_op(",");
    }
    if (close == ")" && list->children.size() == 1 && !comma) return std::move(list->children.front());
    return list;
  }

  NodePtr postfix(NodePtr node) {
    while (true) {
      if (is_op(".")) {
        const int line = next().line;
        std::string name = expect_name("an attribute's name");
        if (is_op("(")) {
          if (!knows_method(name)) refuse(line, fmt::format("the method '{}' is not supported", name.substr(0, 60)));
          NodePtr call = make(NodeKind::method, line, std::move(name));
          add(*call, std::move(node));
          arguments(*call);
          node = std::move(call);
        } else {
          NodePtr attribute = make(NodeKind::attribute, line, std::move(name));
          add(*attribute, std::move(node));
          node = std::move(attribute);
        }
      } else if (is_op("[")) {
        node = subscript(std::move(node));
      } else if (is_op("(")) {
        if (node->kind != NodeKind::name) refuse(peek().line, "a call of something that is no function");
        if (!knows_function(node->text))
          refuse(node->line, fmt::format("the function '{}' is not supported", node->text.substr(0, 60)));
        NodePtr call = make(NodeKind::call, node->line, node->text);
        arguments(*call);
        node = std::move(call);
      } else {
        return node;
      }
    }
  }

  NodePtr subscript(NodePtr of) {
    const int line = next().line;
    NodePtr parts[3];
    int colons = 0;
    if (!is_op(":")) parts[0] = expression();
    while (take_op(":")) {
      if (++colons > 2) refuse(line, "a slice of more than three parts");
      if (!is_op(":") && !is_op("]")) parts[colons] = expression();
    }
    expect_op("]");
    NodePtr node = make(colons == 0 ? NodeKind::item : NodeKind::slice, line);
    add(*node, std::move(of));
    add(*node, std::move(parts[0]));
    if (colons > 0) {
      add(*node, std::move(parts[1]));
      add(*node, std::move(parts[2]));
    }
    return node;
  }

  void arguments(Node& call) {
    expect_op("(");
    while (!take_op(")")) {
      const bool keyword =
          peek().kind == TokenKind::name && tokens_[at_ + 1].kind == TokenKind::op && tokens_[at_ + 1].text == "=";
      if (keyword) {
        call.names.push_back(next().text);
        next();
      } else if (!call.names.empty()) {
        refuse(peek().line, "an argument without a name behind one with a name");
      }
      add(call, expression());
      if (!is_op(")")) expect_op(",");
    }
  }

  NodePtr filters(NodePtr node) {
    while (true) {
      if (is_op("|")) {
        const int line = next().line;
        std::string name = expect_name("a filter's name");
        if (!knows_filter(name)) refuse(line, fmt::format("the filter '{}' is not supported", name.substr(0, 60)));
        NodePtr filter = make(NodeKind::filter, line, std::move(name));
        add(*filter, std::move(node));
        if (is_op("(")) arguments(*filter);
        node = std::move(filter);
      } else if (is_word("is")) {
        const int line = next().line;
        const bool negated = take_word("not");
        std::string name = expect_name("a test's name");
        if (!knows_test(name)) refuse(line, fmt::format("the test 'is {}' is not supported", name.substr(0, 60)));
        NodePtr test = make(NodeKind::test, line, std::move(name));
        test->number = negated ? 1 : 0;
        add(*test, std::move(node));
        node = std::move(test);
      } else {
        return node;
      }
    }
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t nodes_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  std::string end_;  // the name of the tag that ended the last body
};

}  // namespace

bool is_python_space(std::uint32_t point) {
  return (point >= 0x9 && point <= 0xD) || (point >= 0x1C && point <= 0x20) || point == 0x85 || point == 0xA0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 ||
         point == 0x202F || point == 0x205F || point == 0x3000;
}

Result<NodePtr> parse(std::string_view source) {
  if (source.size() > kSourceBytesMax)
    return fail(fmt::format("chat template: {} bytes, at most {} are read", source.size(), kSourceBytesMax));
  if (!is_valid_utf8(source)) return fail("chat template: not valid UTF-8");
  try {
    return Parser(Lexer(source).run()).run();
  } catch (const Refused& refused) {
    return fail("chat template: " + refused.message);
  }
}

}  // namespace sluice::engine::jinja
