// Text into words, as the file's "pre_tokenizer" says. With a byte-level vocabulary the last step is ByteLevel, and
// words are raw bytes to the merges.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/text/pattern.h"

namespace sluice::engine {

enum class SplitBehavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// One step of cutting pieces into smaller ones.
struct SplitStep {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;        // what does not match counts as the match
  bool prefix_space = false;  // before cutting, a piece that does not begin with a space gets one
  bool cuts = true;           // false: only the prefix is wanted
  std::string spaces_become;  // Metaspace's character in UTF-8, first of all for every space; empty: spaces stay
  enum class Prepend : std::uint8_t { never, first, always } prepend = Prepend::never;  // that character, where missing
};

/// Memory that splitting needs; one a thread.
struct SplitScratch {
  MatchScratch match;
  std::vector<Range> matches;
  std::vector<std::pair<Range, bool>> pieces;  // the places, and whether each matched
  std::vector<std::string_view> before;
  std::deque<std::string> prefixed;  // texts with a space put before them: views into them must stay
};

/// Replaces `words` by the words of `text`: views into `text` or into scratch.prefixed, good until the next call.
/// REQUIRES: `text` is valid UTF-8; `ascii` only if all of it is ASCII; `first` only if nothing stands before it.
void split_words(const std::vector<SplitStep>& steps, std::string_view text, bool ascii, bool first,
                 SplitScratch& scratch, std::vector<std::string_view>& words);

}  // namespace sluice::engine
