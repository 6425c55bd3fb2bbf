// The kernel's receive stamps, on our clock.
//
// Stamps of SO_TIMESTAMPING are CLOCK_REALTIME. Its offset to CLOCK_MONOTONIC changes only when somebody sets the
// clock: it is sampled once, and again when a timerfd says that this has happened. The kernel begins to stamp only some
// time after the first socket has asked for it and stops after the last has gone: a probe socket is kept open, and
// start() waits until it is stamped. One a thread; start() may be called once for several threads, since stamping is
// the whole system's.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <ctime>

#include "harness/base/time.h"

namespace sluice {

class KernelClock {
 public:
  KernelClock();
  ~KernelClock();
  KernelClock(const KernelClock&) = delete;
  KernelClock& operator=(const KernelClock&) = delete;

  /// Waits, at most 300 ms, until the probe's datagrams are stamped. False: this system does not stamp.
  bool start();

  /// Notices a clock that was set. Cheap (one system call): call it at every tick.
  void refresh();

  Instant to_monotonic(const timespec& realtime) const {
    return static_cast<Instant>(realtime.tv_sec) * 1'000'000'000 + realtime.tv_nsec - offset_;
  }

  /// Asks for receive stamps on a socket.
  static bool enable(int socket);
  /// The stamp of a received message; false when it has none.
  static bool stamp_of(msghdr& message, timespec& stamp);

 private:
  void sample();
  void watch();

  std::int64_t offset_ = 0;  // CLOCK_REALTIME - CLOCK_MONOTONIC, ns
  int timer_ = -1, probe_ = -1;
};

}  // namespace sluice
