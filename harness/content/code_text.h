// The code in a model's answer, and whether it is JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// The lines inside the first Markdown fence (``` or ~~~, with or without a language; an unclosed one runs to the end),
/// else the whole answer. A view into `answer`: an indented fence's lines keep their indentation.
std::string_view code_of(std::string_view answer);

/// None: the text is one JSON value, with white space around it. Else what is wrong, as "line 2, column 5: ...".
/// Nesting is bounded (limits.h); says no word of the text.
std::optional<std::string> json_syntax_error(std::string_view text);

}  // namespace sluice
