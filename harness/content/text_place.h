// Where in a text something is wrong, for a person.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace sluice {

/// "line 3, column 8: what". Lines end with \n, \r\n or \r; columns count characters from 1.
inline std::string at_place(std::string_view text, std::size_t offset, std::string_view what) {
  std::size_t line = 1, column = 1;
  for (std::size_t i = 0; i < offset && i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n' || (c == '\r' && (i + 1 == text.size() || text[i + 1] != '\n'))) {
      ++line;
      column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {  // not the rest of a character
      ++column;
    }
  }
  return fmt::format("line {}, column {}: {}", line, column, what);
}

}  // namespace sluice
