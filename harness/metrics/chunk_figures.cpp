#include "harness/metrics/chunk_figures.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

namespace sluice {
namespace {

constexpr std::uint64_t kTokensNeeded = 8;       // of a stream that can tell something
constexpr std::uint64_t kCharactersNeeded = 40;  // likewise, where nobody counts tokens
constexpr Instant kSameBurst = 5'000'000;        // ns; what a burst is too large for one read needs to arrive

std::uint64_t characters_of(const RequestRecord& record) {
  std::uint64_t sum = 0;
  for (const ContentEvent& event : record.content) sum += event.characters;
  return sum;
}

Instant gap_before(std::span<const ContentEvent> content, std::size_t i) {
  return std::max<Instant>(content[i].received_at - content[i - 1].received_at, 0);
}

}  // namespace

std::optional<double> tokens_per_chunk(std::int64_t output_tokens, std::size_t chunks, std::uint64_t characters) {
  if (output_tokens <= 0 || chunks == 0 || static_cast<std::uint64_t>(output_tokens) > characters) return std::nullopt;
  return static_cast<double>(output_tokens) / static_cast<double>(chunks);
}

std::optional<double> tokens_per_chunk(const RequestRecord& record) {
  return tokens_per_chunk(record.output_tokens, record.content.size(), characters_of(record));
}

void Fluidity::add(Instant at, double tokens) {
  if (from_ == kNever) from_ = at;
  const double late = static_cast<double>(at - from_) - since_ * token_time_;
  if (late > 0) {
    on_time_ -= std::min(tokens, std::ceil(late / token_time_));
    from_ = at;
    since_ = 0;
  }
  since_ += tokens;
  all_ += tokens;
  on_time_ += tokens;
}

void ChunkFigures::add(const RequestRecord& record) {
  const std::span<const ContentEvent> content(record.content);
  const std::uint64_t shown = characters_of(record);
  const bool is_long = record.output_tokens >= 0 ? record.output_tokens >= static_cast<std::int64_t>(kTokensNeeded)
                                                 : content.size() >= kTokensNeeded || shown >= kCharactersNeeded;
  if (content.empty() || !is_long || std::popcount(record.content_choices) > 1) {
    ++left_out;
    return;
  }
  ++streams;
  chunks += content.size();
  characters += shown;
  if (tokens_per_chunk(record)) {
    tokens += static_cast<std::uint64_t>(record.output_tokens);
    token_chunks += content.size();
  }
  events += record.events;
  reads += record.reads;
  burst_bytes += record.burst_bytes;
  if (content.front().received_at >= record.started_at)
    ttft.add(static_cast<std::uint64_t>(content.front().received_at - record.started_at));
  for (std::size_t i = 1; i < content.size(); ++i) gap.add(static_cast<std::uint64_t>(gap_before(content, i)));

  std::uint64_t of_bursts = 0, burst_count = 0;
  Instant burst_ended_at = kNever;
  for (std::size_t begin = 0, end = 0; begin < content.size(); begin = end) {
    end = begin + 1;
    while (end < content.size() && gap_before(content, end) < kTogether) ++end;
    const std::size_t size = end - begin;
    const bool goes_on =
        burst_ended_at != kNever && content[begin].received_at - burst_ended_at < kSameBurst && size > 1;
    if (begin > 0 && !goes_on) pause.add(static_cast<std::uint64_t>(gap_before(content, begin)));
    if (size == 1) continue;
    if (!goes_on && !content[begin].after_silence) {
      unsure_chunks += size;
      continue;
    }
    burst_count += goes_on ? 0 : 1;
    of_bursts += size;
    burst_ended_at = content[end - 1].received_at;
  }
  bursts += burst_count;
  burst_chunks += of_bursts;
  if (content.size() == 1) ++one_event;
  if (content.size() == 1 || (burst_count == 1 && of_bursts == content.size())) ++at_once;
}

void ChunkFigures::merge(const ChunkFigures& other) {
  streams += other.streams;
  left_out += other.left_out;
  at_once += other.at_once;
  one_event += other.one_event;
  chunks += other.chunks;
  characters += other.characters;
  tokens += other.tokens;
  token_chunks += other.token_chunks;
  events += other.events;
  reads += other.reads;
  bursts += other.bursts;
  burst_chunks += other.burst_chunks;
  burst_bytes += other.burst_bytes;
  unsure_chunks += other.unsure_chunks;
  ttft.merge(other.ttft);
  gap.merge(other.gap);
  pause.merge(other.pause);
}

}  // namespace sluice
