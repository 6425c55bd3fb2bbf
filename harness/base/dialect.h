// Whose streams a server writes, and of which API.
//
// A dialect is a server's way of writing an API's streams: which deviations from the API are known of it, and with that
// only noted. The reading and judging is in harness/stream; docs/streams.md describes each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "harness/base/stream_rule.h"

namespace sluice {

enum class Dialect : std::uint8_t { openai, vllm, llamacpp, sglang, anthropic, responses, raw };
inline constexpr std::array<std::string_view, 7> kDialects{"openai",    "vllm",      "llamacpp", "sglang",
                                                           "anthropic", "responses", "raw"};

/// What a stream's events hold, and in which order they come.
enum class StreamApi : std::uint8_t {
  chat,         // OpenAI's chat completions: choices[].delta, then [DONE]
  completions,  // ... text completions: choices[].text
  messages,     // Anthropic's messages: named events from message_start to message_stop
  responses,    // OpenAI's responses: named events from response.created to response.completed
  raw           // anything: the data of each event is content, and only the transport is judged
};

constexpr std::optional<Dialect> dialect_named(std::string_view name) {
  for (std::size_t i = 0; i < kDialects.size(); ++i)
    if (kDialects[i] == name) return static_cast<Dialect>(i);
  return std::nullopt;
}
constexpr std::string_view name_of(Dialect dialect) { return kDialects[static_cast<std::size_t>(dialect)]; }

/// The API of a dialect that has only one; none: the request says which.
constexpr std::optional<StreamApi> api_of(Dialect dialect) {
  if (dialect == Dialect::anthropic) return StreamApi::messages;
  if (dialect == Dialect::responses) return StreamApi::responses;
  if (dialect == Dialect::raw) return StreamApi::raw;
  return std::nullopt;
}

/// What streams of the dialect are known for.
inline RuleSet known_deviations(Dialect dialect) {
  RuleSet known;
  const auto add = [&known](StreamRule rule) { known.set(static_cast<std::size_t>(rule)); };
  if (dialect == Dialect::vllm) add(StreamRule::finish_with_content);  // it comes with the last token
  if (dialect == Dialect::llamacpp) add(StreamRule::created_changed);  // of each chunk, not of the answer
  if (dialect == Dialect::sglang) {
    add(StreamRule::created_changed);
    add(StreamRule::finish_with_content);
    add(StreamRule::finish_empty_string);  // for null
  }
  return known;
}

}  // namespace sluice
