#include "engine/exec/scripted/script.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "engine/core/text_values.h"

namespace sluice::engine {
namespace {

std::uint64_t splitmix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

/// In (0, 1).
double uniform(std::uint64_t bits) { return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53; }

}  // namespace

Result<Script> parse_script(std::string_view text) {
  Script script;
  while (!text.empty()) {
    const auto equals = text.find('=');
    const auto key = text.substr(0, equals);
    if (equals == std::string_view::npos) return fail(fmt::format("script: '{}' has no value: write key=value", key));
    const auto comma = key == "text" ? std::string_view::npos : text.find(',', equals);
    const auto value = text.substr(equals + 1, comma == std::string_view::npos ? comma : comma - equals - 1);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);

    if (key == "ttft" || key == "gap") {
      const auto read = duration_of(value);
      if (!read) {
        return fail(fmt::format("script: {}: '{}' is not a duration up to 1 h: write a number and ns, us, ms, s or m",
                                key, value));
      }
      (key == "ttft" ? script.ttft : script.gap) = *read;
    } else if (key == "tokens") {
      const auto read = number_of<std::uint32_t>(value);
      if (!read || *read > 10'000'000) {
        return fail(fmt::format("script: tokens: '{}' is not a number from 0 to 10000000", value));
      }
      script.tokens = *read;
    } else if (key == "distribution") {
      if (value != "fixed" && value != "lognormal") {
        return fail(fmt::format("script: distribution: '{}' is not known: write fixed or lognormal", value));
      }
      script.distribution = value == "fixed" ? Script::Distribution::fixed : Script::Distribution::lognormal;
    } else if (key == "sigma") {
      const auto read = number_of<double>(value);
      if (!read || !(*read >= 0 && *read <= 4)) {
        return fail(fmt::format("script: sigma: '{}' is not a number from 0 to 4", value));
      }
      script.sigma = *read;
    } else if (key == "seed") {
      const auto read = number_of<std::uint64_t>(value);
      if (!read) return fail(fmt::format("script: seed: '{}' is not a whole number", value));
      script.seed = *read;
    } else if (key == "text") {
      script.text = value;
    } else {
      return fail(fmt::format(
          "script: unknown key '{}': there are ttft, gap, tokens, distribution, sigma, seed and, last, text", key));
    }
  }
  return script;
}

std::chrono::nanoseconds scripted_delay(const Script& script, std::uint64_t key, std::uint32_t index) {
  const auto mean = index == 0 ? script.ttft : script.gap;
  if (script.distribution == Script::Distribution::fixed || mean.count() == 0) return mean;
  const std::uint64_t first = splitmix(splitmix(script.seed ^ splitmix(key)) + index);
  const double normal =
      std::sqrt(-2.0 * std::log(uniform(first))) * std::cos(2.0 * std::numbers::pi * uniform(splitmix(first)));
  const double factor = std::exp(script.sigma * normal - script.sigma * script.sigma / 2);
  return std::chrono::nanoseconds(std::llround(static_cast<double>(mean.count()) * factor));
}

}  // namespace sluice::engine
