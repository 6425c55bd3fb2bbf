// Any text as an engine's metrics: nothing but numbers that make sense come out.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "harness/cohost/engine_metrics.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);  // memory of its own: reading past it is found
  const sluice::EngineReading reading = sluice::read_engine_metrics(text);
  for (const auto& value : {reading.running, reading.queued, reading.kv_usage_percent})
    if (value && !(*value >= 0)) std::abort();
  if (reading.identity.device.size() > text.size()) std::abort();
  return 0;
}
