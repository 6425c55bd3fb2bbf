// Any text as the header Server-Timing: nothing but times that can be come out.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "harness/stream/server_timing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);  // memory of its own: reading past it is found
  sluice::ServerTimes times;
  sluice::take_server_timing(text, times);
  const bool said = times.queue.count() >= 0 || times.prefill.count() >= 0;
  if (said != (times.source == sluice::ServerTimes::Source::server_timing)) std::abort();
  if (times.queue > sluice::limits::server_time_max || times.prefill > sluice::limits::server_time_max) std::abort();
  return 0;
}
