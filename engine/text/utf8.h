// UTF-8 from strangers: what is valid, and U+FFFD for what is not, exactly as Python's decode(errors="replace") puts
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::engine {

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";  // U+FFFD

/// What stands at one place of some bytes.
struct Utf8Part {
  std::size_t length = 0;   // bytes of the code point, or of the longest part that could have begun one
  std::uint32_t point = 0;  // the code point; U+FFFD when not whole
  bool whole = false;       // a valid code point
  bool unfinished = false;  // valid so far, but the bytes end within it
};

/// REQUIRES: at < bytes.size().
Utf8Part utf8_part(std::string_view bytes, std::size_t at);

bool is_valid_utf8(std::string_view bytes);
bool is_ascii(std::string_view bytes);

/// Appends `bytes`, each longest invalid part as one U+FFFD.
void append_valid_utf8(std::string_view bytes, std::string& out);
void append_utf8(std::uint32_t point, std::string& out);

}  // namespace sluice::engine
