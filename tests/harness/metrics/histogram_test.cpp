#include "harness/metrics/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace sluice {
namespace {

/// Values over all the sizes that matter: from 1 to 2^42, each size as likely.
std::vector<std::uint64_t> log_uniform(std::size_t count, std::uint64_t seed, double bits_max = 41.9) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> bits(0, bits_max);
  std::vector<std::uint64_t> values(count);
  for (auto& value : values) value = static_cast<std::uint64_t>(std::exp2(bits(random)));
  return values;
}

std::uint64_t nearest_rank(std::vector<std::uint64_t> sorted, double q) {
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size()) - 1e-9));
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

TEST(Histogram, KeepsSmallNumbersExactly) {
  Histogram histogram;
  for (std::uint64_t value = 0; value < 1024; ++value) histogram.add(value);
  for (std::uint64_t value = 0; value < 1024; ++value)
    EXPECT_EQ(histogram.quantile(static_cast<double>(value + 1) / 1024), static_cast<double>(value));
}

TEST(Histogram, GivesQuantilesWithinHalfAPermilleOverTheWholeRange) {
  for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
    auto values = log_uniform(5000, seed);
    Histogram histogram;
    for (const auto value : values) histogram.add(value);
    std::sort(values.begin(), values.end());
    for (double q = 0.001; q < 1; q += 0.0137) {
      const auto exact = static_cast<double>(nearest_rank(values, q));
      EXPECT_NEAR(histogram.quantile(q), exact, exact / 2048 + 1e-9) << "q " << q << " seed " << seed;
    }
  }
}

TEST(IntervalHistogram, GivesQuantilesWithinTwoPercent) {
  auto values = log_uniform(5000, 9);
  IntervalHistogram histogram;
  for (const auto value : values) histogram.add(value);
  std::sort(values.begin(), values.end());
  for (const double q : {0.01, 0.5, 0.95, 0.99}) {
    const auto exact = static_cast<double>(nearest_rank(values, q));
    EXPECT_NEAR(histogram.quantile(q), exact, exact / 64 + 1e-9) << q;
  }
}

TEST(Histogram, KnowsCountSumMeanSpreadAndExtremesExactly) {
  Histogram histogram;
  for (const std::uint64_t value : {2u, 4u, 4u, 4u, 5u, 5u, 7u, 9u}) histogram.add(value);
  EXPECT_EQ(histogram.count(), 8u);
  EXPECT_EQ(histogram.sum(), 40);
  EXPECT_EQ(histogram.mean(), 5);
  EXPECT_EQ(histogram.standard_deviation(), 2);
  EXPECT_EQ(histogram.min(), 2u);
  EXPECT_EQ(histogram.max(), 9u);
  EXPECT_EQ(histogram.quantile(0), 2);
  EXPECT_EQ(histogram.quantile(1), 9);
}

TEST(Histogram, NeverReportsAQuantileOutsideTheExtremes) {
  Histogram histogram;
  histogram.add(1'000'003);
  histogram.add(1'000'003);
  histogram.add(1'000'005);
  for (const double q : {0.1, 0.5, 0.66, 0.9, 1.0}) {
    EXPECT_GE(histogram.quantile(q), 1'000'003);
    EXPECT_LE(histogram.quantile(q), 1'000'005);
  }
}

TEST(Histogram, TakesWhatIsBeyondItsRangeAsTheLargestValue) {
  Histogram histogram;
  histogram.add(UINT64_MAX);
  EXPECT_EQ(histogram.max(), Histogram::kTicksMax - 1);
  EXPECT_EQ(histogram.quantile(0.5), static_cast<double>(Histogram::kTicksMax - 1));
}

TEST(Histogram, OneHourInNanosecondsFits) { EXPECT_GT(Histogram::kTicksMax, 3'600'000'000'000u); }

TEST(Histogram, WeighsAValueByHowOftenItIsAdded) {
  Histogram once, often;
  for (int i = 0; i < 7; ++i) once.add(1234567);
  often.add(1234567, 7);
  EXPECT_EQ(once, often);
}

TEST(Histogram, IsTheSameHoweverTheValuesWereSplitAndMerged) {
  const auto values = log_uniform(3000, 77);
  Histogram whole;
  for (const auto value : values) whole.add(value);
  std::mt19937_64 random(5);
  for (int round = 0; round < 10; ++round) {
    std::vector<Histogram> parts(1 + random() % 7);
    for (const auto value : values) parts[random() % parts.size()].add(value);
    std::shuffle(parts.begin(), parts.end(), random);
    Histogram merged;
    for (const auto& part : parts) merged.merge(part);
    EXPECT_EQ(merged, whole);
    EXPECT_EQ(merged.quantile(0.95), whole.quantile(0.95));
    EXPECT_EQ(merged.standard_deviation(), whole.standard_deviation());
  }
}

TEST(Histogram, ACopyIntoAUsedOneForgetsWhatWasThere) {
  Histogram source, target;
  for (const auto value : log_uniform(100, 1, 20)) source.add(value);
  for (const auto value : log_uniform(100, 2)) target.add(value);
  target = source;
  EXPECT_EQ(target, source);
  target.add(5);
  EXPECT_FALSE(target == source);
}

TEST(Histogram, ItsBucketsHoldEveryValueOnce) {
  const auto values = log_uniform(2000, 3);
  Histogram histogram;
  for (const auto value : values) histogram.add(value);
  std::uint64_t total = 0, previous_end = 0;
  histogram.for_each([&](std::uint64_t from, std::uint64_t to, std::uint64_t times) {
    EXPECT_GE(from, previous_end);
    const auto inside = std::count_if(values.begin(), values.end(), [&](auto v) { return from <= v && v < to; });
    EXPECT_EQ(static_cast<std::uint64_t>(inside), times) << from;
    previous_end = to;
    total += times;
  });
  EXPECT_EQ(total, values.size());
}

TEST(Histogram, TheRankOfARoundShareIsNotMovedByRounding) {
  Histogram histogram;  // 0.95 * 100 is a hair above 95 in doubles; the 95th value is meant
  for (std::uint64_t value = 1; value <= 100; ++value) histogram.add(value);
  EXPECT_EQ(histogram.quantile(0.95), 95);
  EXPECT_EQ(histogram.quantile(0.9), 90);
  EXPECT_EQ(histogram.quantile(0.99), 99);
  EXPECT_EQ(histogram.quantile(0.5), 50);
}

}  // namespace
}  // namespace sluice
