#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "harness/metrics/tally.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Pair;

TEST(TallyLayout, NumbersStepsInTheOrderOfTheFileAGroupBeforeItsSteps) {
  Plan plan = small_plan();
  plan.scenarios.push_back(plan.scenarios.front());
  plan.scenarios.back().name = "second";
  const auto layout = TallyLayout::from(plan);
  std::vector<std::string> names;
  for (const StepInfo& step : layout->steps()) names.push_back(step.name);
  EXPECT_THAT(names, ElementsAre("ask", "login", "login", "sleep", "ask", "login", "login", "sleep"));
  EXPECT_EQ(layout->first_step(0), 0u);
  EXPECT_EQ(layout->first_step(1), 4u);
  EXPECT_TRUE(layout->steps()[1].is_group);
  EXPECT_TRUE(layout->steps()[0].is_stream);
  EXPECT_EQ(layout->steps()[2].group, "::login");
  EXPECT_EQ(layout->steps()[2].first_check, 2u);
  EXPECT_EQ(layout->checks().size(), 6u);
  EXPECT_EQ(layout->steps()[4].scenario, 1u);
}

TEST(TallyLayout, GivesEachStepItsTagsAndTheStepsOwnWin) {
  const auto layout = TallyLayout::from(small_plan());
  const Tags& chat = layout->steps()[0].tags;
  EXPECT_THAT(chat, Contains(Pair("scenario", "chat")));
  EXPECT_THAT(chat, Contains(Pair("kind", "chat")));
  EXPECT_THAT(chat, Contains(Pair("size", "small")));
  EXPECT_THAT(chat, Contains(Pair("group", "")));
  EXPECT_THAT(chat, Contains(Pair("method", "POST")));
  const Tags& login = layout->steps()[2].tags;
  EXPECT_THAT(login, Contains(Pair("kind", "login")));
  EXPECT_THAT(login, Contains(Pair("group", "::login")));
  EXPECT_THAT(login, Contains(Pair("url", "/api/login")));
  EXPECT_THAT(login, Contains(Pair("name", "login")));
}

TEST(TallyLayout, SelectorsFeedOnlyWhatMatches) {
  struct Case {
    const char* name;
    Tags selector;
    std::uint64_t chat, login, broken;  // http_reqs counted of a chat step, of the login step, of a login that gave 503
  };
  const Case cases[] = {
      {"all", {}, 1, 1, 1},
      {"scenario tag", {{"kind", "chat"}}, 1, 0, 0},
      {"step tag wins", {{"kind", "login"}}, 0, 1, 1},
      {"group", {{"group", "::login"}}, 0, 1, 1},
      {"two", {{"group", "::login"}, {"method", "POST"}}, 0, 1, 1},
      {"two, one wrong", {{"group", "::login"}, {"method", "GET"}}, 0, 0, 0},
      {"unknown", {{"colour", "red"}}, 0, 0, 0},
      {"status", {{"status", "503"}}, 0, 0, 1},
      {"status and static", {{"kind", "chat"}, {"status", "503"}}, 0, 0, 0},
      {"status that is no number", {{"status", "5xx"}}, 0, 0, 0},
      {"expected", {{"expected_response", "true"}}, 1, 1, 0},
      {"unexpected", {{"expected_response", "false"}}, 0, 0, 1},
      {"expected, misspelt", {{"expected_response", "yes"}}, 0, 0, 0},
  };
  for (const Case& c : cases) {
    Plan plan = small_plan();
    plan.thresholds = {threshold(Metric::http_reqs, c.selector, Aggregation::count, 0, Comparison::less, 1)};
    const auto layout = TallyLayout::from(plan);
    const FigureId figure = layout->figure_of_threshold(0);
    const auto counted = [&](const RequestRecord& record, StepId step) {
      Tally tally(layout, kOrigin);
      tally.add(record, step);
      return tally.figure(figure).sum;
    };
    EXPECT_EQ(counted(stream_record(0, 5, {{10}}), 0), c.chat) << c.name;
    EXPECT_EQ(counted(plain_record(0, 5), 2), c.login) << c.name;
    EXPECT_EQ(counted(plain_record(0, 5, 503), 2), c.broken) << c.name;
  }
}

TEST(TallyLayout, ThresholdsOnTheSameSelectionShareAFigure) {
  Plan plan = small_plan();
  const Tags chat{{"kind", "chat"}};
  plan.thresholds = {threshold(Metric::ttft, chat, Aggregation::percentile, 95, Comparison::less, 1),
                     threshold(Metric::ttft, chat, Aggregation::percentile, 97.5, Comparison::less, 1),
                     threshold(Metric::ttft, {}, Aggregation::avg, 0, Comparison::less, 1)};
  const auto layout = TallyLayout::from(plan);
  EXPECT_EQ(layout->figure_of_threshold(0), layout->figure_of_threshold(1));
  EXPECT_EQ(layout->figure_of_threshold(2), static_cast<FigureId>(Metric::ttft));
  EXPECT_EQ(layout->figures()[layout->figure_of_threshold(0)].name(), "ttft{kind:chat}");
  EXPECT_THAT(layout->figures()[layout->figure_of_threshold(0)].percentiles,
              ElementsAre(50, 75, 90, 95, 97.5, 99, 99.9));
  EXPECT_THAT(layout->figures()[layout->figure_of_threshold(2)].percentiles,
              ElementsAre(50, 75, 90, 95, 97.5, 99, 99.9));
  EXPECT_THAT(layout->figures()[static_cast<FigureId>(Metric::icl)].percentiles, ElementsAre(50, 75, 90, 95, 99, 99.9));
}

}  // namespace
}  // namespace sluice
