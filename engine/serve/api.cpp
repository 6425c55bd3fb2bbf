#include "engine/serve/api.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "engine/core/json.h"
#include "engine/core/limits.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

constexpr std::size_t kRoleBytesMax = 64;
constexpr std::int64_t kChoicesMax = 16;

ApiError bad(std::string param, std::string message) {
  return {.status = 400, .message = std::move(message), .param = std::move(param), .code = {}};
}

ApiError unsupported(std::string param, std::string_view way_out) {
  return {.status = 400,
          .message = fmt::format("'{}' is not supported by this server: {}", param, way_out),
          .param = param,
          .code = "unsupported_parameter"};
}

/// Reads members by name; keeps the first thing that is wrong and then reads nothing more.
class Reader {
 public:
  explicit Reader(JsonObject object) : object_(object) {}

  const std::optional<ApiError>& error() const { return error_; }
  void fail(ApiError error) {
    if (!error_) error_ = std::move(error);
  }

  std::optional<JsonElement> take(const char* key) const {
    if (error_) return std::nullopt;
    return member(object_, key);
  }

  void boolean(const char* key, bool& out) {
    const auto value = take(key);
    if (!value) return;
    if (const auto read = as_bool(*value)) {
      out = *read;
    } else {
      fail(bad(key, fmt::format("'{}' must be true or false, not {}", key, shown(*value))));
    }
  }

  /// low <= value <= high, or low < value where the bottom is excluded.
  void number(const char* key, float& out, double low, double high, bool above_low = false) {
    const auto value = take(key);
    if (!value) return;
    const auto read = as_number(*value);
    if (read && *read <= high && (above_low ? *read > low : *read >= low)) {
      out = static_cast<float>(*read);
    } else {
      fail(bad(key, fmt::format("'{}' must be a number {} {} and at most {}, not {}", key,
                                above_low ? "above" : "of at least", low, high, shown(*value))));
    }
  }

  std::optional<std::int64_t> integer(const char* key, std::int64_t low, std::int64_t high) {
    const auto value = take(key);
    if (!value) return std::nullopt;
    const auto read = as_integer(*value);
    if (read && *read >= low && *read <= high) return read;
    fail(bad(key, fmt::format("'{}' must be a whole number from {} to {}, not {}", key, low, high, shown(*value))));
    return std::nullopt;
  }

  void text(const char* key, std::string& out) {
    const auto value = take(key);
    if (!value) return;
    if (const auto read = as_string(*value)) {
      out = *read;
    } else {
      fail(bad(key, fmt::format("'{}' must be a string, not {}", key, shown(*value))));
    }
  }

 private:
  JsonObject object_;
  std::optional<ApiError> error_;
};

void read_content(Reader& reader, const std::string& place, JsonElement content, std::string& out) {
  if (const auto whole = as_string(content)) {
    out = *whole;
    return;
  }
  if (!content.is_array()) {
    return reader.fail(
        bad("messages", fmt::format("{} must be a string or a list of text parts, not {}", place, shown(content))));
  }
  std::size_t index = 0;
  for (const JsonElement part : items(content)) {
    const auto here = fmt::format("{}[{}]", place, index++);
    if (!part.is_object()) {
      return reader.fail(
          bad("messages", fmt::format("{} must be an object with 'type' and 'text', not {}", here, shown(part))));
    }
    const auto type = member(fields(part), "type");
    const auto type_name = type ? as_string(*type) : std::nullopt;
    if (type_name != "text") {
      return reader.fail(bad("messages", fmt::format("{}.type must be \"text\": this server reads only text", here)));
    }
    const auto text = member(fields(part), "text");
    const auto text_value = text ? as_string(*text) : std::nullopt;
    if (!text_value) return reader.fail(bad("messages", fmt::format("{}.text must be a string", here)));
    out += *text_value;
  }
}

void read_messages(Reader& reader, std::vector<ChatMessage>& out) {
  const auto messages = reader.take("messages");
  if (reader.error()) return;
  if (!messages) return reader.fail(bad("messages", "'messages' is missing: give a list of {role, content}"));
  if (!messages->is_array()) {
    return reader.fail(bad("messages", fmt::format("'messages' must be a list, not {}", shown(*messages))));
  }
  const auto list = items(*messages);
  if (list.size() == 0) return reader.fail(bad("messages", "'messages' is empty: give at least one message"));
  if (list.size() > limits::messages_max) {
    return reader.fail(bad("messages", fmt::format("'messages' has {} entries, and at most {} are read", list.size(),
                                                   limits::messages_max)));
  }
  for (const JsonElement entry : list) {
    const auto place = fmt::format("messages[{}]", out.size());
    if (!entry.is_object()) {
      return reader.fail(bad("messages", fmt::format("{} must be an object, not {}", place, shown(entry))));
    }
    const auto role = member(fields(entry), "role");
    const auto role_name = role ? as_string(*role) : std::nullopt;
    if (!role_name || role_name->empty() || role_name->size() > kRoleBytesMax) {
      return reader.fail(bad("messages", place + ".role must be a string such as \"user\""));
    }
    ChatMessage message;
    // The newer name of the same thing; templates know only the older one.
    message.role = *role_name == "developer" ? "system" : std::string(*role_name);
    const auto content = member(fields(entry), "content");
    if (content) {
      read_content(reader, place + ".content", *content, message.content);
    } else if (message.role != "assistant") {
      reader.fail(bad("messages", place + ".content is missing: give a string"));
    }
    if (reader.error()) return;
    out.push_back(std::move(message));
  }
}

std::optional<TokenId> as_token(JsonElement value) {
  const auto id = as_integer(value);
  if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) return std::nullopt;
  return static_cast<TokenId>(*id);
}

void read_prompt(Reader& reader, ApiRequest& out) {
  const auto prompt = reader.take("prompt");
  if (reader.error()) return;
  if (!prompt) return reader.fail(bad("prompt", "'prompt' is missing: give a string"));
  if (const auto text = as_string(*prompt)) {
    out.prompt = *text;
    return;
  }
  const ApiError wrong =
      bad("prompt", "'prompt' must be a string or a list of token ids; several prompts are several requests");
  if (!prompt->is_array() || items(*prompt).size() == 0) return reader.fail(wrong);
  auto list = items(*prompt);
  if (list.size() == 1) {  // a batch of one
    const JsonElement only = *list.begin();
    if (const auto text = as_string(only)) {
      out.prompt = *text;
      return;
    }
    if (only.is_array()) list = items(only);
  }
  if (list.size() == 0) return reader.fail(wrong);
  for (const JsonElement entry : list) {
    const auto token = as_token(entry);
    if (!token) return reader.fail(wrong);
    out.prompt_tokens.push_back(*token);
  }
}

void read_stop(Reader& reader, std::vector<std::string>& out) {
  const auto stop = reader.take("stop");
  if (!stop) return;
  const auto add = [&](JsonElement entry) {
    const auto text = as_string(entry);
    if (!text || text->empty() || text->size() > limits::stop_string_bytes_max) {
      return reader.fail(bad("stop", fmt::format("'stop' must be strings of 1 to {} bytes, not {}",
                                                 limits::stop_string_bytes_max, shown(entry))));
    }
    out.emplace_back(*text);
  };
  if (!stop->is_array()) return add(*stop);
  if (items(*stop).size() > limits::stop_strings_max) {
    return reader.fail(bad("stop", fmt::format("'stop' may name at most {} strings", limits::stop_strings_max)));
  }
  for (const JsonElement entry : items(*stop)) add(entry);
}

void read_stop_tokens(Reader& reader, std::vector<TokenId>& out) {
  const auto list = reader.take("stop_token_ids");
  if (!list) return;
  const ApiError wrong = bad("stop_token_ids", fmt::format("'stop_token_ids' must be a list of at most {} token ids",
                                                           limits::stop_strings_max));
  if (!list->is_array() || items(*list).size() > limits::stop_strings_max) return reader.fail(wrong);
  for (const JsonElement entry : items(*list)) {
    const auto token = as_token(entry);
    if (!token) return reader.fail(wrong);
    out.push_back(*token);
  }
}

void read_logit_bias(Reader& reader, std::vector<std::pair<TokenId, float>>& out) {
  const auto biases = reader.take("logit_bias");
  if (!biases) return;
  if (!biases->is_object()) {
    return reader.fail(
        bad("logit_bias", fmt::format("'logit_bias' must be an object of token id: number, not {}", shown(*biases))));
  }
  if (fields(*biases).size() > limits::logit_bias_max) {
    return reader.fail(
        bad("logit_bias", fmt::format("'logit_bias' may name at most {} tokens", limits::logit_bias_max)));
  }
  for (const auto& [key, value] : fields(*biases)) {
    TokenId token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    const auto bias = as_number(value);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 || !bias || std::abs(*bias) > 100) {
      return reader.fail(bad("logit_bias", fmt::format("'logit_bias' must map token ids to numbers from -100 to 100, "
                                                       "not '{}' to {}",
                                                       key.substr(0, 40), shown(value))));
    }
    out.emplace_back(token, static_cast<float>(*bias));
  }
}

void read_stream(Reader& reader, ApiRequest& out) {
  reader.boolean("stream", out.stream);
  const auto options = reader.take("stream_options");
  if (!options) return;
  if (!options->is_object()) {
    return reader.fail(
        bad("stream_options", fmt::format("'stream_options' must be an object, not {}", shown(*options))));
  }
  if (!out.stream) return reader.fail(bad("stream_options", "'stream_options' may only be given with 'stream': true"));
  Reader inner(fields(*options));
  inner.boolean("include_usage", out.include_usage);
  inner.boolean("continuous_usage_stats", out.continuous_usage);
  if (inner.error()) reader.fail(*inner.error());
}

void read_chunking(Reader& reader, ApiRequest& out) {
  const auto chunking = reader.take("chunking");
  if (!chunking) return;
  if (!chunking->is_object()) {
    return reader.fail(bad("chunking", fmt::format("'chunking' must be an object, not {}", shown(*chunking))));
  }
  if (!out.stream) return reader.fail(bad("chunking", "'chunking' may only be given with 'stream': true"));
  for (const auto& [key, value] : fields(*chunking)) {
    if (key == "min_chars" || key == "max_chars" || key == "max_delay_ms") continue;
    return reader.fail(bad("chunking", fmt::format("'chunking' has no '{}': there are min_chars, max_chars and "
                                                   "max_delay_ms",
                                                   key.substr(0, 40))));
  }
  Reader inner(fields(*chunking));
  ChunkPolicy policy;
  const auto chars = [&](const char* key, std::uint32_t& into) {
    if (const auto read = inner.integer(key, 1, ChunkPolicy::chars_max)) into = static_cast<std::uint32_t>(*read);
  };
  chars("min_chars", policy.min_chars);
  chars("max_chars", policy.max_chars);
  if (const auto read = inner.integer("max_delay_ms", 1, ChunkPolicy::delay_max.count())) {
    policy.max_delay = std::chrono::milliseconds(*read);
  }
  if (inner.error()) return reader.fail(bad("chunking", "chunking: " + inner.error()->message));
  if (const auto problem = problem_of(policy); !problem.empty()) {
    return reader.fail(bad("chunking", "chunking: " + problem));
  }
  out.chunking = policy;
}

/// REQUIRES: `stream` has been read.
void read_fault(Reader& reader, ApiRequest& out) {
  const auto value = reader.take("sluice_fault");
  if (!value) return;
  const auto wrong = [&](std::string message) { reader.fail(bad("sluice_fault", "'sluice_fault': " + message)); };
  const auto text = as_string(*value);
  if (!text) return wrong(fmt::format("must be a string such as \"reset@5\", not {}", shown(*value)));
  const auto fault = parse_fault(*text);
  if (!fault) return wrong(fault.error().message);
  if (needs_stream(*fault) && !out.stream) return wrong("this one is for streams: give 'stream': true");
  if (fault->kind == Fault::Kind::role_missing && out.api != Api::chat)
    return wrong("only the streams of chats have roles");
  out.fault = *fault;
}

bool is_empty(JsonElement value) { return (value.is_array() && items(value).size() == 0); }

/// What would change the answer and is not there is refused: an answer that ignores it would be wrong in silence.
void refuse_unsupported(Reader& reader, Api api) {
  for (const char* key : {"tools", "functions"}) {
    const auto value = reader.take(key);
    if (value && !is_empty(*value)) return reader.fail(unsupported(key, "leave it out"));
  }
  if (const auto format = reader.take("response_format")) {
    const auto type = format->is_object() ? member(fields(*format), "type") : std::nullopt;
    if (!type || as_string(*type) != "text") {
      return reader.fail(unsupported("response_format", "leave it out, or give {\"type\": \"text\"}"));
    }
  }
  if (api == Api::chat) return;
  if (const auto echo = reader.take("echo")) {
    if (as_bool(*echo) != false) return reader.fail(unsupported("echo", "put the prompt before the answer yourself"));
  }
  if (const auto suffix = reader.take("suffix")) {
    if (as_string(*suffix) != "") return reader.fail(unsupported("suffix", "leave it out"));
  }
}

/// Chat: "logprobs": true and "top_logprobs": 3. Completions: "logprobs": 3.
void read_logprobs(Reader& reader, ApiRequest& out) {
  constexpr std::int64_t kMost = limits::top_logprobs_max;
  if (out.api == Api::chat) {
    reader.boolean("logprobs", out.logprobs);
    const auto top = reader.integer("top_logprobs", 0, kMost);
    if (top.value_or(0) > 0 && !out.logprobs) {
      return reader.fail(bad("top_logprobs", "'top_logprobs' may only be given with 'logprobs': true"));
    }
    out.sampling.top_logprobs = static_cast<std::int32_t>(top.value_or(0));
    return;
  }
  if (const auto top = reader.take("top_logprobs"); top && as_integer(*top) != 0) {
    return reader.fail(unsupported("top_logprobs", "say it with 'logprobs': a number"));
  }
  const auto value = reader.take("logprobs");
  if (!value || as_bool(*value) == false) return;
  if (const auto top = reader.integer("logprobs", 0, kMost)) {
    out.logprobs = true;
    out.sampling.top_logprobs = static_cast<std::int32_t>(*top);
  }
}

std::optional<ApiError> read_request(Reader& reader, ApiRequest& out) {
  reader.text("model", out.model);
  if (out.api == Api::chat) {
    read_messages(reader, out.messages);
  } else {
    read_prompt(reader, out);
  }
  refuse_unsupported(reader, out.api);
  read_stream(reader, out);
  read_chunking(reader, out);
  read_fault(reader, out);

  SamplingParams& sampling = out.sampling;
  reader.number("temperature", sampling.temperature, 0, 2);
  reader.number("top_p", sampling.top_p, 0, 1, true);
  reader.number("min_p", sampling.min_p, 0, 1);
  reader.number("repetition_penalty", sampling.repetition_penalty, 0, 10, true);
  reader.number("presence_penalty", sampling.presence_penalty, -2, 2);
  reader.number("frequency_penalty", sampling.frequency_penalty, -2, 2);
  if (const auto top_k = reader.integer("top_k", -1, std::numeric_limits<std::int32_t>::max())) {
    sampling.top_k = static_cast<std::int32_t>(std::max<std::int64_t>(0, *top_k));  // -1 says off, as 0 does
  }
  if (const auto seed =
          reader.integer("seed", std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max())) {
    sampling.seed = static_cast<std::uint64_t>(*seed);
    out.has_seed = true;
  }
  read_logit_bias(reader, sampling.logit_bias);
  read_logprobs(reader, out);
  read_stop(reader, out.stop);
  read_stop_tokens(reader, out.stop_tokens);
  reader.boolean("ignore_eos", out.ignore_eos);

  constexpr std::int64_t kTokensMax = 1 << 30;
  auto tokens_max = reader.integer("max_tokens", 1, kTokensMax);
  if (out.api == Api::chat) {
    if (const auto newer = reader.integer("max_completion_tokens", 1, kTokensMax)) tokens_max = newer;
  } else if (!tokens_max) {
    tokens_max = 16;  // OpenAI's default here
  }
  if (tokens_max) out.tokens_max = static_cast<std::uint32_t>(*tokens_max);

  if (const auto choices = reader.integer("n", 1, kChoicesMax)) out.choices = static_cast<std::uint32_t>(*choices);
  if (const auto best_of = reader.integer("best_of", 1, kChoicesMax); best_of && *best_of != out.choices) {
    reader.fail(unsupported("best_of", "leave it out, or give the value of 'n'"));
  }
  return reader.error();
}

}  // namespace

[[noreturn]] void throw_exception_from_error(const ApiError& error, const boost::source_location&) {
  throw std::logic_error("unchecked error: " + error.message);
}

boost::system::result<ApiRequest, ApiError> parse_api_request(std::string_view body, Api api) {
  const auto document = JsonDocument::parse(body, "request body");
  if (!document) return bad({}, document.error().message);
  if (!document->root().is_object()) {
    return bad({}, fmt::format("the body must be a JSON object, not {}", shown(document->root())));
  }
  ApiRequest request;
  request.api = api;
  Reader reader(fields(document->root()));
  if (auto error = read_request(reader, request)) return std::move(*error);
  return request;
}

std::string error_body(const ApiError& error) {
  const auto append = [](std::string& out, const char* key, const std::string& value, bool null_when_empty) {
    out.append("\"").append(key).append("\":");
    if (value.empty() && null_when_empty) {
      out += "null";
    } else {
      // It may quote what a client sent, or part of it: that need not be UTF-8, and our answer must be.
      std::string valid;
      append_valid_utf8(value, valid);
      out += '"';
      append_escaped(out, valid);
      out += '"';
    }
  };
  std::string out = "{\"error\":{";
  append(out, "message", error.message, false);
  out += ',';
  append(out, "type", error.type, false);
  out += ',';
  append(out, "param", error.param, true);
  out += ',';
  append(out, "code", error.code, true);
  out += "}}";
  return out;
}

void append_escaped(std::string& out, std::string_view text) {
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out.append(text, plain, i - plain);
    plain = i + 1;
    switch (byte) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default: {
        constexpr char kHex[] = "0123456789abcdef";
        out += "\\u00";
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
      }
    }
  }
  out.append(text, plain);
}

}  // namespace sluice::engine
