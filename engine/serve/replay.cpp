#include "engine/serve/replay.h"

#include <utility>

namespace sluice::engine {

Replay::Replay(Recording recording, double speed) : recording_(std::move(recording)), speed_(speed) {
  for (std::size_t i = 0; i < recording_.streams.size(); ++i) {
    const RecordedStream& stream = recording_.streams[i];
    paths_[stream.path][stream.method].streams.push_back(i);
  }
}

const RecordedStream* Replay::next(std::string_view method, const std::string& path) {
  const auto methods = paths_.find(path);
  if (methods == paths_.end()) return nullptr;
  const auto found = methods->second.find(method);
  if (found == methods->second.end()) return nullptr;
  Turn& turn = found->second;
  const RecordedStream& stream = recording_.streams[turn.streams[turn.next]];
  turn.next = (turn.next + 1) % turn.streams.size();
  ++count_;
  return &stream;
}

std::string Replay::methods_of(const std::string& path) const {
  std::string out;
  const auto methods = paths_.find(path);
  if (methods == paths_.end()) return out;
  for (const auto& [method, turn] : methods->second) out += (out.empty() ? "" : ", ") + method;
  return out;
}

}  // namespace sluice::engine
