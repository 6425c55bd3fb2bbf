// Which tokens go with which chunk of text, for requests that want their log probabilities.
//
// A token's text may leave later than the token was drawn: it can end inside a code point, or look like the beginning
// of a stop string. So tokens wait here and travel with the chunk that carries the last byte of their text. Tokens
// without text of their own (special ones) travel with the next chunk there is. No token is lost, said twice or out of
// order; those whose text a stop string has cut off wholly never leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "engine/exec/executor.h"

namespace sluice::engine {

struct OutputToken {
  static constexpr std::uint32_t kCut = 0xffffffff;  // a stop string has cut the text

  TokenId token = -1;
  float logprob = 0;              // as Sampled::logprob
  std::uint32_t text_offset = 0;  // code points of the answer before the token's text
  std::uint32_t text_end = kCut;  // code points of it up to the end of the token's text
  std::vector<TokenLogprob> top;  // as Sampled::top
};

class TokenTrail {
 public:
  /// A token was drawn that stands for `token_bytes` bytes; with it `text` became whole, and `unfinished` bytes at the
  /// end still wait for the rest of their code point (Detokenizer::unfinished_bytes()).
  void push(const Sampled& drawn, std::size_t token_bytes, std::string_view text, std::size_t unfinished);
  /// The text's end has come: `text` is what had been unfinished.
  void finish(std::string_view text);

  /// `bytes` more of the text leave: the tokens that go along. `cut`: nothing will follow, and the last token of which
  /// some text has left goes too.
  std::vector<OutputToken> take(std::size_t bytes, bool cut);

 private:
  struct Waiting {
    OutputToken token;
    std::size_t begin, end;  // in the text's bytes; end: kOpen while its last code point is unfinished
  };
  static constexpr std::size_t kOpen = static_cast<std::size_t>(-1);

  void feed(std::string_view text);
  void close(std::size_t still_open);

  std::deque<Waiting> waiting_;
  std::size_t fed_ = 0, left_ = 0;  // bytes of text that have become whole, and that have left
  std::uint32_t fed_points_ = 0;    // code points of `fed_`
};

}  // namespace sluice::engine
