// Random numbers without a state: the same key and counter give the same draw on every machine, in any order.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011), checked in the tests
// against the authors' known answers. A draw is keyed by (seed, choice, position), so that a request answers alike
// whatever runs beside it, and a preempted one goes on as if nothing had happened.
#pragma once

#include <array>
#include <cstdint>

namespace sluice::engine {

inline std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t low = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t high = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(high >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(high),
               static_cast<std::uint32_t>(low >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(low)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// Uniform in [0, 1), a multiple of 2^-53, for the token at `position` of answer `choice`.
inline double uniform_draw(std::uint64_t seed, std::uint32_t choice, std::uint32_t position) {
  const auto bits =
      philox4x32({position, choice, 0, 0}, {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint64_t wide = (std::uint64_t{bits[0]} << 32) | bits[1];
  return static_cast<double>(wide >> 11) * 0x1p-53;
}

}  // namespace sluice::engine
