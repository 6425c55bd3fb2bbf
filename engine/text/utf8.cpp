#include "engine/text/utf8.h"

#include <simdjson.h>

#include <cstring>

namespace sluice::engine {

Utf8Part utf8_part(std::string_view bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return {1, first, true, false};

  // The Unicode Standard, table 3-7: how many bytes follow and what the second may be.
  std::size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;   // overlong below
    if (first == 0xED) high = 0x9F;  // surrogates above
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;  // beyond U+10FFFF
  } else {
    return {1, 0xFFFD, false, false};
  }
  std::uint32_t point = first & (0xFF >> (length + 1));
  for (std::size_t k = 1; k < length; ++k) {
    if (at + k == bytes.size()) return {k, 0xFFFD, false, true};
    const unsigned char next = byte(at + k);
    if (next < low || next > high) return {k, 0xFFFD, false, false};
    point = (point << 6) | (next & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {length, point, true, false};
}

bool is_valid_utf8(std::string_view bytes) { return simdjson::validate_utf8(bytes.data(), bytes.size()); }

bool is_ascii(std::string_view bytes) {
  std::uint64_t all = 0;
  std::size_t i = 0;
  for (; i + sizeof all <= bytes.size(); i += sizeof all) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, bytes.data() + i, sizeof eight);
    all |= eight;
  }
  for (; i < bytes.size(); ++i) all |= static_cast<unsigned char>(bytes[i]);
  return (all & 0x8080808080808080u) == 0;
}

void append_valid_utf8(std::string_view bytes, std::string& out) {
  if (is_valid_utf8(bytes)) {
    out += bytes;
    return;
  }
  for (std::size_t i = 0; i < bytes.size();) {
    const Utf8Part part = utf8_part(bytes, i);
    out += part.whole ? bytes.substr(i, part.length) : replacement_character;
    i += part.length;
  }
}

void append_utf8(std::uint32_t point, std::string& out) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xC0 | (point >> 6));
    put(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    put(0xE0 | (point >> 12));
    put(0x80 | ((point >> 6) & 0x3F));
    put(0x80 | (point & 0x3F));
  } else {
    put(0xF0 | (point >> 18));
    put(0x80 | ((point >> 12) & 0x3F));
    put(0x80 | ((point >> 6) & 0x3F));
    put(0x80 | (point & 0x3F));
  }
}

}  // namespace sluice::engine
