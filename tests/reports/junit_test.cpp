#include "reports/junit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

#include "tests/reports/sample_summary.h"

namespace sluice::reports {
namespace {

using boost::property_tree::ptree;

ptree parsed(const std::string& xml) {
  std::istringstream stream(xml);
  ptree tree;
  read_xml(stream, tree);
  return tree;
}

struct Counted {
  int tests = 0, failures = 0, skipped = 0;
};

Counted counted(const ptree& suite) {
  Counted count;
  for (const auto& [tag, test] : suite) {
    if (tag != "testcase") continue;
    ++count.tests;
    count.failures += test.count("failure") > 0;
    count.skipped += test.count("skipped") > 0;
  }
  return count;
}

TEST(Junit, ItsCountsAreThoseOfItsCases) {
  for (const Summary& summary : {sample_summary(), small_summary(), Summary{}}) {
    const ptree tree = parsed(to_junit(summary));
    const ptree& suites = tree.get_child("testsuites");
    Counted total;
    int seen = 0;
    for (const auto& [tag, suite] : suites) {
      if (tag != "testsuite") continue;
      ++seen;
      const Counted count = counted(suite);
      EXPECT_EQ(suite.get<int>("<xmlattr>.tests"), count.tests);
      EXPECT_EQ(suite.get<int>("<xmlattr>.failures"), count.failures);
      EXPECT_EQ(suite.get<int>("<xmlattr>.skipped"), count.skipped);
      total.tests += count.tests;
      total.failures += count.failures;
      total.skipped += count.skipped;
    }
    EXPECT_EQ(seen, 2);
    EXPECT_EQ(suites.get<int>("<xmlattr>.tests"), total.tests);
    EXPECT_EQ(suites.get<int>("<xmlattr>.failures"), total.failures);
    EXPECT_EQ(suites.get<int>("<xmlattr>.skipped"), total.skipped);
    EXPECT_EQ(static_cast<std::size_t>(total.tests), summary.thresholds.size() + summary.checks.size());
  }
}

TEST(Junit, TellsPassFailAndOpenApart) {
  const ptree tree = parsed(to_junit(sample_summary()));
  std::map<std::string, std::string> verdicts;
  for (const auto& [tag, suite] : tree.get_child("testsuites")) {
    if (tag != "testsuite") continue;
    for (const auto& [name, test] : suite)
      if (name == "testcase")
        verdicts[test.get<std::string>("<xmlattr>.name")] = test.count("failure")   ? "fail"
                                                            : test.count("skipped") ? "open"
                                                                                    : "pass";
  }
  EXPECT_EQ(verdicts.at("ttft: p(95) < 60ms"), "fail");
  EXPECT_EQ(verdicts.at("http_req_duration{kind:chat}: p(50) < 1500"), "pass");
  EXPECT_EQ(verdicts.at("icl: p(99) < 30ms"), "open");
  EXPECT_EQ(verdicts.at("itl: p(99) < 50ms"), "fail");
  EXPECT_EQ(verdicts.at("status == 200"), "fail");
  EXPECT_EQ(verdicts.at("text contains \"print(\""), "pass");
  EXPECT_EQ(verdicts.at("finish_reason == stop"), "open");
}

TEST(Junit, AnyTextSurvivesAsText) {
  Summary summary;
  summary.name = "a<b>&\"'\n]]>\t--> \xC3\xA9";
  summary.checks = {{.name = "text matches \"<a href='x'>&amp;\"", .passes = 0, .fails = 2}};
  summary.thresholds = {{.metric = "ttft{name:<&>}",
                         .expression = "p(95) < 2s",
                         .verdict = "fail",
                         .limit = 2000,
                         .unit = "ms",
                         .reason = "ends in ]]> and <b>"}};
  const ptree tree = parsed(to_junit(summary));
  EXPECT_EQ(tree.get<std::string>("testsuites.<xmlattr>.name"), summary.name);
  std::vector<std::string> names, messages;
  for (const auto& [tag, suite] : tree.get_child("testsuites"))
    if (tag == "testsuite")
      for (const auto& [name, test] : suite)
        if (name == "testcase") {
          names.push_back(test.get<std::string>("<xmlattr>.name"));
          messages.push_back(test.get<std::string>("failure.<xmlattr>.message"));
        }
  EXPECT_THAT(names, testing::ElementsAre("ttft{name:<&>}: p(95) < 2s", summary.checks[0].name));
  EXPECT_EQ(messages[0], summary.thresholds[0].reason);
}

TEST(Junit, ControlCharactersThatXmlCannotCarryAreReplaced) {
  Summary summary;
  summary.name = std::string("a\x01\x1b\0b", 5);
  const std::string xml = to_junit(summary);
  EXPECT_EQ(xml.find('\x1b'), std::string::npos);
  EXPECT_EQ(xml.find('\x01'), std::string::npos);
  EXPECT_EQ(xml.find('\0'), std::string::npos);
  parsed(xml);
}

}  // namespace
}  // namespace sluice::reports
