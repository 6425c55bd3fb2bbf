// What the header x-request-id says: another name for each request of each run.
//
// One a load thread. A name is written over a place of its size in a request that is ready.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>

namespace sluice {

/// Stands in a request where its name is to be.
inline constexpr std::string_view kRequestIdPlace = "00000000000000000000000000000000";

class RequestIds {
 public:
  /// `run`: chance, the same for all threads of a run.
  explicit RequestIds(std::uint64_t run = random_run(), std::uint32_t thread = 0)
      : next_(static_cast<std::uint64_t>(thread) << kThreadAt) {
    write(run, run_.data());
  }

  static std::uint64_t random_run() {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32U | device();
  }

  /// Writes kRequestIdPlace.size() hexadecimal digits: those of the run, then those of the thread and the request.
  void next(char* into) {
    std::char_traits<char>::copy(into, run_.data(), run_.size());
    write(++next_, into + run_.size());
  }

 private:
  static constexpr unsigned kThreadAt = 48;
  static void write(std::uint64_t number, char* into) {
    for (int digit = 15; digit >= 0; --digit, number >>= 4U) into[digit] = "0123456789abcdef"[number & 15U];
  }

  std::array<char, 16> run_{};
  std::uint64_t next_;
};

}  // namespace sluice
