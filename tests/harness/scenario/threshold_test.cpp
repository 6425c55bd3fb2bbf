#include "harness/scenario/threshold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(Threshold, ReadsK6sGrammarWithUnits) {
  struct Row {
    Metric metric;
    const char* text;
    Aggregation aggregation;
    double percentile;
    Comparison comparison;
    double limit;
  };
  const Row rows[] = {
      {Metric::ttft, "p(95) < 2s", Aggregation::percentile, 95, Comparison::less, 2000},
      {Metric::ttft, "p(95)<1500", Aggregation::percentile, 95, Comparison::less, 1500},
      {Metric::ttft, "p(99.9)<=1.5s", Aggregation::percentile, 99.9, Comparison::less_equal, 1500},
      {Metric::ttft, " p( 50 ) < 250ms ", Aggregation::percentile, 50, Comparison::less, 250},
      {Metric::ttft, "p(100)<1m30s", Aggregation::percentile, 100, Comparison::less, 90'000},
      {Metric::ttft, "avg<200us", Aggregation::avg, 0, Comparison::less, 0.2},
      {Metric::ttft, "med>=1", Aggregation::med, 0, Comparison::greater_equal, 1},
      {Metric::ttft, "min>0.5", Aggregation::min, 0, Comparison::greater, 0.5},
      {Metric::ttft, "max!=7", Aggregation::max, 0, Comparison::not_equal, 7},
      {Metric::http_req_failed, "rate<0.01", Aggregation::rate, 0, Comparison::less, 0.01},
      {Metric::http_req_failed, "rate < 1%", Aggregation::rate, 0, Comparison::less, 0.01},
      {Metric::checks, "rate===1", Aggregation::rate, 0, Comparison::equal, 1},
      {Metric::checks, "rate == 100 %", Aggregation::rate, 0, Comparison::equal, 1},
      {Metric::http_reqs, "count>10", Aggregation::count, 0, Comparison::greater, 10},
      {Metric::http_reqs, "rate > 20/s", Aggregation::rate, 0, Comparison::greater, 20},
      {Metric::http_reqs, "rate > 20", Aggregation::rate, 0, Comparison::greater, 20},
      {Metric::data_received, "count < 10MB", Aggregation::count, 0, Comparison::less, 1e7},
      {Metric::vus_max, "value<=20", Aggregation::value, 0, Comparison::less_equal, 20},
      {Metric::availability, "value > 99.9%", Aggregation::value, 0, Comparison::greater, 0.999},
      {Metric::stream_chunks, "avg > 5", Aggregation::avg, 0, Comparison::greater, 5},
  };
  for (const auto& row : rows) {
    const auto read = parse_threshold(row.text, row.metric);
    ASSERT_TRUE(read) << row.text << ": " << read.error().message;
    EXPECT_EQ(read->aggregation, row.aggregation) << row.text;
    EXPECT_EQ(read->percentile, row.percentile) << row.text;
    EXPECT_EQ(read->comparison, row.comparison) << row.text;
    EXPECT_DOUBLE_EQ(read->limit, row.limit) << row.text;
    EXPECT_EQ(read->metric, row.metric);
  }
}

TEST(Threshold, TheAggregationFitsTheMetricsKindAsInK6) {
  const Metric metrics[] = {Metric::http_reqs, Metric::vus, Metric::checks,
                            Metric::ttft};  // counter, gauge, rate, trend
  const std::pair<const char*, std::array<bool, 4>> rows[] = {
      {"count < 1", {true, false, false, false}}, {"rate < 1", {true, false, true, false}},
      {"value < 1", {false, true, false, false}}, {"avg < 1", {false, false, false, true}},
      {"min < 1", {false, false, false, true}},   {"max < 1", {false, false, false, true}},
      {"med < 1", {false, false, false, true}},   {"p(95) < 1", {false, false, false, true}},
  };
  for (const auto& [text, fits] : rows) {
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_EQ(bool(parse_threshold(text, metrics[i])), fits[i]) << text << " on " << info(metrics[i]).name;
  }
  EXPECT_EQ(parse_threshold("p(95) < 1", Metric::checks).error().message,
            "'p(95)' does not fit checks, a rate: write rate");
}

TEST(Threshold, SaysWhatIsWrong) {
  struct Row {
    Metric metric;
    const char *text, *problem;
  };
  const Row rows[] = {
      {Metric::ttft, "", "'' is not a threshold: write an aggregation, a comparison and a limit, as in p(95) < 2s"},
      {Metric::http_req_failed, "1%", "as in rate < 1%"},
      {Metric::ttft, "p95 < 2s", "'p95' is written p(95)"},
      {Metric::ttft, "p(0) < 2s", "'p(0)' is not a percentile"},
      {Metric::ttft, "p(101) < 2s", "is not a percentile"},
      {Metric::ttft, "p(x) < 2s", "is not a percentile"},
      {Metric::ttft, "p() < 2s", "is not a percentile"},
      {Metric::ttft, "avgg < 2s", "unknown aggregation 'avgg'; did you mean 'avg'?"},
      {Metric::ttft, "throughput < 2s", "unknown aggregation 'throughput': write avg"},
      {Metric::ttft, "avg = 2s", "'=' is not a comparison"},
      {Metric::ttft, "avg < ", "cannot read the limit ''"},
      {Metric::ttft, "avg < soon", "cannot read the limit 'soon': write a number such as 1500 (milliseconds) or 1.5s"},
      {Metric::ttft, "avg < 5%", "ttft is not a share, so it takes no '%'"},
      {Metric::ttft, "avg < 0x10", "cannot read the limit"},
      {Metric::ttft, "avg < nan", "cannot read the limit"},
      {Metric::ttft, "avg < inf", "cannot read the limit"},
      {Metric::ttft, "avg < 1 < 2", "cannot read the limit"},
      {Metric::http_req_failed, "rate < 5", "a rate lies between 0 and 1: write 5%"},
      {Metric::http_req_failed, "rate < 101%", "between 0% and 100%"},
      {Metric::http_req_failed, "rate < 1/s", "is a share of tries"},
      {Metric::http_reqs, "count > 10s", "'10s' is a time, and http_reqs is not one"},
      {Metric::http_reqs, "count > 10MB", "'10MB' is a size, and http_reqs is not one"},
  };
  for (const auto& [metric, text, problem] : rows) {
    const auto read = parse_threshold(text, metric);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message, HasSubstr(problem)) << text;
  }
}

TEST(Selection, ReadsTagsInAnyOrder) {
  EXPECT_EQ(parse_selection("ttft").value().metric, Metric::ttft);
  EXPECT_TRUE(parse_selection("ttft").value().tags.empty());
  EXPECT_THAT(parse_selection("ttft{ kind : chat , a:b }").value().tags,
              ElementsAre(Pair("a", "b"), Pair("kind", "chat")));
  EXPECT_THAT(parse_selection("ttft{name:GET http://h/x}").value().tags, ElementsAre(Pair("name", "GET http://h/x")));
  EXPECT_THAT(parse_selection("ttft{group:::look around}").value().tags, ElementsAre(Pair("group", "::look around")));
  for (const char* text : {"ttft{", "ttft{}", "ttft{a}", "ttft{a:}", "ttft{:b}", "ttft{a:b,}", "ttft{a:b,a:c}",
                           "ttft{a:b}}", "ttft{a:b} x", "tffft", "", "{a:b}"}) {
    EXPECT_FALSE(parse_selection(text)) << text;
  }
  EXPECT_EQ(parse_selection("tttf").error().message, "unknown metric 'tttf'; did you mean 'ttft'?");
  EXPECT_THAT(parse_selection("colour").error().message, HasSubstr("'sluice metrics' lists them"));
}

}  // namespace
}  // namespace sluice
