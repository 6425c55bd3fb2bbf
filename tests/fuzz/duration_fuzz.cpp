// Durations, sizes and lists of cores. What reads as a duration is written so that it reads back the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/base/cores.h"
#include "harness/base/duration.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto duration = sluice::parse_duration(text)) {
    const auto again = sluice::parse_duration(sluice::format_duration(*duration));
    if (duration->count() < 0 || !again || *again != *duration) std::abort();
  }
  if (const auto bytes = sluice::parse_size(text); bytes && !(*bytes >= 0)) std::abort();
  if (const auto cores = sluice::parse_cores(text); cores && cores->size() > 1024) std::abort();
  return 0;
}
