#include "reports/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "tests/reports/sample_summary.h"

namespace sluice::reports {
namespace {

using testing::HasSubstr;

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const auto at = text.find(what);
  EXPECT_NE(at, std::string::npos) << "the test looks for what is not there: " << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

TEST(SummaryJson, ReadsBackWhatItWrote) {
  for (const Summary& summary : {sample_summary(), gpu_summary(), small_summary(), Summary{}}) {
    const auto back = from_json(to_json(summary));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, summary);
  }
}

TEST(SummaryJson, AFileFromBeforeTheEngineWasSampledReadsAsOneWithoutIt) {
  const std::string text = to_json(sample_summary());
  for (const char* later : {"\"engine\":", "gpu_", "kv_cache_usage", "engine_preemptions"})
    EXPECT_EQ(text.find(later), std::string::npos) << later;
  const auto back = from_json(text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_FALSE(back->engine);
  EXPECT_EQ(back->series[1].gpu_utilization_percent, std::nullopt);
}

TEST(SummaryJson, AFileFromBeforeBufferingWasJudgedReadsAsOneWithoutIt) {
  Summary summary = sample_summary();
  summary.buffering.reset();
  const std::string text = to_json(summary);
  EXPECT_EQ(text.find("\"buffering\""), std::string::npos);
  const auto back = from_json(text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, summary);
}

TEST(SummaryJson, EveryDoubleComesBackToTheLastBit) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    double value = 0;
    do {
      const std::uint64_t bits = random();
      std::memcpy(&value, &bits, sizeof value);
    } while (!std::isfinite(value));
    Summary summary = small_summary();
    summary.duration_s = value;
    summary.series[0].ttft_p50_ms = value / 3;
    summary.vllm_compat["x"] = -value;
    const auto back = from_json(to_json(summary));
    ASSERT_TRUE(back) << back.error().message;
    ASSERT_EQ(*back, summary) << value;
  }
}

TEST(SummaryJson, TheLargestCountsAndAnyTextComeBack) {
  Summary summary = small_summary();
  summary.seed = std::numeric_limits<std::uint64_t>::max();
  summary.metrics[0].count = std::numeric_limits<std::uint64_t>::max();
  summary.name =
      std::string("quote \" back \\ slash / nul \0 tab \t line \n \x7f \xC3\xA9 \xF0\x9F\x9A\xB0 </script>", 59);
  summary.exit_code = -1;
  const auto back = from_json(to_json(summary));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, summary);
}

TEST(SummaryJson, NamesMetricsAndPercentilesSoThatToolsCanPickThem) {
  const std::string text = to_json(sample_summary());
  EXPECT_THAT(text, HasSubstr("\"ttft\": {"));
  EXPECT_THAT(text, HasSubstr("\"http_req_duration{kind:chat}\": {"));
  EXPECT_THAT(text, HasSubstr("\"p99.9\": "));
  EXPECT_THAT(text, HasSubstr("\"schema_version\": 1"));
}

TEST(SummaryJson, IgnoresMembersItDoesNotKnow) {
  const std::string text = replaced(to_json(small_summary()), "\"seed\":", "\"colour\": {\"deep\": [1, 2]}, \"seed\":");
  const auto back = from_json(text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, small_summary());
}

TEST(SummaryJson, RefusesWhatIsWrongNamingThePlace) {
  struct Case {
    const char* name;
    const char* what;
    const char* with;
    const char* message;
  };
  const Case cases[] = {
      {"another version", "\"schema_version\": 1", "\"schema_version\": 2", "schema_version: 2 is not a version"},
      {"a version that is no number", "\"schema_version\": 1", "\"schema_version\": \"1\"", "schema_version"},
      {"no version", "\"schema_version\"", "\"scheme\"", "not a Sluice summary"},
      {"missing member", "\"seed\":", "\"sead\":", "seed: missing"},
      {"wrong type", "\"seed\": 0", "\"seed\": \"0\"", "seed: a whole number, not negative, is wanted"},
      {"negative", "\"seed\": 0", "\"seed\": -1", "seed: a whole number, not negative, is wanted"},
      {"fraction", "\"threads\": 1", "\"threads\": 1.5", "instrument.threads: a whole number"},
      {"too large for its member", "\"threads\": 1", "\"threads\": 4294967296", "instrument.threads: a whole number"},
      {"unknown word", "\"outcome\": \"passed\"", "\"outcome\": \"great\"",
       "outcome: 'great' is none of passed, failed"},
      {"in an array", "\"requests_per_s\": 2", "\"requests_per_s\": true",
       "series[0].requests_per_s: a number is wanted"},
      {"in a map", "\"kind\": \"rate\"", "\"kind\": \"race\"",
       "metrics.http_req_failed.kind: 'race' is none of counter"},
      {"bad percentile", "\"p99.9\"", "\"q99.9\"", "'q99.9' is not p and a number"},
      {"percentile over 100", "\"p99.9\"", "\"p100.1\"", "'p100.1' is not p and a number"},
      {"percentiles out of order", "\"p99.9\"", "\"p1\"", "percentiles must ascend"},
      {"metric twice", "\"http_req_failed\"", "\"http_reqs\"", "'http_reqs' stands twice"},
      {"array for an object", "\"metrics\": {", "\"metrics\": [], \"x\": {", "metrics: an object is wanted"},
      {"object for an array", "\"checks\": []", "\"checks\": {}", "checks: an array is wanted"},
      {"number for a text", "\"name\": \"quick\"", "\"name\": 7", "name: a string is wanted"},
      {"null where a number is due", "\"duration_s\": 3", "\"duration_s\": null", "duration_s: a number is wanted"},
  };
  const std::string good = to_json(small_summary());
  for (const Case& c : cases) {
    const auto back = from_json(replaced(good, c.what, c.with));
    ASSERT_FALSE(back) << c.name;
    EXPECT_THAT(back.error().message, HasSubstr(c.message)) << c.name;
  }
}

TEST(SummaryJson, RefusesWhatIsNotJson) {
  for (const std::string text : {"", " ", "{", "nul", "[]", "7", "{\"schema_version\": 1", "\xff\xfe", "{} {}"}) {
    const auto back = from_json(text);
    ASSERT_FALSE(back) << text;
    EXPECT_FALSE(back.error().message.empty());
  }
  const std::string good = to_json(small_summary());
  for (std::size_t length = 0; length + 2 < good.size(); length += 37)
    EXPECT_FALSE(from_json(good.substr(0, length))) << length;
  EXPECT_FALSE(from_json(std::string(100'000, '[')));
}

TEST(SummaryJson, ARefusalNeverRepeatsControlCharactersOfTheFile) {
  const auto back =
      from_json(replaced(to_json(small_summary()), "\"outcome\": \"passed\"", "\"outcome\": \"\\u001b[2J\""));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().message.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace sluice::reports
