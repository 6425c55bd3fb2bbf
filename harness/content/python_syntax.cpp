#include "harness/content/python_syntax.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "harness/base/limits.h"
#include "harness/content/python_tokens.h"
#include "harness/content/text_place.h"

namespace sluice {

namespace {

using Kind = PythonToken::Kind;
using Role = PythonToken::Role;

/// What an expression could be beside a value. Whether it must be shows only after it.
using Uses = unsigned;
constexpr Uses kValue = 0;
constexpr Uses kName = 1;       // a bare name: of a keyword argument, of `:=`
constexpr Uses kSingle = 2;     // can be annotated, and take `+=`
constexpr Uses kTarget = 4;     // can be assigned to
constexpr Uses kDeletable = 8;  // can stand after `del`
constexpr Uses kPlace = kSingle | kTarget | kDeletable;

constexpr std::string_view kCannotAssign = "this cannot be assigned to";

/// Recursive descent over Grammar/python.gram, whose rules' names the functions bear where they are the same.
///
/// After a fault every token is the end, so that all loops end and all functions return by themselves: nothing here
/// asks whether the last step went well. Operators that group to the left need no tree and so no precedence.
class Parser {
 public:
  explicit Parser(std::string_view code) : tokens_(code) { advance(); }

  /// Parses all; what is wrong is in tokens().
  void module() {
    while (token_.kind != Kind::end) statement();
  }
  const PythonTokens& tokens() const { return tokens_; }

 private:
  /// How much an item of a list may be: `a | b`, `a if b else c`, `a := b`.
  enum class Level : std::uint8_t { operand, expression, named };

  /// A look ahead: at its end all is as it was. A fault met meanwhile is met again.
  class Ahead {
   public:
    explicit Ahead(Parser& parser) : parser_(parser), tokens_(parser.tokens_), token_(parser.token_) {}
    ~Ahead() {
      parser_.tokens_ = tokens_;
      parser_.token_ = token_;
    }
    Ahead(const Ahead&) = delete;
    Ahead& operator=(const Ahead&) = delete;

   private:
    Parser& parser_;
    PythonTokens tokens_;
    PythonToken token_;
  };

  /// One more level of recursion.
  class Deeper {
   public:
    explicit Deeper(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > limits::python_depth_max) parser_.fail_here("nested too deeply");
    }
    ~Deeper() { --parser_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Parser& parser_;
  };

  // ---- tokens

  void advance() {
    token_ = tokens_.next();
    if (tokens_.failed()) token_ = {};
  }
  bool is(std::string_view text) const { return token_.text == text; }
  bool is(Kind kind) const { return token_.kind == kind; }
  bool accept(std::string_view text) {
    if (!is(text)) return false;
    advance();
    return true;
  }
  bool accept(Kind kind) {
    if (!is(kind)) return false;
    advance();
    return true;
  }
  void fail(std::size_t at, std::string_view what) {
    tokens_.fail(at, what);
    token_ = {};
  }
  void fail_here(std::string_view what) { fail(token_.begin, what); }
  void expect(std::string_view text) {
    if (!accept(text)) fail_here(fmt::format("expected '{}', not {}", text, found()));
  }
  void expect(Kind kind, std::string_view name) {
    if (!accept(kind)) fail_here(fmt::format("expected {}, not {}", name, found()));
  }
  void name() { expect(Kind::name, "a name"); }

  std::string found() const {
    switch (token_.kind) {
      case Kind::end:
        return "the end of the text";
      case Kind::newline:
        return "the end of the line";
      case Kind::indent:
        return "an indentation";
      case Kind::dedent:
        return "the end of the block";
      case Kind::name:
        return "a name";
      case Kind::number:
        return "a number";
      case Kind::string:
      case Kind::fstring:
        return "a string";
      case Kind::format:
        return "a format";
      case Kind::keyword:
      case Kind::op:
        break;
    }
    return fmt::format("'{}'", token_.text);
  }

  // ---- statements

  void statement() {
    if (is(Kind::indent)) return fail_here("unexpected indentation");
    if (is("match") && line_ends_with_colon()) return match_statement();
    if (is(Kind::name)) return simple_statements();
    if (accept("if")) return if_statement();
    if (accept("while")) {
      named_expression();
      block();
      return else_block();
    }
    if (accept("for")) return for_statement();
    if (accept("try")) return try_statement();
    if (accept("with")) return with_statement();
    if (accept("def")) return function();
    if (accept("class")) return class_definition();
    if (is("@")) return decorated();
    if (accept("async")) {
      if (accept("def")) return function();
      if (accept("for")) return for_statement();
      if (accept("with")) return with_statement();
      return fail_here(fmt::format("expected 'def', 'for' or 'with', not {}", found()));
    }
    simple_statements();
  }

  void block() {
    expect(":");
    if (!accept(Kind::newline)) return simple_statements();
    expect(Kind::indent, "an indented block");
    while (!is(Kind::dedent) && !is(Kind::end)) statement();
    accept(Kind::dedent);
  }

  void else_block() {
    if (accept("else")) block();
  }

  void if_statement() {
    do {
      named_expression();
      block();
    } while (accept("elif"));
    else_block();
  }

  void for_statement() {
    targets();
    expect("in");
    star_expressions();
    block();
    else_block();
  }

  void try_statement() {
    block();
    const bool any = is("except");
    bool groups = false;
    for (bool first = true; accept("except"); first = false) {
      const std::size_t at = token_.begin;
      const bool group = accept("*");
      if (!first && group != groups) fail(at, "'except' and 'except*' cannot follow one try");
      groups = group;
      if (group || !is(":")) {
        expression();
        if (accept("as")) name();
      }
      block();
    }
    if (any) else_block();
    if (accept("finally")) return block();
    if (!any) fail_here(fmt::format("expected 'except' or 'finally', not {}", found()));
  }

  void with_statement() {
    const bool brackets = is("(") && brackets_hold_as();
    if (brackets) advance();
    do {
      expression();
      if (accept("as")) star_target();
    } while (accept(",") && !(brackets && is(")")));
    if (brackets) expect(")");
    block();
  }

  /// Of the bracket that is the current token. No expression has an `as`: then the brackets are the statement's own.
  bool brackets_hold_as() {
    const Ahead ahead(*this);
    std::size_t depth = 0;
    do {
      if (is("(") || is("[") || is("{")) ++depth;
      if (is(")") || is("]") || is("}")) --depth;
      if (depth == 1 && is("as")) return true;
      is(Kind::fstring) ? format_string() : advance();
    } while (depth > 0 && !is(Kind::end));
    return false;
  }

  void type_parameters() {
    if (!accept("[")) return;
    do {
      if (accept("*") || accept("**")) {
        name();
      } else {
        name();
        if (accept(":")) expression();
      }
    } while (accept(",") && !is("]"));
    expect("]");
  }

  void function() {
    name();
    type_parameters();
    expect("(");
    parameters(false);
    expect(")");
    if (accept("->")) expression();
    block();
  }

  void class_definition() {
    name();
    type_parameters();
    if (accept("(")) arguments(false);
    block();
  }

  void decorated() {
    while (accept("@")) {
      named_expression();
      expect(Kind::newline, "the end of the line");
    }
    if (accept("class")) return class_definition();
    accept("async");
    if (accept("def")) return function();
    fail_here(fmt::format("expected 'def' or 'class', not {}", found()));
  }

  void simple_statements() {
    do {
      simple_statement();
    } while (accept(";") && !is(Kind::newline));
    expect(Kind::newline, "the end of the statement");
  }

  void simple_statement() {
    if (is(Kind::keyword)) {
      if (accept("pass") || accept("break") || accept("continue")) return;
      if (accept("return")) {
        if (begins_item()) star_expressions();
        return;
      }
      if (accept("import")) return import_names();
      if (accept("from")) return import_from();
      if (accept("raise")) {
        if (!begins_expression()) return;
        expression();
        if (accept("from")) expression();
        return;
      }
      if (accept("del")) {
        const std::size_t at = token_.begin;
        if ((star_expressions() & kDeletable) == 0) fail(at, "this cannot be deleted");
        return;
      }
      if (accept("assert")) {
        expression();
        if (accept(",")) expression();
        return;
      }
      if (accept("global") || accept("nonlocal")) {
        do name();
        while (accept(","));
        return;
      }
      if (!begins_expression() && !is("yield")) return fail_here(fmt::format("'{}' begins no statement", token_.text));
    }
    expression_statement();
  }

  void expression_statement() {
    std::size_t at = token_.begin;
    const bool may_be_alias = is("type");
    Uses uses = value();
    if (may_be_alias && (uses & kName) != 0 && is(Kind::name)) return type_alias();
    if (token_.role == Role::augmented) {
      if ((uses & kSingle) == 0) return fail(at, kCannotAssign);
      advance();
      value();
    } else if (is(":")) {
      if ((uses & kSingle) == 0) return fail_here("unexpected ':'");
      advance();
      expression();
      if (accept("=")) value();
    } else {
      while (is("=")) {
        if ((uses & kTarget) == 0) return fail(at, kCannotAssign);
        advance();
        at = token_.begin;
        uses = value();
      }
    }
  }

  /// What may stand on the right of `=`.
  Uses value() {
    if (!is("yield")) return star_expressions();
    yield_expression();
    return kValue;
  }

  void type_alias() {
    name();
    type_parameters();
    expect("=");
    expression();
  }

  void dotted_name() {
    do name();
    while (accept("."));
  }

  void import_names() {
    do {
      dotted_name();
      if (accept("as")) name();
    } while (accept(","));
  }

  void import_from() {
    bool dots = false;
    while (accept(".") || accept("...")) dots = true;
    if (!dots || is(Kind::name)) dotted_name();
    expect("import");
    if (accept("*")) return;
    const bool brackets = accept("(");
    do {
      name();
      if (accept("as")) name();
    } while (accept(",") && !(brackets && is(")")));
    if (brackets) expect(")");
  }

  // ---- match

  /// Of the line that begins with the current token. `match` is a name, too, but no statement that begins with a name
  /// ends so.
  bool line_ends_with_colon() {
    const Ahead ahead(*this);
    bool colon = false;
    while (!is(Kind::newline) && !is(Kind::end)) {
      colon = is(":");
      is(Kind::fstring) ? format_string() : advance();
    }
    return colon;
  }

  void match_statement() {
    advance();
    const bool starred = is("*");
    item(Level::named);
    if (starred && !is(",")) fail_here(fmt::format("expected ',', not {}", found()));
    while (accept(",") && begins_item()) item(Level::named);
    expect(":");
    expect(Kind::newline, "the end of the line");
    expect(Kind::indent, "an indented block");
    do {
      expect("case");
      patterns();
      if (accept("if")) named_expression();
      block();
    } while (!is(Kind::dedent) && !is(Kind::end));
    accept(Kind::dedent);
  }

  void patterns() {
    if (maybe_star_pattern() && !is(",")) return fail_here(fmt::format("expected ',', not {}", found()));
    while (accept(",") && !is(":") && !is("if")) maybe_star_pattern();
  }

  /// Whether it is a starred one.
  bool maybe_star_pattern() {
    if (!accept("*")) {
      pattern();
      return false;
    }
    name();
    return true;
  }

  void pattern() {
    const Deeper deeper(*this);
    do closed_pattern();
    while (accept("|"));
    if (accept("as")) capture_target();
  }

  void capture_target() {
    if (is("_")) return fail_here("'_' matches anything and cannot be a target");
    name();
  }

  void closed_pattern() {
    if (accept("_")) return;  // anything; it has no members and is no class
    if (is(Kind::name)) {
      dotted_name();
      if (accept("(")) class_pattern();
    } else if (accept("(")) {
      bool sequence = is(")");
      while (!is(")") && !is(Kind::end)) {
        const bool starred = maybe_star_pattern();
        if (!accept(",")) {
          if (starred && !sequence) fail_here(fmt::format("expected ',', not {}", found()));
          break;
        }
        sequence = true;
      }
      expect(")");
    } else if (accept("[")) {
      while (!is("]") && !is(Kind::end)) {
        maybe_star_pattern();
        if (!accept(",")) break;
      }
      expect("]");
    } else if (accept("{")) {
      mapping_pattern();
    } else {
      literal_pattern();
    }
  }

  void class_pattern() {
    bool keywords = false;
    while (!is(")") && !is(Kind::end)) {
      if (is(Kind::name) && PythonTokens(tokens_).next().text == "=") {
        name();
        expect("=");
        keywords = true;
      } else if (keywords) {
        fail_here("a pattern without a name follows one with a name");
      }
      pattern();
      if (!accept(",")) break;
    }
    expect(")");
  }

  void mapping_pattern() {
    while (!is("}") && !is(Kind::end)) {
      if (accept("**")) {
        capture_target();
        accept(",");
        break;
      }
      if (is(Kind::name)) {
        name();
        if (!is(".")) fail_here(fmt::format("expected '.', not {}", found()));
        accept(".");
        dotted_name();
      } else {
        literal_pattern();
      }
      expect(":");
      pattern();
      if (!accept(",")) break;
    }
    expect("}");
  }

  void literal_pattern() {
    if (accept("None") || accept("True") || accept("False")) return;
    if (is(Kind::string) || is(Kind::fstring)) return strings();
    accept("-");
    const bool imaginary = token_.imaginary;
    expect(Kind::number, "a pattern");
    if (!accept("+") && !accept("-")) return;
    if (imaginary || (is(Kind::number) && !token_.imaginary))
      fail_here("a complex number is a real and then an imaginary one");
    expect(Kind::number, "an imaginary number");
  }

  // ---- lists of expressions

  bool begins_expression() const {
    switch (token_.kind) {
      case Kind::name:
      case Kind::number:
      case Kind::string:
      case Kind::fstring:
        return true;
      case Kind::keyword:
        return is("None") || is("True") || is("False") || is("not") || is("lambda") || is("await");
      case Kind::op:
        return is("(") || is("[") || is("{") || is("+") || is("-") || is("~") || is("...");
      default:
        return false;
    }
  }
  bool begins_item() const { return is("*") || begins_expression(); }

  Uses item(Level level) {
    if (accept("*")) return operand() & kTarget;
    return level == Level::operand ? operand() : level == Level::expression ? expression() : named_expression();
  }

  /// item {"," item} [","]
  Uses items(Level level) {
    Uses uses = item(level);
    if (is(",")) uses &= kTarget | kDeletable;
    while (accept(",") && begins_item()) uses &= item(level);
    return uses;
  }

  Uses star_expressions() { return items(Level::expression); }

  void targets() {
    const std::size_t at = token_.begin;
    if ((items(Level::operand) & kTarget) == 0) fail(at, kCannotAssign);
  }

  void star_target() {
    const std::size_t at = token_.begin;
    if ((item(Level::operand) & kTarget) == 0) fail(at, kCannotAssign);
  }

  // ---- expressions

  void yield_expression() {
    expect("yield");
    if (accept("from")) {
      expression();
    } else if (begins_item()) {
      star_expressions();
    }
  }

  Uses named_expression() {
    const std::size_t at = token_.begin;
    const Uses uses = expression();
    if (!is(":=")) return uses;
    assign_name(uses, at);
    return kValue;
  }

  /// At ":=", after what has these uses and began there.
  void assign_name(Uses uses, std::size_t begin) {
    if ((uses & kName) == 0) return fail(begin, "':=' assigns to names only");
    advance();
    expression();
  }

  Uses expression() {
    const Deeper deeper(*this);
    for (bool whole = true;; whole = false) {
      if (accept("lambda")) {
        parameters(true);
        expect(":");
        continue;
      }
      const Uses uses = disjunction();
      if (!accept("if")) return whole ? uses : kValue;
      disjunction();
      expect("else");
    }
  }

  Uses disjunction() {
    bool whole = true;
    while (true) {
      while (accept("not")) whole = false;
      const Uses uses = operand();
      while (comparison()) {
        whole = false;
        operand();
      }
      if (!accept("and") && !accept("or")) return whole ? uses : kValue;
      whole = false;
    }
  }

  bool comparison() {
    if (token_.role == Role::comparison || is("in")) {
      advance();
      return true;
    }
    if (accept("is")) {
      accept("not");
      return true;
    }
    if (!accept("not")) return false;
    expect("in");
    return true;
  }

  Uses operand() {
    for (bool whole = true;; whole = false) {
      while (accept("+") || accept("-") || accept("~")) whole = false;
      if (accept("await")) whole = false;
      const Uses uses = primary();
      if (token_.role != Role::binary) return whole ? uses : kValue;
      advance();
    }
  }

  Uses primary() {
    Uses uses = atom();
    while (true) {
      if (accept(".")) {
        name();
        uses = kPlace;
      } else if (accept("(")) {
        arguments(true);
        uses = kValue;
      } else if (accept("[")) {
        slices();
        uses = kPlace;
      } else {
        return uses;
      }
    }
  }

  Uses atom() {
    switch (token_.kind) {
      case Kind::name:
        advance();
        return kName | kPlace;
      case Kind::number:
        advance();
        return kValue;
      case Kind::string:
      case Kind::fstring:
        strings();
        return kValue;
      case Kind::keyword:
        if (accept("None") || accept("True") || accept("False")) return kValue;
        break;
      case Kind::op:
        if (accept("...")) return kValue;
        if (accept("(")) return group();
        if (accept("[")) return list();
        if (accept("{")) return dict_or_set();
        break;
      default:
        break;
    }
    fail_here(fmt::format("expected an expression, not {}", found()));
    return kValue;
  }

  /// After "(".
  Uses group() {
    const Uses uses = is(")") ? kTarget | kDeletable : bracketed();
    expect(")");
    return uses & ~kName;
  }

  /// What may stand in round brackets, and so in an f-string's field.
  Uses bracketed() {
    if (is("yield")) {
      yield_expression();
      return kValue;
    }
    const std::size_t at = token_.begin;
    const bool starred = is("*");
    Uses uses = item(Level::named);
    if (is(",")) {
      uses &= kTarget | kDeletable;
      while (accept(",") && begins_item()) uses &= item(Level::named);
    } else if (starred) {
      fail(at, "a starred expression needs a comma here");
    } else if (comprehension()) {
      return kValue;
    }
    return uses;
  }

  /// After "[".
  Uses list() {
    Uses uses = kTarget | kDeletable;
    if (accept("]")) return uses;
    const bool starred = is("*");
    uses &= item(Level::named);
    if (!starred && comprehension()) {
      uses = kValue;
    } else {
      while (accept(",") && begins_item()) uses &= item(Level::named);
    }
    expect("]");
    return uses;
  }

  /// After "{".
  Uses dict_or_set() {
    bool dict = false;
    for (bool first = true; !is("}") && !is(Kind::end); first = false) {
      if (is("**") && (first || dict)) {
        dict = true;
        advance();
        operand();
      } else if (is("*") && !dict) {
        item(Level::named);
      } else {
        const std::size_t at = token_.begin;
        const Uses uses = expression();
        if (dict || (first && is(":"))) {
          dict = true;
          expect(":");
          expression();
        } else if (is(":=")) {
          assign_name(uses, at);
        }
        if (first && comprehension()) break;
      }
      if (!accept(",")) break;
    }
    expect("}");
    return kValue;
  }

  /// Whether there is one.
  bool comprehension() {
    if (!is("for") && !is("async")) return false;
    while (is("for") || is("async")) {
      accept("async");
      expect("for");
      targets();
      expect("in");
      disjunction();
      while (accept("if")) disjunction();
    }
    return true;
  }

  /// After "[" that follows a value.
  void slices() {
    do {
      accept("*") ? void(expression()) : slice();
    } while (accept(",") && !is("]"));
    expect("]");
  }

  void slice() {
    if (!is(":")) {
      const std::size_t at = token_.begin;
      const Uses uses = expression();
      if (is(":=")) return assign_name(uses, at);
    }
    if (!accept(":")) return;
    if (begins_expression()) expression();
    if (accept(":") && begins_expression()) expression();
  }

  /// After "(" that follows a value, or a class's name: there no generator can stand.
  void arguments(bool generator) {
    bool keywords = false, mappings = false;
    for (bool first = true; !is(")") && !is(Kind::end); first = false) {
      const std::size_t at = token_.begin;
      if (accept("**")) {
        expression();
        mappings = true;
      } else if (accept("*")) {
        if (mappings) fail(at, "'*' follows '**'");
        expression();
      } else {
        const Uses uses = expression();
        if (is("=")) {
          if ((uses & kName) == 0) fail(at, "a keyword argument begins with a name");
          accept("=");
          expression();
          keywords = true;
        } else {
          if (is(":=")) assign_name(uses, at);
          if (keywords || mappings) fail(at, "a positional argument follows a keyword argument");
          const std::size_t clause = token_.begin;
          if (comprehension()) {
            if (!first || !generator) fail(clause, "a generator expression needs brackets here");
            break;
          }
        }
      }
      if (!accept(",")) break;
    }
    expect(")");
  }

  /// Up to their closing bracket, a lambda's up to its colon.
  void parameters(bool lambda) {
    const std::string_view closing = lambda ? ":" : ")";
    bool slash = false, star = false, defaults = false, name_missing = false;
    const auto annotation = [&](bool starred) {
      if (lambda || !accept(":")) return;
      starred ? item(Level::expression) : expression();
    };
    for (bool first = true; !is(closing); first = false) {
      if (is("/")) {
        if (first || slash || star) fail_here("'/' stands once, after a parameter and before '*'");
        accept("/");
        slash = true;
      } else if (accept("**")) {
        if (name_missing) fail_here("a name is missing after '*'");
        name();
        annotation(false);
        accept(",");
        return;
      } else if (is("*")) {
        if (star) fail_here("'*' stands once");
        accept("*");
        star = true;
        name_missing = is(",");
        if (!name_missing) {
          name();
          annotation(true);
        }
      } else {
        const std::size_t at = token_.begin;
        name();
        annotation(false);
        name_missing = false;
        if (accept("=")) {
          expression();
          defaults = true;
        } else if (defaults && !star) {
          fail(at, "a parameter without a default follows one with a default");
        }
      }
      if (!accept(",")) break;
    }
    if (name_missing) fail_here("a name is missing after '*'");
  }

  // ---- strings

  void strings() {
    const bool bytes = token_.bytes;
    while (is(Kind::string) || is(Kind::fstring)) {
      if (token_.bytes != bytes) return fail_here("bytes and text cannot be joined");
      is(Kind::fstring) ? format_string() : advance();
    }
  }

  void format_string() {
    const PythonToken opening = token_;
    while (tokens_.literal(opening, false) == PythonTokens::Stop::field) field(opening, 1);
    advance();
  }

  /// After its '{'. The closing '}' is the current token, and what follows it belongs to the string.
  void field(const PythonToken& opening, int level) {
    if (level > 3) return fail(opening.begin, "the fields of an f-string are nested too deeply");
    advance();
    bracketed();
    accept("=");
    if (is("!")) {
      const std::size_t at = token_.begin;
      advance();
      if (!(is("r") || is("s") || is("a")) || token_.begin != at + 1) fail(at, "a conversion is !r, !s or !a");
      accept(Kind::name);
    }
    if (is(Kind::format)) {
      while (tokens_.literal(opening, true) == PythonTokens::Stop::field) field(opening, level + 1);
    } else if (!is("}")) {
      fail_here(fmt::format("expected '}}', not {}", found()));
    }
  }

  PythonTokens tokens_;
  PythonToken token_;
  std::size_t depth_ = 0;
};

}  // namespace

std::optional<std::string> python_syntax_error(std::string_view code) {
  if (code.size() > limits::code_bytes_max)
    return fmt::format("{} bytes, and more than {} are not parsed", code.size(), limits::code_bytes_max);
  if (!simdjson::validate_utf8(code.data(), code.size())) return "not UTF-8";
  if (const auto null = code.find('\0'); null != std::string_view::npos) return at_place(code, null, "a null byte");
  Parser parser(code);
  parser.module();
  const auto& tokens = parser.tokens();
  if (!tokens.failed()) return std::nullopt;
  return at_place(code, tokens.fault_at(), tokens.fault());
}

}  // namespace sluice
