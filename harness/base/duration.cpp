#include "harness/base/duration.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "harness/base/limits.h"

namespace sluice {

namespace {

struct TimeUnit {
  std::string_view name;
  std::int64_t nanoseconds;
};
// Largest first: the order in which they may follow each other.
constexpr std::array<TimeUnit, 7> kTimeUnits{{{"d", 86'400'000'000'000},
                                              {"h", 3'600'000'000'000},
                                              {"m", 60'000'000'000},
                                              {"s", 1'000'000'000},
                                              {"ms", 1'000'000},
                                              {"us", 1'000},
                                              {"ns", 1}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Digits, with at most one point that has digits on both sides.
std::string_view take_number(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && is_digit(text[length])) ++length;
  if (length > 0 && length + 1 < text.size() && text[length] == '.' && is_digit(text[length + 1])) {
    ++length;
    while (length < text.size() && is_digit(text[length])) ++length;
  }
  const auto number = text.substr(0, length);
  text.remove_prefix(length);
  return number;
}

std::string_view take_letters(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && is_letter(text[length])) ++length;
  const auto letters = text.substr(0, length);
  text.remove_prefix(length);
  return letters;
}

Error not_a_duration(std::string_view text) {
  return fail(fmt::format("'{}' is not a duration: write a number and us, ms, s, m or h, as in 250ms or 1m30s", text));
}

}  // namespace

bool parse_decimal(std::string_view text, double& value) {
  std::string_view rest = text;
  if (rest.starts_with('-')) rest.remove_prefix(1);
  if (rest.empty() || !(is_digit(rest.front()) || (rest.size() > 1 && rest.front() == '.' && is_digit(rest[1]))))
    return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

Result<Nanoseconds> parse_duration(std::string_view text) {
  constexpr auto most = std::chrono::duration_cast<Nanoseconds>(limits::duration_max).count();
  std::string_view rest = text;
  std::int64_t total = 0;
  std::size_t units_from = 0;
  bool fraction_seen = false;
  do {
    const auto number = take_number(rest);
    const auto unit = take_letters(rest);
    if (number.empty() || unit.empty() || fraction_seen) return not_a_duration(text);
    std::size_t at = units_from;
    while (at < kTimeUnits.size() && kTimeUnits[at].name != unit) ++at;
    if (at == kTimeUnits.size()) return not_a_duration(text);
    units_from = at + 1;

    double value = 0;
    if (!parse_decimal(number, value)) return not_a_duration(text);
    fraction_seen = number.find('.') != std::string_view::npos;
    const double nanoseconds = value * static_cast<double>(kTimeUnits[at].nanoseconds);
    if (nanoseconds > static_cast<double>(most)) {
      return fail(fmt::format("'{}' is too long: at most {}", text, format_duration(Nanoseconds(most))));
    }
    total += std::llround(nanoseconds);
  } while (!rest.empty());
  if (total > most) return fail(fmt::format("'{}' is too long: at most {}", text, format_duration(Nanoseconds(most))));
  return Nanoseconds(total);
}

std::string format_duration(Nanoseconds value) {
  std::int64_t rest = value.count();
  if (rest == 0) return "0s";
  std::string text;
  for (const auto& [name, nanoseconds] : kTimeUnits) {
    if (name == "d") continue;  // 720h reads better than 30d beside 36h
    if (rest >= nanoseconds) {
      text += fmt::format("{}{}", rest / nanoseconds, name);
      rest %= nanoseconds;
    }
  }
  return text;
}

Result<double> parse_size(std::string_view text) {
  struct SizeUnit {
    std::string_view name;
    double bytes;
  };
  static constexpr std::array<SizeUnit, 8> units{{{"B", 1},
                                                  {"kB", 1e3},
                                                  {"KB", 1e3},
                                                  {"MB", 1e6},
                                                  {"GB", 1e9},
                                                  {"KiB", 1024},
                                                  {"MiB", 1048576},
                                                  {"GiB", 1073741824}}};
  std::string_view rest = text;
  const auto number = take_number(rest);
  double value = 0;
  if (parse_decimal(number, value)) {
    for (const auto& [name, bytes] : units) {
      if (rest == name) return value * bytes;
    }
  }
  return fail(fmt::format("'{}' is not a size: write a number and B, kB, MB, GB, KiB, MiB or GiB", text));
}

}  // namespace sluice
