#include "harness/base/nearest.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Nearest, FindsTypingErrorsAndNothingElse) {
  const std::string_view known[] = {"duration", "target", "stages", "vus", "start_time", "graceful_stop"};
  const std::pair<std::string_view, std::string_view> rows[] = {
      {"duratoin", "duration"},
      {"tagret", "target"},
      {"stage", "stages"},
      {"VUs", "vus"},
      {"starttime", "start_time"},
      {"startTime", "start_time"},
      {"graceful-stop", "graceful_stop"},
      {"colour", ""},
      {"", ""},
      {"x", ""},
      {"thresholds", ""},
  };
  for (const auto& [word, meant] : rows) EXPECT_EQ(nearest(word, known).value_or(""), meant) << word;
  EXPECT_EQ(nearest(std::string(100'000, 'x'), known), std::nullopt);
  EXPECT_EQ(did_you_mean("duratoin", known), "; did you mean 'duration'?");
  EXPECT_EQ(did_you_mean("zzz", known), "");
}

}  // namespace
}  // namespace sluice
