#include "engine/token_trail.h"

#include <algorithm>
#include <utility>

namespace sluice::engine {

void TokenTrail::feed(std::string_view text) {
  fed_ += text.size();
  fed_points_ += static_cast<std::uint32_t>(
      std::ranges::count_if(text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
}

/// All but the last `still_open` tokens end with what has become whole.
void TokenTrail::close(std::size_t still_open) {
  for (std::size_t i = waiting_.size() - still_open; i-- > 0 && waiting_[i].end == kOpen;) {
    waiting_[i].end = fed_;
    waiting_[i].token.text_end = fed_points_;
  }
}

void TokenTrail::push(const Sampled& drawn, std::size_t token_bytes, std::string_view text, std::size_t unfinished) {
  waiting_.push_back({{.token = drawn.token,
                       .logprob = drawn.logprob,
                       .text_offset = fed_points_,
                       .top = {drawn.top.begin(), drawn.top.begin() + drawn.top_count}},
                      fed_,
                      kOpen});
  feed(text);
  if (unfinished == 0) return close(0);
  // The unfinished bytes are the last ones there are: this token's, unless it is shorter than that.
  if (unfinished <= token_bytes) close(1);
}

void TokenTrail::finish(std::string_view text) {
  feed(text);
  close(0);
}

std::vector<OutputToken> TokenTrail::take(std::size_t bytes, bool cut) {
  left_ += bytes;
  std::vector<OutputToken> out;
  while (!waiting_.empty()) {
    Waiting& first = waiting_.front();
    const bool whole = first.end != kOpen && first.end <= left_;
    if (!whole && !(cut && first.begin < left_)) break;
    out.push_back(std::move(first.token));
    waiting_.pop_front();
  }
  return out;
}

}  // namespace sluice::engine
