// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#pragma once

#include <cstdint>

namespace sluice {

inline constexpr std::uint64_t kMixStep = 0x9E3779B97F4A7C15ULL;

/// A well mixed function of its argument; of x, x + kMixStep, x + 2 kMixStep ... the generator's numbers.
inline std::uint64_t mix(std::uint64_t x) {
  x += kMixStep;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

}  // namespace sluice
