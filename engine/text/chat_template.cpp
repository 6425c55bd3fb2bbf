#include "engine/text/chat_template.h"

#include <utility>

#include "engine/text/jinja.h"

namespace sluice::engine {

struct ChatTemplate::Impl {
  jinja::NodePtr root;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view jinja) {
  auto root = jinja::parse(jinja);
  if (!root) return root.error();
  return ChatTemplate(std::make_unique<Impl>(Impl{std::move(*root)}));
}

Result<std::string> ChatTemplate::render(std::span<const ChatMessage> messages, bool add_generation_prompt,
                                         std::string_view bos_token, std::string_view eos_token) const {
  return jinja::run(*impl_->root, {messages, add_generation_prompt, bos_token, eos_token});
}

}  // namespace sluice::engine
