// Any bytes as a recording: a sentence that says where, or streams whose pieces make up their bodies.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/stream/recording.h"

using namespace sluice;

namespace {

void must(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto recording = read_recording_file({reinterpret_cast<const char*>(data), size});
  if (!recording) {
    must(recording.error().message.starts_with("line "));
    return 0;
  }
  for (const TimedStream& stream : recording->streams) {
    must(stream.end_us >= stream.head_us && stream.answer.status >= 100);
    std::size_t end = 0;
    std::int64_t us = stream.head_us;
    for (const auto& piece : stream.pieces) {
      must(piece.end >= end && piece.us >= us);
      end = piece.end;
      us = piece.us;
    }
    must(end == stream.answer.body.size());
  }
  return 0;
}
