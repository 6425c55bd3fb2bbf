#include "harness/metrics/ttft_split.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

Nanoseconds ms(double value) { return Nanoseconds(static_cast<std::int64_t>(value * 1e6)); }

Nanoseconds said(double value) { return value < 0 ? Nanoseconds(-1) : ms(value); }

/// Started at 10 ms, sent at 10.5, first content at 50: ttft is 40 ms.
RequestRecord told_record(ServerTimes times) {
  RequestRecord r = stream_record(10, 45, {{50}, {60}}, 2);
  r.sent_at = at_ms(10.5);
  r.server = times;
  return r;
}

constexpr auto kEngine = ServerTimes::Source::engine;

struct Row {
  const char* name;
  ServerTimes server;
  std::function<void(RequestRecord&)> change;
  double client, network, queue, prefill, output;  // ms; -1: none
  bool exceeded = false;
};

TEST(TtftSplit, GivesEachItsPart) {
  const auto as_it_is = [](RequestRecord&) {};
  const std::vector<Row> rows{
      {"all parts", {kEngine, ms(5), ms(30), ms(1)}, as_it_is, 0.5, 3.5, 5, 30, 1},
      {"what is not said is the network's", {kEngine, said(-1), ms(30), said(-1)}, as_it_is, 0.5, 9.5, -1, 30, -1},
      {"a queue alone", {kEngine, ms(5), said(-1), said(-1)}, as_it_is, 0.5, 34.5, 5, -1, -1},
      {"connecting is the network's",
       {kEngine, ms(5), ms(30), ms(1)},
       [](RequestRecord& r) {
         r.new_connection = true;
         r.looked_up_at = at_ms(10);
         r.connected_at = r.send_began_at = at_ms(10.25);
       },
       0.25,
       3.75,
       5,
       30,
       1},
      {"so is a slow way up, on purpose",
       {kEngine, ms(5), ms(30), ms(1)},
       [](RequestRecord& r) { r.paced = ms(0.5); },
       0,
       4,
       5,
       30,
       1},
      {"over HTTP/2 the server lets the body go",
       {kEngine, ms(5), ms(30), ms(1)},
       [](RequestRecord& r) {
         r.http2 = true;
         r.send_began_at = at_ms(10.25);
       },
       0,
       4,
       5,
       30,
       1},
      {"times that do not fit", {kEngine, ms(15), ms(30), ms(1)}, as_it_is, 0, 0, 15, 30, 1, true},
      {"the server had it before we looked at the clock",
       {kEngine, ms(5), ms(34), ms(0.75)},
       as_it_is,
       0.25,
       0,
       5,
       34,
       0.75},
      {"an interrupted stream has one too",
       {kEngine, ms(5), ms(30), ms(1)},
       [](RequestRecord& r) { r.outcome = Outcome::interrupted; },
       0.5,
       3.5,
       5,
       30,
       1},
  };
  for (const Row& row : rows) {
    RequestRecord record = told_record(row.server);
    row.change(record);
    const auto split = split_ttft(record);
    ASSERT_TRUE(split) << row.name;
    EXPECT_EQ(split->client, ms(row.client)) << row.name;
    EXPECT_EQ(split->network, ms(row.network)) << row.name;
    EXPECT_EQ(split->queue, said(row.queue)) << row.name;
    EXPECT_EQ(split->prefill, said(row.prefill)) << row.name;
    EXPECT_EQ(split->output, said(row.output)) << row.name;
    EXPECT_EQ(split->exceeded, row.exceeded) << row.name;
    Nanoseconds sum = split->client + split->network;
    for (const Nanoseconds part : {split->queue, split->prefill, split->output}) sum += std::max(part, Nanoseconds(0));
    EXPECT_EQ(sum == ms(40), !row.exceeded) << row.name << ": the parts add up to ttft";
  }
}

TEST(TtftSplit, IsOnlyOfStreamsWhoseServerSaysSomething) {
  RequestRecord silent = told_record({});
  EXPECT_FALSE(split_ttft(silent));
  RequestRecord output_only = told_record({ServerTimes::Source::none, said(-1), said(-1), ms(1)});
  EXPECT_FALSE(split_ttft(output_only));
  const ServerTimes times{kEngine, ms(5), ms(30), ms(1)};
  RequestRecord refused = told_record(times);
  refused.status = 503;
  EXPECT_FALSE(split_ttft(refused));
  RequestRecord empty = told_record(times);
  empty.content.clear();
  EXPECT_FALSE(split_ttft(empty));
  RequestRecord plain = told_record(times);
  plain.stream = false;
  EXPECT_FALSE(split_ttft(plain));
}

TEST(TtftSplit, IsCountedMergedAndShown) {
  const Plan plan = small_plan();
  const auto layout = TallyLayout::from(plan);
  Tally first(layout, kOrigin), second(layout, kOrigin);
  first.add(told_record({kEngine, ms(5), ms(30), ms(1)}), 0);
  first.add(told_record({}), 0);
  second.add(told_record({ServerTimes::Source::server_timing, ms(15), ms(30), said(-1)}), 0);
  first.merge(second);
  EXPECT_EQ(first.aggregate(Metric::ttft_queue, Aggregation::max), 15);
  EXPECT_EQ(first.samples(static_cast<FigureId>(Metric::ttft_output)), 1u);
  EXPECT_EQ(first.samples(static_cast<FigureId>(Metric::ttft)), 3u);
  Tally copy(layout, kOrigin);
  copy.copy_figures(first);
  EXPECT_EQ(copy.ttft_split().exceeded, 1u);

  const reports::Summary summary = summarize(plan, first, {});
  ASSERT_TRUE(summary.ttft_split);
  const reports::TtftSplitResult& split = *summary.ttft_split;
  EXPECT_EQ(split.requests, 2u);
  EXPECT_EQ(split.exceeded, 1u);
  EXPECT_EQ(split.sources, (std::vector<std::string>{"engine", "Server-Timing"}));
  EXPECT_EQ(split.unsure, (std::vector<double>{50, 95}));
  ASSERT_EQ(split.parts.size(), 5u);
  EXPECT_EQ(split.parts[4].name, "output");
  EXPECT_DOUBLE_EQ(split.parts[4].mean_ms, 0.5) << "over all of them, so that the means add up";
  EXPECT_DOUBLE_EQ(split.whole.mean_ms, 40);
}

TEST(TtftSplit, IsAbsentWhereNoServerSaysAnything) {
  const Plan plan = small_plan();
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(told_record({}), 0);
  EXPECT_FALSE(summarize(plan, tally, {}).ttft_split);
  EXPECT_EQ(tally.aggregate(Metric::ttft_network, Aggregation::max), std::nullopt);
}

}  // namespace
}  // namespace sluice
