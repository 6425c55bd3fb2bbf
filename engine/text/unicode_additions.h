// Where Hugging Face's tokenizers and our libraries know different versions of Unicode.
//
// It matches with Oniguruma (Unicode 16), where PCRE2 10.42 knows Unicode 14; it normalizes by older tables than
// utf8proc's.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::engine {

struct UnicodeAddition {
  std::uint32_t first;
  std::uint32_t last;
  std::string_view category;  // "Lo": added by Unicode 15 or 16; "Han": the script; "New": unknown to tokenizers' NFC
};

inline constexpr UnicodeAddition unicode_additions[] = {
#include "engine/text/unicode_additions.inc"
};

}  // namespace sluice::engine
