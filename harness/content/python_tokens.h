// Python source as tokens, by the rules of CPython's tokenizer: indents and dedents with their tabs rule, lines joined
// in brackets and by backslashes, every string prefix, numbers, comments.
//
// An f-string is walked by its reader, because what stands in its braces is Python again: the token is its opening
// only, literal() reads on to the next brace or the closing quotes, and next() reads the tokens of a field.
// Allocates nothing before the first fault. Copies are cheap (3 KiB) and independent: that is how a reader looks ahead.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/base/limits.h"

namespace sluice {

struct PythonToken {
  enum class Kind : std::uint8_t {
    end,
    newline,
    indent,
    dedent,
    name,
    keyword,
    number,
    string,
    fstring,  // its prefix and opening quotes
    op,
    format,  // the ':' before the format of an f-string's field
  };
  enum class Role : std::uint8_t { other, binary, comparison, augmented };

  Kind kind = Kind::end;
  Role role = Role::other;  // of an op
  bool imaginary = false;   // of a number
  bool bytes = false;       // of a string
  std::size_t begin = 0;    // offset in the source
  std::string_view text;    // empty when there is none: end, newline, indent, dedent
};

class PythonTokens {
 public:
  /// `code` is valid UTF-8 without null bytes, outlives this, and may begin with a byte order mark.
  explicit PythonTokens(std::string_view code);

  /// `end` for ever after the last token, and after a fault.
  PythonToken next();

  enum class Stop : std::uint8_t { field, closing };  // a '{' that opens a field; the quotes, in a format its '}'
  /// The literal part of the f-string that began with the token `opening`, `format`: of a field's format. What
  /// stopped it is read as well. A fault is a closing.
  Stop literal(const PythonToken& opening, bool format);

  /// Only the first fault counts.
  void fail(std::size_t at, std::string_view what);
  bool failed() const { return !fault_.empty(); }
  const std::string& fault() const { return fault_; }
  std::size_t fault_at() const { return fault_at_; }

 private:
  struct Indent {
    unsigned column;  // tabs to multiples of 8
    unsigned narrow;  // tabs as one: both must agree, or the order depends on the tab's width
  };

  struct Bracket {
    char character;  // 'f' for a field's '{'
    std::uint32_t offset;
  };
  static_assert(limits::code_bytes_max <= UINT32_MAX);

  char at(std::size_t offset) const { return offset < code_.size() ? code_[offset] : '\0'; }
  char here() const { return at(at_); }
  char top() const { return brackets_ == 0 ? '\0' : bracket_[brackets_ - 1].character; }
  std::size_t line_end_at(std::size_t offset) const;
  bool continue_line();
  void measure_indent();
  void skip_comment();
  void skip_blanks();
  std::size_t identifier_bytes_at(std::size_t offset) const;
  PythonToken make(PythonToken::Kind kind, std::size_t begin, std::size_t end);
  PythonToken word();
  PythonToken number();
  PythonToken string(std::size_t begin);
  PythonToken op();
  bool open(char bracket);
  bool close(char bracket);
  bool digits(bool (*is)(char));
  bool end_number(std::string_view what);
  std::size_t escape_bytes(bool bytes);

  std::string_view code_;
  std::size_t at_ = 0;
  bool line_start_ = true;
  bool after_newline_ = true;
  int pending_ = 0;  // indents to give; dedents when negative
  std::size_t indents_ = 0;
  std::array<Indent, limits::python_indents_max> indent_{};
  std::size_t brackets_ = 0;
  std::array<Bracket, limits::python_brackets_max> bracket_{};
  std::string fault_;
  std::size_t fault_at_ = 0;
};

}  // namespace sluice
