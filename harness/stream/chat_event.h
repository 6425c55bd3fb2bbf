// What one event of a model's stream says: the data of a server-sent event, or the body of an unstreamed answer.
//
// Reads chat completions (`choices[].delta`, or `.message` when not streamed), text completions (`choices[].text`),
// Anthropic's messages and OpenAI's responses (events named by their `type`), tolerantly: unknown members and unknown
// types are ignored, a null is an absence. The whole text is validated, UTF-8 included; what is wrong with it is said
// in `kind` and `problem`, never thrown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "harness/base/dialect.h"
#include "harness/base/server_times.h"

namespace sluice {

/// Counts of a `usage` member, by OpenAI's names; -1: not given.
struct ChatUsage {
  std::int64_t prompt_tokens = -1, completion_tokens = -1, total_tokens = -1, cached_tokens = -1;
};

struct ChatEvent {
  /// What the event mainly is: the first of these that applies, in this order. The members say the rest, since servers
  /// put a finish_reason or a usage beside content.
  enum class Kind : std::uint8_t { done, broken, error, content, reasoning, tool_call, finish, usage, role, other };
  enum class Problem : std::uint8_t { none, invalid_json, invalid_utf8 };
  /// What a named event is for (messages, responses).
  enum class Part : std::uint8_t { none, opening, block_begin, delta, block_end, ending };

  Kind kind = Kind::other;
  Problem problem = Problem::none;     // of Kind::broken
  Part part = Part::none;              // of the APIs with named events
  std::string_view text;               // answer text; of several choices joined
  std::string_view reasoning;          // delta.reasoning or delta.reasoning_content
  std::string_view tool_text;          // names and arguments of tool calls, joined
  std::string_view finish_reason;      // of the first choice that has one; empty: none
  std::string_view id, model, object;  // empty: not given
  std::string_view type;               // of a named event
  std::string_view error_message;      // of Kind::error
  std::int64_t created = -1;           // -1: not given
  std::int64_t index = 0;              // of a named event: which content block, or which part of the output
  ChatUsage usage;
  bool has_usage = false;
  ServerTimes times;                  // of `metrics` (vLLM's, sluice-engine's) or `timings` (llama.cpp's)
  bool has_role = false;              // a delta names a non-empty role
  bool has_delta = false;             // at least one choice with a delta, a message or a text
  bool empty_finish = false;          // finish_reason is ""
  bool no_finish_member = false;      // a choice has no finish_reason, not even null
  std::uint32_t choices = 0;          // entries of `choices`
  std::uint32_t content_choices = 0;  // bits of the choice indexes below 32 that carry text of any kind
  std::uint32_t finish_choices = 0;   // ... that carry a finish_reason
  std::uint32_t role_choices = 0;     // ... that carry a role
  bool index_out_of_range = false;    // an index below 0 or over 127

  bool has_text() const { return !text.empty() || !reasoning.empty() || !tool_text.empty(); }
};

/// Unicode code points of UTF-8 text.
std::uint32_t count_code_points(std::string_view text);

/// Parses event after event over one buffer. Not thread-safe; one a thread is enough.
class ChatEventParser {
 public:
  ChatEventParser();
  ~ChatEventParser();
  ChatEventParser(const ChatEventParser&) = delete;
  ChatEventParser& operator=(const ChatEventParser&) = delete;

  /// The event's views are good until the next call; of StreamApi::raw as long as `data`.
  ChatEvent parse(std::string_view data, StreamApi api = StreamApi::chat);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
