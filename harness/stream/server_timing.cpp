#include "harness/stream/server_timing.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "harness/base/letters.h"

namespace sluice {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Takes the part before the next `separator` that stands in no quotes off the front.
std::string_view next_part(std::string_view& rest, char separator) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < rest.size() && (quoted || rest[end] != separator); ++end) {
    if (rest[end] == '"') quoted = !quoted;
    if (quoted && rest[end] == '\\' && end + 1 < rest.size()) ++end;
  }
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return trimmed(part);
}

/// `dur` of the parameters; -1 when there is none that is a time.
Nanoseconds duration_in(std::string_view parameters) {
  while (!parameters.empty()) {
    std::string_view value = next_part(parameters, ';');
    if (!same_letters(trimmed(next_part(value, '=')), "dur")) continue;
    value = trimmed(value);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    double ms = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), ms);
    return error == std::errc{} && end == value.data() + value.size() ? server_time(ms) : Nanoseconds(-1);
  }
  return Nanoseconds(-1);
}

}  // namespace

void take_server_timing(std::string_view header, ServerTimes& times) {
  while (!header.empty()) {
    std::string_view metric = next_part(header, ',');
    const std::string_view name = next_part(metric, ';');
    const auto is = [name](std::initializer_list<std::string_view> names) {
      return std::any_of(names.begin(), names.end(),
                         [name](std::string_view each) { return same_letters(name, each); });
    };
    Nanoseconds* const into = is({"queue", "queued"})     ? &times.queue
                              : is({"prefill", "prompt"}) ? &times.prefill
                                                          : nullptr;
    if (into == nullptr || into->count() >= 0) continue;
    *into = duration_in(metric);
    if (into->count() >= 0) times.source = ServerTimes::Source::server_timing;
  }
}

}  // namespace sluice
