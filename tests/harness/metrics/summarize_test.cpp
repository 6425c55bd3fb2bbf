#include "harness/metrics/summarize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/base/stream_rule.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

using testing::HasSubstr;

constexpr StepId kChat = 0, kLogin = 2;

const reports::MetricSummary* find(const reports::Summary& summary, const std::string& name) {
  for (const auto& metric : summary.metrics)
    if (metric.name == name) return &metric;
  return nullptr;
}

TEST(Summarize, SaysWhatWasRun) {
  Plan plan = small_plan();
  plan.seed = 42;
  plan.env = {{"API_TOKEN", "abc"},
              {"TEST_PASSWORD", "def"},
              {"EMPTY_SECRET", ""},
              {"MAX_TOKENS", "150"},
              {"BASE_URL", "http://me:pw@host:1/v"}};
  RunFacts facts;
  facts.started_at = std::chrono::system_clock::time_point(std::chrono::seconds(1'795'317'595));
  facts.target = "http://user:word@example.org:8000/x?y=a@b";
  facts.sluice_version = "9";
  facts.threads = 2;
  facts.cpu_time = std::chrono::milliseconds(500);
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.set_vus(0, 2, at_ms(0));
  tally.set_vus(0, 0, at_ms(5000));
  tally.add_iteration(0, std::chrono::seconds(1), at_ms(2000), false);
  const reports::Summary summary = summarize(plan, tally, facts);
  EXPECT_EQ(summary.started_at, "2026-11-22T03:19:55Z");
  EXPECT_EQ(summary.duration_s, 5);
  EXPECT_EQ(summary.seed, 42u);
  EXPECT_EQ(summary.target, "http://example.org:8000/x?y=a@b");
  EXPECT_EQ(summary.variables.at("API_TOKEN"), "********");
  EXPECT_EQ(summary.variables.at("TEST_PASSWORD"), "********");
  EXPECT_EQ(summary.variables.at("EMPTY_SECRET"), "");
  EXPECT_EQ(summary.variables.at("MAX_TOKENS"), "150");
  EXPECT_EQ(summary.variables.at("BASE_URL"), "http://host:1/v");
  ASSERT_EQ(summary.scenarios.size(), 1u);
  EXPECT_EQ(summary.scenarios[0].executor, "constant-vus");
  EXPECT_EQ(summary.scenarios[0].description, "2 VUs for 10s");
  EXPECT_EQ(summary.scenarios[0].vus_max, 2u);
  EXPECT_EQ(summary.scenarios[0].iterations, 1u);
  EXPECT_EQ(summary.instrument.cpu_percent, 10);
  EXPECT_EQ(find(summary, "vus")->max, 2);
  EXPECT_EQ(find(summary, "vus")->min, 0);
}

TEST(Summarize, CountsTheRequestsOfEachStepAndShowsThoseThatNeverRan) {
  const Plan plan = small_plan();
  Tally first(TallyLayout::from(plan), kOrigin), second(TallyLayout::from(plan), kOrigin);
  first.add(stream_record(0, 10, {{20}, {30}}), 0);
  second.add(plain_record(0, 100, 503), 0);
  RequestRecord cut = stream_record(0, 10, {{20}});
  cut.outcome = Outcome::interrupted;
  second.add(cut, 0);
  first.merge(second);
  const reports::Summary summary = summarize(plan, first, RunFacts{});
  ASSERT_EQ(summary.steps.size(), 2u);  // neither the group nor the sleep
  const reports::StepResult& ask = summary.steps[0];
  EXPECT_EQ(ask.scenario, "chat");
  EXPECT_EQ(ask.name, "ask");
  EXPECT_EQ(ask.count, 2u);
  EXPECT_EQ(ask.failures, 1u);
  EXPECT_NEAR(ask.max_ms.value(), 100, 0.1);
  EXPECT_NEAR(ask.p50_ms.value(), 31, 0.1);
  EXPECT_EQ(summary.steps[1].group, "::login");
  EXPECT_EQ(summary.steps[1].count, 0u);
  EXPECT_FALSE(summary.steps[1].p95_ms.has_value());
}

TEST(Summarize, DescribesRampsByStagesLengthAndPeak) {
  Plan plan = small_plan();
  plan.scenarios[0].shape =
      RampingVus{.start_vus = 1, .stages = {{std::chrono::minutes(2), 8}, {std::chrono::seconds(90), 0}}};
  plan.scenarios[0].start_time = std::chrono::milliseconds(1500);
  const reports::Summary summary = summarize(plan, Tally(TallyLayout::from(plan), kOrigin), {});
  EXPECT_EQ(summary.scenarios[0].executor, "ramping-vus");
  EXPECT_EQ(summary.scenarios[0].description, "2 stages over 3m30s, up to 8 VUs, from 1.5s");
}

TEST(Summarize, ARunWithoutARequestHasNoMetricsOfRequests) {
  const Plan plan = small_plan();
  const reports::Summary summary = summarize(plan, Tally(TallyLayout::from(plan), kOrigin), {});
  EXPECT_TRUE(summary.metrics.empty());
  EXPECT_TRUE(summary.histograms.empty());
  EXPECT_TRUE(summary.vllm_compat.empty());
  EXPECT_EQ(summary.instrument.verdict, "trusted");
}

TEST(Summarize, MarksPercentilesWithTooFewSamples) {
  const Plan plan = small_plan();
  struct Case {
    int count;
    std::vector<double> unsure;
  };
  for (const Case& c :
       {Case{63, {90, 95, 99, 99.9}}, Case{64, {95, 99, 99.9}}, Case{129, {95, 99, 99.9}}, Case{130, {99, 99.9}},
        Case{661, {99, 99.9}}, Case{662, {99.9}}, Case{6635, {99.9}}, Case{6636, {}}}) {
    Tally tally(TallyLayout::from(plan), kOrigin);
    for (int i = 0; i < c.count; ++i) tally.add(plain_record(i, i + 5), kLogin);
    const reports::Summary summary = summarize(plan, tally, {});
    EXPECT_EQ(find(summary, "http_req_duration")->unsure, c.unsure) << c.count;
  }
}

TEST(Summarize, GivesTrendsTheirFiguresInTheMetricsUnit) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::http_req_duration, {}, Aggregation::percentile, 20, Comparison::less, 1)};
  Tally tally(TallyLayout::from(plan), kOrigin);
  for (const double ms : {10.0, 20.0, 30.0, 40.0, 50.0}) tally.add(plain_record(0, ms), kLogin);
  const reports::Summary summary = summarize(plan, tally, {});
  const auto& metric = *find(summary, "http_req_duration");
  EXPECT_EQ(metric.kind, "trend");
  EXPECT_EQ(metric.unit, "ms");
  EXPECT_EQ(metric.count, 5u);
  EXPECT_DOUBLE_EQ(*metric.sum, 150);
  EXPECT_DOUBLE_EQ(*metric.avg, 30);
  EXPECT_DOUBLE_EQ(*metric.min, 10);
  EXPECT_DOUBLE_EQ(*metric.max, 50);
  EXPECT_NEAR(*metric.stddev, 14.142, 0.001);
  ASSERT_EQ(metric.percentiles.front().first, 20);
  EXPECT_DOUBLE_EQ(metric.percentiles.front().second, 10);
  EXPECT_EQ(metric.percentiles[1].first, 50);
  EXPECT_NEAR(metric.percentiles[1].second, 30, 30.0 / 2048);
}

TEST(Summarize, KeepsTheCataloguesOrderWithSelectionsBesideTheirMetric) {
  Plan plan = small_plan();
  plan.thresholds = {threshold(Metric::ttft, {{"kind", "chat"}}, Aggregation::avg, 0, Comparison::less, 1),
                     threshold(Metric::http_reqs, {{"kind", "chat"}}, Aggregation::count, 0, Comparison::less, 1)};
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(stream_record(0, 5, {{10}}), kChat);
  const reports::Summary summary = summarize(plan, tally, {});
  EXPECT_EQ(summary.metrics[0].name, "http_reqs");
  EXPECT_EQ(summary.metrics[1].name, "http_reqs{kind:chat}");
  const auto* selected = find(summary, "ttft{kind:chat}");
  ASSERT_NE(selected, nullptr);
  EXPECT_EQ((selected - 1)->name, "ttft");
}

TEST(Summarize, JoinsChecksOfTheSameNameInTheSameGroup) {
  Plan plan = small_plan();
  plan.scenarios.push_back(plan.scenarios.front());
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add_check(0, true, at_ms(1), at_ms(2));   // chat's "status == 200"
  tally.add_check(3, false, at_ms(1), at_ms(2));  // the second scenario's
  tally.add_check(2, true, at_ms(1), at_ms(2));   // that of the group
  const reports::Summary summary = summarize(plan, tally, {});
  ASSERT_EQ(summary.checks.size(), 3u);
  EXPECT_EQ(summary.checks[0], (reports::CheckResult{"status == 200", "", 1, 1}));
  EXPECT_EQ(summary.checks[1], (reports::CheckResult{"chunks in 1..9", "", 0, 0}));
  EXPECT_EQ(summary.checks[2], (reports::CheckResult{"status == 200", "::login", 1, 0}));
}

TEST(Summarize, ListsFailuresByCauseTheMostFrequentFirst) {
  const Plan plan = small_plan();
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(plain_record(0, 5, 500), kLogin);
  for (int i = 0; i < 3; ++i) tally.add(plain_record(0, 5, 503), kLogin);
  for (int i = 0; i < 30; ++i) {
    RequestRecord r = plain_record(0, 5);
    r.outcome = Outcome::reset;
    r.error = "cause " + std::to_string(i);
    tally.add(r, kLogin);
  }
  const reports::Summary summary = summarize(plan, tally, {});
  EXPECT_EQ(summary.failures.front(), (reports::FailureResult{"http_error", "HTTP 503", 3}));
  EXPECT_EQ(summary.failures.size(), 21u);
  EXPECT_EQ(summary.failures.back(), (reports::FailureResult{"other", "12 further causes", 12}));
}

TEST(Summarize, ListsFindingsByGravityWithTheirFirstBytesMadeSafe) {
  const Plan plan = small_plan();
  Tally tally(TallyLayout::from(plan), kOrigin);
  RequestRecord r = stream_record(0, 5, {{10}});
  r.id = "c-\n7";
  r.findings = {{.rule = StreamRule::role_missing},
                {.rule = StreamRule::finish_twice, .noted = true, .offset = 30, .bytes = "known"},
                {.rule = StreamRule::no_done},
                {.rule = StreamRule::invalid_json, .offset = 431, .bytes = "data: {\n\x1b[31m"}};
  tally.add(r, kChat);
  const reports::Summary summary = summarize(plan, tally, {});
  ASSERT_EQ(summary.findings.size(), 4u);
  EXPECT_EQ(summary.findings[0],
            (reports::FindingResult{"invalid-json", "fatal", 1, "data: {\\n\\x1b[31m", "c-\\n7", 431}));
  EXPECT_EQ(summary.findings[1].rule, "no-done");
  EXPECT_EQ(summary.findings[2].rule, "role-missing");
  EXPECT_EQ(summary.findings[3], (reports::FindingResult{"finish-twice", "note", 1, "known", "c-\\n7", 30}));
}

TEST(Summarize, HistogramsHoldEverySampleOnceInAdjoiningBuckets) {
  const Plan plan = small_plan();
  for (const double spread : {0.001, 0.3, 3.0, 300.0, 30000.0}) {
    Tally tally(TallyLayout::from(plan), kOrigin);
    for (int i = 0; i < 500; ++i) tally.add(stream_record(0, 1, {{5 + spread * i / 500}}), kChat);
    tally.add(stream_record(0, 1, {{900'000}}), kChat);  // a stray, a quarter of an hour late
    const reports::Summary summary = summarize(plan, tally, {});
    const auto& histogram = summary.histograms.front();
    EXPECT_EQ(histogram.metric, "ttft");
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < histogram.buckets.size(); ++i) {
      EXPECT_LT(histogram.buckets[i].from, histogram.buckets[i].to);
      if (i > 0) {
        EXPECT_EQ(histogram.buckets[i].from, histogram.buckets[i - 1].to);
      }
      total += histogram.buckets[i].count;
    }
    EXPECT_EQ(total, 501u) << spread;
    EXPECT_LE(histogram.buckets.size(), 100u);
    EXPECT_GE(histogram.buckets.size(), 5u) << spread;
    EXPECT_LE(histogram.buckets.front().from, 5);
    EXPECT_GT(histogram.buckets.back().to, 900'000);
  }
}

TEST(Summarize, SeriesGiveRatesAndPercentilesOfEachSecond) {
  const Plan plan = small_plan();
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.set_vus(0, 3, at_ms(10));
  for (int i = 0; i < 10; ++i) tally.add(plain_record(0, 100), kLogin);
  tally.add(stream_record(1000, 1005, {{1050}, {1060}}, 20), kChat);
  tally.add(plain_record(1000, 1200, 500), kLogin);
  tally.set_vus(0, 1, at_ms(2500));
  tally.advance_to(at_ms(2500));
  const reports::Summary summary = summarize(plan, tally, {});
  ASSERT_EQ(summary.series.size(), 3u);
  EXPECT_EQ(summary.series_interval_s, 1);
  EXPECT_EQ(summary.series[0].requests_per_s, 10);
  EXPECT_EQ(summary.series[0].vus, 3);
  EXPECT_NEAR(*summary.series[0].duration_p95_ms, 100, 2);
  EXPECT_EQ(summary.series[0].ttft_p50_ms, std::nullopt);
  EXPECT_EQ(summary.series[1].failures_per_s, 1);
  EXPECT_EQ(summary.series[1].output_tokens_per_s, 20);
  EXPECT_NEAR(*summary.series[1].ttft_p95_ms, 50, 1);
  EXPECT_NEAR(*summary.series[1].gap_p95_ms, 10, 0.2);
  EXPECT_EQ(summary.series[2].vus, 1);
}

SystemSample sample_at(double ms, double kv, std::uint64_t preemptions) {
  SystemSample sample;
  sample.at = at_ms(ms);
  sample.kv_cache_usage_percent = kv;
  sample.engine_preemptions = preemptions;
  return sample;
}

/// A run of four seconds with what was sampled in it.
Tally four_seconds(const Plan& plan) {
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(plain_record(100, 200), kLogin);
  tally.add(plain_record(3000, 3800), kLogin);
  tally.advance_to(at_ms(4000));
  return tally;
}

TEST(Summarize, PutsWhatWasSampledIntoTheSecondThatItTellsOf) {
  const Plan plan = small_plan();
  Tally tally = four_seconds(plan);
  SystemSamples system;
  system.engine = {"tiny", "cuda", "a GPU"};
  system.gpu = GpuIdentity{"a GPU", 80e9, 700.0};
  system.throttle_reasons = {{"power cap", 2}};
  SystemSample first, last;  // counters only
  first.at = at_ms(-30);
  first.engine_preemptions = 5;
  last.at = at_ms(4030);
  last.engine_preemptions = 12;
  // One a second, each a little before or after it; the answer for 3 s did not come.
  system.samples = {first, sample_at(970, 10, 5), sample_at(2010, 60, 8), sample_at(3990, 90, 11), last};
  tally.add_system(system);
  RunFacts facts;
  facts.backend_wanted = "auto";
  facts.system = system;
  const reports::Summary summary = summarize(plan, tally, facts);

  ASSERT_EQ(summary.series.size(), 4u);
  EXPECT_EQ(summary.series[0].kv_cache_usage_percent, 10);
  EXPECT_EQ(summary.series[1].kv_cache_usage_percent, 60);
  EXPECT_EQ(summary.series[2].kv_cache_usage_percent, std::nullopt);
  EXPECT_EQ(summary.series[3].kv_cache_usage_percent, 90);
  EXPECT_EQ(summary.series[0].engine_preemptions, 0);
  EXPECT_EQ(summary.series[1].engine_preemptions, 3);
  EXPECT_EQ(summary.series[3].engine_preemptions, 4) << "those of the second that was missed, and of the end, too";
  EXPECT_EQ(summary.series[0].gpu_power_w, std::nullopt);

  ASSERT_TRUE(summary.engine);
  EXPECT_EQ(summary.engine->backend_wanted, "auto");
  EXPECT_EQ(summary.engine->backend, "cuda");
  EXPECT_EQ(summary.engine->gpu_power_limit_w, 700);
  ASSERT_EQ(summary.engine->throttled.size(), 1u);
  EXPECT_EQ(summary.engine->throttled[0].samples, 2u);

  const auto* usage = find(summary, "kv_cache_usage");
  ASSERT_NE(usage, nullptr);
  EXPECT_EQ(usage->unit, "%");
  EXPECT_EQ(usage->count, 3u);
  EXPECT_EQ(usage->min, 10);
  EXPECT_NEAR(*usage->avg, 160.0 / 3, 1e-3);
  EXPECT_EQ(usage->max, 90);
  const auto* preemptions = find(summary, "engine_preemptions");
  ASSERT_NE(preemptions, nullptr);
  EXPECT_EQ(preemptions->count, 7u) << "those of the run, not those before it";
  EXPECT_EQ(find(summary, "gpu_power"), nullptr);
  EXPECT_EQ(find(summary, "engine_steps"), nullptr) << "never answered";
}

TEST(Summarize, SamplesFromBeforeTheRunTellNothingOfIt) {
  const Plan plan = small_plan();
  Tally tally = four_seconds(plan);
  SystemSamples system;
  system.samples = {sample_at(-900, 99, 1), sample_at(100, 98, 1), sample_at(1100, 7, 1)};
  tally.add_system(system);
  RunFacts facts;
  facts.system = system;
  const reports::Summary summary = summarize(plan, tally, facts);
  EXPECT_EQ(find(summary, "kv_cache_usage")->max, 7);
  EXPECT_EQ(summary.series[0].kv_cache_usage_percent, 7);
}

TEST(Summarize, SeveralSamplesOfAnIntervalAreAveraged) {
  const Plan plan = small_plan();
  Tally tally = four_seconds(plan);
  SystemSamples system;
  system.period = std::chrono::milliseconds(250);
  for (int i = 1; i <= 16; ++i) system.samples.push_back(sample_at(250 * i, i, static_cast<std::uint64_t>(i)));
  RunFacts facts;
  facts.system = system;
  const reports::Summary summary = summarize(plan, tally, facts);
  EXPECT_EQ(summary.series[0].kv_cache_usage_percent, 2.5);
  EXPECT_EQ(summary.series[3].kv_cache_usage_percent, 14.5);
  EXPECT_EQ(summary.series[3].engine_preemptions, 4);
}

TEST(Summarize, ARunAgainstAnotherServerHasNoEngine) {
  const Plan plan = small_plan();
  const reports::Summary summary = summarize(plan, four_seconds(plan), RunFacts{});
  EXPECT_FALSE(summary.engine);
  EXPECT_EQ(find(summary, "engine_preemptions"), nullptr);
}

TEST(Summarize, GivesVllmsKeys) {
  const Plan plan = small_plan();
  Tally tally(TallyLayout::from(plan), kOrigin);
  tally.add(stream_record(0, 40, {{50}, {70}}, 5), kChat);
  tally.advance_to(at_ms(2000));
  const auto block = summarize(plan, tally, {}).vllm_compat;
  EXPECT_EQ(block.at("completed"), 1);
  EXPECT_EQ(block.at("failed"), 0);
  EXPECT_EQ(block.at("duration"), 2);
  EXPECT_EQ(block.at("request_throughput"), 0.5);
  EXPECT_EQ(block.at("output_throughput"), 2.5);
  EXPECT_EQ(block.at("total_token_throughput"), 8);
  EXPECT_EQ(block.at("total_input_tokens"), 11);
  for (const std::string metric : {"ttft", "tpot", "itl", "e2el"})
    for (const std::string figure : {"mean_", "median_", "std_", "p99_"})
      EXPECT_TRUE(block.contains(figure + metric + "_ms")) << figure << metric;
  EXPECT_DOUBLE_EQ(block.at("mean_ttft_ms"), 40);
  EXPECT_DOUBLE_EQ(block.at("mean_e2el_ms"), 71);
}

// ---- trust ----------------------------------------------------------------------------------------------------------

struct TrustCase {
  const char* name;
  Metric metric;
  double lag_us;  // loop lag
  bool kernel_stamps;
  bool coalesced;
  double sent_late_ms;
  bool stalled;
  const char* reason;  // empty: trusted
};

TEST(Summarize, TellsAClientLimitedRunFromATrustedOne) {
  const TrustCase cases[] = {
      {"all well", Metric::ttft, 10, true, false, 0, false, ""},
      {"late loop, but the kernel stamped", Metric::ttft, 90'000, true, false, 0, false, ""},
      {"late loop without kernel stamps", Metric::ttft, 90'000, false, false, 0, false, "loop_lag"},
      {"late loop under a plain request's metric", Metric::http_req_duration, 90'000, true, false, 0, false,
       "loop_lag"},
      {"late sends", Metric::ttft, 10, true, false, 8, false, "send_lag"},
      {"coalesced gaps under a metric of gaps", Metric::icl, 10, true, true, 0, false, "coalesced"},
      {"coalesced gaps under a metric that reads none", Metric::ttft, 10, true, true, 0, false, ""},
      {"a full receive buffer", Metric::ttft, 10, true, false, 0, true, "receive buffers of 20 streams"},
  };
  for (const TrustCase& c : cases) {
    Plan plan = small_plan();
    plan.thresholds = {threshold(c.metric, {}, Aggregation::percentile, 95, Comparison::less, 1000)};
    Tally tally(TallyLayout::from(plan), kOrigin);
    for (int i = 0; i < 20; ++i) {
      RequestRecord r = stream_record(i * 10, i * 10 + 40, {{i * 10 + 100.0}, {i * 10 + 150.0, 4, 0, c.coalesced}});
      r.sent_at += static_cast<Instant>(c.sent_late_ms * 1e6);
      if (!c.kernel_stamps) r.events_kernel_stamped = 0;
      r.backlog = c.stalled;
      tally.add(r, kChat);
    }
    tally.add_loop_lag(std::chrono::microseconds(static_cast<int>(c.lag_us)), at_ms(1));
    const RunFacts facts;
    const reports::Instrument instrument = summarize(plan, tally, facts).instrument;
    EXPECT_EQ(instrument.verdict, *c.reason == 0 ? "trusted" : "client-limited") << c.name << ": " << instrument.reason;
    EXPECT_THAT(instrument.reason, HasSubstr(c.reason)) << c.name;
  }
}

TEST(Summarize, SaysWhatKeptAClientFromBeingInTime) {
  struct Case {
    const char* name;
    ThreadCpu threads;
    double stolen;
    const char* cause;  // "": none is named
  };
  using std::chrono::milliseconds;
  const Case cases[] = {
      {"nothing to see", {milliseconds(10), milliseconds(1)}, 0, ""},
      {"a hypervisor", {milliseconds(10), milliseconds(90)}, 0.1, "10 % of the machine's time went to others (steal)"},
      {"a full machine", {milliseconds(10), milliseconds(90)}, 0, "waited for a core 90 %"},
      {"too much for its threads", {milliseconds(190), milliseconds(5)}, 0.01, "busy 95 % of the time: use more"},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    plan.thresholds = {threshold(Metric::ttft, {}, Aggregation::percentile, 95, Comparison::less, 1000)};
    Tally tally(TallyLayout::from(plan), kOrigin);
    RequestRecord late = stream_record(0, 40, {{100.0}, {150.0, 4, 0, false}});
    late.sent_at += 50'000'000;
    tally.add(late, kChat);
    tally.advance_to(at_ms(200));
    RunFacts facts;
    facts.threads_cpu = c.threads;
    facts.cpu_stolen = c.stolen;
    const reports::Instrument instrument = summarize(plan, tally, facts).instrument;
    EXPECT_EQ(instrument.verdict, "client-limited") << c.name;
    EXPECT_THAT(instrument.reason, HasSubstr("send_lag")) << c.name;
    EXPECT_THAT(instrument.reason, HasSubstr(c.cause)) << c.name;
    EXPECT_EQ(instrument.reason.find(';') == std::string::npos, *c.cause == 0) << instrument.reason;
    EXPECT_EQ(instrument.cpu_steal_percent, c.stolen * 100) << c.name;
  }
}

}  // namespace
}  // namespace sluice
