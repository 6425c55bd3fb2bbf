#include "harness/metrics/tally.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "harness/base/stream_rule.h"
#include "harness/metrics/summarize.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

constexpr StepId kChat = 0, kGroup = 1, kLogin = 2;

Tally tally_of(const std::vector<std::pair<RequestRecord, StepId>>& records, const Plan& plan = small_plan()) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (const auto& [record, step] : records) tally.add(record, step);
  return tally;
}

/// The mean in the metric's unit, or -1 without samples: for one sample, the sample.
double mean(const Tally& tally, Metric metric) { return tally.aggregate(metric, Aggregation::avg).value_or(-1); }
std::uint64_t samples(const Tally& tally, Metric metric) { return tally.figure(metric).histogram.count(); }

// ---- HTTP, by the table of definitions ------------------------------------------------------------------------------

TEST(Tally, CutsARequestOverANewConnectionIntoItsPhases) {
  RequestRecord r;
  r.scheduled_at = at_ms(0);
  r.started_at = at_ms(1);
  r.looked_up_at = at_ms(3);
  r.connected_at = at_ms(7);
  r.tls_at = at_ms(15);
  r.send_began_at = at_ms(15.5);
  r.sent_at = at_ms(16);
  r.first_byte_at = at_ms(48);
  r.ended_at = at_ms(112);
  r.status = 200;
  r.new_connection = true;
  r.bytes_sent = 300;
  r.bytes_received = 9000;
  const Tally tally = tally_of({{r, kLogin}});
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_looking_up), 2);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_connecting), 4);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_tls_handshaking), 8);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_blocked), 14.5);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_sending), 0.5);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_waiting), 32);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_receiving), 64);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_duration), 96.5);  // sending + waiting + receiving
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_duration_sched), 112);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::sched_lag), 1);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::send_lag), 16);
  // The harness's own part of it: 1 ms until the start, 0.5 ms of sending; connecting is the network's.
  EXPECT_EQ(tally.trust().own_send_lag.max(), 1'500'000u);
  EXPECT_EQ(tally.figure(Metric::data_sent).sum, 300u);
  EXPECT_EQ(tally.figure(Metric::data_received).sum, 9000u);
  EXPECT_EQ(samples(tally, Metric::ttft), 0u) << "a plain request has no streaming metrics";
  EXPECT_EQ(tally.aggregate(Metric::stream_failed, Aggregation::rate), std::nullopt);
}

TEST(Tally, AReusedConnectionConnectsInNoTime) {
  RequestRecord r = plain_record(0, 20);
  r.send_began_at = at_ms(0.25);
  r.sent_at = at_ms(0.5);
  const Tally tally = tally_of({{r, kLogin}});
  EXPECT_EQ(mean(tally, Metric::http_req_connecting), 0);
  EXPECT_EQ(mean(tally, Metric::http_req_tls_handshaking), 0);
  EXPECT_EQ(mean(tally, Metric::http_req_looking_up), 0);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_blocked), 0.25);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_duration), 19.75);
}

TEST(Tally, AScenariosOwnValuesSayWhatIsALargeChunkAndWhatIsInTime) {
  const RequestRecord r = stream_record(0, 50, {{50, 8}, {70, 12}, {130, 30}});  // a gap of 20 and one of 60 ms
  struct Case {
    std::optional<std::uint32_t> large_chunk_chars;
    std::optional<double> tpot_ms;
    double large, fluid_percent;
  };
  for (const Case& each : {Case{{}, {}, 1.0 / 3, 100}, Case{12, 40, 2.0 / 3, 100}, Case{31, 30, 0, 200.0 / 3}}) {
    Plan plan = small_plan();
    plan.scenarios[0].large_chunk_chars = each.large_chunk_chars;
    if (each.tpot_ms) plan.scenarios[0].objectives = {{Metric::tpot, *each.tpot_ms}};
    const Tally tally = tally_of({{r, kChat}}, plan);
    EXPECT_EQ(tally.aggregate(Metric::buffer_efficiency, Aggregation::rate), each.large);
    EXPECT_NEAR(mean(tally, Metric::fluidity), each.fluid_percent, 0.001);
  }
}

TEST(Tally, CountsEachOutcomeWhereItBelongs) {
  struct Case {
    Outcome outcome;
    unsigned status;
    std::optional<double> http_failed, connect_failed, timed_out, stream_failed, availability;
  };
  const std::optional<double> none;
  const Case cases[] = {
      {Outcome::ok, 200, 0, 0, 0, 0, 1},
      {Outcome::connect_failed, 0, 1, 1, 0, 1, 0},
      {Outcome::timed_out, 200, 1, 0, 1, 1, 0},
      {Outcome::reset, 200, 1, 0, 0, 1, 0},
      {Outcome::malformed, 0, 1, 0, 0, 1, 0},
      {Outcome::http_error, 503, 1, 0, 0, 1, 0},
      {Outcome::stream_invalid, 200, 0, 0, 0, 1, 0},  // the HTTP answer was whole
      {Outcome::interrupted, 200, none, none, none, none, none},
  };
  for (const Case& c : cases) {
    RequestRecord r = stream_record(0, 5, {{10}, {20}});
    r.outcome = c.outcome;
    r.status = c.status;
    const Tally tally = tally_of({{r, kChat}});
    const auto label = static_cast<int>(c.outcome);
    EXPECT_EQ(tally.aggregate(Metric::http_req_failed, Aggregation::rate), c.http_failed) << label;
    EXPECT_EQ(tally.aggregate(Metric::connect_failed, Aggregation::rate), c.connect_failed) << label;
    EXPECT_EQ(tally.aggregate(Metric::timed_out, Aggregation::rate), c.timed_out) << label;
    EXPECT_EQ(tally.aggregate(Metric::stream_failed, Aggregation::rate), c.stream_failed) << label;
    EXPECT_EQ(tally.aggregate(Metric::availability, Aggregation::value), c.availability) << label;
    EXPECT_EQ(tally.figure(Metric::http_reqs).sum, 1u) << label;
  }
}

TEST(Tally, ARequestThatTimedOutLastedUntilThen) {
  RequestRecord r = plain_record(0, 0);
  r.first_byte_at = r.first_body_at = kNever;
  r.ended_at = at_ms(2000);
  r.status = 0;
  r.outcome = Outcome::timed_out;
  const Tally tally = tally_of({{r, kLogin}});
  EXPECT_DOUBLE_EQ(mean(tally, Metric::http_req_duration), 2000);
  EXPECT_EQ(samples(tally, Metric::http_req_waiting), 0u);
}

TEST(Tally, WithoutAConnectionThereIsNoDuration) {
  RequestRecord r;
  r.scheduled_at = r.started_at = at_ms(0);
  r.ended_at = at_ms(30);
  r.outcome = Outcome::connect_failed;
  r.error = "connection refused";
  const Tally tally = tally_of({{r, kLogin}, {r, kLogin}});
  EXPECT_EQ(samples(tally, Metric::http_req_duration), 0u);
  EXPECT_EQ(samples(tally, Metric::http_req_blocked), 0u);
  EXPECT_EQ(tally.figure(Metric::http_reqs).sum, 2u);
  ASSERT_EQ(tally.errors().size(), 1u);
  EXPECT_EQ(tally.errors().begin()->second, 2u);
}

// ---- streams --------------------------------------------------------------------------------------------------------

TEST(Tally, MeasuresAStreamByTheDefinitions) {
  RequestRecord r = stream_record(100, 140, {{150, 3}, {170, 25}, {180, 20}, {210, 1}}, 9);
  r.scheduled_at = at_ms(90);
  r.first_body_at = at_ms(139);
  r.first_answer_at = at_ms(170);  // the first piece was reasoning
  r.done_at = at_ms(215);
  r.cached_tokens = 4;
  r.reads = 4;  // of 7 events
  const Tally tally = tally_of({{r, kChat}});
  EXPECT_DOUBLE_EQ(mean(tally, Metric::ttfb), 39);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::ttfe), 40) << "the role chunk";
  EXPECT_DOUBLE_EQ(mean(tally, Metric::ttft), 50) << "the role chunk does not count";
  EXPECT_DOUBLE_EQ(mean(tally, Metric::ttft_sched), 60);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::ttfa), 70);
  EXPECT_EQ(samples(tally, Metric::icl), 3u);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::icl), 20);  // 20, 10, 30
  EXPECT_DOUBLE_EQ(mean(tally, Metric::tpot), 60.0 / 8);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::e2e), 110);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::stream_duration), 110);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::e2e_sched), 120);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::e2e_done), 115);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::stream_chunks), 4);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::stream_events), 7);
  EXPECT_NEAR(mean(tally, Metric::chunks_per_second), 4 / 0.110, 0.001);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::chunk_size), (3 + 25 + 20 + 1) / 4.0);
  EXPECT_EQ(tally.aggregate(Metric::buffer_efficiency, Aggregation::rate), 0.5);  // 25 and 20 of at least 20
  EXPECT_DOUBLE_EQ(mean(tally, Metric::events_per_read), 1.75);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::tokens_per_chunk), 2.25);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::fluidity), 100);
  EXPECT_EQ(tally.aggregate(Metric::burst_gaps, Aggregation::rate), 0);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::client_lag), 0.02);
  EXPECT_EQ(tally.figure(Metric::output_tokens).sum, 9u);
  EXPECT_EQ(tally.figure(Metric::prompt_tokens).sum, 11u);
  EXPECT_EQ(tally.figure(Metric::cached_tokens).sum, 4u);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::output_tokens_per_request), 9);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::prompt_tokens_per_request), 11);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::cached_tokens_per_request), 4);
}

TEST(Tally, ItlIsAbsentWhereTokenDeltasAreUnknownAndNeverIcl) {
  const Tally unknown = tally_of({{stream_record(0, 5, {{10}, {20}, {30}}, 30), kChat}});
  EXPECT_EQ(samples(unknown, Metric::itl), 0u);
  EXPECT_EQ(samples(unknown, Metric::icl), 2u);
  const Tally half = tally_of({{stream_record(0, 5, {{10, 4, 1}, {20, 4, 0}, {30, 4, 2}}, 30), kChat}});
  EXPECT_EQ(samples(half, Metric::itl), 0u);
}

TEST(Tally, ItlWeighsEachGapByItsTokens) {
  const Tally tally = tally_of({{stream_record(0, 5, {{10, 4, 2}, {20, 4, 1}, {50, 4, 3}}, 6), kChat}});
  // 10 ms for one token, then 30 ms for three: 10 ms each.
  EXPECT_EQ(samples(tally, Metric::itl), 4u);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::itl), 10);
  EXPECT_EQ(samples(tally, Metric::icl), 2u);
  // tpot: the first event brought two tokens of the six.
  EXPECT_DOUBLE_EQ(mean(tally, Metric::tpot), 40.0 / 4);
}

TEST(Tally, TpotNeedsMoreThanTheFirstTokens) {
  EXPECT_EQ(samples(tally_of({{stream_record(0, 5, {{10}}, 1), kChat}}), Metric::tpot), 0u);
  EXPECT_EQ(samples(tally_of({{stream_record(0, 5, {{10}, {20}}, -1), kChat}}), Metric::tpot), 0u);
  EXPECT_EQ(samples(tally_of({{stream_record(0, 5, {{10, 9, 5}, {20, 9, 5}}, 5), kChat}}), Metric::tpot), 0u);
}

TEST(Tally, AStallIsLongAgainstItsOwnStreamAndOver100Ms) {
  struct Case {
    const char* name;
    std::vector<EventAt> events;
    std::uint64_t stalls;
  };
  const Case cases[] = {
      {"steady", {{10}, {20}, {30}, {40}}, 0},
      {"a long gap", {{10}, {20}, {30}, {40}, {190}}, 1},
      {"long against the median, but short", {{10}, {11}, {12}, {13}, {90}}, 0},
      {"over 100 ms, but so is the median", {{100}, {250}, {400}, {700}}, 0},
      {"exactly ten times is not over", {{10}, {30}, {50}, {70}, {270}}, 0},
      {"even number of gaps: the middle two are averaged",
       {{0.5}, {10.5}, {20.5}, {40.5}, {192.5}},
       1},  // 10 10 20 152
      {"one chunk", {{10}}, 0},
  };
  for (const Case& c : cases) {
    const Tally tally = tally_of({{stream_record(0, 0.25, c.events), kChat}});
    EXPECT_EQ(tally.figure(Metric::stalls).sum, c.stalls) << c.name;
    EXPECT_EQ(tally.aggregate(Metric::stalls, Aggregation::count), c.stalls) << c.name << ": none is a sample too";
  }
}

TEST(Tally, CountsBurstsAndCoalescedGaps) {
  const Tally tally =
      tally_of({{stream_record(0, 5, {{10}, {10.05}, {10.099, 4, 0, true}, {10.099}, {10.2}, {11}}), kChat}});
  // Gaps of 50, 49, 0, 101 and 800 us.
  EXPECT_EQ(tally.figure(Metric::burst_gaps).passes, 3u);
  EXPECT_EQ(tally.figure(Metric::burst_gaps).fails, 2u);
  EXPECT_EQ(tally.trust().gaps, 5u);
  EXPECT_EQ(tally.trust().gaps_coalesced, 2u) << "both gaps that end at the event of unknown time";
}

TEST(Tally, AnInterruptedStreamKeepsWhatItSawAndNothingOfTheWhole) {
  RequestRecord r = stream_record(0, 5, {{10}, {20}}, 7);
  r.outcome = Outcome::interrupted;
  r.output_tokens = -1;
  const Tally tally = tally_of({{r, kChat}});
  EXPECT_EQ(samples(tally, Metric::ttft), 1u);
  EXPECT_EQ(samples(tally, Metric::icl), 1u);
  for (const Metric metric : {Metric::http_req_duration, Metric::http_req_receiving, Metric::e2e, Metric::e2e_done,
                              Metric::stream_chunks, Metric::chunks_per_second, Metric::tpot})
    EXPECT_EQ(samples(tally, metric), 0u) << info(metric).name;
  EXPECT_TRUE(tally.errors().empty());
  EXPECT_EQ(tally.vllm().completed + tally.vllm().failed, 0u);
}

TEST(Tally, ABrokenStreamLeavesNoWholeStreamFigures) {
  RequestRecord r = stream_record(0, 5, {{10}, {20}}, 7);
  r.outcome = Outcome::stream_invalid;
  r.error = "no [DONE]";
  const Tally tally = tally_of({{r, kChat}});
  EXPECT_EQ(samples(tally, Metric::ttft), 1u);
  EXPECT_EQ(samples(tally, Metric::e2e), 0u);
  EXPECT_EQ(samples(tally, Metric::stream_chunks), 0u);
  EXPECT_EQ(samples(tally, Metric::output_tokens_per_request), 0u);
  EXPECT_EQ(tally.figure(Metric::output_tokens).sum, 7u) << "they were generated";
}

TEST(Tally, AnErrorBodyIsNoStream) {
  RequestRecord r = plain_record(0, 5, 503);
  const Tally tally = tally_of({{r, kChat}});
  EXPECT_EQ(samples(tally, Metric::ttfb), 0u);
  EXPECT_EQ(tally.aggregate(Metric::stream_failed, Aggregation::rate), 1);
}

TEST(Tally, CountsFindingsByRule) {
  Plan plan = small_plan();
  plan.thresholds = {
      threshold(Metric::stream_findings, {{"rule", "no-done"}}, Aggregation::count, 0, Comparison::less, 1),
      threshold(Metric::stream_findings, {{"rule", "role-twice"}}, Aggregation::count, 0, Comparison::less, 1),
      threshold(Metric::stream_findings, {{"rule", "no-such-rule"}}, Aggregation::count, 0, Comparison::less, 1)};
  RequestRecord r = stream_record(0, 5, {{10}});
  r.findings = {{.rule = StreamRule::no_done},
                {.rule = StreamRule::no_finish},
                {.rule = StreamRule::no_done},
                {.rule = StreamRule::role_twice, .noted = true}};
  const Tally tally = tally_of({{r, kChat}, {stream_record(20, 25, {{30}}), kChat}}, plan);
  EXPECT_EQ(tally.aggregate(Metric::stream_findings, Aggregation::count), 3);
  const auto count = [&](std::size_t i) {
    return tally.aggregate(tally.layout().figure_of_threshold(i), Aggregation::count);
  };
  EXPECT_EQ(count(0), 2);
  EXPECT_EQ(count(1), 0) << "looked at and found none: a sample of 0";
  EXPECT_EQ(count(2), 0);
  EXPECT_EQ(tally.findings(StreamRule::no_done).found, 2u);
  EXPECT_EQ(tally.findings(StreamRule::role_twice).noted, 1u) << "and in no metric";
}

// ---- objectives -----------------------------------------------------------------------------------------------------

TEST(Tally, GoodputIsTheShareThatMeetsEveryObjective) {
  Plan plan = small_plan();
  plan.scenarios[0].objectives = {{Metric::ttft, 20}, {Metric::tpot, 10}};
  RequestRecord failed = stream_record(0, 5, {{10}, {20}}, 3);
  failed.outcome = Outcome::reset;
  RequestRecord empty = stream_record(0, 5, {}, 0);
  RequestRecord cut = stream_record(0, 5, {{10}, {20}}, 3);
  cut.outcome = Outcome::interrupted;
  struct Case {
    const char* name;
    RequestRecord record;
    std::optional<double> good;
  };
  const Case cases[] = {
      {"both met", stream_record(0, 5, {{20}, {40}}, 3), 1},
      {"late first token", stream_record(0, 5, {{20.001}, {30}}, 3), 0},
      {"slow tokens", stream_record(0, 5, {{10}, {30.1}}, 3), 0},
      {"one token has no tpot to miss", stream_record(0, 5, {{10}}, 1), 1},
      {"failed", failed, 0},
      {"no content, so no ttft", empty, 0},
      {"interrupted is not counted", cut, std::nullopt},
  };
  for (const Case& c : cases) {
    const Tally tally = tally_of({{c.record, kChat}}, plan);
    EXPECT_EQ(tally.aggregate(Metric::goodput_rate, Aggregation::value), c.good) << c.name;
  }
  // Objectives of streams say nothing of a plain request of the same scenario.
  EXPECT_EQ(tally_of({{plain_record(0, 500), kLogin}}, plan).aggregate(Metric::goodput_rate, Aggregation::value),
            std::nullopt);
  // Per second of the window: two good ones in four seconds.
  Tally tally = tally_of({{cases[0].record, kChat}, {cases[0].record, kChat}, {failed, kChat}}, plan);
  tally.advance_to(at_ms(4000));
  EXPECT_EQ(tally.aggregate(Metric::goodput, Aggregation::value), 0.5);
}

// ---- the rest -------------------------------------------------------------------------------------------------------

TEST(Tally, CountsIterationsGroupsChecksAndVus) {
  Plan plan = small_plan();
  plan.thresholds = {
      threshold(Metric::checks, {{"check", "status == 200"}}, Aggregation::rate, 0, Comparison::greater, 0),
      threshold(Metric::iterations, {{"scenario", "chat"}}, Aggregation::count, 0, Comparison::greater, 0),
      threshold(Metric::vus_max, {{"scenario", "chat"}}, Aggregation::value, 0, Comparison::greater, 0),
      threshold(Metric::group_duration, {{"group", "::login"}}, Aggregation::avg, 0, Comparison::less, 1)};
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add_iteration(0, std::chrono::milliseconds(250), at_ms(300), false);
  tally.add_iteration(0, std::chrono::milliseconds(150), at_ms(500), false);
  tally.add_iteration(0, std::chrono::milliseconds(10), at_ms(510), true);
  tally.add_group(kGroup, std::chrono::milliseconds(40), at_ms(400));
  tally.add_check(0, true, at_ms(1), at_ms(2));
  tally.add_check(1, false, at_ms(1), at_ms(2));
  tally.add_check(2, false, at_ms(1), at_ms(2));
  tally.set_vus(0, 3, at_ms(0));
  tally.set_vus(0, 5, at_ms(100));
  tally.set_vus(0, 2, at_ms(2000));
  tally.add_loop_lag(std::chrono::microseconds(70), at_ms(1));
  const auto selected = [&](std::size_t i, Aggregation aggregation) {
    return tally.aggregate(tally.layout().figure_of_threshold(i), aggregation);
  };
  EXPECT_EQ(tally.figure(Metric::iterations).sum, 2u);
  EXPECT_EQ(tally.scenarios()[0].interrupted, 1u);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::iteration_duration), 200);
  EXPECT_EQ(tally.aggregate(Metric::dropped_iterations, Aggregation::count), 0);
  EXPECT_NEAR(*tally.aggregate(Metric::checks, Aggregation::rate), 1 / 3.0, 1e-12);
  EXPECT_EQ(selected(0, Aggregation::rate), 0.5) << "of the same name in two steps";
  EXPECT_EQ(selected(1, Aggregation::count), 2);
  EXPECT_EQ(tally.aggregate(Metric::vus, Aggregation::value), 2);
  EXPECT_EQ(tally.aggregate(Metric::vus_max, Aggregation::value), 5);
  EXPECT_EQ(selected(2, Aggregation::value), 5);
  EXPECT_EQ(selected(3, Aggregation::avg), 40);
  EXPECT_DOUBLE_EQ(mean(tally, Metric::loop_lag), 0.07);
  EXPECT_EQ(tally.window_s(), 2);
}

TEST(Tally, RatesOfCountersArePerSecondOfTheWindow) {
  Tally tally = tally_of({{stream_record(0, 5, {{10}, {20}}, 30), kChat}, {plain_record(0, 50), kLogin}});
  tally.advance_to(at_ms(4000));
  EXPECT_EQ(tally.aggregate(Metric::http_reqs, Aggregation::rate), 0.5);
  EXPECT_EQ(tally.aggregate(Metric::output_tokens_per_second, Aggregation::value), 7.5);
}

TEST(Tally, TheErrorsItKeepsAreBounded) {
  Tally tally(TallyLayout::from(small_plan()), kOrigin);
  RequestRecord r = plain_record(0, 10);
  r.outcome = Outcome::reset;
  for (int i = 0; i < 1000; ++i) {
    r.error = "error " + std::to_string(i) + std::string(1000, 'x');
    tally.add(r, kLogin);
  }
  EXPECT_LE(tally.errors().size(), Tally::kErrorsMax + 1);
  std::uint64_t total = 0;
  for (const auto& [key, count] : tally.errors()) {
    EXPECT_LE(key.second.size(), Tally::kExampleMax);
    total += count;
  }
  EXPECT_EQ(total, 1000u);
}

TEST(Tally, KeepsTheFirstExampleOfARule) {
  Tally early(TallyLayout::from(small_plan()), kOrigin), late(TallyLayout::from(small_plan()), kOrigin);
  const auto found = [](Tally& tally, double ended_ms, const char* bytes, bool noted) {
    RequestRecord r = stream_record(0, 5, {{ended_ms - 1}});
    r.findings = {{.rule = StreamRule::no_done, .noted = noted, .bytes = bytes}};
    tally.add(r, kChat);
  };
  found(late, 20, "late", false);
  found(early, 5, "noted", true);
  found(early, 10, "early", false);
  found(early, 15, "later", false);
  late.merge(early);
  EXPECT_EQ(late.findings(StreamRule::no_done).first->finding.bytes, "early");
}

TEST(Tally, SpreadsTokensAndGapsOverTheSecondsInWhichTheyCame) {
  const Tally tally = tally_of({{stream_record(900, 950, {{990}, {1010}, {1500}, {2100}}, 10), kChat}});
  const auto& intervals = tally.series().intervals();
  ASSERT_EQ(intervals.size(), 3u);
  EXPECT_EQ(intervals[0].output_tokens, 2u);  // floor(10 * 1/4)
  EXPECT_EQ(intervals[1].output_tokens, 5u);  // up to floor(10 * 3/4)
  EXPECT_EQ(intervals[2].output_tokens, 3u);
  EXPECT_EQ(intervals[0].ttft.count(), 1u);
  EXPECT_EQ(intervals[1].gap.count(), 2u);
  EXPECT_EQ(intervals[2].requests, 1u);
}

TEST(Tally, VllmFiguresFollowTheirDefinitions) {
  // Role event at 40, contents at 50 and 70, finish at 71: their first token is the role event, and the finish event
  // makes a gap.
  const Tally tally = tally_of({{stream_record(0, 40, {{50}, {70}}, 5), kChat}});
  EXPECT_EQ(tally.vllm().ttft.max(), 40'000'000u);
  EXPECT_EQ(tally.vllm().itl.count(), 3u);
  EXPECT_EQ(tally.vllm().itl.sum(), 31e6);
  EXPECT_EQ(tally.vllm().e2el.max(), 71'000'000u);
  EXPECT_EQ(tally.vllm().tpot.max(), 31'000'000u / 4);
}

// ---- properties -----------------------------------------------------------------------------------------------------

struct Event {
  RequestRecord record;
  StepId step = 0;
};

std::vector<Event> random_run(std::uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  const auto between = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  std::vector<Event> run;
  for (int i = 0; i < count; ++i) {
    const double start = between(0, 30'000);
    if (random() % 4 == 0) {
      run.push_back({plain_record(start, start + between(0.1, 900), random() % 5 == 0 ? 503 : 200), kLogin});
      continue;
    }
    std::vector<EventAt> events;
    double t = start + between(1, 400);
    const bool known = random() % 2 == 0;
    for (std::uint64_t k = random() % 40; k > 0; --k) {
      events.push_back({t, static_cast<std::uint32_t>(random() % 60),
                        known ? static_cast<std::uint32_t>(1 + random() % 3) : 0, random() % 9 == 0});
      t += random() % 20 == 0 ? between(100, 900) : between(0, 30);
    }
    RequestRecord r =
        stream_record(start, start + 1, events, random() % 3 == 0 ? -1 : static_cast<std::int64_t>(random() % 90));
    r.bytes_received = random() % 10'000;
    r.outcome = random() % 10 == 0 ? static_cast<Outcome>(1 + random() % 7) : Outcome::ok;
    if (r.outcome != Outcome::ok) r.error = "cause " + std::to_string(random() % 5);
    if (random() % 6 == 0)
      r.findings.push_back({.rule = static_cast<StreamRule>(random() % kStreamRuleCount),
                            .noted = random() % 3 == 0,
                            .offset = random() % 9});
    run.push_back({r, kChat});
  }
  return run;
}

TEST(Tally, GivesTheSameSummaryHoweverARunIsSplitAndMerged) {
  Plan plan = small_plan();
  plan.scenarios[0].objectives = {{Metric::ttft, 200}};
  plan.thresholds = {
      threshold(Metric::ttft, {{"status", "200"}}, Aggregation::percentile, 97, Comparison::less, 1),
      threshold(Metric::http_req_duration, {{"kind", "login"}}, Aggregation::avg, 0, Comparison::less, 1)};
  const auto layout = TallyLayout::from(plan);
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const auto run = random_run(seed, 400);
    Tally whole(layout, kOrigin);
    for (const Event& event : run) {
      whole.add(event.record, event.step);
      whole.add_check(0, event.record.status == 200, event.record.scheduled_at, event.record.ended_at);
      whole.add_iteration(0, std::chrono::milliseconds(event.record.bytes_received), event.record.ended_at, false);
    }
    const reports::Summary expected = summarize(plan, whole, {});
    ASSERT_GT(expected.metrics.size(), 40u);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 4; ++round) {
      std::vector<Tally> parts(2 + random() % 4, Tally(layout, kOrigin));
      auto shuffled = run;
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      for (const Event& event : shuffled) {
        Tally& part = parts[random() % parts.size()];
        part.add(event.record, event.step);
        part.add_check(0, event.record.status == 200, event.record.scheduled_at, event.record.ended_at);
        part.add_iteration(0, std::chrono::milliseconds(event.record.bytes_received), event.record.ended_at, false);
      }
      std::shuffle(parts.begin(), parts.end(), random);
      Tally merged(layout, kOrigin);
      for (const Tally& part : parts) merged.merge(part);
      EXPECT_EQ(summarize(plan, merged, {}), expected) << "seed " << seed << " round " << round;
    }
  }
}

TEST(Tally, APublishedCopyJudgesLikeTheOriginal) {
  const auto layout = TallyLayout::from(small_plan());
  Tally original(layout, kOrigin), copy(layout, kOrigin);
  for (const Event& event : random_run(9, 100)) copy.add(event.record, event.step);  // what was there is forgotten
  for (const Event& event : random_run(4, 200)) original.add(event.record, event.step);
  copy.copy_figures(original);
  for (const MetricInfo& metric : metric_catalog())
    for (const Aggregation aggregation : {Aggregation::avg, Aggregation::max, Aggregation::count, Aggregation::rate,
                                          Aggregation::value, Aggregation::med})
      EXPECT_EQ(copy.aggregate(metric.id, aggregation), original.aggregate(metric.id, aggregation)) << metric.name;
  EXPECT_EQ(copy.errors(), original.errors());
  EXPECT_EQ(copy.window_s(), original.window_s());
}

}  // namespace
}  // namespace sluice
