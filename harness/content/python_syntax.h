// Whether text is a Python module, by Python's grammar: what `ast.parse` of Python 3.11 accepts, and what is new
// in 3.12 (quotes, backslashes, comments and line ends in an f-string's fields; type parameters; `type X = ...`).
//
// Only the syntax: a `return` outside a function, names bound twice and other complaints of the compiler are none here.
// Known to be laxer than Python: which letters beyond ASCII may stand in a name (all but those of blocks that hold only
// punctuation and symbols), and which names `\N{...}` knows; a decimal integer may have any number of digits.
// Pure; any thread; allocates only for what it says. Recursion is bounded (limits.h), so foreign bytes cannot exhaust
// the stack.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// None: a module (an empty one is one). Else what is wrong, as "line 3, column 8: expected ':', not a name"; columns
/// count characters from 1. Says no word of the text but Python's own.
std::optional<std::string> python_syntax_error(std::string_view code);

}  // namespace sluice
