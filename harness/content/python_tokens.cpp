#include "harness/content/python_tokens.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {

namespace {

using Kind = PythonToken::Kind;
using Role = PythonToken::Role;

constexpr std::string_view kKeywords[] = {"False",  "None",   "True",    "and",      "as",       "assert", "async",
                                          "await",  "break",  "class",   "continue", "def",      "del",    "elif",
                                          "else",   "except", "finally", "for",      "from",     "global", "if",
                                          "import", "in",     "is",      "lambda",   "nonlocal", "not",    "or",
                                          "pass",   "raise",  "return",  "try",      "while",    "with",   "yield"};
static_assert(std::is_sorted(std::begin(kKeywords), std::end(kKeywords)));

struct Operator {
  std::string_view text;
  Role role;
};

constexpr Operator kOperators[] = {
    // longer ones first
    {"**=", Role::augmented}, {"//=", Role::augmented}, {">>=", Role::augmented}, {"<<=", Role::augmented},
    {"...", Role::other},     {"**", Role::binary},     {"//", Role::binary},     {">>", Role::binary},
    {"<<", Role::binary},     {"==", Role::comparison}, {"!=", Role::comparison}, {"<=", Role::comparison},
    {">=", Role::comparison}, {"->", Role::other},      {":=", Role::other},      {"+=", Role::augmented},
    {"-=", Role::augmented},  {"*=", Role::augmented},  {"/=", Role::augmented},  {"%=", Role::augmented},
    {"@=", Role::augmented},  {"&=", Role::augmented},  {"|=", Role::augmented},  {"^=", Role::augmented},
    {"(", Role::other},       {")", Role::other},       {"[", Role::other},       {"]", Role::other},
    {"{", Role::other},       {"}", Role::other},       {",", Role::other},       {".", Role::other},
    {":", Role::other},       {"=", Role::other},       {"+", Role::binary},      {"-", Role::binary},
    {"*", Role::binary},      {"/", Role::binary},      {"%", Role::binary},      {"@", Role::binary},
    {"&", Role::binary},      {"|", Role::binary},      {"^", Role::binary},      {"<", Role::comparison},
    {">", Role::comparison},  {";", Role::other},       {"~", Role::other},
};

// Blocks beyond ASCII in which no character may stand in a name: quotes, dashes, arrows, box drawing, emoji. Not all
// there are, but those that people and models write.
struct Block {
  char32_t first, last;
};
constexpr Block kNeverInNames[] = {
    {0x80, 0xA9},     {0xAB, 0xB4},     {0xB6, 0xB6},       {0xB8, 0xB9},       {0xBB, 0xBF},        {0xD7, 0xD7},
    {0xF7, 0xF7},     {0x1FFD, 0x203E}, {0x2041, 0x2053},   {0x2055, 0x2070},   {0x2072, 0x207E},    {0x2080, 0x208F},
    {0x209D, 0x20CF}, {0x214F, 0x215F}, {0x2189, 0x2BFF},   {0x2E00, 0x3004},   {0x3008, 0x3020},    {0x3200, 0x33FF},
    {0xE000, 0xF8FF}, {0xFE35, 0xFE4C}, {0xFEFD, 0xFF0F},   {0xFF1A, 0xFF20},   {0xFF3B, 0xFF3E},    {0xFF40, 0xFF40},
    {0xFF5B, 0xFF65}, {0xFFDD, 0xFFFF}, {0x1D800, 0x1D9FF}, {0x1EEBC, 0x1FBEF}, {0xF0000, 0x10FFFF},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool beyond_ascii(char c) { return static_cast<unsigned char>(c) >= 0x80; }
bool may_begin_name(char c) { return is_letter(c) || c == '_' || beyond_ascii(c); }

/// The first character of valid UTF-8, and its bytes.
std::pair<char32_t, std::size_t> first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t bytes = byte(0) < 0x80 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  if (bytes == 1 || bytes > text.size()) return {byte(0), 1};
  char32_t character = byte(0) & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) character = character << 6 | (byte(i) & 0x3Fu);
  return {character, bytes};
}

struct Prefix {
  bool right = false, raw = false, bytes = false, format = false;
};

Prefix prefix_of(std::string_view letters) {
  Prefix prefix;
  bool unicode = false;
  for (const char c : letters) {
    bool& flag = c == 'r' || c == 'R'   ? prefix.raw
                 : c == 'b' || c == 'B' ? prefix.bytes
                 : c == 'f' || c == 'F' ? prefix.format
                                        : unicode;
    if (flag || (&flag == &unicode && c != 'u' && c != 'U')) return {};
    flag = true;
  }
  prefix.right = unicode + prefix.bytes + prefix.format <= 1 && !(unicode && prefix.raw);
  return prefix;
}

/// What stands at both ends: one quote or three.
std::string_view quotes_at(std::string_view text) {
  return text.substr(0, text.size() > 2 && text[1] == text[0] && text[2] == text[0] ? 3 : 1);
}

}  // namespace

PythonTokens::PythonTokens(std::string_view code) : code_(code) {
  if (code_.starts_with("\xEF\xBB\xBF")) at_ = 3;
}

void PythonTokens::fail(std::size_t at, std::string_view what) {
  if (failed()) return;
  fault_ = what;
  fault_at_ = at;
}

PythonToken PythonTokens::make(Kind kind, std::size_t begin, std::size_t end) {
  after_newline_ = false;
  at_ = end;
  PythonToken token;
  if (failed()) return token;
  token.kind = kind;
  token.begin = begin;
  token.text = code_.substr(begin, end - begin);
  return token;
}

// ---- lines

std::size_t PythonTokens::line_end_at(std::size_t offset) const {
  if (at(offset) == '\r') return at(offset + 1) == '\n' ? 2 : 1;
  return at(offset) == '\n' ? 1 : 0;
}

void PythonTokens::skip_comment() {
  while (at_ < code_.size() && line_end_at(at_) == 0) ++at_;
}

/// Past a backslash and the end of its line.
bool PythonTokens::continue_line() {
  const std::size_t end = line_end_at(at_ + 1);
  if (end == 0 && at_ + 1 < code_.size()) {
    fail(at_, "only the end of the line may follow a backslash");
  } else if (at_ + 1 + end >= code_.size()) {
    fail(at_, "a line is missing after a backslash");
  } else {
    at_ += 1 + end;
  }
  return !failed();
}

void PythonTokens::measure_indent() {
  unsigned column = 0, narrow = 0, continued = 0;
  while (true) {
    const char c = here();
    if (c == ' ') {
      ++column, ++narrow;
    } else if (c == '\t') {
      column = (column / 8 + 1) * 8;
      ++narrow;
    } else if (c == '\f') {
      column = narrow = 0;
    } else if (c == '\\') {  // the first line's indentation is the one that counts
      if (continued == 0) continued = column;
      if (!continue_line()) return;
      continue;
    } else if (c == '#') {
      skip_comment();
      continue;
    } else if (const std::size_t end = line_end_at(at_); end > 0) {
      column = narrow = continued = 0;
      at_ += end;
      continue;
    } else {
      break;
    }
    ++at_;
  }
  if (at_ == code_.size()) return;
  if (continued > 0) column = narrow = continued;

  const auto current = [&] { return indents_ == 0 ? Indent{0, 0} : indent_[indents_ - 1]; };
  constexpr std::string_view mixed = "tabs and spaces are mixed so that the depth depends on the width of a tab";
  if (column > current().column) {
    if (narrow <= current().narrow) return fail(at_, mixed);
    if (indents_ + 1 >= indent_.size()) return fail(at_, "too many levels of indentation");
    indent_[indents_++] = {column, narrow};
    pending_ = 1;
    return;
  }
  while (column < current().column) {
    --indents_;
    --pending_;
  }
  if (column != current().column) return fail(at_, "the indentation matches no outer level");
  if (narrow != current().narrow) return fail(at_, mixed);
}

/// To the next token of this line; in brackets lines do not end.
void PythonTokens::skip_blanks() {
  while (!failed()) {
    const char c = here();
    if (c == ' ' || c == '\t' || c == '\f') {
      ++at_;
    } else if (c == '#') {
      skip_comment();
    } else if (c == '\\') {
      if (!continue_line()) return;
    } else if (const std::size_t end = line_end_at(at_); end > 0 && brackets_ > 0) {
      at_ += end;
    } else {
      return;
    }
  }
}

PythonToken PythonTokens::next() {
  if (line_start_) {
    line_start_ = false;
    measure_indent();
  }
  if (failed()) return {};
  if (pending_ != 0) {
    PythonToken token;
    token.kind = pending_ > 0 ? Kind::indent : Kind::dedent;
    token.begin = at_;
    pending_ += pending_ > 0 ? -1 : 1;
    return token;
  }
  skip_blanks();
  if (failed()) return {};

  PythonToken token;
  token.begin = at_;
  if (at_ == code_.size()) {
    if (brackets_ > 0) {
      fail(bracket_[brackets_ - 1].offset, fmt::format("'{}' was never closed", top() == 'f' ? '{' : top()));
    } else if (!after_newline_) {
      after_newline_ = true;
      token.kind = Kind::newline;
    } else if (indents_ > 0) {
      --indents_;
      token.kind = Kind::dedent;
    }
    return token;
  }
  if (const std::size_t end = line_end_at(at_); end > 0) {
    at_ += end;
    line_start_ = after_newline_ = true;
    token.kind = Kind::newline;
    return token;
  }
  const char c = here();
  if (may_begin_name(c)) return word();
  if (is_digit(c) || (c == '.' && is_digit(at(at_ + 1)))) return number();
  if (c == '"' || c == '\'') return string(at_);
  return op();
}

// ---- names and operators

/// 0: what stands there is in no name.
std::size_t PythonTokens::identifier_bytes_at(std::size_t offset) const {
  const char c = at(offset);
  if (is_letter(c) || is_digit(c) || c == '_') return 1;
  if (!beyond_ascii(c)) return 0;
  const auto [character, bytes] = first_character(code_.substr(offset));
  for (const auto& [first, last] : kNeverInNames) {
    if (character >= first && character <= last) return 0;
  }
  return bytes;
}

PythonToken PythonTokens::word() {
  const std::size_t begin = at_;
  std::size_t end = begin;
  while (const std::size_t bytes = identifier_bytes_at(end)) end += bytes;
  if (beyond_ascii(at(end))) {
    const auto character = static_cast<unsigned>(first_character(code_.substr(end)).first);
    fail(end, fmt::format("character U+{:04X} cannot stand here", character));
  }
  const auto text = code_.substr(begin, end - begin);
  if ((at(end) == '"' || at(end) == '\'') && text.size() <= 2 && prefix_of(text).right) {
    at_ = end;
    return string(begin);
  }
  const bool keyword = std::binary_search(std::begin(kKeywords), std::end(kKeywords), text);
  return make(keyword ? Kind::keyword : Kind::name, begin, end);
}

bool PythonTokens::open(char bracket) {
  if (brackets_ == bracket_.size()) {
    fail(at_, "too many nested brackets");
    return false;
  }
  bracket_[brackets_++] = {bracket, static_cast<std::uint32_t>(at_)};
  return true;
}

bool PythonTokens::close(char bracket) {
  const char opening = top() == 'f' ? '{' : top();
  if (brackets_ == 0) {
    fail(at_, fmt::format("'{}' closes nothing", bracket));
  } else if (opening != (bracket == ')' ? '(' : bracket == ']' ? '[' : '{')) {
    fail(at_, fmt::format("'{}' does not close '{}'", bracket, opening));
  } else {
    --brackets_;
  }
  return !failed();
}

PythonToken PythonTokens::op() {
  const auto rest = code_.substr(at_);
  if (top() == 'f') {  // between a field's braces: its conversion and its format
    if (rest[0] == ':') {
      auto token = make(Kind::format, at_, at_ + 1);
      token.text = {};  // no lambda's, no slice's
      return token;
    }
    if (rest[0] == '!' && !rest.starts_with("!=")) return make(Kind::op, at_, at_ + 1);
  }
  for (const auto& [text, role] : kOperators) {
    if (!rest.starts_with(text)) continue;
    const char c = text[0];
    if (c == '(' || c == '[' || c == '{') open(c);
    if (c == ')' || c == ']' || c == '}') close(c);
    auto token = make(Kind::op, at_, at_ + text.size());
    token.role = role;
    return token;
  }
  if (rest[0] > ' ' && rest[0] < '\x7F') {
    fail(at_, fmt::format("'{}' is no operator of Python", rest[0]));
  } else {
    fail(at_, fmt::format("character U+{:04X} cannot stand here", static_cast<unsigned char>(rest[0])));
  }
  return {};
}

// ---- numbers

/// Digits with single underscores between them; the first is not looked at.
bool PythonTokens::digits(bool (*is)(char)) {
  while (true) {
    while (is(here())) ++at_;
    if (here() != '_') return true;
    if (!is(at(at_ + 1))) {
      fail(at_, "an underscore in a number stands between digits");
      return false;
    }
    ++at_;
  }
}

/// CPython lets a keyword follow a number without a space: `1if x else 2`.
bool PythonTokens::end_number(std::string_view what) {
  const auto rest = code_.substr(at_);
  for (const std::string_view word : {"and", "else", "for", "if", "in", "is", "or", "not"}) {
    if (rest.starts_with(word)) return true;
  }
  if (identifier_bytes_at(at_) > 0) fail(at_, fmt::format("not {} number", what));
  return !failed();
}

PythonToken PythonTokens::number() {
  const std::size_t begin = at_;
  bool imaginary = false;
  const auto done = [&](std::string_view what) {
    end_number(what);
    auto token = make(Kind::number, begin, at_);
    token.imaginary = imaginary;
    return token;
  };

  if (here() == '0' && at(at_ + 1) != '\0') {
    struct Base {
      char letter;
      std::string_view name;
      bool (*is)(char);
    };
    static constexpr Base bases[] = {{'x', "a hexadecimal", is_hex},
                                     {'o', "an octal", [](char c) { return c >= '0' && c <= '7'; }},
                                     {'b', "a binary", [](char c) { return c == '0' || c == '1'; }}};
    for (const auto& [letter, name, is] : bases) {
      if ((at(at_ + 1) | 0x20) != letter) continue;
      at_ += 2;
      if (here() == '_') ++at_;
      if (!is(here())) {
        fail(at_, fmt::format("not {} number", name));
      } else if (digits(is) && is_digit(here())) {
        fail(at_, fmt::format("digit '{}' in {} number", here(), name));
      }
      return done(name);
    }
  }

  bool whole = true;
  if (is_digit(here()) && !digits(is_digit)) return {};
  const std::size_t whole_end = at_;
  if (here() == '.') {
    whole = false;
    ++at_;
    if (is_digit(here()) && !digits(is_digit)) return {};
  }
  if (here() == 'e' || here() == 'E') {
    const bool sign = at(at_ + 1) == '+' || at(at_ + 1) == '-';
    if (is_digit(at(at_ + 1 + sign))) {
      whole = false;
      at_ += 1 + sign;
      if (!digits(is_digit)) return {};
    } else if (sign) {
      fail(at_, "not a decimal number");
    }
  }
  if (here() == 'j' || here() == 'J') {
    whole = false;
    imaginary = true;
    ++at_;
  }
  if (whole && code_[begin] == '0' &&
      code_.substr(begin, whole_end - begin).find_first_not_of("0_") != std::string_view::npos)
    fail(begin, "a decimal number does not begin with 0; octal ones begin with 0o");
  return done(imaginary ? "an imaginary" : "a decimal");
}

// ---- strings

/// How much the escape at the current backslash takes, at least the backslash; 0: it is broken.
std::size_t PythonTokens::escape_bytes(bool bytes) {
  const char c = at(at_ + 1);
  if (const std::size_t end = line_end_at(at_ + 1); end > 0) return 1 + end;
  const std::size_t digits = c == 'x' ? 2 : bytes ? 0 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < digits; ++i) {
    const char digit = at(at_ + 2 + i);
    if (!is_hex(digit)) {
      fail(at_, fmt::format("\\{} takes {} hexadecimal digits", c, digits));
      return 0;
    }
    value = value << 4 | static_cast<unsigned>(is_digit(digit) ? digit - '0' : (digit | 0x20) - 'a' + 10);
  }
  if (value > 0x10FFFF) {
    fail(at_, "\\U ends at 0010FFFF");
    return 0;
  }
  if (c == 'N' && !bytes) {
    std::size_t end = at_ + 3;
    while (is_letter(at(end)) || is_digit(at(end)) || at(end) == ' ' || at(end) == '-') ++end;
    if (at(at_ + 2) != '{' || at(end) != '}' || end == at_ + 3) {
      fail(at_, "\\N takes a character's name in braces");
      return 0;
    }
    return end + 1 - at_;
  }
  return digits > 0 ? 2 + digits : at_ + 1 < code_.size() ? 2 : 1;
}

/// `begin`: where its prefix begins; the current place is its first quote.
PythonToken PythonTokens::string(std::size_t begin) {
  const auto prefix = prefix_of(code_.substr(begin, at_ - begin));
  const auto quotes = quotes_at(code_.substr(at_));
  if (prefix.format) return make(Kind::fstring, begin, at_ + quotes.size());
  at_ += quotes.size();
  while (!code_.substr(at_).starts_with(quotes)) {
    if (at_ == code_.size() || (quotes.size() == 1 && line_end_at(at_) > 0)) {
      fail(begin, "the string has no closing quotes");
      return {};
    }
    if (prefix.bytes && beyond_ascii(here())) fail(at_, "bytes hold ASCII only; write others as \\x..");
    const std::size_t step = here() != '\\' ? 1
                             : prefix.raw   ? 1 + std::max<std::size_t>(1, line_end_at(at_ + 1))
                                            : escape_bytes(prefix.bytes);
    if (failed()) return {};
    at_ = std::min(at_ + step, code_.size());
  }
  auto token = make(Kind::string, begin, at_ + quotes.size());
  token.bytes = prefix.bytes;
  return token;
}

PythonTokens::Stop PythonTokens::literal(const PythonToken& opening, bool format) {
  const std::size_t letters = opening.text.find_first_of("'\"");
  const bool raw = prefix_of(opening.text.substr(0, letters)).raw;
  const auto quotes = opening.text.substr(letters);
  while (!failed()) {
    const char c = here();
    if (at_ == code_.size() || (quotes.size() == 1 && line_end_at(at_) > 0)) {
      fail(opening.begin, "the string has no closing quotes");
    } else if (code_.substr(at_).starts_with(quotes)) {
      if (format) fail(at_, "'}' is missing before the closing quotes");
      at_ += quotes.size();
      return Stop::closing;
    } else if (c == '{' && (format || at(at_ + 1) != '{')) {
      open('f');
      ++at_;
      return Stop::field;
    } else if (c == '}' && format) {
      close('}');
      ++at_;
      return Stop::closing;
    } else if (c == '}' && at(at_ + 1) != '}') {
      fail(at_, "a single '}' in an f-string: write '}}'");
    } else if (c == '{' || c == '}') {
      at_ += 2;
    } else if (c != '\\') {
      ++at_;
    } else if (at(at_ + 1) == '{' || at(at_ + 1) == '}') {
      ++at_;  // a backslash does not escape a brace
    } else {
      const std::size_t step = raw ? 1 + std::max<std::size_t>(1, line_end_at(at_ + 1)) : escape_bytes(false);
      at_ = std::min(at_ + step, code_.size());
    }
  }
  return Stop::closing;
}

}  // namespace sluice
