// Unicode normal form C, in time linear in the text but for the sorting of marks.
#pragma once

#include <string>
#include <string_view>

namespace sluice::engine {

/// REQUIRES: `text` is valid UTF-8.
std::string nfc(std::string_view text);

}  // namespace sluice::engine
