// How sure is a figure? Bounds that hold the true value with a wanted confidence, whatever its distribution.
//
// Pure. Quantiles: order statistics (the ranks between which the quantile lies follow from the binomial distribution,
// Conover, Practical Nonparametric Statistics, 3.2). Shares: Clopper and Pearson's exact bounds. `alpha` is the chance
// of being wrong, half of it on each side: 0.01 for 99 % bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace sluice {

inline constexpr double kAlpha = 0.01;

struct Bounds {
  std::optional<double> low, high;  // none: not with so few samples
};

/// Between which shares of the sorted samples (0 to 1) the quantile `q` of the distribution lies.
/// REQUIRES: 0 < q < 1.
Bounds quantile_shares(std::uint64_t samples, double q, double alpha = kAlpha);

/// Of a share of which `hits` in `samples` were observed. REQUIRES: hits <= samples.
Bounds share_bounds(std::uint64_t hits, std::uint64_t samples, double alpha = kAlpha);

/// A stretch of time: how many samples it has, and how many of them lie at or below the value that is looked at.
struct Block {
  std::uint64_t samples = 0, below = 0;
};

/// Samples that come in clumps (the gaps of all streams that wait for the same step of an engine) say less than as many
/// independent ones. As how many independent samples do those of the blocks count? By how much the blocks' shares
/// differ from the whole's beyond what chance would do (the design effect of cluster sampling: Kish, Survey Sampling,
/// 8.2). At most the number of samples; 0 when fewer than `blocks_least` blocks have any.
std::uint64_t independent_samples(std::span<const Block> blocks, std::uint64_t blocks_least = 10);

}  // namespace sluice
