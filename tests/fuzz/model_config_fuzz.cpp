// Any bytes as a config.json: refused, or a shape whose sizes hold together.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::engine;
  const auto config = parse_config({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!config) {
    if (config.error().message.empty()) std::abort();
    return 0;
  }
  if (config->kv_heads == 0 || config->heads % config->kv_heads != 0) std::abort();
  if (parameter_count(*config) < config->vocab_size) std::abort();
  for (const std::uint32_t context : {1u, config->context_max}) {
    const RopeAngles angles = rope_angles(*config, context);
    if (angles.dims > config->head_dim || angles.dims % 2 != 0 || angles.frequencies.size() != angles.dims / 2)
      std::abort();
    if (!std::isfinite(angles.scale) || angles.scale <= 0) std::abort();
    for (const float each : angles.frequencies)
      if (!std::isfinite(each) || each < 0) std::abort();
  }
  return 0;
}
