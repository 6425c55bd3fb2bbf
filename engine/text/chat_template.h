// Chat messages to a prompt, by the model's own template: a subset of Jinja, as transformers' apply_chat_template
// renders it.
//
// What the subset does not know is refused when parsed, with the construct's name and line. Templates are untrusted:
// loops, nesting and output are bounded. Immutable after parse, safe from any thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace sluice::engine {

struct ChatMessage {
  std::string role;
  std::string content;
};

class ChatTemplate {
 public:
  static Result<ChatTemplate> parse(std::string_view jinja);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// An error when the template itself raises one (raise_exception: a role it does not accept) or a bound is reached.
  Result<std::string> render(std::span<const ChatMessage> messages, bool add_generation_prompt,
                             std::string_view bos_token, std::string_view eos_token) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::engine
