#include "harness/stream/chat_event.h"

#include <simdjson.h>

#include <cstring>
#include <vector>

namespace sluice {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

/// The value's text; empty when it is no string.
std::string_view string_of(const element& value) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return {};
  return text;
}

std::int64_t count_of(const element& value) {
  std::int64_t count = 0;
  if (value.get(count) == simdjson::SUCCESS) return count >= 0 ? count : -1;
  double real = 0;  // some gateways write 12.0
  if (value.get(real) == simdjson::SUCCESS && real >= 0 && real < 9e15) return static_cast<std::int64_t>(real);
  return -1;
}

/// Texts found one by one: a view of the only one, or all of them joined in a buffer.
class Joined {
 public:
  explicit Joined(std::string& buffer) : buffer_(buffer) { buffer_.clear(); }

  void add(std::string_view text) {
    if (text.empty()) return;
    if (only_.empty() && buffer_.empty()) {
      only_ = text;
      return;
    }
    if (buffer_.empty()) buffer_.assign(only_);
    buffer_.append(text);
  }
  std::string_view all() const { return buffer_.empty() ? only_ : std::string_view(buffer_); }
  std::size_t size() const { return all().size(); }

 private:
  std::string& buffer_;
  std::string_view only_;
};

ChatUsage usage_of(const object& usage) {
  ChatUsage found;
  for (const auto& [name, value] : usage) {
    if (name == "prompt_tokens") {
      found.prompt_tokens = count_of(value);
    } else if (name == "completion_tokens") {
      found.completion_tokens = count_of(value);
    } else if (name == "total_tokens") {
      found.total_tokens = count_of(value);
    } else if (name == "prompt_tokens_details") {
      object details;
      element cached;
      if (value.get(details) == simdjson::SUCCESS && details.at_key("cached_tokens").get(cached) == simdjson::SUCCESS) {
        found.cached_tokens = count_of(cached);
      }
    }
  }
  return found;
}

}  // namespace

struct ChatEventParser::State {
  simdjson::dom::parser parser;
  std::vector<char> padded;  // the event's bytes with the padding simdjson reads beyond them
  std::string text, reasoning, tool_text, error_message;

  void read_choices(const array& choices, ChatEvent& event);
};

ChatEventParser::ChatEventParser() : state_(std::make_unique<State>()) {}
ChatEventParser::~ChatEventParser() = default;

std::uint32_t count_code_points(std::string_view text) {
  std::uint32_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1U : 0U;
  return count;
}

void ChatEventParser::State::read_choices(const array& choices, ChatEvent& event) {
  Joined answer(text), thoughts(reasoning), calls(tool_text);
  for (const element choice_value : choices) {
    object choice;
    ++event.choices;
    if (choice_value.get(choice) != simdjson::SUCCESS) continue;
    std::int64_t index = 0;
    std::size_t bytes_before = answer.size() + thoughts.size() + calls.size();
    bool finish = false, role = false;
    for (const auto& [name, value] : choice) {
      if (name == "index") {
        if (value.get(index) != simdjson::SUCCESS) index = -1;
      } else if (name == "text") {
        event.has_delta = true;
        answer.add(string_of(value));
      } else if (name == "finish_reason") {
        if (!value.is_string()) continue;
        const std::string_view reason = string_of(value);
        event.empty_finish = event.empty_finish || reason.empty();
        if (reason.empty()) continue;
        finish = true;
        if (event.finish_reason.empty()) event.finish_reason = reason;
      } else if (name == "delta" || name == "message") {
        object delta;
        if (value.get(delta) != simdjson::SUCCESS) continue;
        event.has_delta = true;
        for (const auto& [part, part_value] : delta) {
          if (part == "content") {
            answer.add(string_of(part_value));
          } else if (part == "reasoning_content" || part == "reasoning") {
            // Servers that send both under two names send the same text twice.
            const std::string_view thought = string_of(part_value);
            if (thought != thoughts.all()) thoughts.add(thought);
          } else if (part == "role") {
            role = !string_of(part_value).empty();
          } else if (part == "tool_calls") {
            array tool_calls;
            if (part_value.get(tool_calls) != simdjson::SUCCESS) continue;
            for (const element call : tool_calls) {
              object function;
              if (call["function"].get(function) != simdjson::SUCCESS) continue;
              for (const auto& [key, text_value] : function) {
                if (key == "name" || key == "arguments") calls.add(string_of(text_value));
              }
            }
          }
        }
      }
    }
    if (index < 0 || index > 127) event.index_out_of_range = true;
    const std::uint32_t bit = index >= 0 && index < 32 ? 1U << static_cast<unsigned>(index) : 0U;
    if (answer.size() + thoughts.size() + calls.size() > bytes_before) event.content_choices |= bit;
    if (finish) event.finish_choices |= bit;
    if (role) event.role_choices |= bit;
    event.has_role = event.has_role || role;
  }
  event.text = answer.all();
  event.reasoning = thoughts.all();
  event.tool_text = calls.all();
}

ChatEvent ChatEventParser::parse(std::string_view data) {
  ChatEvent event;
  std::string_view trimmed = data;
  while (!trimmed.empty() && (trimmed.back() == ' ' || trimmed.back() == '\t')) trimmed.remove_suffix(1);
  while (!trimmed.empty() && (trimmed.front() == ' ' || trimmed.front() == '\t')) trimmed.remove_prefix(1);
  if (trimmed == "[DONE]") {
    event.kind = ChatEvent::Kind::done;
    return event;
  }
  State& state = *state_;
  state.padded.resize(data.size() + simdjson::SIMDJSON_PADDING);
  if (!data.empty()) std::memcpy(state.padded.data(), data.data(), data.size());
  std::memset(state.padded.data() + data.size(), 0, simdjson::SIMDJSON_PADDING);

  element document;
  const simdjson::error_code error =
      state.parser.parse(reinterpret_cast<const std::uint8_t*>(state.padded.data()), data.size(), false).get(document);
  object root;
  if (error != simdjson::SUCCESS || document.get(root) != simdjson::SUCCESS) {
    event.kind = ChatEvent::Kind::broken;
    event.problem = error == simdjson::UTF8_ERROR ? ChatEvent::Problem::invalid_utf8 : ChatEvent::Problem::invalid_json;
    return event;
  }
  bool error_member = false;
  for (const auto& [name, value] : root) {
    if (name == "choices") {
      array choices;
      if (value.get(choices) == simdjson::SUCCESS) state.read_choices(choices, event);
    } else if (name == "id") {
      event.id = string_of(value);
    } else if (name == "model") {
      event.model = string_of(value);
    } else if (name == "object") {
      event.object = string_of(value);
      error_member = error_member || event.object == "error";  // vLLM's older shape
    } else if (name == "created") {
      event.created = count_of(value);
    } else if (name == "usage") {
      object usage;
      if (value.get(usage) != simdjson::SUCCESS) continue;
      event.has_usage = true;
      event.usage = usage_of(usage);
    } else if (name == "error") {
      if (value.is_null()) continue;
      error_member = true;
      std::string_view message;
      if (value["message"].get(message) != simdjson::SUCCESS) message = string_of(value);
      event.error_message = message;
    } else if (name == "message" && event.error_message.empty()) {
      event.error_message = string_of(value);
    }
  }
  using Kind = ChatEvent::Kind;
  if (error_member) {
    event.kind = Kind::error;
  } else if (!event.text.empty()) {
    event.kind = Kind::content;
  } else if (!event.reasoning.empty()) {
    event.kind = Kind::reasoning;
  } else if (!event.tool_text.empty()) {
    event.kind = Kind::tool_call;
  } else if (!event.finish_reason.empty()) {
    event.kind = Kind::finish;
  } else if (event.has_usage) {
    event.kind = Kind::usage;
  } else if (event.has_role) {
    event.kind = Kind::role;
  }
  return event;
}

}  // namespace sluice
