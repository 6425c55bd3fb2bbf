// Numbers and times in the options that people write: "20", "1.5ms".
#pragma once

#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>
#include <system_error>

namespace sluice::engine {

/// None unless the whole text is one.
template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A number of at least 0 and ns, us, ms, s or m, up to an hour; 0 needs no unit.
std::optional<std::chrono::nanoseconds> duration_of(std::string_view text);

}  // namespace sluice::engine
