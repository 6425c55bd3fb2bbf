#include "engine/serve/replay.h"

#include <utility>

namespace sluice::engine {

Replay::Replay(Recording recording, double speed) : recording_(std::move(recording)), speed_(speed) {
  for (std::size_t i = 0; i < recording_.streams.size(); ++i) paths_[recording_.streams[i].path].streams.push_back(i);
}

const RecordedStream* Replay::next(std::string_view method, const std::string& path) {
  if (method != method_of(path)) return nullptr;
  Path& found = paths_.find(path)->second;
  const RecordedStream& stream = recording_.streams[found.streams[found.next]];
  found.next = (found.next + 1) % found.streams.size();
  ++count_;
  return &stream;
}

std::string_view Replay::method_of(const std::string& path) const {
  const auto found = paths_.find(path);
  return found == paths_.end() ? std::string_view() : recording_.streams[found->second.streams.front()].method;
}

}  // namespace sluice::engine
