// What the file's "normalizer" does to a text before it is cut: Unicode normal form C, a prefix, a replacement.
//
// Time is linear in the text but for the sorting of marks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::engine {

/// REQUIRES: `text` is valid UTF-8.
std::string nfc(std::string_view text);

/// One step; a Sequence is several of them.
struct NormalizeStep {
  enum class Kind : std::uint8_t { nfc, prepend, replace } kind = Kind::nfc;
  std::string pattern;  // what is replaced, all of it, from the left; not empty
  std::string content;  // what stands there then, or is put before a text that is not empty
};

/// REQUIRES: `text` is valid UTF-8.
std::string normalize(const std::vector<NormalizeStep>& steps, std::string_view text);

}  // namespace sluice::engine
