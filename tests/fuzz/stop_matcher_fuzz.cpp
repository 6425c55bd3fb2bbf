// Stop strings over a text in pieces: what comes out does not depend on the pieces.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/stop_matcher.h"

using sluice::engine::StopMatcher;

namespace {

std::pair<std::string, bool> run(const std::vector<std::string>& stops, std::string_view text, std::size_t piece) {
  StopMatcher matcher(stops);
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    auto [part, stopped] = matcher.push(std::string(text.substr(at, piece)));
    out += part;
    if (stopped) return {out, true};
  }
  return {out + matcher.finish(), false};
}

}  // namespace

// The first line holds the stop strings, split at spaces; the rest is the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto line = input.find('\n');
  if (line == std::string_view::npos || size > 4096) return 0;
  std::vector<std::string> stops;
  for (auto head = input.substr(0, line); !head.empty() && stops.size() < 16;) {
    const auto space = head.find(' ');
    stops.emplace_back(head.substr(0, space));
    head = space == std::string_view::npos ? std::string_view() : head.substr(space + 1);
  }
  const auto text = input.substr(line + 1);
  const auto whole = run(stops, text, text.size() + 1);
  for (const std::size_t piece : {1, 2, 3, 7}) {
    if (run(stops, text, piece) != whole) std::abort();
  }
  if (!std::string_view(text).starts_with(whole.first)) std::abort();
  return 0;
}
