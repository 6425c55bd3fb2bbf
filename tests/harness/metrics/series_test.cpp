#include "harness/metrics/series.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace sluice {
namespace {

constexpr Instant kOrigin = 1'000'000'000'000;
constexpr Instant kSecond = 1'000'000'000;

TEST(Series, PutsAnInstantIntoItsSecond) {
  Series series(kOrigin);
  series.at(kOrigin).requests += 1;
  series.at(kOrigin + kSecond - 1).requests += 1;
  series.at(kOrigin + kSecond).requests += 1;
  series.at(kOrigin - 5).requests += 1;  // before the start: the first
  ASSERT_EQ(series.intervals().size(), 2u);
  EXPECT_EQ(series.intervals()[0].requests, 3u);
  EXPECT_EQ(series.intervals()[1].requests, 1u);
}

TEST(Series, StaysBoundedAndLosesNothingInALongRun) {
  Series series(kOrigin);
  const Instant day = 24 * 3600 * kSecond;
  std::uint64_t added = 0;
  for (Instant t = 0; t < day; t += 7 * kSecond) {
    SeriesInterval& interval = series.at(kOrigin + t);
    ++interval.requests;
    interval.vus_change += 1;
    interval.duration.add(static_cast<std::uint64_t>(t / kSecond + 1));
    ++added;
  }
  EXPECT_LE(series.intervals().size(), Series::kPointsMax);
  EXPECT_EQ(series.interval(), std::chrono::seconds(128));
  std::uint64_t requests = 0, durations = 0;
  for (std::size_t i = 0; i < series.intervals().size(); ++i) {
    const SeriesInterval& interval = series.intervals()[i];
    requests += interval.requests;
    durations += interval.duration.count();
    EXPECT_GE(interval.duration.min() + 127, i * 128) << "a value moved to another interval";
    EXPECT_LE(interval.duration.max(), (i + 1) * 128);
  }
  EXPECT_EQ(requests, added);
  EXPECT_EQ(durations, added);
}

TEST(Series, IsTheSameHoweverTheSamplesWereSplitAndMerged) {
  std::mt19937_64 random(11);
  struct Sample {
    Instant at;
    std::uint64_t value;
  };
  std::vector<Sample> samples;
  for (int i = 0; i < 3000; ++i)
    samples.push_back({kOrigin + static_cast<Instant>(random() % 4000) * kSecond / 2, random() % 100000});
  const auto add = [](Series& series, const Sample& sample) {
    SeriesInterval& interval = series.at(sample.at);
    ++interval.requests;
    interval.output_tokens += sample.value;
    interval.vus_change += static_cast<std::int64_t>(sample.value % 3) - 1;
    interval.gap.add(sample.value);
  };
  Series whole(kOrigin);
  for (const Sample& sample : samples) add(whole, sample);
  for (int round = 0; round < 5; ++round) {
    std::vector<Series> parts(4, Series(kOrigin));
    // The first parts see only the start of the run, so their intervals are finer than the others'.
    for (const Sample& sample : samples) {
      const bool early = sample.at < kOrigin + 300 * kSecond;
      add(parts[early ? random() % 4 : 2 + random() % 2], sample);
    }
    std::shuffle(parts.begin(), parts.end(), random);
    Series merged(kOrigin);
    for (const Series& part : parts) merged.merge(part);
    EXPECT_EQ(merged.interval(), whole.interval());
    EXPECT_EQ(merged.intervals(), whole.intervals());
  }
}

}  // namespace
}  // namespace sluice
