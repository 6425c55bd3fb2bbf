#include "harness/content/python_syntax.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/limits.h"

namespace sluice {
namespace {

using testing::HasSubstr;

/// Of snippets/NAME.py.txt, which against_python.py shows to Python as well: what each shows, and the code.
std::vector<std::pair<std::string, std::string>> snippets(const std::string& name) {
  std::ifstream file(std::string(SLUICE_SOURCE_DIR "/tests/harness/content/snippets/") + name + ".py.txt");
  std::vector<std::pair<std::string, std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("=== ")) {
      rows.emplace_back(line.substr(4), "");
    } else {
      rows.back().second += line + '\n';
    }
  }
  return rows;
}

std::string verdict(std::string_view code) { return python_syntax_error(code).value_or("ok"); }

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string with_ends(std::string code, std::string_view end) {
  for (std::size_t at = 0; (at = code.find('\n', at)) != std::string::npos; at += end.size()) code.replace(at, 1, end);
  return code;
}

TEST(PythonSyntax, AcceptsWhatPythonAccepts) {
  const auto rows = snippets("accepted");
  EXPECT_GT(rows.size(), 100u);
  for (const auto& [what, code] : rows) EXPECT_EQ(verdict(code), "ok") << what << '\n' << code;
}

TEST(PythonSyntax, AcceptsWhatIsNewInPython312) {
  const auto rows = snippets("new_in_312");
  EXPECT_GE(rows.size(), 8u);
  for (const auto& [what, code] : rows) EXPECT_EQ(verdict(code), "ok") << what << '\n' << code;
}

TEST(PythonSyntax, RefusesWhatPythonRefuses) {
  const auto rows = snippets("refused");
  EXPECT_GT(rows.size(), 300u);
  for (const auto& [what, code] : rows)
    EXPECT_THAT(verdict(code), testing::StartsWith("line ")) << what << '\n' << code;
}

TEST(PythonSyntax, TheVerdictDoesNotDependOnTheKindOfLineEnd) {
  for (const char* table : {"accepted", "new_in_312", "refused"}) {
    for (const auto& [what, code] : snippets(table)) {
      EXPECT_EQ(verdict(with_ends(code, "\r\n")), verdict(code)) << what;
      EXPECT_EQ(verdict(with_ends(code, "\r")), verdict(code)) << what;
    }
  }
}

TEST(PythonSyntax, TheLastLineNeedsNoEndAndAMarkMayStandAtTheBeginning) {
  for (const auto& [what, code] : snippets("accepted")) {
    EXPECT_EQ(verdict(code.substr(0, code.size() - 1)), "ok") << what;
    EXPECT_EQ(verdict("\xEF\xBB\xBF" + code), "ok") << what;
  }
}

TEST(PythonSyntax, SaysWhatIsWrongAndWhere) {
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"def f()\n    pass\n", "line 1, column 8: expected ':', not the end of the line"},
      {"x = 1\nfor i in y\n", "line 2, column 11: expected ':', not the end of the line"},
      {"print \"x\"", "line 1, column 7: expected the end of the statement, not a string"},
      {"x = (1,\n\n2", "line 1, column 5: '(' was never closed"},
      {"f(a]", "line 1, column 4: ']' does not close '('"},
      {"a\n)", "line 2, column 1: ')' closes nothing"},
      {"if a:\nb", "line 2, column 1: expected an indented block, not a name"},
      {"if a:\n    b\n  c", "line 3, column 3: the indentation matches no outer level"},
      {"a\n  b", "line 2, column 3: unexpected indentation"},
      {"if a:\n        b\n\tc",
       "line 3, column 2: tabs and spaces are mixed so that the depth depends on the width of a tab"},
      {"'größe' = 1", "line 1, column 1: this cannot be assigned to"},
      {"größe = 'a", "line 1, column 9: the string has no closing quotes"},
      {"a\r\nb\r\n?", "line 3, column 1: '?' is no operator of Python"},
      {"a\rb\r?", "line 3, column 1: '?' is no operator of Python"},
      {"f(a=1, b)", "line 1, column 8: a positional argument follows a keyword argument"},
      {"f(a, b for b in c)", "line 1, column 8: a generator expression needs brackets here"},
      {"def f(a=1, b): pass", "line 1, column 12: a parameter without a default follows one with a default"},
      {"del f()", "line 1, column 5: this cannot be deleted"},
      {"try: a\nb", "line 2, column 1: expected 'except' or 'finally', not a name"},
      {"async x", "line 1, column 7: expected 'def', 'for' or 'with', not a name"},
      {"@a\nx", "line 2, column 1: expected 'def' or 'class', not a name"},
      {"else: a", "line 1, column 1: 'else' begins no statement"},
      {"x = f\"{a b}\"", "line 1, column 10: expected '}', not a name"},
      {"f'{lambda x: 1}'", "line 1, column 12: expected ':', not a format"},
      {"f'}'", "line 1, column 3: a single '}' in an f-string: write '}}'"},
      {"0o18", "line 1, column 4: digit '8' in an octal number"},
      {"x = 007", "line 1, column 5: a decimal number does not begin with 0; octal ones begin with 0o"},
      {"'\\x4'", "line 1, column 2: \\x takes 2 hexadecimal digits"},
      {"print(“a”)", "line 1, column 7: character U+201C cannot stand here"},
      {"a \x01", "line 1, column 3: character U+0001 cannot stand here"},
      {std::string_view("a\n\0", 3), "line 2, column 1: a null byte"},
      {"a = '\xFF'", "not UTF-8"},
  };
  for (const auto& [code, want] : rows) EXPECT_EQ(verdict(code), want) << code;
}

TEST(PythonSyntax, SaysNoWordOfTheText) {
  for (const char* code : {"secret secret", "x = 'secret", "secret = f'{secret secret}'", "class secret x"})
    EXPECT_THAT(verdict(code), testing::Not(HasSubstr("secret"))) << code;
}

TEST(PythonSyntax, FormFeedsAreBlanks) {
  EXPECT_EQ(verdict("if a:\n    \fb\n"), "line 2, column 6: expected an indented block, not a name");  // back to 0
  EXPECT_EQ(verdict("a\n  \f\nb\f = \f1\n"), "ok");
}

TEST(PythonSyntax, NestingIsBoundedAsInPython) {
  for (const auto& [open, close] : {std::pair("(", ")"), {"[", "]"}, {"f(", ")"}, {"{0:", "}"}, {"x[", "]"}}) {
    EXPECT_EQ(verdict(repeated(open, 200) + "1" + repeated(close, 200)), "ok") << open;
    EXPECT_THAT(verdict(repeated(open, 201) + "1" + repeated(close, 201)), HasSubstr("too many nested brackets"))
        << open;
  }
  std::string blocks;
  for (int depth = 0; depth < 99; ++depth) blocks += std::string(depth, ' ') + "if x:\n";
  EXPECT_EQ(verdict(blocks + std::string(99, ' ') + "y"), "ok");
  EXPECT_THAT(verdict(blocks + std::string(99, ' ') + "if x:\n" + std::string(100, ' ') + "y"),
              HasSubstr("too many levels of indentation"));
}

TEST(PythonSyntax, WhatRecursesIsBoundedWithoutBracketsToo) {
  EXPECT_THAT(verdict(repeated("lambda x=", 100'000)), HasSubstr("nested too deeply"));
  EXPECT_THAT(verdict(repeated("f\"{", 100'000)), HasSubstr("too many nested brackets"));
  EXPECT_THAT(verdict("f'" + repeated("{a:", 100'000)), HasSubstr("nested too deeply"));
  EXPECT_THAT(verdict("match a:\n case " + repeated("[", 100'000)), HasSubstr("too many nested brackets"));
}

TEST(PythonSyntax, WhatDoesNotRecurseMayBeLong) {
  for (const char* part :
       {"-", "not ", "a if b else ", "lambda: ", "a ** ", "a and ", "a.b(c)[d] + ", "await a | ", "a = "})
    EXPECT_EQ(verdict(repeated(part, 10'000) + "a"), "ok") << part;
  EXPECT_EQ(verdict("if a: b\n" + repeated("elif a: b\n", 10'000)), "ok");
}

TEST(PythonSyntax, TheSizeIsBounded) {
  EXPECT_EQ(verdict(repeated("a\n", limits::code_bytes_max / 2)), "ok");
  EXPECT_EQ(verdict(repeated("a\n", limits::code_bytes_max / 2) + "a"),
            "1048577 bytes, and more than 1048576 are not parsed");
}

TEST(PythonSyntax, EveryCutAndAnyBytesGetAVerdict) {
  const auto some_verdict = testing::AnyOf("ok", "not UTF-8", testing::StartsWith("line "));
  for (const char* table : {"accepted", "new_in_312", "refused"}) {
    for (const auto& [what, code] : snippets(table)) {
      for (std::size_t end = 0; end < code.size(); ++end) EXPECT_THAT(verdict(code.substr(0, end)), some_verdict);
    }
  }
  constexpr std::string_view alphabet = "ab1.\"'f{}()[]:=\\\n \t#!\xC3\xA9*,@";
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random() % 12, '\0');
    for (char& byte : bytes) byte = alphabet[random() % alphabet.size()];
    EXPECT_THAT(verdict(bytes), some_verdict);
  }
}

}  // namespace
}  // namespace sluice
