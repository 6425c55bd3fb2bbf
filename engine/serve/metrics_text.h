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
  std::uint64_t content_pieces = 0;             // of streamed text, as the engine gave them
  std::uint64_t content_frames = 0;             // and the frames that carried them: fewer with a chunk policy
  std::map<unsigned, std::uint64_t> responses;  // by status
};

/// A loaded model: what runs it, and how it is doing.
struct EngineFigures {
  std::string model;            // the id that requests name
  std::string backend, device;  // as ExecutorInfo has them
  EngineStats stats;
};

/// `engine` null: no model is loaded yet, and only the server's own figures are there.
std::string metrics_text(const ServerStats& server, const EngineFigures* engine);

}  // namespace sluice::engine
