#include "harness/base/duration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

namespace sluice {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(Duration, ReadsWhatPeopleWrite) {
  struct Row {
    const char* text;
    Nanoseconds value;
  };
  const Row rows[] = {
      {"10s", seconds(10)},
      {"1m30s", seconds(90)},
      {"250ms", milliseconds(250)},
      {"1us", microseconds(1)},
      {"0s", seconds(0)},
      {"1.5h", minutes(90)},
      {"0.5ms", microseconds(500)},
      {"2h5m0.25s", hours(2) + minutes(5) + milliseconds(250)},
      {"1d", hours(24)},
      {"7ns", Nanoseconds(7)},
      {"1s1ms", milliseconds(1001)},
      {"720h", hours(720)},
  };
  for (const auto& [text, value] : rows) {
    const auto read = parse_duration(text);
    ASSERT_TRUE(read) << text << ": " << read.error().message;
    EXPECT_EQ(*read, value) << text;
  }
}

TEST(Duration, RefusesEverythingElse) {
  for (const char* text : {"",
                           "10",
                           "s",
                           "10 s",
                           " 10s",
                           "10s ",
                           "-1s",
                           "+1s",
                           "1e3s",
                           "0x10s",
                           "1s1m",
                           "1s1s",
                           "1.5m30s",
                           "1..5s",
                           ".5s",
                           "5.s",
                           "10seconds",
                           "10S",
                           "infs",
                           "nans",
                           "1m30",
                           "721h",
                           "99999999999999999999s",
                           "30d1ns",
                           "1,5s"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Duration, SaysWhatToWriteInstead) {
  EXPECT_EQ(parse_duration("10").error().message,
            "'10' is not a duration: write a number and us, ms, s, m or h, as in 250ms or 1m30s");
  EXPECT_EQ(parse_duration("9999h").error().message, "'9999h' is too long: at most 720h");
}

TEST(Duration, WhatIsWrittenReadsBackTheSame) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    const Nanoseconds value(static_cast<std::int64_t>(random() % (1ull << (random() % 51 + 1))));
    const auto text = format_duration(value);
    const auto read = parse_duration(text);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(*read, value) << text;
  }
  EXPECT_EQ(format_duration(seconds(90)), "1m30s");
  EXPECT_EQ(format_duration(seconds(0)), "0s");
}

TEST(Size, ReadsDecimalAndBinaryUnits) {
  EXPECT_EQ(parse_size("512B").value(), 512);
  EXPECT_EQ(parse_size("64kB").value(), 64'000);
  EXPECT_EQ(parse_size("8MiB").value(), 8 << 20);
  EXPECT_EQ(parse_size("1.5GB").value(), 1.5e9);
  for (const char* text : {"", "8", "MB", "8mb", "8 MB", "-8MB", "0x8MB", "8MBs"})
    EXPECT_FALSE(parse_size(text)) << text;
}

TEST(Decimal, RefusesWhatYamlAndCWouldTake) {
  double value = 0;
  for (const char* text :
       {"", "-", "+1", "0x10", "inf", "nan", ".inf", "-nan", "1e", "1 ", " 1", "1_000", "1e999", "0b1"}) {
    EXPECT_FALSE(parse_decimal(text, value)) << text;
  }
  EXPECT_TRUE(parse_decimal("-0.5", value));
  EXPECT_EQ(value, -0.5);
  EXPECT_TRUE(parse_decimal("1e3", value));
  EXPECT_EQ(value, 1000);
}

}  // namespace
}  // namespace sluice
