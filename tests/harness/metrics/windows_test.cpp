// Windows, warm-up and stages: which part of a run a sample counts in.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "harness/base/limits.h"
#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

using std::chrono::seconds;

constexpr StepId kChat = 0, kGroup = 1, kLogin = 2;

Threshold windowed(Metric metric, Aggregation aggregation, Nanoseconds over, double percentile = 0) {
  Threshold result = threshold(metric, {}, aggregation, percentile, Comparison::less, 1);
  result.over = over;
  return result;
}

/// One value a whole window; -1 where there is none.
std::vector<double> windows_of(const Tally& tally, const Plan& plan, std::size_t threshold = 0) {
  const std::uint32_t number = tally.layout().windows_of_threshold(threshold);
  std::vector<double> values;
  for (std::size_t i = 0; i < tally.whole_windows(number); ++i)
    values.push_back(
        tally.aggregate_window(number, i, plan.thresholds[threshold].aggregation, plan.thresholds[threshold].percentile)
            .value_or(-1));
  return values;
}

using Values = std::vector<double>;

TEST(Windows, ASampleCountsWhereItsRequestEnded) {
  Plan plan = small_plan();
  plan.thresholds = {windowed(Metric::http_req_duration, Aggregation::max, seconds(1))};
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(plain_record(900, 999), kLogin);   // the first window
  tally.add(plain_record(900, 1000), kLogin);  // the second begins with its first instant
  tally.add(plain_record(500, 3500), kLogin);  // the fourth, though sent in the first
  tally.advance_to(at_ms(3999));               // the fourth is not whole yet
  EXPECT_EQ(windows_of(tally, plan), (Values{99, 100, -1}));
  tally.advance_to(at_ms(4000));
  EXPECT_EQ(windows_of(tally, plan), (Values{99, 100, -1, 3000}));
}

TEST(Windows, ACounterThatStoodStillIsZeroThere) {
  Plan plan = small_plan();
  plan.thresholds = {windowed(Metric::http_reqs, Aggregation::rate, seconds(2)),
                     windowed(Metric::output_tokens_per_second, Aggregation::value, seconds(1)),
                     windowed(Metric::http_req_failed, Aggregation::rate, seconds(1)),
                     windowed(Metric::stalls, Aggregation::count, seconds(1))};
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (int i = 0; i < 4; ++i) tally.add(plain_record(0, 100), kLogin);
  RequestRecord late = plain_record(4000, 4500, 503);
  late.output_tokens = 30;
  tally.add(late, kLogin);
  tally.advance_to(at_ms(6000));
  EXPECT_EQ(windows_of(tally, plan, 0), (Values{2, 0, 0.5}));
  EXPECT_EQ(windows_of(tally, plan, 1), (Values{0, 0, 0, 0, 30, 0}));
  EXPECT_EQ(windows_of(tally, plan, 2), (Values{0, -1, -1, -1, 1, -1})) << "a share of nothing is no value";
  EXPECT_EQ(windows_of(tally, plan, 3), (Values{-1, -1, -1, -1, -1, -1})) << "no sample in the whole run";
  tally.set_load_end(at_ms(4500));
  EXPECT_EQ(windows_of(tally, plan, 0), (Values{2, 0, -1})) << "nothing is begun later: the rate can but fall";
  EXPECT_EQ(windows_of(tally, plan, 2), (Values{0, -1, -1, -1, 1, -1}));
}

TEST(Windows, AreKeptUnderSelectorsAndForChecksGroupsAndIterations) {
  Plan plan = small_plan();
  plan.thresholds = {windowed(Metric::http_reqs, Aggregation::count, seconds(1)),
                     windowed(Metric::checks, Aggregation::rate, seconds(1)),
                     windowed(Metric::group_duration, Aggregation::max, seconds(1)),
                     windowed(Metric::iterations, Aggregation::count, seconds(1))};
  plan.thresholds[0].selector = {{"status", "503"}};
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(plain_record(0, 100, 200), kLogin);
  tally.add(plain_record(1000, 1100, 503), kLogin);
  tally.add_check(2, true, at_ms(0), at_ms(100));
  tally.add_check(2, false, at_ms(1000), at_ms(1100));
  tally.add_group(kGroup, std::chrono::milliseconds(30), at_ms(1200));
  tally.add_iteration(0, std::chrono::milliseconds(1300), at_ms(1300), false);
  tally.advance_to(at_ms(2000));
  EXPECT_EQ(windows_of(tally, plan, 0), (Values{0, 1}));
  EXPECT_EQ(windows_of(tally, plan, 1), (Values{1, 0}));
  EXPECT_EQ(windows_of(tally, plan, 2), (Values{-1, 30}));
  EXPECT_EQ(windows_of(tally, plan, 3), (Values{0, 1}));
}

TEST(Windows, BeyondTheMostThatAreKeptNothingIsCounted) {
  Plan plan = small_plan();
  plan.thresholds = {windowed(Metric::http_reqs, Aggregation::count, std::chrono::milliseconds(1))};
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(plain_record(0, 1e6), kLogin);
  tally.add(plain_record(0, limits::windows_max - 1), kLogin);
  EXPECT_EQ(tally.whole_windows(0), limits::windows_max);
  EXPECT_EQ(tally.windows(0).size(), limits::windows_max);
  EXPECT_EQ(tally.aggregate_window(0, limits::windows_max - 1, Aggregation::count), 1);
}

TEST(Windows, OfTheSameFigureAndLengthAreKeptOnce) {
  Plan plan = small_plan();
  plan.thresholds = {windowed(Metric::ttft, Aggregation::percentile, seconds(1), 95),
                     windowed(Metric::ttft, Aggregation::max, seconds(1)),
                     windowed(Metric::ttft, Aggregation::max, seconds(2)),
                     threshold(Metric::ttft, {}, Aggregation::max, 0, Comparison::less, 1)};
  const auto layout = TallyLayout::from(plan);
  EXPECT_EQ(layout->windows().size(), 2u);
  EXPECT_EQ(layout->windows_of_threshold(0), layout->windows_of_threshold(1));
  EXPECT_NE(layout->windows_of_threshold(0), layout->windows_of_threshold(2));
  EXPECT_EQ(layout->windows_of_threshold(3), TallyLayout::kNoWindows);
}

// ---- properties -----------------------------------------------------------------------------------------------------

struct Sample {
  double start_ms = 0, length_ms = 0;
  unsigned status = 200;
  std::int64_t tokens = -1;
};

std::vector<Sample> random_samples(std::uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> length(3, 2);
  std::uniform_real_distribution<double> start(0, 20'000);
  std::vector<Sample> samples;
  for (int i = 0; i < count; ++i)
    samples.push_back({start(random), std::min(length(random), 9'000.0), random() % 7 == 0 ? 503u : 200u,
                       random() % 3 == 0 ? -1 : static_cast<std::int64_t>(random() % 50)});
  return samples;
}

void add(Tally& tally, const Sample& sample) {
  RequestRecord record = plain_record(sample.start_ms, sample.start_ms + sample.length_ms, sample.status);
  record.output_tokens = sample.tokens;
  tally.add(record, kLogin);
  tally.add_check(2, sample.status == 200, record.scheduled_at, record.ended_at);
  tally.add_iteration(0, Nanoseconds(record.ended_at - record.started_at), record.ended_at, sample.tokens == 7);
}

/// Two scenarios, the first in three stages; thresholds by windows of several lengths, kinds and selectors.
Plan plan_in_parts() {
  Plan plan = small_plan();
  plan.scenarios[0].shape = RampingVus{
      .start_vus = 0, .stages = {{seconds(4), 3}, {seconds(8), 3}, {seconds(8), 0}}, .graceful_ramp_down = seconds(1)};
  plan.scenarios.push_back(plan.scenarios[0]);
  plan.scenarios[1].name = "second";
  plan.scenarios[1].shape = ConstantVus{.vus = 1, .duration = seconds(20)};
  plan.thresholds = {windowed(Metric::http_req_duration, Aggregation::percentile, seconds(3), 95),
                     windowed(Metric::http_req_duration, Aggregation::avg, std::chrono::milliseconds(700)),
                     windowed(Metric::http_req_failed, Aggregation::rate, seconds(2)),
                     windowed(Metric::http_reqs, Aggregation::rate, seconds(2)),
                     windowed(Metric::output_tokens_per_second, Aggregation::value, seconds(5)),
                     windowed(Metric::checks, Aggregation::rate, seconds(2)),
                     windowed(Metric::iterations, Aggregation::count, seconds(1))};
  plan.thresholds[1].selector = {{"stage", "1"}};
  plan.thresholds[2].selector = {{"scenario", "chat"}};
  return plan;
}

TEST(Windows, NeitherMergeOrderNorTheNumberOfThreadsChangesAnyFigure) {
  Plan plan = plan_in_parts();
  plan.warmup = seconds(2);
  const auto layout = TallyLayout::from(plan);
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const auto run = random_samples(seed, 3000);
    Tally whole(layout, kOrigin);
    for (const Sample& sample : run) add(whole, sample);
    const reports::Summary expected = summarize(plan, whole, {});
    std::mt19937_64 random(seed);
    for (const std::size_t threads : {2u, 3u, 7u}) {
      std::vector<Tally> parts(threads, Tally(layout, kOrigin));
      auto shuffled = run;
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      for (const Sample& sample : shuffled) add(parts[random() % threads], sample);
      std::shuffle(parts.begin(), parts.end(), random);
      Tally merged(layout, kOrigin);
      for (const Tally& part : parts) merged.merge(part);
      for (std::size_t i = 0; i < plan.thresholds.size(); ++i) {
        const auto values = windows_of(whole, plan, i);
        ASSERT_GT(values.size(), 3u);
        EXPECT_EQ(windows_of(merged, plan, i), values) << "threshold " << i << ", " << threads << " threads";
      }
      EXPECT_EQ(summarize(plan, merged, {}), expected) << threads << " threads";
    }
  }
}

TEST(Windows, TogetherHoldWhatTheWholeRunHolds) {
  Plan plan = small_plan();
  plan.thresholds = {windowed(Metric::http_req_duration, Aggregation::percentile, std::chrono::milliseconds(333), 95)};
  Tally tally(TallyLayout::from(plan), kOrigin);
  Histogram together;
  for (const Sample& sample : random_samples(5, 2000)) add(tally, sample);
  std::uint64_t count = 0;
  double sum = 0;
  for (std::size_t i = 0; i < tally.windows(0).size(); ++i) {
    count += tally.windows(0)[i].histogram.count();
    sum += tally.windows(0)[i].histogram.sum();
  }
  EXPECT_EQ(count, tally.figure(Metric::http_req_duration).histogram.count());
  EXPECT_EQ(sum, tally.figure(Metric::http_req_duration).histogram.sum());
}

TEST(Windows, OneThatSpansTheRunSaysWhatTheRunSays) {
  Plan plan = small_plan();
  for (const double percentile : {50.0, 90.0, 95.0, 99.0})
    plan.thresholds.push_back(windowed(Metric::http_req_duration, Aggregation::percentile, seconds(30), percentile));
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (const Sample& sample : random_samples(6, 2000)) add(tally, sample);
  tally.advance_to(at_ms(30'000));
  for (std::size_t i = 0; i < plan.thresholds.size(); ++i)
    EXPECT_EQ(windows_of(tally, plan, i), Values{*tally.aggregate(Metric::http_req_duration, Aggregation::percentile,
                                                                  plan.thresholds[i].percentile)});
}

TEST(Windows, APublishedCopyIsExactHoweverOftenItIsRenewed) {
  const Plan plan = plan_in_parts();
  const auto layout = TallyLayout::from(plan);
  Tally original(layout, kOrigin), copy(layout, kOrigin), other(layout, kOrigin);
  for (const Sample& sample : random_samples(8, 300)) add(copy, sample);  // is forgotten
  for (const Sample& sample : random_samples(9, 300)) add(other, sample);
  const auto same = [&](const Tally& source) {
    for (std::size_t i = 0; i < plan.thresholds.size(); ++i)
      EXPECT_EQ(windows_of(copy, plan, i), windows_of(source, plan, i));
  };
  int number = 0;
  for (const Sample& sample : random_samples(7, 300)) {
    add(original, sample);
    if (++number % 40 != 0) continue;
    copy.copy_figures(original);
    same(original);
    if (number % 80 != 0) continue;
    copy.copy_figures(other);
    same(other);
    add(copy, sample);
  }
}

// ---- warm-up --------------------------------------------------------------------------------------------------------

TEST(WarmUp, CountsInNoMetricButTheNumberOfItsRequests) {
  Plan plan = small_plan();
  plan.warmup = seconds(5);  // of the run: kOrigin lies 5 s after its start
  const auto layout = TallyLayout::from(plan);
  EXPECT_EQ(layout->measured_from(), seconds(5));
  Tally tally(layout, kOrigin), nothing(layout, kOrigin);
  EXPECT_FALSE(tally.add(plain_record(-3000, -2000), kLogin));
  EXPECT_FALSE(tally.add(plain_record(-1, 4000, 503), kLogin)) << "what counts is when it was scheduled";
  tally.add_check(2, false, at_ms(-1), at_ms(4000));
  tally.add_group(kGroup, std::chrono::milliseconds(5000), at_ms(4000));
  tally.add_iteration(0, std::chrono::milliseconds(5000), at_ms(4000), false);
  tally.add_loop_lag(std::chrono::milliseconds(1), at_ms(-10));
  EXPECT_EQ(tally.scenarios()[0].warmup_requests, 2u);
  reports::Summary summary = summarize(plan, tally, {});
  EXPECT_EQ(summary.warmup_requests, 2u);
  EXPECT_EQ(summary.scenarios[0].warmup_requests, 2u);
  summary.warmup_requests = summary.scenarios[0].warmup_requests = 0;
  EXPECT_EQ(summary, summarize(plan, nothing, {}));
  EXPECT_TRUE(tally.add(plain_record(0, 1000), kLogin));
  EXPECT_EQ(tally.aggregate(Metric::http_reqs, Aggregation::rate), 1) << "the window begins at the warm-up's end";
}

TEST(WarmUp, AScenariosOwnCountsFromItsStart) {
  Plan plan = small_plan();
  plan.scenarios.push_back(plan.scenarios[0]);
  plan.scenarios[1].name = "second";
  plan.scenarios[1].start_time = seconds(4);
  plan.scenarios[1].warmup = seconds(3);
  const auto layout = TallyLayout::from(plan);
  EXPECT_EQ(layout->measured_from(), Nanoseconds{}) << "the first scenario counts from its start";
  Tally tally(layout, kOrigin);
  const StepId second = layout->first_step(1) + kLogin;
  EXPECT_TRUE(tally.add(plain_record(10, 20), kLogin));
  EXPECT_FALSE(tally.add(plain_record(6999, 7100), second));
  EXPECT_TRUE(tally.add(plain_record(7000, 7100), second));
  plan.warmup = seconds(6);
  EXPECT_EQ(TallyLayout::from(plan)->measured_from(), seconds(6));
  EXPECT_EQ(TallyLayout::from(plan)->counts_from(1), seconds(1)) << "the later of the two";
}

TEST(WarmUp, ThePeakOfUsersIsThatOfTheMeasuredWindow) {
  Plan plan = small_plan();
  plan.warmup = seconds(5);
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.set_vus(0, 9, at_ms(-4000));
  tally.set_vus(0, 3, at_ms(-1000));
  EXPECT_EQ(tally.vus().peak, 3u) << "as many are there when it begins";
  tally.set_vus(0, 4, at_ms(1500));
  tally.set_vus(0, 0, at_ms(2500));
  EXPECT_EQ(tally.vus().peak, 4u);
  EXPECT_EQ(tally.scenarios()[0].vus.peak, 4u);
  const reports::Summary summary = summarize(plan, tally, {});
  ASSERT_EQ(summary.series.size(), 3u);
  EXPECT_EQ(summary.series[0].vus, 3);
  EXPECT_EQ(summary.series[1].vus, 4);
}

// ---- stages ---------------------------------------------------------------------------------------------------------

TEST(Stages, ARequestBelongsToThatInWhichItWasScheduled) {
  struct Case {
    double start_ms;
    const char* stage;
  };
  for (const Case& c : {Case{-1, "0"}, Case{0, "0"}, Case{3999, "0"}, Case{4000, "1"}, Case{11'999, "1"},
                        Case{12'000, "2"}, Case{25'000, "2"}}) {
    Plan plan = plan_in_parts();
    plan.thresholds = {threshold(Metric::http_reqs, {{"scenario", "chat"}, {"stage", c.stage}}, Aggregation::count, 0,
                                 Comparison::less, 1),
                       threshold(Metric::iterations, {{"scenario", "chat"}, {"stage", c.stage}}, Aggregation::count, 0,
                                 Comparison::less, 1),
                       threshold(Metric::checks, {{"scenario", "chat"}, {"stage", c.stage}}, Aggregation::rate, 0,
                                 Comparison::less, 1)};
    Tally tally(TallyLayout::from(plan), kOrigin);
    add(tally, {c.start_ms, 5000, 200, -1});
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_EQ(tally.aggregate(tally.layout().figure_of_threshold(i), plan.thresholds[i].aggregation), 1)
          << c.start_ms << " " << i;
  }
}

TEST(Stages, AndScenariosHaveResultsOfTheirOwn) {
  Plan plan = plan_in_parts();
  Tally tally(TallyLayout::from(plan), kOrigin);
  const StepId second = tally.layout().first_step(1) + kLogin;
  for (int i = 0; i < 4; ++i) tally.add(plain_record(1000, 1100), kLogin);
  tally.add(plain_record(5000, 5200, 503), kLogin);
  tally.add(stream_record(5000, 5010, {{5050}, {5060}}), kChat);
  for (int i = 0; i < 10; ++i) tally.add(plain_record(2000, 20'000), second);
  tally.advance_to(at_ms(20'000));
  const auto scenarios = summarize(plan, tally, {}).scenarios;
  ASSERT_EQ(scenarios.size(), 2u);
  ASSERT_EQ(scenarios[0].stages.size(), 3u);
  EXPECT_EQ(scenarios[0].load.requests, 6u);
  EXPECT_EQ(scenarios[0].load.failures, 1u);
  const auto& stages = scenarios[0].stages;
  EXPECT_EQ(stages[0].from_s, 0);
  EXPECT_EQ(stages[0].to_s, 4);
  EXPECT_EQ(stages[0].load.requests, 4u);
  EXPECT_EQ(stages[0].load.requests_per_s, 1);
  EXPECT_NEAR(*stages[0].load.duration_p50_ms, 100, 0.1);
  EXPECT_EQ(stages[0].load.ttft_p50_ms, std::nullopt);
  EXPECT_EQ(stages[1].load.requests, 2u);
  EXPECT_EQ(stages[1].load.failures, 1u);
  EXPECT_NEAR(*stages[1].load.ttft_p95_ms, 50, 0.1);
  EXPECT_EQ(stages[2].load.requests, 0u);
  EXPECT_EQ(stages[2].load.requests_per_s, 0);
  EXPECT_TRUE(scenarios[1].stages.empty());
  EXPECT_EQ(scenarios[1].load.requests, 10u);
  EXPECT_EQ(scenarios[1].load.requests_per_s, 0.5);
  EXPECT_NEAR(*scenarios[1].load.duration_p99_ms, 18'000, 9);
}

TEST(Stages, AreCutByTheWarmUpAndByTheRunsEnd) {
  Plan plan = plan_in_parts();
  plan.scenarios.pop_back();
  plan.warmup = seconds(6);  // the first stage, and two seconds of the second's eight
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (int i = 0; i < 12; ++i) tally.add(plain_record(100 * i, 100 * i + 10), kLogin);
  tally.add(plain_record(7000, 8000), kLogin);
  tally.advance_to(at_ms(8000));  // two seconds into the third
  const auto stages = summarize(plan, tally, {}).scenarios[0].stages;
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[0].load.requests_per_s, std::nullopt) << "nothing of it was measured";
  EXPECT_EQ(stages[1].load.requests_per_s, 2);
  EXPECT_EQ(stages[2].load.requests_per_s, 0.5);
}

TEST(Stages, TooManyOfThemHaveNoResultsButSelectorsStillFindThem) {
  Plan plan = small_plan();
  RampingVus shape;
  for (std::size_t i = 0; i <= limits::stage_results_max; ++i) shape.stages.push_back({seconds(1), 1});
  plan.scenarios[0].shape = shape;
  plan.thresholds = {threshold(Metric::http_reqs, {{"stage", "7"}}, Aggregation::count, 0, Comparison::less, 1)};
  Tally tally(TallyLayout::from(plan), kOrigin);
  EXPECT_EQ(tally.stages().size(), 1u);
  tally.add(plain_record(7500, 7600), kLogin);
  EXPECT_EQ(tally.aggregate(tally.layout().figure_of_threshold(0), Aggregation::count), 1);
  const auto scenario = summarize(plan, tally, {}).scenarios[0];
  EXPECT_TRUE(scenario.stages.empty());
  EXPECT_EQ(scenario.load.requests, 1u);
}

}  // namespace
}  // namespace sluice
