// Reads the log in which the co-hosted engine says when each event really left. Written from the format's description
// (docs/metrics.md, t_emit), not from the engine's source: a judge shares no code with what it judges.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace sluice::testing_support {

struct Emission {
  std::uint32_t event = 0;    // index in its response, role frame included
  std::uint32_t content = 0;  // index among the content events
  std::int64_t before_ns = 0, after_ns = 0;
};

/// Content events by response id, in order. Empty with a sentence in `error` when the file is no such log.
inline std::map<std::string, std::vector<Emission>> read_emissions(const std::string& path, std::string& error) {
  constexpr std::uint32_t kNoContent = 0xffffffff;
  struct Record {
    char id[40];
    std::uint32_t event, content;
    std::int64_t before_ns, after_ns;
  };
  static_assert(sizeof(Record) == 64);
  std::map<std::string, std::vector<Emission>> found;
  std::ifstream file(path, std::ios::binary);
  char header[64];
  if (!file.read(header, sizeof header) || std::strncmp(header, "SLUICE-EMIT-1", 16) != 0) {
    error = path + " is no emission log";
    return found;
  }
  std::uint32_t record_bytes = 0;
  std::uint64_t capacity = 0, written = 0;
  std::memcpy(&record_bytes, header + 16, sizeof record_bytes);
  std::memcpy(&capacity, header + 24, sizeof capacity);
  std::memcpy(&written, header + 32, sizeof written);
  if (record_bytes != sizeof(Record) || written > capacity) {
    error = path + (written > capacity ? ": the log has gone round: its first records are lost" : ": unknown records");
    return found;
  }
  for (std::uint64_t i = 0; i < written; ++i) {
    Record record;
    if (!file.read(reinterpret_cast<char*>(&record), sizeof record)) {
      error = path + " ends too early";
      return found;
    }
    if (record.content == kNoContent) continue;
    const std::string id(record.id, ::strnlen(record.id, sizeof record.id));
    auto& events = found[id];
    if (record.content != events.size()) error = path + ": content events of " + id + " are out of order";
    events.push_back({record.event, record.content, record.before_ns, record.after_ns});
  }
  return found;
}

}  // namespace sluice::testing_support
