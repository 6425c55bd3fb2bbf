#include "engine/serve/frames.h"

#include <charconv>

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

void append_head(std::string& out, const AnswerHead& head, const char* object) {
  out += "{\"id\":\"";
  append_escaped(out, head.id);
  out.append("\",\"object\":\"").append(object).append("\",\"created\":");
  append_number(out, head.created_s);
  out += ",\"model\":\"";
  append_escaped(out, head.model);
  out += "\",\"choices\":[";
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

Frames::Frames(const AnswerHead& head, bool include_usage, bool continuous_usage)
    : api_(head.api), continuous_usage_(continuous_usage), head_("data: ") {
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

void Frames::content(std::string& out, std::uint32_t choice, std::string_view text, const Usage& usage) const {
  out += head_;
  out += "{\"index\":";
  append_number(out, choice);
  out += api_ == Api::chat ? ",\"delta\":{\"content\":\"" : ",\"text\":\"";
  append_escaped(out, text);
  out += api_ == Api::chat ? "\"},\"logprobs\":null,\"finish_reason\":null}"
                           : "\",\"logprobs\":null,\"finish_reason\":null}";
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

void Frames::usage(std::string& out, const Usage& usage) const {
  out += head_;
  out += "],\"usage\":";
  append_usage(out, usage);
  out += "}\n\n";
}

void Frames::done(std::string& out) { out += "data: [DONE]\n\n"; }

void Frames::error(std::string& out, const ApiError& error) {
  out.append("data: ").append(error_body(error)).append("\n\n");
}

std::string answer_body(const AnswerHead& head, std::span<const Answer> choices, const Usage& usage) {
  std::string out;
  append_head(out, head, head.api == Api::chat ? "chat.completion" : "text_completion");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    out += i == 0 ? "{\"index\":" : ",{\"index\":";
    append_number(out, static_cast<std::int64_t>(i));
    out += head.api == Api::chat ? ",\"message\":{\"role\":\"assistant\",\"content\":\"" : ",\"text\":\"";
    append_escaped(out, choices[i].text);
    out += head.api == Api::chat ? "\"}" : "\"";
    out.append(",\"logprobs\":null,\"finish_reason\":\"").append(name_of(choices[i].finish)).append("\"}");
  }
  out += "],\"usage\":";
  append_usage(out, usage);
  out += '}';
  return out;
}

}  // namespace sluice::engine
