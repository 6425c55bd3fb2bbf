#include "harness/verdict/bounds.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <cmath>

namespace sluice {

using Binomial = boost::math::binomial_distribution<double>;

Bounds quantile_shares(std::uint64_t samples, double q, double alpha) {
  if (samples == 0) return {};
  const auto n = static_cast<double>(samples);
  const Binomial below(n, q);  // how many of the samples lie below the quantile
  // The greatest r with P(fewer than r below) <= alpha / 2, and the least with P(r or more below) <= alpha / 2. Boost's
  // quantile() may be off by one either way, so the ranks are walked from there.
  const auto fewer_than = [&](double r) { return r <= 0 ? 0.0 : boost::math::cdf(below, r - 1); };
  const auto at_least = [&](double r) {
    return r <= 0 ? 1.0 : r > n ? 0.0 : boost::math::cdf(boost::math::complement(below, r - 1));
  };
  double low = std::clamp(std::floor(boost::math::quantile(below, alpha / 2)), 0.0, n);
  while (low < n && fewer_than(low + 1) <= alpha / 2) ++low;
  while (low > 0 && fewer_than(low) > alpha / 2) --low;
  double high = std::clamp(std::floor(boost::math::quantile(boost::math::complement(below, alpha / 2))), 0.0, n);
  while (high <= n && at_least(high) > alpha / 2) ++high;
  while (high > 1 && at_least(high - 1) <= alpha / 2) --high;
  Bounds shares;
  if (low > 0) shares.low = low / n;
  if (high <= n) shares.high = high / n;
  return shares;
}

Bounds share_bounds(std::uint64_t hits, std::uint64_t samples, double alpha) {
  if (samples == 0) return {};
  const auto n = static_cast<double>(samples), k = static_cast<double>(hits);
  return {hits == 0 ? 0 : Binomial::find_lower_bound_on_p(n, k, alpha / 2),
          hits == samples ? 1 : Binomial::find_upper_bound_on_p(n, k, alpha / 2)};
}

std::uint64_t independent_samples(std::span<const Block> blocks, std::uint64_t blocks_least) {
  double samples = 0, below = 0, used = 0;
  for (const Block& block : blocks) {
    samples += static_cast<double>(block.samples);
    below += static_cast<double>(block.below);
    used += block.samples > 0 ? 1 : 0;
  }
  if (used < static_cast<double>(blocks_least)) return 0;
  const double share = below / samples;
  const double by_chance = share * (1 - share) / samples;
  if (by_chance <= 0) return static_cast<std::uint64_t>(samples);
  double squares = 0;
  for (const Block& block : blocks) {
    const double excess = static_cast<double>(block.below) - share * static_cast<double>(block.samples);
    squares += excess * excess;
  }
  const double observed = used / (used - 1) * squares / (samples * samples);
  return static_cast<std::uint64_t>(samples * std::min(1.0, by_chance / observed));
}

}  // namespace sluice
