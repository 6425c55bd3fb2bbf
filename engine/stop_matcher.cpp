#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace sluice::engine {
namespace {

bool continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
  for (const auto& stop : stops_) longest_ = std::max(longest_, stop.size());
}

StopMatcher::Step StopMatcher::push(std::string text) {
  if (stops_.empty()) return {std::move(text), false};
  pending_ += text;

  // The match that ends first is the one: which it is then does not depend on how the text was cut.
  std::size_t begin = std::string::npos, end = std::string::npos;
  for (const auto& stop : stops_) {
    const std::size_t at = pending_.find(stop);
    if (at == std::string::npos) continue;
    if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
      begin = at;
      end = at + stop.size();
    }
  }
  if (begin != std::string::npos) {
    pending_.resize(begin);
    return {std::exchange(pending_, {}), true};
  }

  // The earliest place from which the end of the text is the beginning of a stop string.
  std::size_t keep = pending_.size();
  for (const auto& stop : stops_) {
    const std::size_t from = pending_.size() - std::min(pending_.size(), stop.size() - 1);
    for (std::size_t i = from; i < keep; ++i) {
      if (stop.starts_with(std::string_view(pending_).substr(i))) keep = i;
    }
  }
  // A stop string may begin in the middle of a code point only if it was given so; text is sent in whole ones.
  while (keep > 0 && keep < pending_.size() && continuation(pending_[keep])) --keep;
  std::string out = pending_.substr(0, keep);
  pending_.erase(0, keep);
  return {std::move(out), false};
}

std::string StopMatcher::finish() { return std::exchange(pending_, {}); }

}  // namespace sluice::engine
