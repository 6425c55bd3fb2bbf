// A request's or an answer's head as text: looking a header up. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace sluice {

constexpr char lower_letter(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Names of headers do not differ by case.
constexpr bool same_header(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower_letter(x) == lower_letter(y); });
}

constexpr std::string_view trimmed_value(std::string_view value) {
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  return value;
}

struct HeaderLine {
  std::size_t begin = 0, end = 0;  // offsets of the line in the message, without its CRLF; end 0: there is none
  std::string_view value;          // trimmed
};

/// visit(name, line) for each header, in order, until it says true. `message`: a head with its first line, and perhaps
/// a body, which is not looked at.
template <class Visit>
constexpr void until_header(std::string_view message, Visit visit) {
  const std::size_t head_end = std::min(message.find("\r\n\r\n"), message.size());
  std::size_t at = message.find("\r\n");
  while (at < head_end) {
    at += 2;
    const std::size_t end = std::min(message.find("\r\n", at), head_end);
    const std::string_view line = message.substr(at, end - at);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos &&
        visit(line.substr(0, colon), HeaderLine{at, end, trimmed_value(line.substr(colon + 1))}))
      return;
    at = end;
  }
}

/// The first header of that name.
constexpr HeaderLine find_header(std::string_view message, std::string_view name) {
  HeaderLine found;
  until_header(message, [&](std::string_view each, const HeaderLine& line) {
    if (!same_header(each, name)) return false;
    found = line;
    return true;
  });
  return found;
}

/// visit(name, value) for each header, in order.
template <class Visit>
constexpr void for_each_header(std::string_view message, Visit visit) {
  until_header(message, [&](std::string_view name, const HeaderLine& line) {
    visit(name, line.value);
    return false;
  });
}

}  // namespace sluice
