#include "engine/serve/frames.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

void append_number(std::string& out, std::int64_t value) {
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  out.append(digits, end);
}

void append_usage(std::string& out, const Usage& usage) {
  out += "{\"prompt_tokens\":";
  append_number(out, usage.prompt_tokens);
  out += ",\"completion_tokens\":";
  append_number(out, usage.completion_tokens);
  out += ",\"total_tokens\":";
  append_number(out, std::int64_t{usage.prompt_tokens} + usage.completion_tokens);
  out += ",\"prompt_tokens_details\":{\"cached_tokens\":";
  append_number(out, usage.cached_tokens);
  out += "}";
  if (usage.logits_hash != 0) {
    constexpr char kHex[] = "0123456789abcdef";
    out += ",\"logits_hash\":\"";
    for (int shift = 60; shift >= 0; shift -= 4) out += kHex[(usage.logits_hash >> shift) & 15];
    out += '"';
  }
  out += '}';
}

void append_beside_usage(std::string& out, std::string_view metrics) {
  if (!metrics.empty()) out.append(",\"metrics\":").append(metrics);
}

void append_head(std::string& out, const AnswerHead& head, const char* object) {
  out += "{\"id\":\"";
  append_escaped(out, head.id);
  out.append("\",\"object\":\"").append(object).append("\",\"created\":");
  append_number(out, head.created_s);
  out += ",\"model\":\"";
  append_escaped(out, head.model);
  out += "\",\"choices\":[";
}

void append_logprob(std::string& out, float value) {
  constexpr float kLowest = -9999;  // what OpenAI says for "hardly at all"; infinity would be no JSON
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, std::max(value, kLowest));
  out.append(digits, end);
}

void append_quoted(std::string& out, std::string_view valid_text) {
  out += '"';
  append_escaped(out, valid_text);
  out += '"';
}

/// {"token":"é","logprob":-0.5,"bytes":[195,169]
void append_chat_token(std::string& out, const Tokenizer& tokenizer, TokenId token, float logprob) {
  const std::string_view bytes = tokenizer.bytes(token);
  std::string text;
  append_valid_utf8(bytes, text);
  out += "{\"token\":";
  append_quoted(out, text);
  out += ",\"logprob\":";
  append_logprob(out, logprob);
  out += ",\"bytes\":[";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    append_number(out, static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

void append_chat_logprobs(std::string& out, const Tokenizer& tokenizer, std::span<const OutputToken> tokens) {
  out += "{\"content\":[";
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out += ',';
    append_chat_token(out, tokenizer, tokens[i].token, tokens[i].logprob);
    out += ",\"top_logprobs\":[";
    for (std::size_t k = 0; k < tokens[i].top.size(); ++k) {
      if (k > 0) out += ',';
      append_chat_token(out, tokenizer, tokens[i].top[k].token, tokens[i].top[k].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

std::string completion_spelling(const Tokenizer& tokenizer, TokenId token) {
  const std::string_view bytes = tokenizer.bytes(token);
  std::string text;
  append_valid_utf8(bytes, text);
  if (text == bytes) return text;
  text = "bytes:";
  constexpr char kHex[] = "0123456789abcdef";
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    text.append("\\x").append(1, kHex[value >> 4]).append(1, kHex[value & 15]);
  }
  return text;
}

/// The most probable ones and, as OpenAI does it, the drawn one if it is not among them.
void append_alternatives(std::string& out, const Tokenizer& tokenizer, const OutputToken& token) {
  std::vector<std::string> said;  // two tokens may be spelt alike, and keys must not repeat
  const auto say = [&](TokenId id, float logprob) {
    std::string text = completion_spelling(tokenizer, id);
    if (std::ranges::find(said, text) != said.end()) return;
    if (!said.empty()) out += ',';
    append_quoted(out, text);
    out += ':';
    append_logprob(out, logprob);
    said.push_back(std::move(text));
  };
  out += '{';
  for (const TokenLogprob& one : token.top) say(one.token, one.logprob);
  say(token.token, token.logprob);
  out += '}';
}

void append_completion_logprobs(std::string& out, const Tokenizer& tokenizer, std::span<const OutputToken> tokens) {
  const auto list = [&](const char* key, const auto& append) {
    out.append(key);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) out += ',';
      append(tokens[i]);
    }
    out += ']';
  };
  list("{\"tokens\":[", [&](const auto& token) { append_quoted(out, completion_spelling(tokenizer, token.token)); });
  list(",\"token_logprobs\":[", [&](const auto& token) { append_logprob(out, token.logprob); });
  list(",\"top_logprobs\":[", [&](const auto& token) { append_alternatives(out, tokenizer, token); });
  list(",\"text_offset\":[", [&](const auto& token) { append_number(out, token.text_offset); });
  out += '}';
}

void append_logprobs(std::string& out, Api api, const Tokenizer* tokenizer, std::span<const OutputToken> tokens) {
  if (tokenizer == nullptr) {
    out += "null";
  } else if (api == Api::chat) {
    append_chat_logprobs(out, *tokenizer, tokens);
  } else {
    append_completion_logprobs(out, *tokenizer, tokens);
  }
}

}  // namespace

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    default:
      return "error";
  }
}

Frames::Frames(const AnswerHead& head, bool include_usage, bool continuous_usage, const Tokenizer* tokenizer)
    : api_(head.api), continuous_usage_(continuous_usage), tokenizer_(tokenizer), head_("data: ") {
  append_head(head_, head, api_ == Api::chat ? "chat.completion.chunk" : "text_completion");
  // OpenAI: with include_usage all other chunks have the field too, as null.
  tail_ = include_usage ? "],\"usage\":null}\n\n" : "]}\n\n";
}

void Frames::close(std::string& out, const Usage& usage) const {
  if (!continuous_usage_) {
    out += tail_;
    return;
  }
  out += "],\"usage\":";
  append_usage(out, usage);
  out += "}\n\n";
}

void Frames::role(std::string& out, std::uint32_t choice) const {
  out += head_;
  out += "{\"index\":";
  append_number(out, choice);
  out += ",\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}";
  out += tail_;
}

void Frames::content(std::string& out, std::uint32_t choice, std::string_view text, std::span<const OutputToken> tokens,
                     const Usage& usage) const {
  out += head_;
  out += "{\"index\":";
  append_number(out, choice);
  out += api_ == Api::chat ? ",\"delta\":{\"content\":\"" : ",\"text\":\"";
  append_escaped(out, text);
  out += api_ == Api::chat ? "\"},\"logprobs\":" : "\",\"logprobs\":";
  append_logprobs(out, api_, tokens.empty() ? nullptr : tokenizer_, tokens);
  out += ",\"finish_reason\":null}";
  close(out, usage);
}

void Frames::finish(std::string& out, std::uint32_t choice, FinishReason reason, const Usage& usage) const {
  out += head_;
  out += "{\"index\":";
  append_number(out, choice);
  out += api_ == Api::chat ? ",\"delta\":{}" : ",\"text\":\"\"";
  out.append(",\"logprobs\":null,\"finish_reason\":\"").append(name_of(reason)).append("\"}");
  close(out, usage);
}

void Frames::usage(std::string& out, const Usage& usage, std::string_view metrics) const {
  out += head_;
  out += "],\"usage\":";
  append_usage(out, usage);
  append_beside_usage(out, metrics);
  out += "}\n\n";
}

void Frames::done(std::string& out) { out += "data: [DONE]\n\n"; }

void Frames::error(std::string& out, const ApiError& error) {
  out.append("data: ").append(error_body(error)).append("\n\n");
}

std::string answer_body(const AnswerHead& head, std::span<const Answer> choices, const Usage& usage,
                        const Tokenizer* tokenizer, std::string_view metrics) {
  std::string out;
  append_head(out, head, head.api == Api::chat ? "chat.completion" : "text_completion");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    out += i == 0 ? "{\"index\":" : ",{\"index\":";
    append_number(out, static_cast<std::int64_t>(i));
    out += head.api == Api::chat ? ",\"message\":{\"role\":\"assistant\",\"content\":\"" : ",\"text\":\"";
    append_escaped(out, choices[i].text);
    out += head.api == Api::chat ? "\"}" : "\"";
    out += ",\"logprobs\":";
    append_logprobs(out, head.api, tokenizer, choices[i].tokens);
    out.append(",\"finish_reason\":\"").append(name_of(choices[i].finish)).append("\"}");
  }
  out += "],\"usage\":";
  append_usage(out, usage);
  append_beside_usage(out, metrics);
  out += '}';
  return out;
}

}  // namespace sluice::engine
