#include "harness/load/data_rows.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>

#include "harness/load/run.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;

DataSet set_of(std::size_t rows, DataSet::Order order, DataSet::AtEnd at_end = DataSet::AtEnd::stop,
               std::vector<std::uint32_t> dealt_to = {0}) {
  DataSet set;
  set.name = "d";
  set.fields = {"a"};
  set.rows.resize(rows, {"x"});
  set.order = order;
  set.at_end = at_end;
  set.dealt_to = std::move(dealt_to);
  return set;
}

TEST(DataRows, SequentialRowsStartAgainAndRandomOnesFollowChance) {
  const DataSet sequential = set_of(3, DataSet::Order::sequential), random = set_of(3, DataSet::Order::random);
  for (std::uint64_t i = 0; i < 9; ++i) {
    EXPECT_EQ(row_of(sequential, 0, i, 77), i % 3);
    EXPECT_EQ(row_of(random, 0, 5, i), i % 3);
  }
}

TEST(DataRows, UniqueRowsAreDealtToTheScenariosThatReadThemWithoutOverlap) {
  const DataSet set = set_of(100, DataSet::Order::unique, DataSet::AtEnd::stop, {1, 4, 5});
  std::set<std::uint64_t> seen;
  std::size_t dealt = 0;
  for (const std::uint32_t scenario : {1u, 4u, 5u}) {
    for (std::uint64_t iteration = 0; iteration < 100; ++iteration) {
      const auto row = row_of(set, scenario, iteration, 0);
      if (!row) continue;
      ++dealt;
      seen.insert(*row);
    }
  }
  EXPECT_EQ(dealt, 100u);
  EXPECT_EQ(seen.size(), 100u);
}

TEST(DataRows, AtTheEndTheyStopOrStartAgain) {
  const DataSet stop = set_of(10, DataSet::Order::unique),
                wrap = set_of(10, DataSet::Order::unique, DataSet::AtEnd::wrap);
  EXPECT_EQ(row_of(stop, 0, 9, 0), 9u);
  EXPECT_EQ(row_of(stop, 0, 10, 0), std::nullopt);
  EXPECT_EQ(row_of(stop, 0, ~std::uint64_t{0}, 0), std::nullopt);
  EXPECT_EQ(row_of(wrap, 0, 10, 0), 0u);
  Plan plan;
  plan.data = {stop, wrap};
  EXPECT_TRUE(has_rows(plan, 0, 9));
  EXPECT_FALSE(has_rows(plan, 0, 10));
  EXPECT_TRUE(has_rows(plan, 1, 10)) << "a scenario that does not read them goes on";
}

TEST(DataRows, OfARunEachUniqueRowIsAskedOnceAndThenItIsOver) {
  Script script;
  for (int i = 0; i < 100; ++i) {
    script.push_back(await_request());
    script.push_back(send(answer("hello")));
  }
  const std::vector<LoadShape> shapes{ConstantVus{.vus = 3, .duration = 60s},
                                      SharedIterations{.vus = 3, .iterations = 1000, .max_duration = 60s},
                                      PerVuIterations{.vus = 3, .iterations = 1000, .max_duration = 60s}};
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE(i);
    ScriptedServer server({script});
    Plan plan;
    plan.name = plan.file = "test";
    plan.target.url = server.url();
    plan.threads = 2;
    plan.data = {set_of(40, DataSet::Order::unique)};
    for (std::size_t row = 0; row < 40; ++row) plan.data[0].rows[row] = {std::to_string(row)};
    ScenarioPlan scenario;
    scenario.name = "main";
    scenario.shape = shapes[i];
    HttpStep http;
    http.url = Template("/row/");
    http.url.add_hole("d.a");
    http.url.add_literal("/");
    Step step;
    step.name = "get";
    step.verb = std::move(http);
    scenario.flow = {std::move(step)};
    plan.scenarios.push_back(std::move(scenario));
    RunControl control;
    const auto result = run(plan, {}, control, {});
    ASSERT_TRUE(result);
    std::set<std::string> asked;
    for (const std::string& request : server.requests()) asked.insert(request.substr(0, request.find(" HTTP")));
    EXPECT_EQ(asked.size(), 40u);
    EXPECT_EQ(server.requests().size(), 40u);
    EXPECT_EQ(result->tally.figure(Metric::iterations).sum, 40u);
    const std::uint64_t dropped = result->tally.figure(Metric::dropped_iterations).sum;
    EXPECT_EQ(dropped, i == 0 ? 0u : i == 1 ? 960u : 2960u) << "those that had no row";
  }
}

}  // namespace
}  // namespace sluice
