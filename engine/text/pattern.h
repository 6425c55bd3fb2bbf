// Regular expressions of tokenizer files: written for Oniguruma, run by PCRE2 with its JIT.
//
// Each is translated, never handed over as it is, because the two read the same text differently: \s, \w, \v, \h,
// nested sets, possessive intervals, and the version of Unicode behind \p{L}. What cannot be translated with the same
// meaning is refused by name. Untrusted: nesting, size and the work of one match are bounded. Immutable, safe from any
// thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace sluice::engine {

struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Memory that matching needs; one a thread, used again from call to call.
class MatchScratch {
 public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

 private:
  friend class Pattern;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Pattern {
 public:
  static Result<Pattern> compile(std::string_view expression);
  /// Finds `text` itself. REQUIRES: not empty.
  static Pattern literal(std::string_view text);

  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  /// Replaces `out` by the places of all matches, in order, as Oniguruma's search from match to match gives them. When
  /// one match reaches the bound on its work, the rest of the text counts as not matching. REQUIRES: `text` is valid
  /// UTF-8; `ascii` only if all of it is ASCII.
  void find_all(std::string_view text, bool ascii, MatchScratch& scratch, std::vector<Range>& out) const;

 private:
  struct Impl;
  explicit Pattern(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::engine
