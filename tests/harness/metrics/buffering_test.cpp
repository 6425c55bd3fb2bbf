#include "harness/metrics/buffering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

using testing::HasSubstr;

/// What a stream looked like to the harness.
struct Shape {
  double ttft_ms = 100;
  std::size_t reads = 40;  // with content, one after the other
  std::size_t each = 1;    // events in one read
  double apart_ms = 25;    // from read to read
  std::uint32_t characters = 4;
  std::int64_t tokens = 40;  // by usage; -1: none
  bool certain = true;       // the harness was in time: silences of 50 ms and more are the network's
  double split_ms = 0;       // half of each burst comes so much later, in a read of its own
  std::uint32_t choices = 1;
};

RequestRecord stream_of(const Shape& shape) {
  std::vector<EventAt> events;
  for (std::size_t read = 0; read < shape.reads; ++read)
    for (std::size_t i = 0; i < shape.each; ++i) {
      const bool later = shape.split_ms > 0 && i >= shape.each / 2;
      events.push_back({shape.ttft_ms + static_cast<double>(read) * shape.apart_ms + (later ? shape.split_ms : 0),
                        shape.characters});
    }
  RequestRecord record = stream_record(0, shape.ttft_ms, events, shape.tokens);
  for (std::size_t i = 0; i < record.content.size(); ++i) {
    const bool first_of_read = i % shape.each == 0;
    const double silence_ms = i == 0 ? shape.ttft_ms : shape.apart_ms;
    record.content[i].after_silence = shape.certain && silence_ms >= 50;
    if (shape.split_ms > 0 && i % shape.each >= shape.each / 2) record.content[i].after_silence = false;
    if (first_of_read && record.content[i].after_silence && shape.each > 1) record.burst_bytes += shape.each * 250;
  }
  record.reads = static_cast<std::uint32_t>(shape.reads + 2);
  record.content_choices = (1U << shape.choices) - 1;
  return record;
}

ChunkFigures figures_of(const std::vector<Shape>& shapes) {
  ChunkFigures figures;
  for (const Shape& shape : shapes) figures.add(stream_of(shape));
  return figures;
}

TEST(Buffering, KnowsEachBehaviourByItsFigures) {
  struct Case {
    std::string name;
    std::vector<Shape> streams;
    Buffering verdict;
    std::string evidence;
  };
  const auto times = [](std::size_t count, const Shape& shape) { return std::vector<Shape>(count, shape); };
  const auto together = [](std::vector<Shape> some, const std::vector<Shape>& more) {
    some.insert(some.end(), more.begin(), more.end());
    return some;
  };
  const Shape even, merged{.reads = 10, .apart_ms = 100, .characters = 16};
  const Shape buffered{.ttft_ms = 250, .reads = 5, .each = 8, .apart_ms = 225};
  const Shape whole{.ttft_ms = 1300, .reads = 1, .each = 40};
  const std::vector<Case> cases{
      {"token by token", times(3, even), Buffering::none, "1.00 tokens an event, 100 % of them alone, one each 25 ms"},
      {"token by token, slowly: each after a silence", times(3, {.apart_ms = 80}), Buffering::none, "100 % of them"},
      {"two now and then share a read", times(3, {.reads = 38, .tokens = 40}), Buffering::none, "1.05 tokens an event"},
      {"stream_interval: four tokens an event", times(3, merged), Buffering::server_merges,
       "4.0 tokens an event, one each 100 ms (median): 25 ms a token"},
      {"speculative decoding", times(3, {.reads = 22, .characters = 7, .tokens = 40}), Buffering::server_merges,
       "1.8 tokens an event"},
      {"no usage, small pieces", times(3, {.tokens = -1}), Buffering::none, "4.0 characters an event"},
      {"no usage, large pieces", times(3, {.reads = 10, .apart_ms = 100, .characters = 40, .tokens = -1}),
       Buffering::server_merges, "40 characters an event, one each 100 ms"},
      {"hidden reasoning: more tokens than were shown", times(3, {.tokens = 500}), Buffering::none, "4.0 characters"},
      {"a proxy's buffer of 2 kB", times(3, buffered), Buffering::proxy_buffers,
       "100 % of the content events came in bursts of 8.0 (about 2.0 kB), 225 ms apart (median)"},
      {"a burst that arrives in two reads is one",
       times(3, {.ttft_ms = 250, .reads = 5, .each = 8, .apart_ms = 225, .split_ms = 2}), Buffering::proxy_buffers,
       "bursts of 8.0"},
      {"a proxy that also merges", times(3, {.ttft_ms = 400, .reads = 2, .each = 10, .apart_ms = 400, .tokens = 40}),
       Buffering::proxy_buffers, "bursts of 10.0"},
      {"the whole answer in one event", times(3, {.ttft_ms = 1300, .reads = 1, .characters = 160}),
       Buffering::whole_answer, "3 of 3 answers came in one event, after 1.3 s (median)"},
      {"the whole answer in one burst", times(3, whole), Buffering::whole_answer,
       "3 of 3 answers came in one burst of 40 events, after 1.3 s (median)"},
      {"an answer too fast to tell", times(3, {.ttft_ms = 5, .reads = 1, .each = 40}), Buffering::unknown,
       "100 % of the content events came together with others"},
      {"the harness found them late",
       times(3, {.ttft_ms = 250, .reads = 5, .each = 8, .apart_ms = 225, .certain = false}), Buffering::unknown,
       "found too late by the harness"},
      {"one stream of ten is buffered", together(times(9, even), {buffered}), Buffering::none, "1.00 tokens"},
      {"most streams are buffered", together(times(3, even), times(7, buffered)), Buffering::proxy_buffers, "70 %"},
      {"two streams are too few", times(2, even), Buffering::unknown,
       "2 whole streams of 8 tokens and more: 3 are needed"},
      {"short answers say nothing", times(9, {.reads = 3, .tokens = 3}), Buffering::unknown,
       "0 whole streams of 8 tokens and more: 3 are needed; 9 too short, or of several choices"},
      {"two choices come together anyhow", times(9, {.each = 2, .apart_ms = 60, .choices = 2}), Buffering::unknown,
       "or of several choices"},
      {"nothing", {}, Buffering::unknown, "no stream was whole"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    const BufferingVerdict verdict = judge_buffering(figures_of(each.streams));
    EXPECT_EQ(name_of(verdict.verdict), name_of(each.verdict)) << verdict.evidence;
    EXPECT_THAT(verdict.evidence, HasSubstr(each.evidence));
  }
}

TEST(Buffering, IsTheSameHoweverTheStreamsAreSplitOverThreads) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    std::vector<Shape> shapes;
    for (std::size_t i = 0; i < 12; ++i)
      shapes.push_back({.ttft_ms = static_cast<double>(60 + random() % 300),
                        .reads = 1 + random() % 20,
                        .each = 1 + random() % 6,
                        .apart_ms = static_cast<double>(1 + random() % 200),
                        .tokens = static_cast<std::int64_t>(random() % 60) - 1,
                        .certain = random() % 4 != 0});
    const BufferingVerdict whole = judge_buffering(figures_of(shapes));
    std::shuffle(shapes.begin(), shapes.end(), random);
    const auto cut = shapes.begin() + static_cast<std::ptrdiff_t>(random() % shapes.size());
    ChunkFigures merged = figures_of({shapes.begin(), cut});
    merged.merge(figures_of({cut, shapes.end()}));
    const BufferingVerdict split = judge_buffering(merged);
    EXPECT_EQ(split.verdict, whole.verdict);
    EXPECT_EQ(split.evidence, whole.evidence);
  }
}

TEST(Buffering, NamesTheLayerThatHoldsBack) {
  const auto ways = [](const Shape& shape) { return figures_of(std::vector<Shape>(3, shape)); };
  const ChunkFigures even = ways({}), slower = ways({.ttft_ms = 112}), none;
  const ChunkFigures merged = ways({.reads = 10, .apart_ms = 100, .characters = 16});
  const ChunkFigures buffered = ways({.ttft_ms = 250, .reads = 5, .each = 8, .apart_ms = 225});
  const ChunkFigures whole = ways({.ttft_ms = 1100, .reads = 1, .each = 40});
  struct Case {
    std::string name;
    const ChunkFigures &direct, &via;
    Layer layer;
    std::string sentence;
  };
  const std::vector<Case> cases{
      {"a proxy that only costs", even, slower, Layer::nobody,
       "No buffering on either way; via it the median TTFT is 12 ms longer, the median gap the same."},
      {"the same server twice", even, even, Layer::nobody, "the median TTFT is the same"},
      {"the server merges", merged, merged, Layer::server,
       "The server merges tokens: it does so on the direct way too"},
      {"the server itself holds back", buffered, buffered, Layer::server, "The server holds answers back"},
      {"a proxy that buffers", even, buffered, Layer::between,
       "The proxy between buffers: the direct way does not; via it the median TTFT is 150 ms longer, the median gap "
       "25 ms shorter."},
      {"a proxy that keeps all", even, whole, Layer::between, "The proxy between keeps the whole answer back"},
      {"a proxy that buffers what the server merges", merged, buffered, Layer::between, "The proxy between buffers"},
      {"a proxy that keeps all that the server holds back", buffered, whole, Layer::between,
       "The proxy between keeps the whole answer back: the direct way only buffers"},
      {"a gateway that merges", even, merged, Layer::between, "The proxy between merges events"},
      {"a proxy that streams what the server does not", whole, even, Layer::unclear, "The direct way is the worse one"},
      {"nothing came directly", none, even, Layer::unclear, "the verdict on the direct way is unknown"},
      {"nothing came via", even, none, Layer::unclear, "the verdict on the other way is unknown"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    const LayerVerdict verdict = compare_ways(each.direct, each.via);
    EXPECT_EQ(name_of(verdict.layer), name_of(each.layer));
    EXPECT_THAT(verdict.sentence, HasSubstr(each.sentence));
  }
}

TEST(Fluidity, IsTheShareOfTokensInTimeForAReader) {
  struct Event {
    double ms;
    double tokens = 1;
  };
  struct Case {
    std::string name;
    std::vector<Event> events;
    double share;
  };
  const std::vector<Case> cases{
      {"nothing came", {}, 1},
      {"the first is in time whenever it comes", {{5000}}, 1},
      {"each just in time", {{0}, {100}, {200}, {300}}, 1},
      {"what came early is slack for a pause", {{0}, {10}, {20}, {300}}, 1},
      {"one that is late moves the deadlines behind it", {{0}, {100}, {290}, {390}}, 3.0 / 4},
      {"always too slow", {{0}, {150}, {300}, {450}}, 1.0 / 4},
      {"four tokens at a time, fast enough", {{0, 4}, {400, 4}, {800, 4}}, 1},
      {"a reader waits for two of the four", {{0, 4}, {550, 4}}, 6.0 / 8},
      {"after a long stall all of a burst is late", {{0}, {2000, 4}}, 1.0 / 5},
      {"the reader has the end of a burst after a stall in time", {{0}, {350, 10}}, 8.0 / 11},
  };
  for (const Case& each : cases) {
    Fluidity fluidity(std::chrono::milliseconds(100));
    for (const Event& event : each.events) fluidity.add(at_ms(event.ms), event.tokens);
    EXPECT_DOUBLE_EQ(fluidity.share(), each.share) << each.name;
  }
}

TEST(TokensPerChunk, IsKnownWhereUsageFitsWhatCame) {
  EXPECT_EQ(tokens_per_chunk(40, 10, 160), 4.0);
  EXPECT_EQ(tokens_per_chunk(-1, 10, 160), std::nullopt) << "no usage";
  EXPECT_EQ(tokens_per_chunk(40, 0, 0), std::nullopt) << "no content";
  EXPECT_EQ(tokens_per_chunk(500, 10, 160), std::nullopt) << "reasoning that is not shown is counted too";
}

}  // namespace
}  // namespace sluice
