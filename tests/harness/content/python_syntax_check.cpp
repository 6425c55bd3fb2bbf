// Verdicts for against_python.py: texts on standard input, each after a line with its length in bytes; a line with a
// verdict each on standard output, "ok" or what is wrong.
#include <cstdio>
#include <iostream>
#include <string>

#include "harness/content/python_syntax.h"

int main() {
  std::ios::sync_with_stdio(false);
  std::size_t bytes = 0;
  for (std::string text; std::cin >> bytes;) {
    std::cin.get();  // the line's end
    text.resize(bytes);
    std::cin.read(text.data(), static_cast<std::streamsize>(bytes));
    if (!std::cin) return 1;
    std::cout << sluice::python_syntax_error(text).value_or("ok") << '\n';
  }
  return 0;
}
