// How far are the figures from the truth? run() against an Emitter, each event compared with the instant before the
// write that carried it.
//
// On loopback the kernel stamps a segment while the sender is still inside send(): so the error by kernel stamps is
// what the instrument adds to the kernel's own time, and says nothing about a network card.
#pragma once

#include <chrono>
#include <cstdint>

#include "harness/base/result.h"
#include "harness/load/emitter.h"
#include "harness/scenario/plan.h"

namespace sluice {

struct ErrorFigures {
  double p50_us = 0, p99_us = 0, max_us = 0;
};
struct CalibrationRow {
  std::uint32_t streams = 0;
  double rate = 0;                                            // events a second of each
  std::uint64_t events = 0, lost = 0, reads = 0, failed = 0;  // failed: streams
  double seconds = 0;                                         // from the first write to the last event
  // received - written; |measured gap - true gap|; |measured duration - true duration| from the first event to the last
  ErrorFigures ttft_kernel, ttft_user, gap_kernel, gap_user, duration_kernel, duration_user;
  double stamps_within_send =
      0;                      // share of the kernel's stamps that lie between the instants before and after the write
  double kernel_stamped = 0;  // share of events
  double cpu_percent = 0;     // of the client, of one core
  double client_lag_p99_ms = 0, loop_lag_p99_ms = 0;
  Nanoseconds emitter_behind{};  // its worst
};

/// A plan of as many VUs as streams, each of which asks an emitter once.
Plan emitter_plan(std::uint16_t port, std::uint32_t streams, std::chrono::seconds longest);

/// Blocks for the load's time. `core`: of the client; -1: any. Fails when the emitter or the load cannot be started.
Result<CalibrationRow> calibrate(const EmitterLoad& load, int core);

}  // namespace sluice
