#include "harness/output/k6_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "tests/reports/sample_summary.h"

namespace sluice {
namespace {

namespace json = boost::json;

std::string golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(SLUICE_SOURCE_DIR "/tests/harness/output/golden/") + name;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

reports::Summary small() {
  reports::Summary summary;
  summary.metrics = {
      {.name = "http_req_duration",
       .kind = "trend",
       .unit = "ms",
       .count = 4,
       .avg = 2.5,
       .min = 1,
       .max = 4,
       .percentiles = {{50, 2.5}, {90, 3.7}, {95, 3.85}, {99, 3.97}}},
      {.name = "http_reqs", .kind = "counter", .count = 4, .rate = 0.5},
      {.name = "http_req_failed", .kind = "rate", .rate = 0.25, .passes = 1, .fails = 3},
      {.name = "vus", .kind = "gauge", .value = 2.0},
  };
  summary.thresholds = {
      {.metric = "http_req_duration", .expression = "p(95) < 2s", .verdict = "pass"},
      {.metric = "http_req_duration", .expression = "max < 3ms", .verdict = "fail"},
      {.metric = "http_req_failed", .expression = "rate < 1%", .verdict = "inconclusive"},
      {.metric = "ttft{kind:chat}", .expression = "p(95) < 2s", .verdict = "fail", .reason = "no samples"},
  };
  summary.steps = {{.scenario = "a", .group = "::child", .name = "x"}, {.scenario = "a", .group = "::outer::in"}};
  summary.checks = {{.name = "status == 200", .passes = 3, .fails = 1},
                    {.name = "check1", .group = "::child", .passes = 5, .fails = 10},
                    {.name = "say \"hi\"", .group = "::outer::in", .passes = 1},
                    {.name = "say \"hi\"", .group = "::outer::in", .passes = 1, .fails = 2}};
  return summary;
}

TEST(K6Summary, IsWrittenAsK6DoesIt) {
  const std::string text = to_k6_summary(small());
  EXPECT_EQ(text, golden("k6_summary.json", text));
}

TEST(K6Summary, ATrueThresholdHasFailed) {
  const json::value read = json::parse(to_k6_summary(small()));
  const json::object& metrics = read.at("metrics").as_object();
  EXPECT_FALSE(metrics.at("http_req_duration").at("thresholds").at("p(95) < 2s").as_bool());
  EXPECT_TRUE(metrics.at("http_req_duration").at("thresholds").at("max < 3ms").as_bool());
  EXPECT_FALSE(metrics.at("http_req_failed").at("thresholds").at("rate < 1%").as_bool());
  EXPECT_TRUE(metrics.at("ttft{kind:chat}").at("thresholds").at("p(95) < 2s").as_bool());
}

TEST(K6Summary, GroupsAndChecksHaveTheIdsThatK6GivesThem) {
  const json::value read = json::parse(to_k6_summary(small()));
  const json::value& root = read.at("root_group");
  EXPECT_EQ(root.at("id").as_string(), "d41d8cd98f00b204e9800998ecf8427e");
  const json::value& child = root.at("groups").at("child");
  EXPECT_EQ(child.at("id").as_string(), "f41cbb53a398ec1c9fb3d33e20c9b040");
  EXPECT_EQ(child.at("checks").at("check1").at("id").as_string(), "6289a7a06253a1c3f6137dfb25695563");
  const json::value& inner = root.at("groups").at("outer").at("groups").at("in");
  EXPECT_EQ(inner.at("path").as_string(), "::outer::in");
  EXPECT_EQ(inner.at("checks").at("say \"hi\"").at("passes").to_number<int>(), 2);
}

TEST(K6Summary, AWholeRunIsValidJson) {
  const json::value read = json::parse(to_k6_summary(reports::sample_summary()));
  EXPECT_FALSE(read.at("metrics").as_object().empty());
}

}  // namespace
}  // namespace sluice
