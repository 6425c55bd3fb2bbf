// Any bytes, cut anywhere: the parser gives what the plain reference gives.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "harness/stream/sse_parser.h"
#include "tests/support/sse_reference.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using sluice::testing_support::ReferenceEvent;
  if (size < 1) return 0;
  const std::size_t step = 1 + data[0] % 16;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  sluice::SseParser parser;
  std::vector<ReferenceEvent> events;
  for (std::size_t at = 0; at < stream.size(); at += step) {
    const std::string piece(stream.substr(at, step));  // memory of its own: a view kept too long is found
    parser.push(piece);
    while (const auto event = parser.next()) {
      events.push_back({std::string(event->type), std::string(event->data), std::string(event->id)});
    }
  }
  if (events != sluice::testing_support::reference_events(stream)) std::abort();
  return 0;
}
