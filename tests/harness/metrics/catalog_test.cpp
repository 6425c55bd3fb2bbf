#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "harness/base/metric_catalog.h"

namespace sluice {
namespace {

TEST(MetricCatalog, FindsEachMetricByItsNameAndNoOther) {
  for (const MetricInfo& metric : metric_catalog()) {
    EXPECT_EQ(metric_named(metric.name), metric.id);
    EXPECT_EQ(info(metric.id).name, metric.name);
    EXPECT_FALSE(metric.definition.empty()) << metric.name;
    EXPECT_EQ(metric.definition.back(), '.') << metric.name;
  }
  EXPECT_EQ(metric_named("ttft_"), std::nullopt);
  EXPECT_EQ(metric_named(""), std::nullopt);
}

TEST(MetricCatalog, HasNoNameTwice) {
  std::set<std::string_view> names;
  for (const MetricInfo& metric : metric_catalog()) EXPECT_TRUE(names.insert(metric.name).second) << metric.name;
  EXPECT_EQ(names.size(), kMetricCount);
}

TEST(MetricCatalog, StandsInThePageForUsersWordForWord) {
  std::ifstream file(SLUICE_SOURCE_DIR "/docs/metrics.md");
  ASSERT_TRUE(file) << "docs/metrics.md";
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  for (const MetricInfo& metric : metric_catalog()) {
    const std::string row = "| `" + std::string(metric.name) + "` |";
    const auto at = page.find(row);
    ASSERT_NE(at, std::string::npos) << "docs/metrics.md has no row " << row;
    const std::string line = page.substr(at, page.find('\n', at) - at);
    EXPECT_NE(line.find(metric.definition), std::string::npos) << line << "\nshould say: " << metric.definition;
  }
}

}  // namespace
}  // namespace sluice
