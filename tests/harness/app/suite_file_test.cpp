#include "harness/app/suite_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

using testing::HasSubstr;

TEST(SuiteFile, ListsItsCases) {
  ProblemList problems("s.yaml");
  const auto suite =
      read_suite("name: mine\ncases:\n  - {run: a.yaml}\n  - {run: b/c.yaml, needs_model: true}\n", problems);
  ASSERT_TRUE(suite) << problems.take().text();
  EXPECT_EQ(suite->name, "mine");
  ASSERT_EQ(suite->cases.size(), 2U);
  EXPECT_EQ(suite->cases[0].run, "a.yaml");
  EXPECT_FALSE(suite->cases[0].needs_model);
  EXPECT_EQ(suite->cases[1].run, "b/c.yaml");
  EXPECT_TRUE(suite->cases[1].needs_model);
}

TEST(SuiteFile, NamesEveryProblemWithItsPlace) {
  struct Case {
    const char* text;
    const char* problem;
  };
  const Case cases[] = {
      {"", "the file is empty"},
      {"- a", "s.yaml:1:1: a suite is a mapping"},
      {"cases: [{run: a}]", "name: a text is wanted"},
      {"name: x", "cases: must be a list of at least one case"},
      {"name: x\ncases: []", "s.yaml:2:8: cases: must be a list"},
      {"name: x\ncases: [a]", "s.yaml:2:9: a case is a mapping"},
      {"name: x\ncases: [{rum: a}]", "unknown key 'rum' of a case; did you mean 'run'?"},
      {"name: x\ncase: []", "unknown key 'case' of a suite; did you mean 'cases'?"},
      {"name: x\ncases: [{needs_model: true}]", "run: a text is wanted"},
      {"name: x\ncases: [{run: a, needs_model: yes}]", "s.yaml:2:31: needs_model: true or false is wanted"},
      {"name: x\nname: y\ncases: [{run: a}]", "s.yaml:2:1"},
  };
  for (const Case& c : cases) {
    ProblemList problems("s.yaml");
    EXPECT_FALSE(read_suite(c.text, problems)) << c.text;
    EXPECT_THAT(problems.take().text(), HasSubstr(c.problem)) << c.text;
  }
}

TEST(SuiteFile, SaysWhereItHasLookedForASuite) {
  const auto found = find_suite("there-is-no-such-suite");
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("there is no suite 'there-is-no-such-suite'"));
  EXPECT_THAT(found.error().message, HasSubstr("scenarios/suites/there-is-no-such-suite.yaml"));
}

}  // namespace
}  // namespace sluice
