#include "harness/base/cores.h"

#include <fmt/format.h>
#include <sched.h>

#include <charconv>
#include <set>

namespace sluice {

Result<std::vector<int>> parse_cores(std::string_view text) {
  std::set<int> cores;
  const auto number = [](std::string_view digits, int& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() && value >= 0 && value < CPU_SETSIZE &&
           !digits.empty();
  };
  for (std::string_view rest = text; !rest.empty();) {
    const auto comma = rest.find(',');
    const auto part = rest.substr(0, comma);
    const auto dash = part.find('-');
    int first = 0, last = 0;
    if (!number(part.substr(0, dash), first) ||
        (dash != std::string_view::npos && !number(part.substr(dash + 1), last)) ||
        (dash != std::string_view::npos && last < first) || comma + 1 == rest.size()) {
      return fail(fmt::format("'{}' is not a list of cores: write numbers and ranges, as in 0-3,6", text));
    }
    if (dash == std::string_view::npos) last = first;
    for (int core = first; core <= last; ++core) cores.insert(core);
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return std::vector<int>(cores.begin(), cores.end());
}

}  // namespace sluice
