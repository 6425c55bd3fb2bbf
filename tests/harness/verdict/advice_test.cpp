#include "harness/verdict/advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using reports::Summary;
using reports::ThresholdResult;
using testing::HasSubstr;

reports::MetricSummary trend(std::string name, double avg, double p95) {
  return {.name = std::move(name), .kind = "trend", .unit = "ms", .count = 100, .avg = avg, .percentiles = {{95, p95}}};
}
reports::MetricSummary counter(std::string name, std::uint64_t count) {
  return {.name = std::move(name), .kind = "counter", .count = count};
}

ThresholdResult failed(std::string metric, std::optional<double> actual, double limit) {
  return {.metric = std::move(metric), .expression = "x", .verdict = "fail", .actual = actual, .limit = limit};
}

TEST(Advice, NamesWhatTheRunShows) {
  struct Case {
    const char* name;
    Summary summary;
    ThresholdResult result;
    const char* cause;       // "": none
    const char* suggestion;  // likewise
  };
  const std::vector<Case> cases = {
      {"most of ttft is queue",
       {.metrics = {trend("ttft", 800, 1000), trend("ttft_queue", 600, 700), trend("ttft_prefill", 100, 200)}},
       failed("ttft", 1000, 500),
       "700ms of the p95 of 1s go into waiting in the server's queue",
       "more sequences"},
      {"most of ttft is prefill",
       {.metrics = {trend("ttft", 800, 1000), trend("ttft_queue", 1, 2), trend("ttft_prefill", 600, 900)}},
       failed("ttft", 1000, 500),
       "reading the prompt",
       "prefix cache"},
      {"the server holds its first text back",
       {.metrics = {trend("ttft", 800, 1000), trend("ttft_prefill", 100, 200), trend("ttft_output", 600, 700)}},
       failed("ttft", 1000, 500),
       "between the first token and its first byte",
       "min_chars"},
      {"of the selected part",
       {.metrics = {trend("ttft", 9, 10), trend("ttft{kind:chat}", 800, 1000), trend("ttft_queue", 1, 2),
                    trend("ttft_queue{kind:chat}", 600, 700)}},
       failed("ttft{kind:chat}", 1000, 500),
       "700ms",
       "more sequences"},
      {"a late first token and no split", {.metrics = {trend("ttft", 800, 1000)}}, failed("ttft", 1000, 500), "", ""},
      {"a proxy that buffers",
       {.metrics = {trend("ttft", 800, 1000)},
        .findings = {{.rule = "proxy-buffering", .severity = "warning", .count = 3}}},
       failed("ttft", 1000, 500),
       "bursts after silences",
       "proxy_buffering off"},
      {"what is only noted is no cause",
       {.metrics = {trend("ttft", 800, 1000)},
        .findings = {{.rule = "proxy-buffering", .severity = "note", .count = 3}}},
       failed("ttft", 1000, 500),
       "",
       ""},
      {"preemption",
       {.metrics = {trend("icl", 80, 100), counter("engine_preemptions", 4), counter("stalls", 9)}},
       failed("icl", 100, 50),
       "KV cache is too small",
       "kv_mib"},
      {"stalls",
       {.metrics = {trend("icl", 80, 100), counter("stalls", 9)}},
       failed("tpot", 100, 50),
       "9 gaps are stalls",
       "prefill"},
      {"few and large chunks",
       {.metrics = {trend("chunk_size", 40, 60)}},
       failed("stream_chunks", 9, 50),
       "few and large: 40 characters",
       "chunk policy is too strict"},
      {"short answers",
       {.metrics = {trend("chunk_size", 3, 6)}},
       failed("stream_chunks", 9, 50),
       "answers are short",
       "max_tokens"},
      {"many and small chunks",
       {.metrics = {trend("chunk_size", 3, 6)}},
       failed("stream_chunks", 200, 100),
       "many and small",
       "chunking"},
      {"small chunks for buffer_efficiency",
       {.metrics = {trend("chunk_size", 3, 6)}},
       failed("buffer_efficiency", 0.1, 0.2),
       "chunks are small",
       "min_chars"},
      {"nobody answers",
       {.failures = {{.outcome = "connect_failed", .error = "connection refused", .count = 12}}},
       failed("ttft", std::nullopt, 1),
       "12 times: connection refused",
       "is the server there"},
      {"a full queue",
       {.failures = {{.outcome = "http_error", .error = "status 429", .count = 7}}},
       failed("http_req_failed", 0.5, 0.01),
       "7 times: status 429",
       "less load"},
      {"no right to ask",
       {.failures = {{.outcome = "http_error", .error = "status 401", .count = 7}}},
       failed("http_req_failed", 1, 0.01),
       "status 401",
       "target.auth"},
      {"a broken rule without a failure",
       {.findings = {{.rule = "no-done", .severity = "error", .count = 2}}},
       failed("stream_failed", 1, 0),
       "break the rule no-done",
       "docs/streams.md"},
      {"a finding is named with its bytes",
       {.findings = {{.rule = "role-missing", .severity = "warning", .count = 1},
                     {.rule = "invalid-json", .severity = "fatal", .count = 2, .example = "data: {"}}},
       failed("stream_findings", 3, 0),
       "2 streams broke the rule invalid-json: data: {",
       "allow"},
      {"itl without tokens",
       {.metrics = {trend("icl", 3, 6)}},
       failed("itl", std::nullopt, 1),
       "tells no tokens",
       "continuous_usage_stats"},
      {"the check that fails most",
       {.checks = {{.name = "a", .passes = 9, .fails = 1}, {.name = "b", .passes = 5, .fails = 5}}},
       failed("checks", 0.7, 0.99),
       "'b' failed 5 of 10 times",
       ""},
      {"a long answer",
       {.metrics = {trend("ttft", 50, 100), trend("stream_duration", 900, 1000)}},
       failed("stream_duration", 1000, 500),
       "writing the answer",
       "shorter answers"},
      {"nothing was measured", {}, failed("icl", std::nullopt, 1), "", "does a step measure it"},
  };
  for (const Case& c : cases) {
    const Advice advice = advice_for(c.summary, c.result);
    EXPECT_THAT(advice.cause, HasSubstr(c.cause)) << c.name;
    EXPECT_THAT(advice.suggestion, HasSubstr(c.suggestion)) << c.name;
    EXPECT_EQ(advice.cause.empty(), *c.cause == 0) << c.name << ": " << advice.cause;
    EXPECT_EQ(advice.suggestion.empty(), *c.suggestion == 0) << c.name << ": " << advice.suggestion;
  }
}

TEST(Advice, OfWhatIsInconclusiveAsksForMoreSamples) {
  ThresholdResult open = failed("ttft", 100, 90);
  open.verdict = "inconclusive";
  EXPECT_EQ(advice_for({}, open).cause, "") << "the reason stands there already";
  EXPECT_THAT(advice_for({}, open).suggestion, HasSubstr("longer run"));
}

TEST(Advice, BlamesTheHarnessOnlyWhereNothingElseExplainsATime) {
  Summary summary{.metrics = {trend("ttft", 800, 1000), trend("ttft_queue", 600, 700)}};
  summary.instrument = {.verdict = "client-limited", .reason = "p99 of send_lag is 0.2 ms"};
  EXPECT_THAT(advice_for(summary, failed("ttft", 1000, 500)).cause, HasSubstr("server's queue"));
  EXPECT_THAT(advice_for(summary, failed("icl", 10, 5)).cause, HasSubstr("the harness was late itself"));
  EXPECT_EQ(advice_for(summary, failed("http_reqs", 10, 50)).cause, "");
}

TEST(Advice, NamesTheRuleOfTheThresholdsOwnSelector) {
  const Summary summary{.findings = {{.rule = "http-status", .severity = "fatal", .count = 8},
                                     {.rule = "no-done", .severity = "error", .count = 2}}};
  EXPECT_THAT(advice_for(summary, failed("stream_findings{rule:no-done}", 2, 0)).cause, HasSubstr("the rule no-done"));
  EXPECT_EQ(advice_for(summary, failed("stream_findings{rule:no-finish}", 2, 0)).cause, "");
  EXPECT_THAT(advice_for(summary, failed("stream_findings", 10, 0)).cause, HasSubstr("http-status"));
}

}  // namespace
}  // namespace sluice
