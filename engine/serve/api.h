// OpenAI's requests and errors as values: what a body of foreign bytes asks for, or what is wrong with it.
//
// Pure: no sockets, no engine. Every field that would change the answer is read or refused by name; others (`user`,
// `metadata`, ...) are ignored, as clients send many.
#pragma once

#include <boost/system/result.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/types.h"
#include "engine/serve/chunk_policy.h"
#include "engine/serve/fault.h"
#include "engine/text/chat_template.h"

namespace sluice::engine {

enum class Api : std::uint8_t { chat, completions };

struct ApiError {
  unsigned status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // empty: null
  std::string code;   // empty: null
};
[[noreturn]] void throw_exception_from_error(const ApiError& error, const boost::source_location&);

struct ApiRequest {
  Api api = Api::chat;
  std::string model;                   // empty: the one that is served
  std::vector<ChatMessage> messages;   // chat; not empty
  std::string prompt;                  // completions, as text
  std::vector<TokenId> prompt_tokens;  // completions, as tokens; else empty
  SamplingParams sampling;             // seed: see has_seed
  bool has_seed = false;               // false: draw one
  std::optional<std::uint32_t> tokens_max;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_tokens;
  bool ignore_eos = false;
  std::uint32_t choices = 1;  // n
  bool logprobs = false;      // of each token; sampling.top_logprobs says how many others beside it
  bool stream = false;
  bool include_usage = false;           // a frame with the usage at the end
  bool continuous_usage = false;        // and the usage so far in every frame
  std::optional<ChunkPolicy> chunking;  // empty: the server's
  std::optional<Fault> fault;           // what is to go wrong (the scripted back end only)
};

boost::system::result<ApiRequest, ApiError> parse_api_request(std::string_view body, Api api);

/// {"error": {"message", "type", "param", "code"}}
std::string error_body(const ApiError& error);

/// Appends `text` as the inside of a JSON string.
void append_escaped(std::string& out, std::string_view text);

}  // namespace sluice::engine
