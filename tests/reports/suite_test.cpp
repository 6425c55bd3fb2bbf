// A suite in each of its forms.
#include "reports/suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "reports/format.h"
#include "reports/html.h"
#include "reports/json.h"
#include "reports/junit.h"
#include "reports/text.h"
#include "tests/reports/sample_summary.h"

namespace sluice::reports {
namespace {

using boost::property_tree::ptree;
using testing::HasSubstr;
using testing::Not;

SuiteSummary sample_suite() {
  SuiteSummary suite;
  suite.sluice_version = "1.2.3";
  suite.name = "quick";
  suite.started_at = "2026-11-26T10:14:00Z";
  suite.duration_s = 83.4;
  suite.target = "http://127.0.0.1:8000";
  suite.outcome = "failed";
  suite.exit_code = 106;
  suite.preflight = {{"health", "pass", "/health: status 200"},
                     {"models", "fail", "the server does not offer 'llama', did you mean 'lama'?; it offers lama"},
                     {"backend", "skipped", "the server does not say what it runs on"}};
  suite.cases = {
      {.name = "performance",
       .file = "cases/performance.yaml",
       .outcome = "failed",
       .folder = "01-performance",
       .duration_s = 9.5,
       .exit_code = 99,
       .requirements = {{"stream_chunks", "min >= 50", "9", "fail", "chunks are few and large: 40 characters each",
                         "the chunk policy is too strict: lower min_chars and max_delay, or the server's stream "
                         "interval"},
                        {"ttft{kind:chat}", "p(95) < 1s", "412ms", "inconclusive", "too few samples", "a longer run"},
                        {"icl", "p(95) < 1s", "", "fail", "", ""},
                        {"check: status == 200", "always", "10 of 10", "pass", "", ""}}},
      {.name = "temperatures", .file = "cases/temperature.yaml", .outcome = "skipped", .reason = "it needs a model"},
      {.name = "faults", .file = "faults.yaml", .outcome = "error", .reason = "the engine ended", .exit_code = 106},
      {.name = "basic streaming",
       .file = "cases/basic_streaming.yaml",
       .outcome = "passed",
       .folder = "04-basic-streaming",
       .duration_s = 0.4,
       .requirements = {{"stream_failed", "rate == 0", "0.00%", "pass", "", ""}}}};
  return suite;
}

TEST(Suite, ItsTextLooksAsReviewed) {
  const std::string path = SLUICE_SOURCE_DIR "/tests/reports/golden/suite_100.txt";
  const std::string text = to_text(sample_suite());
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file) << path;
  std::stringstream wanted;
  wanted << file.rdbuf();
  EXPECT_EQ(text, wanted.str());
}

TEST(Suite, ItsTextStaysWithinItsWidth) {
  for (const int width : {80, 100, 160}) {
    std::istringstream lines(to_text(sample_suite(), {.color = false, .width = width}));
    for (std::string line; std::getline(lines, line);)
      EXPECT_LE(columns(line), static_cast<std::size_t>(width)) << line;
  }
}

TEST(Suite, WhatIsSimulatedSaysSoInEveryForm) {
  SuiteSummary suite = sample_suite();
  Summary summary = sample_summary();
  for (const std::string& plain :
       {to_text(suite), to_html(suite), to_junit(suite), to_text(summary), to_html(summary), to_junit(summary)}) {
    EXPECT_THAT(plain, Not(HasSubstr("nobody is there")));
  }
  suite.simulated = summary.simulated = "nobody is there";
  for (const std::string& said : {to_text(suite), to_html(suite), to_json(suite), to_junit(suite), to_text(summary),
                                  to_html(summary), to_json(summary), to_junit(summary)}) {
    EXPECT_THAT(said, HasSubstr("nobody is there"));
  }
}

TEST(Suite, JunitCountsWhatItHas) {
  std::istringstream stream(to_junit(sample_suite()));
  ptree tree;
  read_xml(stream, tree);
  const ptree& suites = tree.get_child("testsuites");
  int tests = 0, failures = 0, errors = 0, skipped = 0;
  for (const auto& [tag, suite] : suites) {
    if (tag != "testsuite") continue;
    int own = 0;
    for (const auto& [name, test] : suite) {
      if (name != "testcase") continue;
      ++own;
      failures += static_cast<int>(test.count("failure"));
      errors += static_cast<int>(test.count("error"));
      skipped += static_cast<int>(test.count("skipped"));
    }
    EXPECT_EQ(suite.get<int>("<xmlattr>.tests"), own);
    tests += own;
  }
  EXPECT_EQ(suites.get<int>("<xmlattr>.tests"), tests);
  EXPECT_EQ(suites.get<int>("<xmlattr>.failures"), failures);
  EXPECT_EQ(suites.get<int>("<xmlattr>.errors"), errors);
  EXPECT_EQ(suites.get<int>("<xmlattr>.skipped"), skipped);
  EXPECT_EQ((std::vector<int>{tests, failures, errors, skipped}), (std::vector<int>{10, 3, 1, 3}));
}

TEST(Suite, JsonHasItAll) {
  const auto json = boost::json::parse(to_json(sample_suite()));
  EXPECT_EQ(json.at("schema_version").as_int64(), kSchemaVersion);
  EXPECT_EQ(json.at("cases").as_array().size(), 4U);
  EXPECT_EQ(json.at("cases").at(0).at("requirements").at(0).at("cause").as_string(),
            "chunks are few and large: 40 characters each");
  EXPECT_EQ(json.at("preflight").at(1).at("verdict").as_string(), "fail");
}

TEST(Suite, TextIsNeverMarkup) {
  SuiteSummary suite = sample_suite();
  const std::string evil = "<script>alert(1)</script>\"'&";
  suite.name = suite.target = suite.simulated = evil;
  for (auto& check : suite.preflight) check = {evil, "fail", evil};
  for (auto& each : suite.cases) {
    each.name = each.reason = each.folder = each.outcome = evil;
    for (auto& result : each.requirements) result = {evil, evil, evil, "fail", evil, evil};
  }
  EXPECT_THAT(to_html(suite), Not(HasSubstr("<script>alert")));
  std::istringstream stream(to_junit(suite));
  ptree tree;
  EXPECT_NO_THROW(read_xml(stream, tree));
}

TEST(Suite, RequirementsAreThresholdsAndChecksThatRan) {
  Summary summary;
  summary.thresholds = {{.metric = "ttft",
                         .expression = "p(95) < 1s",
                         .verdict = "fail",
                         .actual = 1200,
                         .unit = "ms",
                         .cause = "slow",
                         .suggestion = "faster"},
                        {.metric = "icl", .expression = "avg < 1s", .verdict = "fail"}};
  summary.checks = {{.name = "a", .passes = 3, .fails = 1}, {.name = "never", .passes = 0, .fails = 0}};
  const auto list = requirements_of(summary);
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0], (RequirementResult{"ttft", "p(95) < 1s", "1.2s", "fail", "slow", "faster"}));
  EXPECT_EQ(list[1].actual, "");
  EXPECT_EQ(list[2], (RequirementResult{"check: a", "always", "3 of 4", "fail", "", ""}));
}

}  // namespace
}  // namespace sluice::reports
