#include "harness/verdict/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

using enum Aggregation;
using enum Comparison;

constexpr StepId kChat = 0, kLogin = 2;

/// Logins of 10, 20 ... 100 ms, one of ten failed, and one stream with two chunks, in a window of two seconds.
Tally ten_logins(const Plan& plan) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (int i = 1; i <= 10; ++i) tally.add(plain_record(0, 10 * i, i == 10 ? 503 : 200), kLogin);
  tally.add_check(0, true, at_ms(1), at_ms(2));
  tally.add_check(0, false, at_ms(1), at_ms(2));
  tally.set_vus(0, 4, at_ms(0));
  tally.advance_to(at_ms(2000));
  return tally;
}

TEST(Judge, ComparesEachAggregationOfEachKind) {
  struct Case {
    Metric metric;
    Aggregation aggregation;
    double percentile;
    Comparison comparison;
    double limit;
    const char* verdict;
    double actual;
    const char* unit;
  };
  const Case cases[] = {
      {Metric::http_req_duration, avg, 0, less, 55.1, "pass", 55, "ms"},
      {Metric::http_req_duration, avg, 0, less, 55, "fail", 55, "ms"},
      {Metric::http_req_duration, avg, 0, less_equal, 55, "pass", 55, "ms"},
      {Metric::http_req_duration, min, 0, greater_equal, 10, "pass", 10, "ms"},
      {Metric::http_req_duration, min, 0, greater, 10, "fail", 10, "ms"},
      {Metric::http_req_duration, max, 0, less_equal, 100, "pass", 100, "ms"},
      {Metric::http_req_duration, count, 0, equal, 10, "pass", 10, ""},
      {Metric::http_req_duration, count, 0, not_equal, 10, "fail", 10, ""},
      {Metric::http_reqs, count, 0, equal, 10, "pass", 10, ""},
      {Metric::http_reqs, rate, 0, equal, 5, "pass", 5, "1/s"},
      {Metric::http_req_failed, rate, 0, less, 0.1, "fail", 0.1, "share"},
      {Metric::http_req_failed, rate, 0, less_equal, 0.1, "pass", 0.1, "share"},
      {Metric::checks, rate, 0, greater, 0.99, "fail", 0.5, "share"},
      {Metric::availability, value, 0, greater, 0.8, "pass", 0.9, "share"},
      {Metric::vus, value, 0, equal, 4, "pass", 4, ""},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    plan.thresholds = {threshold(c.metric, {}, c.aggregation, c.percentile, c.comparison, c.limit)};
    const auto results = judge(plan, ten_logins(plan), Judging::by_value);
    ASSERT_EQ(results.size(), 1u);
    const std::string name = std::string(info(c.metric).name) + " " + std::to_string(static_cast<int>(c.aggregation));
    EXPECT_EQ(results[0].verdict, c.verdict) << name;
    EXPECT_DOUBLE_EQ(results[0].actual.value_or(-1), c.actual) << name;
    EXPECT_EQ(results[0].unit, c.unit) << name;
    EXPECT_EQ(results[0].limit, c.limit) << name;
    EXPECT_EQ(results[0].reason.empty(), results[0].verdict == "pass") << name;
  }
}

TEST(Judge, ReadsPercentilesAndTheMedian) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::http_req_duration, {}, percentile, 90, less, 91),
                     threshold(Metric::http_req_duration, {}, percentile, 91, less, 91),
                     threshold(Metric::http_req_duration, {}, med, 0, less, 51)};
  const auto results = judge(plan, ten_logins(plan), Judging::by_value);
  EXPECT_EQ(results[0].verdict, "pass");
  EXPECT_NEAR(*results[0].actual, 90, 0.1);
  EXPECT_EQ(results[1].verdict, "fail");
  EXPECT_EQ(results[1].reason, "p(91) 100 ms is not below 91 ms");
  EXPECT_EQ(results[2].verdict, "pass");
  EXPECT_NEAR(*results[2].actual, 50, 0.1);
}

TEST(Judge, WithoutSamplesAThresholdFails) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::ttft, {}, percentile, 95, less, 1e9),
                     threshold(Metric::stream_failed, {}, rate, 0, less, 2),
                     threshold(Metric::stalls, {}, count, 0, equal, 0),
                     threshold(Metric::http_req_duration, {{"kind", "nowhere"}}, avg, 0, less, 1e9)};
  for (const auto& result : judge(plan, ten_logins(plan), Judging::by_value)) {
    EXPECT_EQ(result.verdict, "fail") << result.metric;
    EXPECT_EQ(result.reason, "no samples") << result.metric;
    EXPECT_EQ(result.actual, std::nullopt) << result.metric;
  }
}

TEST(Judge, ACountOfNothingAmongWhatWasLookedAtIsASample) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::stalls, {}, count, 0, equal, 0),
                     threshold(Metric::stream_findings, {}, count, 0, equal, 0),
                     threshold(Metric::http_reqs, {{"status", "429"}}, count, 0, equal, 0),
                     threshold(Metric::http_req_failed, {{"status", "429"}}, rate, 0, less, 0.1)};
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(stream_record(0, 5, {{10}, {20}}), kChat);
  const auto results = judge(plan, tally, Judging::by_value);
  EXPECT_EQ(results[0].verdict, "pass");
  EXPECT_EQ(results[1].verdict, "pass");
  EXPECT_EQ(results[2].verdict, "pass");
  EXPECT_EQ(results[3].verdict, "fail") << "a share of no requests is not a number";
}

TEST(Judge, NamesTheSelectionItRead) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::http_req_duration, {{"kind", "login"}, {"method", "POST"}}, max, 0, less, 1)};
  EXPECT_EQ(judge(plan, ten_logins(plan), Judging::by_value)[0].metric, "http_req_duration{kind:login,method:POST}");
}

TEST(Judge, TheReasonShowsTheDifferenceHoweverSmall) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::http_req_duration, {}, max, 0, less, 99.9999999)};
  EXPECT_EQ(judge(plan, ten_logins(plan), Judging::by_value)[0].reason, "max 100 is not below 99.9999999");
}

TEST(AbortingThreshold, WaitsForItsDelayAndForSamples) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::ttft, {}, avg, 0, less, 1),
                     threshold(Metric::http_req_duration, {}, avg, 0, less, 1),
                     threshold(Metric::http_req_duration, {}, max, 0, less, 50)};
  const Tally tally = ten_logins(plan);
  EXPECT_EQ(aborting_threshold(plan, tally), std::nullopt) << "none asks to abort";
  plan.thresholds[0].abort_on_fail = true;
  EXPECT_EQ(aborting_threshold(plan, tally), std::nullopt) << "no samples yet";
  plan.thresholds[2].abort_on_fail = true;
  plan.thresholds[2].delay_abort_eval = std::chrono::milliseconds(2001);
  EXPECT_EQ(aborting_threshold(plan, tally), std::nullopt) << "too early by a millisecond";
  plan.thresholds[2].delay_abort_eval = std::chrono::seconds(2);
  EXPECT_EQ(aborting_threshold(plan, tally), 2u);
  plan.thresholds[1].abort_on_fail = true;
  EXPECT_EQ(aborting_threshold(plan, tally), 1u) << "the first in the file";
}

/// Logins: `slow` of 100 ms (and failed), the others of 10 ms, spread over `seconds`.
Tally logins(const Plan& plan, int count, int slow, double seconds = 20) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (int i = 0; i < count; ++i) {
    const bool is_slow = i * slow / count != (i + 1) * slow / count;
    const double start = i * seconds * 1000 / count;
    tally.add(plain_record(start, start + (is_slow ? 100 : 10), is_slow ? 503 : 200), kLogin);
  }
  tally.advance_to(at_ms(seconds * 1000));
  return tally;
}

TEST(JudgeByBounds, PassesOrFailsOnlyWhatTheSamplesProve) {
  struct Case {
    const char* name;
    Metric metric;
    Aggregation aggregation;
    double percentile;
    Comparison comparison;
    double limit;
    int count, slow;
    const char* verdict;
    const char* reason;
  };
  const Case cases[] = {
      {"no failure in many", Metric::http_req_failed, rate, 0, less, 0.01, 600, 0, "pass", ""},
      {"no failure in few", Metric::http_req_failed, rate, 0, less, 0.01, 500, 0, "inconclusive",
       "too few samples to be sure: 500 of at least 528, if it goes on like this"},
      {"a few failures", Metric::http_req_failed, rate, 0, less, 0.01, 600, 9, "inconclusive",
       "the 99 % bounds 0.5242 % to 3.303 % straddle the limit"},
      {"many failures", Metric::http_req_failed, rate, 0, less, 0.01, 600, 30, "fail", "rate 5 % is not below 1 %"},
      {"of few all failed", Metric::http_req_failed, rate, 0, less, 0.01, 3, 3, "fail", "rate 100 % is not below 1 %"},
      {"availability, from below", Metric::availability, value, 0, greater, 0.99, 600, 0, "pass", ""},
      {"a quantile far off", Metric::http_req_duration, percentile, 95, less, 50, 200, 2, "pass", ""},
      {"a quantile at the edge", Metric::http_req_duration, percentile, 95, less, 50, 200, 9, "inconclusive",
       "the 99 % bounds 10 ms to 99.9752 ms straddle the limit"},
      {"a quantile beyond", Metric::http_req_duration, percentile, 95, less, 50, 200, 30, "fail",
       "p(95) 99.9752 ms is not below 50 ms"},
      {"few forbid only passing", Metric::http_req_duration, percentile, 95, less, 50, 129, 0, "inconclusive",
       "too few samples to be sure: 129 of at least 130"},
      {"of few all slow", Metric::http_req_duration, percentile, 95, less, 50, 5, 5, "fail",
       "p(95) 100 ms is not below 50 ms"},
      {"one says nothing", Metric::http_req_duration, percentile, 95, less, 50, 1, 1, "inconclusive",
       "too few samples to be sure: 1 of at least 130"},
      {"the median", Metric::http_req_duration, med, 0, greater_equal, 10, 20, 0, "pass", ""},
      {"what no number of samples proves is by value", Metric::http_req_failed, rate, 0, less_equal, 0, 5, 0, "pass",
       ""},
      {"an equality is by value", Metric::http_req_failed, rate, 0, equal, 0, 5, 0, "pass", ""},
      {"an average too", Metric::http_req_duration, avg, 0, less, 11, 1, 0, "pass", ""},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    plan.thresholds = {threshold(c.metric, {}, c.aggregation, c.percentile, c.comparison, c.limit)};
    const auto result = judge(plan, logins(plan, c.count, c.slow))[0];
    EXPECT_EQ(result.verdict, c.verdict) << c.name << ": " << result.reason;
    EXPECT_EQ(result.reason, c.reason) << c.name;
    plan.thresholds[0].abort_on_fail = true;
    EXPECT_EQ(aborting_threshold(plan, logins(plan, c.count, c.slow)).has_value(), result.verdict == "fail") << c.name;
  }
}

TEST(JudgeByBounds, WhatIsOpenMayFailOrBeComparedByItsValue) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::http_req_failed, {}, rate, 0, less, 0.01)};
  for (const int slow : {0, 1}) {
    const Tally tally = logins(plan, 50, slow);
    EXPECT_EQ(judge(plan, tally)[0].verdict, "inconclusive");
    EXPECT_EQ(judge(plan, tally, Judging::by_bounds_or_fail)[0].verdict, "fail");
    EXPECT_FALSE(judge(plan, tally)[0].open);
    for (const Judging how : {Judging::by_bounds_or_fail, Judging::by_bounds_or_value}) {
      const auto forced = judge(plan, tally, how)[0];
      EXPECT_TRUE(forced.open) << "a report says that it was not proven";
      EXPECT_THAT(forced.reason, testing::HasSubstr(slow == 0 ? "50 of at least 528" : "straddle"));
    }
    EXPECT_EQ(judge(plan, tally, Judging::by_bounds_or_value)[0].verdict, slow == 0 ? "pass" : "fail");
  }
  const auto result = judge(plan, logins(plan, 50, 1))[0];
  EXPECT_NEAR(*result.low, 0.0001, 0.0001);
  EXPECT_NEAR(*result.high, 0.14, 0.01);
}

/// Streams of `seconds` in which all gaps are 10 ms, but for those of every tenth second (`clumped`) or every tenth
/// gap, which are 30 ms.
Tally gaps(const Plan& plan, int seconds, bool clumped) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (int second = 0; second < seconds; ++second)
    for (int stream = 0; stream < 5; ++stream) {
      std::vector<EventAt> events;
      double at = second * 1000.0;
      for (int i = 0; i < 30; ++i) {
        events.push_back({.ms = at});
        at += (clumped ? second % 10 == 9 : i % 10 == 9) ? 30 : 10;
      }
      tally.add(stream_record(second * 1000.0, second * 1000.0, events), kChat);
    }
  tally.advance_to(at_ms(seconds * 1000.0));
  return tally;
}

TEST(JudgeByBounds, GapsCountByTheSecondsInWhichTheyCame) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::icl, {}, percentile, 80, less, 20)};
  EXPECT_EQ(judge(plan, gaps(plan, 30, false))[0].verdict, "pass") << "each second is like the others";
  const auto clumped = judge(plan, gaps(plan, 30, true))[0];
  EXPECT_EQ(clumped.verdict, "inconclusive") << "the same gaps, but in three seconds of thirty";
  EXPECT_THAT(clumped.reason, testing::HasSubstr("independent"));
  EXPECT_EQ(judge(plan, gaps(plan, 200, true))[0].verdict, "pass");
  EXPECT_EQ(judge(plan, gaps(plan, 9, false))[0].reason,
            "too short to be sure: there must be gaps in at least 10 seconds of it");
}

TEST(Decided, OnlyWhenMoreSamplesCouldChangeNothing) {
  Plan plan = small_plan();
  const Threshold sure = threshold(Metric::http_req_failed, {}, rate, 0, less, 0.05);
  const Threshold open = threshold(Metric::http_req_failed, {}, rate, 0, less, 0.001);
  const Threshold broken = threshold(Metric::http_req_duration, {}, percentile, 50, less, 1);
  const Threshold nothing = threshold(Metric::ttft, {}, avg, 0, less, 1);
  const Threshold counted_few = threshold(Metric::http_reqs, {}, count, 0, greater, 100);
  const Threshold counted_many = threshold(Metric::http_reqs, {}, count, 0, greater, 1000);
  Threshold few = sure, windows = sure, broken_windows = broken;
  few.min_samples = 601;
  windows.over = broken_windows.over = std::chrono::seconds(5);
  struct Case {
    const char* name;
    std::vector<Threshold> thresholds;
    bool decided;
  };
  for (const Case& c : {
           Case{"passes for sure", {sure}, true},
           Case{"fails for sure", {sure, broken}, true},
           Case{"one is open", {sure, open}, false},
           Case{"one has no samples", {sure, nothing}, false},
           Case{"a value that holds", {sure, counted_few}, true},
           Case{"a value that may hold later", {sure, counted_many}, false},
           Case{"one has too few", {few}, false},
           Case{"windows that hold may fail later", {windows}, false},
           Case{"a window that failed stays so", {broken_windows}, true},
       }) {
    plan.thresholds = c.thresholds;
    const Tally tally = logins(plan, 600, 0);
    EXPECT_EQ(all_decided(plan, tally, 0.01), c.decided) << c.name;
  }
  plan.thresholds = {threshold(Metric::http_req_failed, {}, rate, 0, less, 0.01)};
  EXPECT_TRUE(all_decided(plan, logins(plan, 600, 0), 0.01));
  EXPECT_FALSE(all_decided(plan, logins(plan, 600, 0), 0.0001)) << "surer than these samples allow";
}

TEST(Looks, AreRareAndTogetherNoLessSureThanOne) {
  Looks looks;
  double alphas = 0;
  int count = 0;
  for (int second = 1; second <= 3600; ++second)
    if (const auto alpha = looks.due(second)) {
      alphas += *alpha;
      ++count;
    }
  EXPECT_LE(alphas, 0.01);
  EXPECT_GT(alphas, 0.009);
  EXPECT_LT(count, 80);
}

/// 20 requests a second of 100 ms; those of the fourth second take 300 ms, in the sixth there are none; 8 s.
Tally eight_seconds(const Plan& plan) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (int i = 0; i < 160; ++i) {
    const double start = 50 * i;
    if (start >= 5000 && start < 6000) continue;
    tally.add(plain_record(start, start + 40, start >= 3000 && start < 4000 ? 503 : 200), kLogin);
  }
  for (int i = 0; i < 5; ++i) tally.add(plain_record(3000, 3300), kLogin);
  tally.advance_to(at_ms(8000));
  return tally;
}

Threshold over(Nanoseconds length, Threshold windowed) {
  windowed.over = length;
  return windowed;
}

TEST(Judge, EveryWholeWindowMustHold) {
  using std::chrono::seconds;
  struct Case {
    Threshold threshold;
    const char* verdict;
    std::optional<double> actual;
    reports::WindowsResult windows;
    const char* reason;
  };
  const Case cases[] = {
      {over(seconds(1), threshold(Metric::http_req_duration, {}, max, 0, less, 301)), "pass", 300, {1, 7, 0, 3, 4}, ""},
      {over(seconds(1), threshold(Metric::http_req_duration, {}, max, 0, less, 200)),
       "fail",
       300,
       {1, 7, 1, 3, 4},
       "max 300 ms is not below 200 ms from 3 s to 4 s; 1 of 7 windows failed"},
      {over(seconds(1), threshold(Metric::http_req_failed, {}, rate, 0, less_equal, 0.5)),
       "fail",
       0.8,
       {1, 7, 1, 3, 4},
       "rate 80 % is over 50 % from 3 s to 4 s; 1 of 7 windows failed"},
      {over(seconds(8), threshold(Metric::http_req_failed, {}, rate, 0, less_equal, 0.5)),
       "pass",
       20. / 145,
       {8, 1, 0, 0, 8},
       ""},
      {over(seconds(1), threshold(Metric::http_reqs, {}, rate, 0, greater, 10)),
       "fail",
       0,
       {1, 8, 1, 5, 6},
       "rate 0 1/s is not above 10 1/s from 5 s to 6 s; 1 of 8 windows failed"},
      {over(seconds(3), threshold(Metric::http_reqs, {}, rate, 0, greater, 10)),
       "pass",
       40. / 3 + 5. / 3,
       {3, 2, 0, 3, 6},
       ""},
      {over(seconds(9), threshold(Metric::http_reqs, {}, rate, 0, greater, 10)),
       "fail",
       {},
       {9, 0, 0, 0, 0},
       "no whole window: 8 s were measured, a window is 9 s"},
      {over(seconds(1), threshold(Metric::ttft, {}, max, 0, less, 1)), "fail", {}, {}, "no samples"},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    plan.thresholds = {c.threshold};
    const auto result = judge(plan, eight_seconds(plan), Judging::by_value)[0];
    EXPECT_EQ(result.verdict, c.verdict) << c.reason;
    EXPECT_EQ(result.reason, c.reason);
    EXPECT_EQ(result.actual.has_value(), c.actual.has_value()) << c.reason;
    EXPECT_NEAR(result.actual.value_or(0), c.actual.value_or(0), c.actual.value_or(0) * 1e-3) << c.reason;
    EXPECT_EQ(result.windows.value_or(reports::WindowsResult{}), c.windows) << c.reason;
  }
}

TEST(Judge, FewerSamplesThanAskedForFail) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::http_req_duration, {}, max, 0, less, 1000),
                     threshold(Metric::http_req_duration, {}, max, 0, less, 1000),
                     threshold(Metric::http_req_failed, {}, rate, 0, less, 0.9),
                     threshold(Metric::ttft, {}, max, 0, less, 1000)};
  plan.thresholds[0].min_samples = 10;
  for (std::size_t i = 1; i < 4; ++i) plan.thresholds[i].min_samples = 11;
  const auto results = judge(plan, ten_logins(plan), Judging::by_value);
  EXPECT_EQ(results[0].verdict, "pass");
  EXPECT_EQ(results[1].verdict, "fail");
  EXPECT_EQ(results[1].reason, "not enough samples: 10 of at least 11");
  EXPECT_EQ(results[1].actual, 100);
  EXPECT_EQ(results[1].min_samples, 11u);
  EXPECT_EQ(results[2].reason, "not enough samples: 10 of at least 11");
  EXPECT_EQ(results[3].reason, "no samples");
}

TEST(Gates, DroppedIterationsAndAnUnachievedRateFailARun) {
  struct Case {
    std::uint64_t begun, late, dropped;
    RunEnd end;
    Gates gates;
    std::vector<std::string> verdicts;  // of dropped_iterations, achieved_rate
  };
  const Case cases[] = {
      {100, 0, 0, RunEnd::completed, {}, {"pass", "pass"}},
      {99, 0, 1, RunEnd::completed, {}, {"fail", "pass"}},
      {94, 0, 6, RunEnd::completed, {}, {"fail", "fail"}},
      {94, 6, 0, RunEnd::completed, {}, {"pass", "fail"}},  // begun after the load's end
      {95, 5, 0, RunEnd::completed, {}, {"pass", "pass"}},
      {94, 0, 6, RunEnd::completed, {.dropped_iterations = false}, {"fail"}},
      {94, 0, 6, RunEnd::completed, {.dropped_iterations = false, .achieved_rate = false}, {}},
      {50, 0, 50, RunEnd::interrupted_by_user, {}, {}},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    ArrivalRate rate;
    rate.stages = {{std::chrono::seconds(10), 10'000'000}};
    plan.scenarios[0].shape = rate;
    plan.gates = c.gates;
    Tally tally(TallyLayout::from(plan), kOrigin);
    const Nanoseconds second = std::chrono::seconds(1);
    for (std::uint64_t i = 0; i < c.begun; ++i) tally.add_iteration(0, second, at_ms(5000), i % 10 == 0);
    for (std::uint64_t i = 0; i < c.late; ++i) tally.add_iteration(0, second, at_ms(12'000), false);
    if (c.dropped > 0) tally.add_dropped(0, c.dropped, at_ms(3000));
    RunFacts facts;
    facts.end = c.end;
    facts.planned_iterations = c.begun + c.late + c.dropped;
    std::vector<std::string> verdicts;
    for (const auto& result : judge(plan, tally, facts)) {
      verdicts.push_back(result.verdict);
      EXPECT_EQ(result.source, "default gate");
      EXPECT_EQ(result.reason.empty(), result.verdict == "pass");
    }
    EXPECT_EQ(verdicts, c.verdicts) << c.begun << " " << c.late << " " << c.dropped;
  }
}

TEST(Gates, ClosedModelsHaveOneOnlyWhenSomethingWasDropped) {
  const Plan plan = small_plan();
  Tally tally(TallyLayout::from(plan), kOrigin);
  EXPECT_TRUE(judge(plan, tally, RunFacts{}).empty());
  tally.add_dropped(0, 3, at_ms(3000));
  const auto results = judge(plan, tally, RunFacts{});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].metric, "dropped_iterations");
  EXPECT_EQ(results[0].actual, 3);
}

TEST(Conformance, FailsARunByTheSeverityOfWhatWasFound) {
  struct Case {
    std::optional<Severity> fail_on;
    std::vector<Finding> findings;
    const char* verdict;  // null: nothing is judged
  };
  const Finding fatal{.rule = StreamRule::error_event}, error{.rule = StreamRule::no_done},
      warning{.rule = StreamRule::role_missing}, noted{.rule = StreamRule::no_done, .noted = true};
  const Case cases[] = {
      {std::nullopt, {fatal}, nullptr},     {Severity::fatal, {}, "pass"},
      {Severity::fatal, {fatal}, "fail"},   {Severity::fatal, {error, warning}, "pass"},
      {Severity::error, {warning}, "pass"}, {Severity::error, {fatal}, "fail"},
      {Severity::error, {error}, "fail"},   {Severity::warning, {warning}, "fail"},
      {Severity::warning, {noted}, "pass"},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    for (ScenarioPlan& scenario : plan.scenarios) scenario.conformance.fail_on = c.fail_on;
    Tally tally(TallyLayout::from(plan), kOrigin);
    RequestRecord r = stream_record(0, 5, {{10}});
    r.findings = c.findings;
    tally.add(r, kChat);
    const auto results = judge(plan, tally, RunFacts{});
    ASSERT_EQ(results.size(), c.verdict == nullptr ? 0u : 1u);
    if (results.empty()) continue;
    EXPECT_EQ(results[0].verdict, c.verdict);
    EXPECT_EQ(results[0].metric, "stream_findings");
    EXPECT_EQ(results[0].source, "conformance");
    EXPECT_EQ(results[0].expression, "count == 0 (fail_on: " + std::string(name_of(*c.fail_on)) + ")");
  }
}

TEST(Conformance, IsJudgedByScenarioWhereTheyDiffer) {
  Plan plan = small_plan();
  plan.scenarios.push_back(plan.scenarios[0]);
  plan.scenarios[1].name = "other";
  plan.scenarios[1].conformance.fail_on = Severity::warning;
  Tally tally(TallyLayout::from(plan), kOrigin);
  RequestRecord r = stream_record(0, 5, {{10}});
  r.findings = {{.rule = StreamRule::no_done}};
  tally.add(r, kChat);
  const auto results = judge(plan, tally, RunFacts{});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].metric, "stream_findings{scenario:other}");
  EXPECT_EQ(results[0].verdict, "fail");
  EXPECT_EQ(results[0].reason, "no samples") << "none of its streams was judged";
}

TEST(AbortingThreshold, LooksAtAWindowASecondAfterItsEnd) {
  Plan plan = small_plan();
  plan.thresholds = {over(std::chrono::seconds(2), threshold(Metric::http_req_duration, {}, max, 0, less, 200))};
  plan.thresholds[0].abort_on_fail = true;
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(plain_record(100, 400), kLogin);
  tally.advance_to(at_ms(2999));
  EXPECT_EQ(aborting_threshold(plan, tally), std::nullopt);
  tally.advance_to(at_ms(3000));
  EXPECT_EQ(aborting_threshold(plan, tally), 0u);
  plan.thresholds[0].min_samples = 2;
  EXPECT_EQ(aborting_threshold(plan, tally), std::nullopt) << "more may come";
  tally.add(plain_record(3100, 3110), kLogin);
  EXPECT_EQ(aborting_threshold(plan, tally), 0u) << "a window that failed stays failed";
}

TEST(Conclude, GivesOutcomeAndExitCode) {
  const reports::ThresholdResult pass{.metric = "a", .verdict = "pass"}, fail{.metric = "b", .verdict = "fail"},
      open{.metric = "c", .verdict = "inconclusive"};
  struct Case {
    std::vector<reports::ThresholdResult> thresholds;
    RunEnd end;
    const char* instrument;
    bool require_trusted;
    const char* outcome;
    int exit_code;
  };
  const Case cases[] = {
      {{}, RunEnd::completed, "trusted", false, "passed", 0},
      {{pass, open}, RunEnd::completed, "trusted", false, "passed", 0},
      {{pass, fail}, RunEnd::completed, "trusted", false, "failed", 99},
      {{pass, fail}, RunEnd::aborted_by_threshold, "trusted", false, "aborted", 99},
      {{fail}, RunEnd::interrupted_by_user, "client-limited", true, "interrupted", 105},
      {{pass}, RunEnd::completed, "client-limited", false, "passed", 0},
      {{pass}, RunEnd::completed, "client-limited", true, "failed", 98},
      {{fail}, RunEnd::completed, "client-limited", true, "failed", 98},
      {{fail}, RunEnd::completed, "trusted", true, "failed", 99},
  };
  for (const Case& c : cases) {
    reports::Summary summary;
    summary.instrument.verdict = c.instrument;
    conclude(summary, c.thresholds, c.end, std::nullopt, c.require_trusted);
    EXPECT_EQ(summary.outcome, c.outcome);
    EXPECT_EQ(summary.exit_code, c.exit_code) << c.outcome << " " << c.instrument;
    for (auto& result : summary.thresholds) result.cause = result.suggestion = {};  // advice_test.cpp's
    EXPECT_EQ(summary.thresholds, c.thresholds);
  }
  reports::Summary summary;
  conclude(summary, {pass, fail}, RunEnd::aborted_by_threshold, 1);
  EXPECT_FALSE(summary.thresholds[0].aborted);
  EXPECT_TRUE(summary.thresholds[1].aborted);
}

}  // namespace
}  // namespace sluice
