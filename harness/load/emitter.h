// A server of known instants: streams whose every write is logged by the clock that the client reads.
//
// A child process, pinned to a core of its own if asked to. It waits until all its streams have been asked for, then
// writes prebuilt chat events after one schedule (event n of all is due at n times the rate's step; so the streams'
// phases are spread evenly), with no timer a stream, and logs the instants just before and just after each write in
// memory that both processes see. It is itself the error that it is to measure when it cannot keep up: see behind().
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "harness/base/result.h"
#include "harness/base/time.h"

namespace sluice {

struct EmitterLoad {
  std::uint32_t streams = 1;
  double rate = 100;            // events a second of each stream
  std::uint32_t per_write = 1;  // events in one write
  double seconds = 3;
  int core = -1;  // of the child; -1: any

  std::size_t writes() const;  // of each stream, at least one
};

class Emitter {
 public:
  /// Listens on loopback when it returns. The response id of a stream is its number, from 0.
  static Result<std::unique_ptr<Emitter>> start(const EmitterLoad& load);
  ~Emitter();
  Emitter(const Emitter&) = delete;
  Emitter& operator=(const Emitter&) = delete;

  std::uint16_t port() const { return port_; }

  struct Written {
    Instant before = 0, after = 0;  // 0: never
  };
  /// Good once the client has read what was written then.
  const Written& written(std::size_t stream, std::size_t write) const { return log_[stream * writes_ + write]; }
  /// How late its latest write was.
  Nanoseconds behind() const;

 private:
  explicit Emitter(const EmitterLoad& load) : load_(load), writes_(load.writes()) {}
  void serve();
  Result<void> open();

  const EmitterLoad load_;
  const std::size_t writes_;  // of each stream
  Written* log_ = nullptr;    // shared with the child; behind it the greatest lateness
  std::size_t log_bytes_ = 0;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  pid_t child_ = -1;
};

}  // namespace sluice
