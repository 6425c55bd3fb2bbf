// What the harness wants to know from the text of the engine's GET /metrics (Prometheus' format).
//
// Pure. Lines that are not understood are left out; of a series with several label sets the first counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "harness/base/system_sample.h"

namespace sluice {

struct EngineReading {
  EngineIdentity identity;  // empty where the engine does not say
  std::optional<double> running, queued;
  std::optional<double> kv_usage_percent;  // blocks held by requests, of all there are
  std::optional<std::uint64_t> preemptions, steps;
};

EngineReading read_engine_metrics(std::string_view text);

}  // namespace sluice
