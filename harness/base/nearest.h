// "Did you mean": the known word nearest to one that is not known.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// The nearest of `known` by edit distance (a swap of neighbours counts as one), case ignored; none when all are far
/// off.
std::optional<std::string_view> nearest(std::string_view word, std::span<const std::string_view> known);

/// "; did you mean 'x'?", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string_view> known);

}  // namespace sluice
