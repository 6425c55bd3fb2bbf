#include "harness/stream/chat_event.h"

#include <simdjson.h>

#include <algorithm>
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

/// The value's time in milliseconds; -1 when it is none.
Nanoseconds time_of(const element& value) {
  double ms = -1;
  return value.get(ms) == simdjson::SUCCESS ? server_time(ms) : Nanoseconds(-1);
}

/// vLLM's names; sluice-engine has more of them. vLLM's time to the first token counts from when the request was
/// scheduled, so it is that of the prefill.
void take_metrics(const element& value, ChatEvent& event) {
  object metrics;
  if (value.get(metrics) != simdjson::SUCCESS) return;
  ServerTimes times;
  Nanoseconds first_token(-1);
  bool is_engine = false;
  for (const auto& [name, time] : metrics) {
    if (name == "queue_time_ms") {
      times.queue = time_of(time);
    } else if (name == "time_to_first_token_ms") {
      first_token = time_of(time);
    } else if (name == "prefill_time_ms") {
      times.prefill = time_of(time);
      is_engine = true;
    } else if (name == "output_time_ms") {
      times.output = time_of(time);
      is_engine = true;
    }
  }
  if (!is_engine) times.prefill = first_token;
  if (times.queue.count() < 0 && times.prefill.count() < 0) return;
  times.source = is_engine ? ServerTimes::Source::engine : ServerTimes::Source::vllm;
  event.times = times;
}

/// llama.cpp's.
void take_timings(const element& value, ChatEvent& event) {
  object timings;
  element prompt;
  if (value.get(timings) != simdjson::SUCCESS || timings.at_key("prompt_ms").get(prompt) != simdjson::SUCCESS) return;
  const Nanoseconds prefill = time_of(prompt);
  if (prefill.count() >= 0) event.times = {.source = ServerTimes::Source::llama_cpp, .prefill = prefill};
}

/// By OpenAI's names or by those of the APIs with named events.
ChatUsage usage_of(const object& usage) {
  ChatUsage found;
  std::int64_t written_to_cache = -1;
  bool cached_beside = false;  // Anthropic's input_tokens are those that the cache had nothing to do with
  for (const auto& [name, value] : usage) {
    if (name == "prompt_tokens" || name == "input_tokens") {
      found.prompt_tokens = count_of(value);
    } else if (name == "completion_tokens" || name == "output_tokens") {
      found.completion_tokens = count_of(value);
    } else if (name == "total_tokens") {
      found.total_tokens = count_of(value);
    } else if (name == "prompt_tokens_details" || name == "input_tokens_details") {
      object details;
      element cached;
      if (value.get(details) == simdjson::SUCCESS && details.at_key("cached_tokens").get(cached) == simdjson::SUCCESS) {
        found.cached_tokens = count_of(cached);
      }
    } else if (name == "cache_read_input_tokens") {
      cached_beside = true;
      found.cached_tokens = count_of(value);
    } else if (name == "cache_creation_input_tokens") {
      written_to_cache = count_of(value);
    }
  }
  if (found.prompt_tokens >= 0) {
    if (cached_beside) found.prompt_tokens += std::max<std::int64_t>(found.cached_tokens, 0);
    found.prompt_tokens += std::max<std::int64_t>(written_to_cache, 0);
  }
  return found;
}

void take_usage(const element& value, ChatEvent& event) {
  object usage;
  if (value.get(usage) != simdjson::SUCCESS) return;
  event.has_usage = true;
  event.usage = usage_of(usage);
}

/// {"message": "..."} or a text.
std::string_view error_message_of(const element& error) {
  std::string_view message;
  if (error["message"].get(message) != simdjson::SUCCESS) message = string_of(error);
  return message;
}

ChatEvent::Kind kind_of(const ChatEvent& event, bool error) {
  using Kind = ChatEvent::Kind;
  if (error) return Kind::error;
  if (!event.text.empty()) return Kind::content;
  if (!event.reasoning.empty()) return Kind::reasoning;
  if (!event.tool_text.empty()) return Kind::tool_call;
  if (!event.finish_reason.empty()) return Kind::finish;
  if (event.has_usage) return Kind::usage;
  return event.has_role ? Kind::role : Kind::other;
}

// ---- messages and responses ---------------------------------------------------------------------------------------

/// `message` of message_start.
void take_message(const object& message, ChatEvent& event) {
  for (const auto& [name, value] : message) {
    if (name == "id") {
      event.id = string_of(value);
    } else if (name == "model") {
      event.model = string_of(value);
    } else if (name == "role") {
      event.has_role = !string_of(value).empty();
    } else if (name == "usage") {
      take_usage(value, event);
    }
  }
}

/// `delta` of content_block_delta and message_delta, `content_block` of content_block_start.
void take_block(const object& block, ChatEvent& event) {
  for (const auto& [name, value] : block) {
    if (name == "text") {
      event.text = string_of(value);
    } else if (name == "thinking") {
      event.reasoning = string_of(value);
    } else if (name == "partial_json" || name == "name") {
      event.tool_text = string_of(value);
    } else if (name == "stop_reason") {
      event.finish_reason = string_of(value);
    }
  }
}

void read_messages_event(const object& root, ChatEvent& event) {
  using Part = ChatEvent::Part;
  bool error = false;
  for (const auto& [name, value] : root) {
    object part;
    if (name == "type") {
      event.type = string_of(value);
    } else if (name == "message") {
      if (value.get(part) == simdjson::SUCCESS) take_message(part, event);
    } else if (name == "delta" || name == "content_block") {
      if (value.get(part) == simdjson::SUCCESS) take_block(part, event);
    } else if (name == "index") {
      if (value.get(event.index) != simdjson::SUCCESS) event.index = -1;
    } else if (name == "usage") {
      take_usage(value, event);
    } else if (name == "error") {
      error = !value.is_null();
      event.error_message = error_message_of(value);
    }
  }
  if (event.type == "message_start") event.part = Part::opening;
  if (event.type == "content_block_start") event.part = Part::block_begin;
  if (event.type == "content_block_delta") event.part = Part::delta;
  if (event.type == "content_block_stop") event.part = Part::block_end;
  if (event.type == "message_stop") event.part = Part::ending;
  event.kind = event.part == Part::ending ? ChatEvent::Kind::done : kind_of(event, error || event.type == "error");
}

/// `response` of the events that carry the whole answer as it stands.
void take_response(const object& response, ChatEvent& event, std::string_view& status, std::string_view& reason) {
  for (const auto& [name, value] : response) {
    if (name == "id") {
      event.id = string_of(value);
    } else if (name == "model") {
      event.model = string_of(value);
    } else if (name == "created_at") {
      event.created = count_of(value);
    } else if (name == "status") {
      status = string_of(value);
    } else if (name == "usage") {
      take_usage(value, event);
    } else if (name == "metrics") {
      take_metrics(value, event);
    } else if (name == "incomplete_details" && value.is_object()) {
      if (value["reason"].get(reason) != simdjson::SUCCESS) reason = {};
    } else if (name == "error" && !value.is_null()) {
      event.error_message = error_message_of(value);
    }
  }
}

void read_responses_event(const object& root, ChatEvent& event) {
  using Part = ChatEvent::Part;
  std::string_view delta, item_type, item_name, status, reason;
  for (const auto& [name, value] : root) {
    object part;
    if (name == "type") {
      event.type = string_of(value);
    } else if (name == "delta") {
      delta = string_of(value);
    } else if (name == "response") {
      if (value.get(part) == simdjson::SUCCESS) take_response(part, event, status, reason);
    } else if (name == "item") {
      if (value.get(part) != simdjson::SUCCESS) continue;
      for (const auto& [key, item_value] : part) {
        if (key == "type") item_type = string_of(item_value);
        if (key == "name") item_name = string_of(item_value);
      }
    } else if (name == "output_index") {
      if (value.get(event.index) != simdjson::SUCCESS) event.index = -1;
    } else if (name == "message") {  // of the event `error`
      event.error_message = string_of(value);
    }
  }
  const std::string_view type = event.type;
  bool error = type == "error" || type == "response.failed";
  if (type == "response.created") {
    event.part = Part::opening;
  } else if (type == "response.completed" || type == "response.incomplete" || type == "response.failed") {
    event.part = Part::ending;
    event.finish_reason = reason.empty() ? status : reason;
  } else if (type == "response.output_item.added") {
    event.part = Part::block_begin;
    if (item_type == "function_call") event.tool_text = item_name;
  } else if (type.ends_with(".delta")) {
    event.part = Part::delta;
    const auto has = [type](std::string_view word) { return type.find(word) != std::string_view::npos; };
    if (has("reasoning")) {
      event.reasoning = delta;
    } else if (has("output_text") || has("refusal")) {
      event.text = delta;
    } else if (has("arguments") || has("input") || has("code")) {
      event.tool_text = delta;
    }
  }
  event.kind = event.part == Part::ending && !error ? ChatEvent::Kind::done : kind_of(event, error);
}

}  // namespace

struct ChatEventParser::State {
  simdjson::dom::parser parser;
  std::vector<char> padded;  // the event's bytes with the padding simdjson reads beyond them
  std::string text, reasoning, tool_text;

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
    bool finish = false, finish_member = false, role = false;
    for (const auto& [name, value] : choice) {
      if (name == "index") {
        if (value.get(index) != simdjson::SUCCESS) index = -1;
      } else if (name == "text") {
        event.has_delta = true;
        answer.add(string_of(value));
      } else if (name == "finish_reason") {
        finish_member = true;
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
    event.no_finish_member = event.no_finish_member || !finish_member;
  }
  event.text = answer.all();
  event.reasoning = thoughts.all();
  event.tool_text = calls.all();
}

ChatEvent ChatEventParser::parse(std::string_view data, StreamApi api) {
  ChatEvent event;
  std::string_view trimmed = data;
  while (!trimmed.empty() && (trimmed.back() == ' ' || trimmed.back() == '\t')) trimmed.remove_suffix(1);
  while (!trimmed.empty() && (trimmed.front() == ' ' || trimmed.front() == '\t')) trimmed.remove_prefix(1);
  if (trimmed == "[DONE]") {
    event.kind = ChatEvent::Kind::done;
    return event;
  }
  if (api == StreamApi::raw) {
    const bool valid = simdjson::validate_utf8(data.data(), data.size());
    if (valid) event.text = data;
    if (!valid) event.problem = ChatEvent::Problem::invalid_utf8;
    event.kind = valid ? kind_of(event, false) : ChatEvent::Kind::broken;
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
  if (api == StreamApi::messages || api == StreamApi::responses) {
    api == StreamApi::messages ? read_messages_event(root, event) : read_responses_event(root, event);
    event.index_out_of_range = event.index < 0 || event.index > 127;
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
      take_usage(value, event);
    } else if (name == "metrics") {
      take_metrics(value, event);
    } else if (name == "timings") {
      take_timings(value, event);
    } else if (name == "error") {
      if (value.is_null()) continue;
      error_member = true;
      event.error_message = error_message_of(value);
    } else if (name == "message" && event.error_message.empty()) {
      event.error_message = string_of(value);
    }
  }
  event.kind = kind_of(event, error_member);
  return event;
}

}  // namespace sluice
