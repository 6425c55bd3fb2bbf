// What the scripted executor emits and when: `--script
// ttft=50ms,gap=10ms,tokens=100,distribution=lognormal,sigma=0.3,seed=1`.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace sluice::engine {

struct Script {
  enum class Distribution : std::uint8_t { fixed, lognormal };

  std::chrono::nanoseconds ttft{
      0};  // from the instant the request gets its slot to its first token; the mean of lognormal
  std::chrono::nanoseconds gap{0};  // from one token to the next; the mean of lognormal
  std::uint32_t tokens = 100;       // then the end token, at the instant of the last one; max_tokens may end it earlier
  Distribution distribution = Distribution::fixed;
  double sigma = 0.3;  // of the logarithm
  std::uint64_t seed = 1;
  std::string text;  // what is said, over and over; empty: a cycle of words
};

/// Times carry ns, us, ms, s or m. `text=` takes the rest of the line. The error names the key, the value and the way
/// out.
Result<Script> parse_script(std::string_view text);

/// The delay before token `index` of request `key`: the same for the same arguments, whatever else runs.
std::chrono::nanoseconds scripted_delay(const Script& script, std::uint64_t key, std::uint32_t index);

}  // namespace sluice::engine
