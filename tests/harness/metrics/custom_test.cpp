// Metrics of a scenario file's own: samples in, figures out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "harness/metrics/summarize.h"
#include "harness/metrics/tally.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

constexpr Metric kQueue = custom_metric(0), kAsked = custom_metric(1), kGood = custom_metric(2),
                 kLevel = custom_metric(3);
constexpr StepId kSample = 4;

/// A metric step after those of the small plan, and one metric of each kind.
Plan plan_with_metrics() {
  Plan plan = small_plan();
  plan.metrics = {{"queue", MetricKind::trend, Unit::milliseconds},
                  {"asked", MetricKind::counter, Unit::none},
                  {"good", MetricKind::rate, Unit::none},
                  {"level", MetricKind::gauge, Unit::percent}};
  Step step;
  step.name = "metric";
  step.verb = MetricStep{};
  plan.scenarios[0].flow.push_back(step);
  return plan;
}

const reports::MetricSummary* find(const reports::Summary& summary, const std::string& name) {
  const auto found =
      std::find_if(summary.metrics.begin(), summary.metrics.end(), [&](const auto& m) { return m.name == name; });
  return found == summary.metrics.end() ? nullptr : &*found;
}

TEST(CustomMetrics, AreOfK6sFourKinds) {
  const Plan plan = plan_with_metrics();
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (const double ms : {1.5, 2.5, 8.0}) tally.add_custom(kSample, kQueue, ms, at_ms(10));
  for (const double amount : {1.0, 2.25}) tally.add_custom(kSample, kAsked, amount, at_ms(20));
  for (const double truth : {1.0, 0.0, 7.0, 1.0}) tally.add_custom(kSample, kGood, truth, at_ms(30));
  tally.add_custom(kSample, kLevel, 50, at_ms(40));
  tally.add_custom(kSample, kLevel, -3, at_ms(50));
  tally.advance_to(at_ms(2000));
  EXPECT_DOUBLE_EQ(*tally.aggregate(kQueue, Aggregation::avg), 4);
  EXPECT_EQ(tally.aggregate(kQueue, Aggregation::max), 8);
  EXPECT_EQ(tally.aggregate(kAsked, Aggregation::count), 3.25);
  EXPECT_EQ(tally.aggregate(kAsked, Aggregation::rate), 1.625);
  EXPECT_EQ(tally.aggregate(kGood, Aggregation::rate), 0.75);
  EXPECT_EQ(tally.aggregate(kLevel, Aggregation::value), -3);
  const auto summary = summarize(plan, tally, {});
  ASSERT_NE(find(summary, "queue"), nullptr);
  EXPECT_TRUE(find(summary, "queue")->custom);
  EXPECT_EQ(find(summary, "queue")->unit, "ms");
  EXPECT_EQ(find(summary, "asked")->sum, 3.25);
  EXPECT_EQ(find(summary, "good")->passes, 3u);
  EXPECT_EQ(find(summary, "level")->value, -3);
  EXPECT_EQ(find(summary, "level")->unit, "%");
  EXPECT_FALSE(find(summary, "http_reqs")) << "nothing else was touched";
}

TEST(CustomMetrics, RejectWhatTheyCannotHoldAndSaySo) {
  const Plan plan = plan_with_metrics();
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (const double value : {std::nan(""), HUGE_VAL, -1.0, 1e300}) {
    tally.add_custom(kSample, kQueue, value, at_ms(1));
    tally.add_custom(kSample, kAsked, value, at_ms(1));
    tally.add_custom(kSample, kLevel, value, at_ms(1));
  }
  EXPECT_EQ(tally.rejected(kQueue), 4u);
  EXPECT_EQ(tally.rejected(kAsked), 4u);
  EXPECT_EQ(tally.rejected(kLevel), 3u) << "a gauge may lie below 0";
  EXPECT_EQ(tally.aggregate(kQueue, Aggregation::avg), std::nullopt);
  const auto summary = summarize(plan, tally, {});
  ASSERT_NE(find(summary, "queue"), nullptr) << "shown, though without a value";
  EXPECT_EQ(find(summary, "queue")->rejected, 4u);
}

TEST(CustomMetrics, HaveSelectorsWindowsStagesAndAWarmUp) {
  Plan plan = plan_with_metrics();
  plan.scenarios.push_back(plan.scenarios[0]);
  plan.scenarios[1].name = "second";
  plan.scenarios[0].shape =
      RampingVus{.start_vus = 1, .stages = {{std::chrono::seconds(2), 2}, {std::chrono::seconds(2), 2}}};
  plan.warmup = std::chrono::seconds(1);
  const auto wanted = [](Metric metric, Tags selector, Aggregation aggregation, Nanoseconds over = {}) {
    Threshold result = threshold(metric, std::move(selector), aggregation, 0, Comparison::less, 1);
    result.over = over;
    return result;
  };
  plan.thresholds = {wanted(kAsked, {{"scenario", "second"}}, Aggregation::count),
                     wanted(kAsked, {{"stage", "1"}}, Aggregation::count),
                     wanted(kAsked, {}, Aggregation::count, std::chrono::seconds(1))};
  const auto layout = TallyLayout::from(plan);
  const StepId other = layout->first_step(1) + kSample;
  Tally tally(layout, kOrigin);  // a second after the run's start
  tally.add_custom(kSample, kAsked, 100, at_ms(-1));
  tally.add_custom(kSample, kAsked, 1, at_ms(999));
  tally.add_custom(kSample, kAsked, 2, at_ms(1000));
  tally.add_custom(other, kAsked, 4, at_ms(1500));
  tally.advance_to(at_ms(2000));
  EXPECT_EQ(tally.aggregate(kAsked, Aggregation::count), 7);
  EXPECT_EQ(tally.aggregate(layout->figure_of_threshold(0), Aggregation::count), 4);
  EXPECT_EQ(tally.aggregate(layout->figure_of_threshold(1), Aggregation::count), 2);
  EXPECT_EQ(tally.aggregate_window(0, 0, Aggregation::count), 1);
  EXPECT_EQ(tally.aggregate_window(0, 1, Aggregation::count), 6);
}

TEST(CustomMetrics, GiveTheSameSummaryHoweverARunIsSplitAndMerged) {
  Plan plan = plan_with_metrics();
  plan.thresholds = {threshold(kLevel, {{"kind", "chat"}}, Aggregation::value, 0, Comparison::less, 1)};
  plan.thresholds[0].over = std::chrono::seconds(1);
  const auto layout = TallyLayout::from(plan);
  struct Sample {
    Metric metric;
    double value;
    Instant at;
  };
  std::mt19937_64 random(11);
  std::vector<Sample> run;
  for (int i = 0; i < 2000; ++i)
    run.push_back({custom_metric(random() % 4), static_cast<double>(random() % 10'000) / 7 - 20,
                   at_ms(static_cast<double>(random() % 9000))});
  Tally whole(layout, kOrigin);
  for (const Sample& sample : run) whole.add_custom(kSample, sample.metric, sample.value, sample.at);
  for (const std::size_t threads : {2u, 5u}) {
    std::vector<Tally> parts(threads, Tally(layout, kOrigin));
    std::shuffle(run.begin(), run.end(), random);
    for (const Sample& sample : run)
      parts[random() % threads].add_custom(kSample, sample.metric, sample.value, sample.at);
    Tally merged(layout, kOrigin), published(layout, kOrigin);
    for (const Tally& part : parts) {
      published.copy_figures(part);
      merged.merge(published);
    }
    auto expected = summarize(plan, whole, {});
    EXPECT_EQ(summarize(plan, merged, {}).metrics, expected.metrics) << threads;
    for (std::size_t i = 0; i < whole.whole_windows(0); ++i)
      EXPECT_EQ(merged.aggregate_window(0, i, Aggregation::value), whole.aggregate_window(0, i, Aggregation::value));
  }
}

}  // namespace
}  // namespace sluice
