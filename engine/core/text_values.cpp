#include "engine/core/text_values.h"

#include <cmath>

namespace sluice::engine {

std::optional<std::chrono::nanoseconds> duration_of(std::string_view text) {
  struct Unit {
    std::string_view name;
    double nanoseconds;
  };
  // Longer names first: "ms" ends in "s" too.
  static constexpr Unit kUnits[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}};
  for (const auto& [name, scale] : kUnits) {
    if (!text.ends_with(name)) continue;
    const auto value = number_of<double>(text.substr(0, text.size() - name.size()));
    constexpr double kHour = 3600e9;
    if (!value || !(*value >= 0) || *value * scale > kHour) return std::nullopt;
    return std::chrono::nanoseconds(std::llround(*value * scale));
  }
  if (text == "0") return std::chrono::nanoseconds(0);
  return std::nullopt;
}

}  // namespace sluice::engine
