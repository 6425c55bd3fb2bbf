// Any bytes as a chat template: refused with a line, or rendered within its bounds.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::engine;
  const auto parsed = ChatTemplate::parse({reinterpret_cast<const char*>(data), size});
  if (!parsed) {
    if (parsed.error().message.empty()) std::abort();
    return 0;
  }
  const std::vector<ChatMessage> messages{{"system", " Be \xC3\xA9. "}, {"user", "Hi\n"}, {"assistant", "\xFF"}};
  const auto text = parsed->render(messages, true, "<s>", "</s>");
  if (text ? !is_valid_utf8(*text) : text.error().message.empty()) std::abort();
  return 0;
}
