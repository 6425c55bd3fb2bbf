// The event-stream grammar written down as plainly as it goes, over the whole text at once: what SseParser is held
// against.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::testing_support {

struct ReferenceEvent {
  std::string type, data, id;
  bool operator==(const ReferenceEvent&) const = default;
};

inline std::vector<ReferenceEvent> reference_events(std::string_view stream) {
  std::string text(stream);
  if (text.rfind("\xEF\xBB\xBF", 0) == 0) text.erase(0, 3);
  std::string unified;  // CRLF and CR become LF
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      unified += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      unified += text[i];
    }
  }
  std::vector<ReferenceEvent> events;
  ReferenceEvent building;
  bool has_data = false;
  std::string last_id;
  for (std::size_t from = 0, end = 0; (end = unified.find('\n', from)) != std::string::npos; from = end + 1) {
    const std::string line = unified.substr(from, end - from);
    if (line.empty()) {
      if (has_data) {
        building.data.pop_back();  // the LF after the last data line
        building.id = last_id;
        events.push_back(building);
      }
      building = {};
      has_data = false;
      continue;
    }
    if (line[0] == ':') continue;
    const std::size_t colon = line.find(':');
    const std::string name = line.substr(0, colon);
    std::string value = colon == std::string::npos ? std::string() : line.substr(colon + 1);
    if (!value.empty() && value[0] == ' ') value.erase(0, 1);
    if (name == "data") {
      building.data += value + '\n';
      has_data = true;
    } else if (name == "event") {
      building.type = value;
    } else if (name == "id" && value.find('\0') == std::string::npos) {
      last_id = value;
    }
  }
  return events;
}

}  // namespace sluice::testing_support
