#include "harness/app/live_line.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

namespace sluice {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

Progress some_progress() {
  Progress progress;
  progress.elapsed = seconds(65);
  progress.planned = minutes(13);
  progress.vus = 3;
  progress.requests = 31;
  progress.failures = 2;
  progress.ttft_p50_ms = 4.25;
  progress.ttft_p95_ms = 41.4;
  progress.output_tokens_per_s = 1203.7;
  return progress;
}

TEST(ProgressText, SaysHowTheRunStands) {
  EXPECT_EQ(progress_text(some_progress(), 6.25, 0),
            "1:05/13:00  3 VUs  31 requests (6.2/s)  2 failed  ttft p50 4.25 ms p95 41 ms  1204 tok/s");
  Progress early;
  early.vus = 1;
  early.planned = hours(2);
  EXPECT_EQ(progress_text(early, 0, 0), "0:00/2:00:00  1 VU  0 requests (0.0/s)  0 failed");
  EXPECT_EQ(progress_text(some_progress(), 123.4, 20), "1:05/13:00  3 VUs") << "whole figures on a narrow terminal";
}

std::string shown(LiveLine::Mode mode, int seconds_long) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* out = open_memstream(&text, &size);
  {
    LiveLine line(mode, out);
    for (int i = 1; i <= seconds_long; ++i) {
      auto progress = some_progress();
      progress.elapsed = seconds(i);
      progress.requests = static_cast<std::uint64_t>(i * i);
      line.show(progress);
    }
  }
  std::fclose(out);
  const std::unique_ptr<char, decltype(&std::free)> owner(text, std::free);
  return std::string(text, size);
}

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++found;
  return found;
}

TEST(LiveLine, IsRedrawnOnATerminalAndTakenAwayAtTheEnd) {
  const auto text = shown(LiveLine::Mode::redrawn, 3);
  EXPECT_EQ(count(text, "\r\x1b[K"), 4u);
  EXPECT_EQ(count(text, "\n"), 0u);
  EXPECT_TRUE(text.ends_with("\r\x1b[K"));
}

TEST(LiveLine, IsALineEveryFiveSecondsElsewhere) {
  const auto text = shown(LiveLine::Mode::lines, 11);
  EXPECT_EQ(count(text, "\n"), 3u);
  EXPECT_EQ(count(text, "\x1b"), 0u);
  EXPECT_EQ(count(text, "0:06/13:00  3 VUs  36 requests (7.0/s)"), 1u)
      << "the rate is that since the line before: " << text;
}

TEST(LiveLine, IsNothingWhenQuiet) { EXPECT_EQ(shown(LiveLine::Mode::none, 10), ""); }

}  // namespace
}  // namespace sluice
