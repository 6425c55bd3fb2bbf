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
  if (config->kv_heads == 0 || config->heads % config->kv_heads != 0 || config->head_dim % 2 != 0) std::abort();
  if (parameter_count(*config) < config->vocab_size) std::abort();
  for (const float each : rope_frequencies(*config)) {
    if (!std::isfinite(each) || each < 0) std::abort();
  }
  return 0;
}
