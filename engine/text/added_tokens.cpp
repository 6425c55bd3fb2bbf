#include "engine/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

/// Unicode's White_Space.
bool is_space(std::uint32_t point) {
  return (point >= 0x9 && point <= 0xD) || point == 0x20 || point == 0x85 || point == 0xA0 || point == 0x1680 ||
         (point >= 0x2000 && point <= 0x200A) || point == 0x2028 || point == 0x2029 || point == 0x202F ||
         point == 0x205F || point == 0x3000;
}

/// The place of the last code point that begins before `end`.
std::size_t point_before(std::string_view text, std::size_t end) {
  std::size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

std::size_t spaces_before(std::string_view text, std::size_t end, std::size_t down_to) {
  while (end > down_to) {
    const std::size_t at = point_before(text, end);
    if (!is_space(utf8_part(text, at).point)) break;
    end = at;
  }
  return std::max(end, down_to);
}

std::size_t spaces_behind(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Part part = utf8_part(text, at);
    if (!is_space(part.point)) break;
    at += part.length;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens() = default;

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(),
                            [](const AddedToken& a, const AddedToken& b) { return a.content == b.content; }),
                tokens_.end());
  for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
    SLUICE_ENGINE_CHECK(!tokens_[i].content.empty());
    auto& [begin, end] = by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])];
    if (begin == end) begin = i;
    end = i + 1;
    if (tokens_[i].single_word && word_.empty()) {
      // Rust's \w is Oniguruma's without the numbers of Latin-1, and with the joiners.
      auto word = Pattern::compile(
          "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}"
          "\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}]");
      SLUICE_ENGINE_CHECK(word);
      word_.push_back(std::move(*word));
    }
  }
}

const AddedToken* AddedTokens::longest_at(std::string_view text, std::size_t at) const {
  auto [begin, end] = by_first_byte_[static_cast<unsigned char>(text[at])];
  const AddedToken* longest = nullptr;
  // All of [begin, end) share the first `depth` bytes with the text; sorted, so the shortest of them stands first.
  for (std::size_t depth = 1; begin < end; ++depth) {
    if (tokens_[begin].content.size() == depth) longest = &tokens_[begin++];
    if (begin == end || at + depth == text.size()) break;
    const auto next = static_cast<unsigned char>(text[at + depth]);
    const auto byte = [depth](const AddedToken& token) { return static_cast<unsigned char>(token.content[depth]); };
    const auto first = tokens_.begin() + begin, last = tokens_.begin() + end;
    const auto low = std::partition_point(first, last, [&](const AddedToken& token) { return byte(token) < next; });
    const auto high = std::partition_point(low, last, [&](const AddedToken& token) { return byte(token) == next; });
    begin = static_cast<std::uint32_t>(low - tokens_.begin());
    end = static_cast<std::uint32_t>(high - tokens_.begin());
  }
  return longest;
}

void AddedTokens::find(std::string_view text, MatchScratch& scratch, std::vector<TextPart>& parts) const {
  parts.clear();
  std::vector<Range> matches;
  const auto is_word = [&](std::size_t at) {
    word_.front().find_all(text.substr(at, utf8_part(text, at).length), false, scratch, matches);
    return !matches.empty();
  };
  std::size_t covered = 0;
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    const AddedToken* const token = longest_at(text, at);
    if (!token) {
      ++at;  // a token's first byte is never within a code point, since its content is valid UTF-8
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->content.size();
    at = end;
    if (token->single_word) {
      if (begin > 0 && is_word(point_before(text, begin))) continue;
      if (end < text.size() && is_word(end)) continue;
    }
    // A token that takes white space along may begin within what the one before took; tokenizers lets them overlap.
    if (token->lstrip) begin = std::max(spaces_before(text, begin, std::min(covered, begin)), covered);
    if (token->rstrip) end = spaces_behind(text, end);
    if (covered < begin) parts.push_back({{covered, begin}, -1});
    parts.push_back({{begin, end}, token->id});
    covered = end;
  }
  if (covered != text.size()) parts.push_back({{covered, text.size()}, -1});
}

}  // namespace sluice::engine
