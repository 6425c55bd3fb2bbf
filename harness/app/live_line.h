// How a run stands, while it runs: one line, redrawn on a terminal, else printed anew every few seconds.
#pragma once

#include <cstdio>
#include <string>

#include "harness/load/run.h"

namespace sluice {

/// "0:05/4:00  2 VUs  31 requests (6/s)  0 failed  ttft p50 41 ms p95 60 ms  120 tok/s", at most `width` columns (0:
/// any).
std::string progress_text(const Progress& progress, double requests_per_s, int width);

class LiveLine {
 public:
  enum class Mode : std::uint8_t { none, redrawn, lines };
  LiveLine(Mode mode, std::FILE* out) : mode_(mode), out_(out) {}
  ~LiveLine() { clear(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  /// Called once a second, by one thread.
  void show(const Progress& progress);
  /// Takes the redrawn line away, so that other text can follow.
  void clear();

 private:
  Mode mode_;
  std::FILE* out_;
  bool drawn_ = false;
  std::uint64_t shown_ = 0;
  std::uint64_t requests_before_ = 0;
  Nanoseconds elapsed_before_{};
};

}  // namespace sluice
