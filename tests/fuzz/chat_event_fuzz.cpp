// Any bytes as an event's data: parsed or refused, and judged, without reading a byte beyond.
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/stream/chat_event.h"
#include "harness/stream/stream_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static sluice::ChatEventParser parser;
  sluice::StreamRules rules;
  rules.begin(sluice::StreamRules::Api::chat, "openai");
  rules.header(200, "text/event-stream");
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty()) {  // lines are the events of one stream
    const std::string line(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    sluice::SseEvent raw;
    raw.data = line;
    const sluice::ChatEvent event = parser.parse(line);
    if (event.kind == sluice::ChatEvent::Kind::content && event.text.empty()) __builtin_trap();
    if (sluice::count_code_points(event.text) > event.text.size()) __builtin_trap();
    rules.event(raw, event);
  }
  rules.end({});
  return 0;
}
