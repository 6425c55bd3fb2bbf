// The engine's figures in Prometheus' text format, under our names and under vLLM's, so that existing dashboards read
// them.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "engine/engine.h"

namespace sluice::engine {

struct ServerStats {
  std::uint32_t connections = 0;  // open now
  std::uint64_t connections_total = 0;
  std::uint64_t slow_readers_dropped = 0;
  std::map<unsigned, std::uint64_t> responses;  // by status
};

/// `engine` null: no model is loaded yet, and only the server's own figures are there.
std::string metrics_text(const ServerStats& server, const EngineStats* engine, const std::string& model);

}  // namespace sluice::engine
