#include "engine/text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

namespace sluice::engine {
namespace {

/// The matches and what lies between them, in order, covering the text.
void cover(const SplitStep& step, std::string_view text, SplitScratch& scratch) {
  auto& pieces = scratch.pieces;
  pieces.clear();
  std::size_t end = 0;
  for (const Range& match : scratch.matches) {
    if (end != match.begin) pieces.push_back({{end, match.begin}, step.invert});
    pieces.push_back({match, !step.invert});
    end = match.end;
  }
  if (end != text.size()) pieces.push_back({{end, text.size()}, step.invert});
}

/// Joins matches to their neighbours as the behaviour says, and drops them when it says so. A piece's flag is then
/// void.
void join(SplitBehavior behavior, std::vector<std::pair<Range, bool>>& pieces) {
  if (behavior == SplitBehavior::isolated) return;
  if (behavior == SplitBehavior::removed) {
    std::erase_if(pieces, [](const auto& piece) { return piece.second; });
    return;
  }
  const bool backwards = behavior == SplitBehavior::merged_with_next;
  if (backwards) std::reverse(pieces.begin(), pieces.end());
  std::size_t kept = 0;
  bool previous = false;
  for (const auto& [range, match] : pieces) {
    const bool joins = behavior == SplitBehavior::contiguous ? match == previous : match && !previous;
    previous = match;
    if (joins && kept > 0) {
      (backwards ? pieces[kept - 1].first.begin : pieces[kept - 1].first.end) = backwards ? range.begin : range.end;
    } else {
      pieces[kept++].first = range;
    }
  }
  pieces.resize(kept);
  if (backwards) std::reverse(pieces.begin(), pieces.end());
}

std::string with_metaspaces(const SplitStep& step, std::string_view piece, bool first) {
  std::string out;
  out.reserve(piece.size() + piece.size() / 4 + step.spaces_become.size());
  const bool wanted =
      step.prepend == SplitStep::Prepend::always || (step.prepend == SplitStep::Prepend::first && first);
  if (wanted && !piece.starts_with(' ') && !piece.starts_with(step.spaces_become)) out = step.spaces_become;
  for (const char c : piece) {
    if (c == ' ') {
      out += step.spaces_become;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace

void split_words(const std::vector<SplitStep>& steps, std::string_view text, bool ascii, bool first,
                 SplitScratch& scratch, std::vector<std::string_view>& words) {
  words.clear();
  scratch.prefixed.clear();
  if (!text.empty()) words.push_back(text);
  for (const SplitStep& step : steps) {
    std::swap(words, scratch.before);
    words.clear();
    const bool becomes_ascii = ascii && step.spaces_become.empty();
    for (std::string_view piece : scratch.before) {
      if (step.prefix_space && !piece.starts_with(' ')) {
        piece = scratch.prefixed.emplace_back(" " + std::string(piece));
      }
      if (!step.spaces_become.empty()) {
        // Steps before Metaspace only cut, so the piece at the text's begin still lies there.
        piece = scratch.prefixed.emplace_back(with_metaspaces(step, piece, first && piece.data() == text.data()));
      }
      if (!step.cuts) {
        words.push_back(piece);
        continue;
      }
      step.pattern.find_all(piece, becomes_ascii, scratch.match, scratch.matches);
      cover(step, piece, scratch);
      join(step.behavior, scratch.pieces);
      for (const auto& [range, match] : scratch.pieces) {
        if (range.end > range.begin) words.push_back(piece.substr(range.begin, range.end - range.begin));
      }
    }
    ascii = becomes_ascii;
  }
}

}  // namespace sluice::engine
