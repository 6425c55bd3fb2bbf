// Any bytes as a recorded answer: taken apart or refused; the body is never longer than what there was.
#include <cstdint>
#include <string_view>

#include "harness/stream/recorded_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto read = sluice::read_recording(bytes);
  if (!read) {
    if (read.error().message.empty()) __builtin_trap();
    return 0;
  }
  if (read->body.size() > size) __builtin_trap();
  if (!read->has_head && read->body != bytes) __builtin_trap();
  return 0;
}
