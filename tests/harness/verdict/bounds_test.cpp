#include "harness/verdict/bounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace sluice {
namespace {

double binomial_cdf(int n, double p, int k) {  // sum of the terms, as the definition says
  double sum = 0;
  for (int i = 0; i <= k; ++i)
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(i + 1) - std::lgamma(n - i + 1) + i * std::log(p) +
                    (n - i) * std::log1p(-p));
  return sum;
}

TEST(Bounds, RanksAreThoseOfTheBinomialDistribution) {
  for (const int n : {1, 3, 10, 100, 500, 1000})
    for (const double q : {0.1, 0.5, 0.9, 0.95, 0.99}) {
      int low = 0, high = n + 1;
      while (low < n && binomial_cdf(n, q, low) <= 0.005) ++low;
      while (high > 1 && 1 - binomial_cdf(n, q, high - 2) <= 0.005) --high;
      const Bounds shares = quantile_shares(static_cast<std::uint64_t>(n), q);
      EXPECT_NEAR(shares.low.value_or(0) * n, low, 1e-9) << n << " " << q;
      EXPECT_NEAR(shares.high ? *shares.high * n : n + 1, high, 1e-9) << n << " " << q;
    }
}

TEST(Bounds, AHighQuantileHasAnUpperBoundFromSoManySamplesOn) {
  const auto has_upper = [](std::uint64_t n, double q) { return quantile_shares(n, q).high.has_value(); };
  EXPECT_FALSE(has_upper(103, 0.95));  // 0.95^103 = 0.0051
  EXPECT_TRUE(has_upper(104, 0.95));
  EXPECT_FALSE(has_upper(527, 0.99));
  EXPECT_TRUE(has_upper(528, 0.99));
}

TEST(Bounds, OfSharesAreClopperAndPearsons) {
  struct Case {
    std::uint64_t hits, samples;
    double low, high;
  };
  for (const Case& c : {
           Case{0, 10, 0, 1 - std::pow(0.005, 0.1)},
           Case{10, 10, std::pow(0.005, 0.1), 1},
           Case{5, 10, 0.12829, 0.87171},
           Case{1, 100, 0.00005012, 0.07196},
           Case{0, 0, -1, -1},
       }) {
    const Bounds bounds = share_bounds(c.hits, c.samples);
    EXPECT_NEAR(bounds.low.value_or(-1), c.low, 1e-4) << c.hits << "/" << c.samples;
    EXPECT_NEAR(bounds.high.value_or(-1), c.high, 1e-4) << c.hits << "/" << c.samples;
  }
}

TEST(Bounds, HoldTheTruthAsOftenAsTheyPromise) {
  std::mt19937_64 random(1);
  constexpr int kRuns = 4000;
  int missed_quantile = 0, missed_share = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> values(300);
    int hits = 0;
    for (double& value : values) {
      value = std::generate_canonical<double, 53>(random);
      hits += value < 0.2 ? 1 : 0;
    }
    std::sort(values.begin(), values.end());
    const Bounds shares = quantile_shares(values.size(), 0.95);
    const auto at = [&](double share) { return values[static_cast<std::size_t>(std::lround(share * 300)) - 1]; };
    if (at(*shares.low) > 0.95 || at(*shares.high) < 0.95) ++missed_quantile;
    const Bounds share = share_bounds(static_cast<std::uint64_t>(hits), values.size());
    if (*share.low > 0.2 || *share.high < 0.2) ++missed_share;
  }
  EXPECT_LE(missed_quantile, kRuns * 0.015);
  EXPECT_LE(missed_share, kRuns * 0.015);
}

TEST(Bounds, IndependentSamplesCountInFullAndClumpsAsOneEach) {
  std::mt19937_64 random(2);
  std::vector<Block> alone(200), clumped(200);
  for (int b = 0; b < 200; ++b) {
    for (int i = 0; i < 1000; ++i) {
      alone[b].samples += 1;
      alone[b].below += random() % 10 != 0 ? 1 : 0;
    }
    for (int step = 0; step < 10; ++step) {  // a hundred streams wait for each step
      clumped[b].samples += 100;
      clumped[b].below += random() % 10 != 0 ? 100 : 0;
    }
  }
  EXPECT_GT(independent_samples(alone), 150'000u);
  EXPECT_NEAR(static_cast<double>(independent_samples(clumped)), 2000, 500);
}

TEST(Bounds, FewBlocksSayNothingAndEqualOnesAreTakenAsTheyAre) {
  const std::vector<Block> few(9, Block{100, 95}), equal(10, Block{100, 95}), all_below(10, Block{100, 100});
  EXPECT_EQ(independent_samples(few), 0u);
  EXPECT_EQ(independent_samples(equal), 1000u);
  EXPECT_EQ(independent_samples(all_below), 1000u);
  EXPECT_EQ(independent_samples({}), 0u);
}

}  // namespace
}  // namespace sluice
