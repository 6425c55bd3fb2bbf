// Any bytes as an event's data: parsed or refused, and judged, without reading a byte beyond.
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/stream/chat_event.h"
#include "harness/stream/stream_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  static sluice::ChatEventParser parser;
  sluice::StreamRules rules;
  const auto api = static_cast<sluice::StreamApi>(data[0] % 5);
  rules.begin(api);
  rules.header(200, "text/event-stream");
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  while (!rest.empty()) {  // lines are the events of one stream
    const std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    sluice::SseEvent raw;
    raw.data = line;
    const sluice::ChatEvent event = parser.parse(line, api);
    if (event.kind == sluice::ChatEvent::Kind::content && event.text.empty()) __builtin_trap();
    if (sluice::count_code_points(event.text) > event.text.size()) __builtin_trap();
    rules.event(raw, event);
  }
  rules.end({});
  return 0;
}
