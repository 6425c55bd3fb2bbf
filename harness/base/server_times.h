// What a server says of where the time of a request went: of the part before its first content.
#pragma once

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "harness/base/limits.h"
#include "harness/base/time.h"

namespace sluice {

struct ServerTimes {
  enum class Source : std::uint8_t { none, engine, vllm, llama_cpp, server_timing };
  static constexpr std::size_t kSources = 5;

  Source source = Source::none;  // none: it says nothing of queue and prefill
  // -1: not said
  Nanoseconds queue{-1};    // from when it had the request until it began to compute it
  Nanoseconds prefill{-1};  // until the first token was computed
  Nanoseconds output{-1};   // until the first content was about to be written

  bool operator==(const ServerTimes&) const = default;
};

/// As reports name it.
constexpr std::string_view source_name(ServerTimes::Source source) {
  constexpr std::string_view kNames[ServerTimes::kSources] = {"", "engine", "vllm metrics", "llama.cpp timings",
                                                              "Server-Timing"};
  return kNames[static_cast<std::size_t>(source)];
}

/// A foreign number of milliseconds; -1 when it is no time that can be.
inline Nanoseconds server_time(double ms) {
  constexpr auto kMost = std::chrono::duration<double, std::milli>(limits::server_time_max);
  if (!(ms >= 0 && ms <= kMost.count())) return Nanoseconds(-1);
  return Nanoseconds(std::llround(ms * 1e6));
}

}  // namespace sluice
