// Where one load thread leaves its samples: what each request, check, iteration and group was, for the files that
// `--out` names.
//
// Leaving a sample copies some 200 bytes (and 16 more for each content event of a stream) into memory that was
// allocated before the load: no lock, no system call, no waiting. When there is no room, because the files are written
// more slowly than samples come, the sample is dropped and counted. Samples hold no header, no body and no captured
// value.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "harness/metrics/record.h"
#include "harness/metrics/tally_layout.h"
#include "harness/output/byte_ring.h"

namespace sluice {

/// One thread adds; the writer's thread reads the ring and the counts.
class SampleSink {
 public:
  explicit SampleSink(std::size_t ring_bytes) : ring_(ring_bytes) {}

  // As the tally's functions of the same names.
  void add(const RequestRecord& record, StepId step);
  void add_websocket(const RequestRecord& record, const WebSocketRecord& session, StepId step);
  void add_check(CheckId check, bool passed, Instant at);
  void add_group(StepId group, Nanoseconds duration, Instant ended_at);
  void add_iteration(std::uint32_t scenario, Nanoseconds duration, Instant ended_at, bool interrupted);
  void add_failed_iteration(std::uint32_t scenario, Instant ended_at);
  /// REQUIRES: the tally has counted it.
  void add_custom(StepId step, Metric metric, double value, Instant at);
  void add_dropped(std::uint32_t scenario, std::uint64_t iterations, Instant at);
  /// Of the whole run.
  void add_vus(std::uint64_t now, std::uint64_t peak, Instant at);

  ByteRing& ring() { return ring_; }
  std::uint64_t added() const { return added_.load(std::memory_order_relaxed); }
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  std::byte* reserve(std::size_t bytes);  // null: dropped, and counted
  template <class Sample>
  void push(const Sample& sample);
  void commit();

  ByteRing ring_;
  std::atomic<std::uint64_t> added_{0}, dropped_{0};  // written by the adding thread only
};

}  // namespace sluice
