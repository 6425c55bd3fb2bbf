// Any bytes as a recording: an error that says where, or streams that can be replayed.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/serve/recording.h"
#include "engine/serve/replay.h"

using namespace sluice::engine;

namespace {

void must(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto recording = parse_recording({reinterpret_cast<const char*>(data), size}, "r");
  if (!recording) {
    must(recording.error().message.starts_with("r:"));
    return 0;
  }
  must(!recording->streams.empty());
  for (const auto& stream : recording->streams) {
    must(stream.status >= 200 && stream.status <= 599 && stream.path.starts_with('/'));
    for (const auto& [name, value] : stream.headers) must(value.find_first_of("\r\n") == std::string::npos);
    ReplayedStream replayed(stream);
    std::int64_t us = 0;
    std::size_t bytes = 0;
    for (bool more = true; more; replayed.advance()) {
      must(replayed.due_us() >= us);
      us = replayed.due_us();
      if (replayed.step() == ReplayedStream::Step::piece) {
        must(!replayed.piece().empty());
        bytes += replayed.piece().size();
      }
      more = replayed.step() != ReplayedStream::Step::end;
    }
    must(bytes == stream.body.size());
  }
  return 0;
}
