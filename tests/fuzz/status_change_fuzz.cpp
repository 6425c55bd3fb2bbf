// Any bytes as the body of an order to a run: taken within its bounds, or refused.
#include <cstdint>
#include <string_view>

#include "harness/base/limits.h"
#include "harness/load/status_change.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto change = sluice::parse_status_change({reinterpret_cast<const char*>(data), size});
  if (change && change->vus && *change->vus > sluice::limits::vus_max) __builtin_trap();
  if (!change && change.error().message.empty()) __builtin_trap();
  return 0;
}
