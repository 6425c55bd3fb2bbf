// Added and special tokens, found in a text before anything else reads it.
//
// The leftmost is taken, of those that begin there the longest, as Hugging Face's tokenizers does it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/types.h"
#include "engine/text/pattern.h"

namespace sluice::engine {

struct AddedToken {
  std::string content;  // as it stands in the text (normalized, where it is sought in normalized text)
  TokenId id = -1;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
};

/// A stretch of text: an added token, or what lies between them.
struct TextPart {
  Range range;
  TokenId token = -1;  // -1: text
};

class AddedTokens {
 public:
  AddedTokens();
  /// Of tokens with the same content the first counts. REQUIRES: no content is empty.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// Replaces `parts` by the text's parts in order. REQUIRES: `text` is valid UTF-8.
  void find(std::string_view text, MatchScratch& scratch, std::vector<TextPart>& parts) const;

 private:
  const AddedToken* longest_at(std::string_view text, std::size_t at) const;

  std::vector<AddedToken> tokens_;                                            // sorted by content
  std::array<std::pair<std::uint32_t, std::uint32_t>, 256> by_first_byte_{};  // those that begin with this byte
  std::vector<Pattern> word_;  // one pattern, when a token needs it: a word character
};

}  // namespace sluice::engine
