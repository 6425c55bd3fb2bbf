#include "harness/metrics/buffering.h"

#include <fmt/format.h>

#include <cmath>

namespace sluice {
namespace {

constexpr double kMost = 0.5;             // of streams, or of events
constexpr double kMergedTokens = 1.5;     // an event; a token now and then that shares one is no merging
constexpr double kMergedCharacters = 20;  // likewise, where nobody counts tokens: some five of them
constexpr double kNanosecondsPerMs = 1e6;

double ratio(std::uint64_t part, std::uint64_t all) {
  return all == 0 ? 0 : static_cast<double>(part) / static_cast<double>(all);
}

double median_ms(const CompactHistogram& histogram) {
  return histogram.count() == 0 ? 0 : histogram.quantile(0.5) / kNanosecondsPerMs;
}

std::string time_text(double ms) {
  if (ms >= 1000) return fmt::format("{:.3g} s", ms / 1000);
  return ms >= 100 ? fmt::format("{:.0f} ms", ms) : fmt::format("{:.2g} ms", ms);
}

std::string percent_text(double share) { return fmt::format("{:.0f} %", share * 100); }

std::string bytes_text(double bytes) {
  return bytes >= 1000 ? fmt::format("{:.1f} kB", bytes / 1000) : fmt::format("{:.0f} bytes", bytes);
}

BufferingVerdict of_too_few(const ChunkFigures& f, std::uint64_t needed) {
  if (f.streams + f.left_out == 0) return {Buffering::unknown, "no stream was whole"};
  std::string why = fmt::format("{} whole stream{} of 8 tokens and more: {} {} needed", f.streams,
                                f.streams == 1 ? "" : "s", needed, needed == 1 ? "is" : "are");
  if (f.left_out > 0) why += fmt::format("; {} too short, or of several choices", f.left_out);
  return {Buffering::unknown, std::move(why)};
}

BufferingVerdict of_whole_answers(const ChunkFigures& f) {
  const double chunks = ratio(f.chunks, f.streams);
  std::string how = 2 * f.one_event >= f.at_once ? std::string("in one event")
                                                 : fmt::format("in one burst of {:.0f} events", std::max(chunks, 1.0));
  return {Buffering::whole_answer, fmt::format("{} of {} answers came {}, after {} (median)", f.at_once, f.streams, how,
                                               time_text(median_ms(f.ttft)))};
}

BufferingVerdict of_bursts(const ChunkFigures& f) {
  std::string text = fmt::format("{} of the content events came in bursts of {:.1f}",
                                 percent_text(ratio(f.burst_chunks, f.chunks)), ratio(f.burst_chunks, f.bursts));
  if (f.burst_bytes > 0) text += fmt::format(" (about {})", bytes_text(ratio(f.burst_bytes, f.bursts)));
  if (f.pause.count() > 0) text += fmt::format(", {} apart (median)", time_text(median_ms(f.pause)));
  return {Buffering::proxy_buffers, std::move(text)};
}

BufferingVerdict of_merging(const ChunkFigures& f) {
  const double gap = median_ms(f.gap);
  if (f.token_chunks == 0)
    return {Buffering::server_merges, fmt::format("{:.0f} characters an event, one each {} (median)",
                                                  ratio(f.characters, f.chunks), time_text(gap))};
  const double tokens = ratio(f.tokens, f.token_chunks);
  return {Buffering::server_merges, fmt::format("{:.1f} tokens an event, one each {} (median): {} a token", tokens,
                                                time_text(gap), time_text(gap / tokens))};
}

BufferingVerdict of_none(const ChunkFigures& f) {
  std::string text = f.token_chunks > 0 ? fmt::format("{:.2f} tokens an event", ratio(f.tokens, f.token_chunks))
                                        : fmt::format("{:.1f} characters an event", ratio(f.characters, f.chunks));
  text += fmt::format(", {} of them alone, one each {} (median)",
                      percent_text(1 - ratio(f.burst_chunks + f.unsure_chunks, f.chunks)), time_text(median_ms(f.gap)));
  return {Buffering::none, std::move(text)};
}

bool is_merged(const ChunkFigures& f) {
  return f.token_chunks > 0 ? ratio(f.tokens, f.token_chunks) >= kMergedTokens
                            : ratio(f.characters, f.chunks) >= kMergedCharacters;
}

/// "37 ms longer"; of what is within a tenth of a millisecond: the same.
std::string change_text(double direct_ms, double via_ms) {
  const double more = via_ms - direct_ms;
  if (std::abs(more) < 0.1) return "the same";
  return fmt::format("{} {}", time_text(std::abs(more)), more > 0 ? "longer" : "shorter");
}

}  // namespace

std::string_view name_of(Buffering verdict) {
  switch (verdict) {
    case Buffering::none:
      return "none";
    case Buffering::server_merges:
      return "server merges";
    case Buffering::proxy_buffers:
      return "proxy buffers";
    case Buffering::whole_answer:
      return "whole answer at once";
    case Buffering::unknown:
      return "unknown";
  }
  return "";
}

std::string_view name_of(Layer layer) {
  switch (layer) {
    case Layer::nobody:
      return "nobody";
    case Layer::server:
      return "server";
    case Layer::between:
      return "between";
    case Layer::unclear:
      return "unclear";
  }
  return "";
}

BufferingVerdict judge_buffering(const ChunkFigures& f, std::uint64_t streams_needed) {
  if (f.streams < streams_needed) return of_too_few(f, streams_needed);
  if (ratio(f.at_once, f.streams) >= kMost) return of_whole_answers(f);
  if (ratio(f.burst_chunks, f.chunks) >= kMost) return of_bursts(f);
  if (ratio(f.burst_chunks + f.unsure_chunks, f.chunks) >= kMost)
    return {Buffering::unknown,
            fmt::format("{} of the content events came together with others, after silences too short, or found too "
                        "late by the harness, to tell who held them",
                        percent_text(ratio(f.burst_chunks + f.unsure_chunks, f.chunks)))};
  return is_merged(f) ? of_merging(f) : of_none(f);
}

LayerVerdict compare_ways(const ChunkFigures& direct, const ChunkFigures& via) {
  const Buffering one = judge_buffering(direct).verdict, other = judge_buffering(via).verdict;
  if (one == Buffering::unknown || other == Buffering::unknown)
    return {Layer::unclear, fmt::format("It cannot be told: the verdict on the {} way is unknown.",
                                        one == Buffering::unknown ? "direct" : "other")};
  const std::string cost = fmt::format("via it the median TTFT is {}, the median gap {}",
                                       change_text(median_ms(direct.ttft), median_ms(via.ttft)),
                                       change_text(median_ms(direct.gap), median_ms(via.gap)));
  if (one == other) {
    if (one == Buffering::none) return {Layer::nobody, fmt::format("No buffering on either way; {}.", cost)};
    return {Layer::server, fmt::format("The server {}: it does so on the direct way too; {}.",
                                       one == Buffering::server_merges ? "merges tokens" : "holds answers back", cost)};
  }
  // From none to the whole answer they hold back more and more.
  if (other > one) {
    const std::string_view what = other == Buffering::server_merges  ? "merges events"
                                  : other == Buffering::whole_answer ? "keeps the whole answer back"
                                                                     : "buffers";
    return {Layer::between, fmt::format("The proxy between {}: the direct way {}; {}.", what,
                                        one == Buffering::proxy_buffers ? "only buffers" : "does not", cost)};
  }
  return {Layer::unclear, fmt::format("The direct way is the worse one ({}; via: {}): the proxy between does not hold "
                                      "back.",
                                      name_of(one), name_of(other))};
}

}  // namespace sluice
