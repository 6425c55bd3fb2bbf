#include "engine/serve/chunk_policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/core/text_values.h"

namespace sluice::engine {
namespace {

bool begins_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

/// Bytes of the first `count` characters.
std::size_t bytes_of(std::string_view text, std::uint64_t count) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (begins_character(text[at]) && count-- == 0) break;
  }
  return at;
}

std::optional<std::chrono::milliseconds> delay(std::string_view text) {
  const bool milli = text.ends_with("ms");
  if (!text.ends_with('s')) return std::nullopt;
  const auto value = number_of<std::uint32_t>(text.substr(0, text.size() - (milli ? 2 : 1)));
  if (!value) return std::nullopt;
  return milli ? std::chrono::milliseconds(*value) : std::chrono::seconds(*value);
}

}  // namespace

std::string problem_of(const ChunkPolicy& policy) {
  const auto inside = [](std::uint32_t chars) { return chars >= 1 && chars <= ChunkPolicy::chars_max; };
  for (const auto& [name, value] : {std::pair{"min_chars", policy.min_chars}, {"max_chars", policy.max_chars}}) {
    if (!inside(value)) return fmt::format("{} must be from 1 to {}, not {}", name, ChunkPolicy::chars_max, value);
  }
  if (policy.min_chars > policy.max_chars) {
    return fmt::format("min_chars is {} and max_chars {}: a frame cannot have both: lower min_chars", policy.min_chars,
                       policy.max_chars);
  }
  if (policy.max_delay && (policy.max_delay->count() < 1 || *policy.max_delay > ChunkPolicy::delay_max)) {
    return fmt::format(
        "max_delay must be from 1 to {} ms, not {}: leave it out where text may wait for as long as it "
        "takes",
        ChunkPolicy::delay_max.count(), policy.max_delay->count());
  }
  return {};
}

Result<ChunkPolicy> parse_chunk_policy(std::string_view text) {
  ChunkPolicy policy;
  while (!text.empty()) {
    const auto item = text.substr(0, text.find(','));
    text = item.size() == text.size() ? std::string_view() : text.substr(item.size() + 1);
    const auto equals = item.find('=');
    const auto key = item.substr(0, equals);
    if (equals == std::string_view::npos) return fail(fmt::format("chunking: '{}' has no value: write key=value", key));
    const auto value = item.substr(equals + 1);
    if (key == "min_chars" || key == "max_chars") {
      const auto read = number_of<std::uint32_t>(value);
      if (!read) return fail(fmt::format("chunking: {}: '{}' is not a whole number", key, value));
      (key == "min_chars" ? policy.min_chars : policy.max_chars) = *read;
    } else if (key == "max_delay") {
      policy.max_delay = delay(value);
      if (!policy.max_delay) {
        return fail(
            fmt::format("chunking: max_delay: '{}' is not a duration: write a whole number and ms or s", value));
      }
    } else {
      return fail(fmt::format("chunking: unknown key '{}': there are min_chars, max_chars and max_delay", key));
    }
  }
  if (const auto problem = problem_of(policy); !problem.empty()) return fail("chunking: " + problem);
  return policy;
}

void ChunkMerger::push(std::string_view text, std::vector<OutputToken>&& tokens, Clock::time_point now) {
  if (!holds()) since_ = now;
  pushed_at_ = now;
  text_ += text;
  chars_ += static_cast<std::uint64_t>(std::ranges::count_if(text, begins_character));
  std::ranges::move(tokens, std::back_inserter(tokens_));
}

Clock::time_point ChunkMerger::due() const {
  return holds() && policy_.max_delay ? since_ + *policy_.max_delay : Clock::time_point::max();
}

std::optional<ChunkMerger::Frame> ChunkMerger::next(Clock::time_point now) {
  if (!holds() || (chars_ < policy_.min_chars && !finished_ && now < due())) return std::nullopt;
  Frame frame;
  const std::uint64_t chars = std::min<std::uint64_t>(chars_, policy_.max_chars);
  const std::size_t bytes = chars == chars_ ? text_.size() : bytes_of(text_, chars);
  frame.text = text_.substr(0, bytes);
  text_.erase(0, bytes);
  chars_ -= chars;
  left_ += chars;
  // With the last of the text all go: a stop string may have cut the text of one short of its end.
  while (!tokens_.empty() && (chars_ == 0 || tokens_.front().text_end <= left_)) {
    frame.tokens.push_back(std::move(tokens_.front()));
    tokens_.pop_front();
  }
  since_ = pushed_at_;  // before the last piece too little was held to leave anything of it behind
  return frame;
}

}  // namespace sluice::engine
