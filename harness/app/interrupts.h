// Ctrl-C: the first drains, the second stops at once, the third ends the program without a report.
//
// SIGINT, SIGTERM and SIGHUP are blocked in the whole program and taken by one thread, so construct this before any
// other thread is started.
#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "harness/load/run.h"

namespace sluice {

class Interrupts {
 public:
  /// `on_first`: called by the thread at the first signal, to tell the user. `control` outlives this.
  Interrupts(RunControl& control, std::function<void()> on_first);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  bool any() const { return count_ > 0; }

 private:
  void take_signals();

  RunControl& control_;
  std::function<void()> on_first_;
  std::atomic<int> count_ = 0;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace sluice
