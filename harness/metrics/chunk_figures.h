// How answers were cut into pieces, and how these came: what a verdict on buffering is made of.
//
// Values only: no clock. Merging is exact, in any order. Times in nanoseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "harness/base/time.h"
#include "harness/metrics/histogram.h"
#include "harness/metrics/record.h"

namespace sluice {

/// Output tokens of each content event, on average. None where usage says nothing, or counts more tokens than
/// characters came: not all of them were shown.
std::optional<double> tokens_per_chunk(std::int64_t output_tokens, std::size_t chunks, std::uint64_t characters);
std::optional<double> tokens_per_chunk(const RequestRecord& record);

/// The share of tokens that came in time for a reader who takes one each `token_time`: the "fluidity index" of the
/// Metron paper. The first is in time; each that follows is due one `token_time` after the one before was due, so that
/// what comes early leaves slack. What comes late begins the count anew.
class Fluidity {
 public:
  /// REQUIRES: token_time > 0.
  explicit Fluidity(Nanoseconds token_time) : token_time_(static_cast<double>(token_time.count())) {}
  /// The next event, and how many tokens it brought.
  void add(Instant at, double tokens);
  double share() const { return all_ > 0 ? on_time_ / all_ : 1; }

 private:
  double token_time_;
  Instant from_ = kNever;  // when the first token of the count came
  double since_ = 0;       // tokens of the count so far
  double all_ = 0, on_time_ = 0;
};

/// Of whole streams that were judged.
struct ChunkFigures {
  // Events within so short a time of each other came together.
  static constexpr Instant kTogether = 100'000;

  std::uint64_t streams = 0;       // long enough to tell: 8 tokens and more
  std::uint64_t left_out = 0;      // the others: too short, or of several choices, whose events come together anyhow
  std::uint64_t at_once = 0;       // streams whose content came in one event, or in one burst
  std::uint64_t one_event = 0;     // those of them that came in one event
  std::uint64_t chunks = 0;        // content events
  std::uint64_t characters = 0;    // in them
  std::uint64_t tokens = 0;        // of streams of which tokens_per_chunk() is known
  std::uint64_t token_chunks = 0;  // their content events
  std::uint64_t events = 0, reads = 0;
  // A burst: several content events together, after a silence of the network. Where it is not certain that the network
  // was silent and not the harness late, such events are unsure.
  std::uint64_t bursts = 0, burst_chunks = 0, burst_bytes = 0, unsure_chunks = 0;
  CompactHistogram ttft, gap;  // gap: every one, as icl
  CompactHistogram pause;      // the gaps between what did not come together

  /// REQUIRES: a whole stream with content, judged as one of an API.
  void add(const RequestRecord& record);
  void merge(const ChunkFigures& other);
};

}  // namespace sluice
