#include "harness/app/interrupts.h"

#include <signal.h>
#include <unistd.h>

#include "harness/verdict/judge.h"

namespace sluice {

namespace {

sigset_t ours() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

}  // namespace

Interrupts::Interrupts(RunControl& control, std::function<void()> on_first)
    : control_(control), on_first_(std::move(on_first)) {
  const sigset_t set = ours();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { take_signals(); });
}

Interrupts::~Interrupts() {
  done_ = true;
  thread_.join();  // the signals stay blocked: one that comes now finds a program that is ending anyway
}

void Interrupts::take_signals() {
  const sigset_t set = ours();
  const timespec beat{0, 50'000'000};
  while (!done_) {
    if (sigtimedwait(&set, nullptr, &beat) < 0) continue;
    const int count = ++count_;
    if (count == 1) {
      control_.stop_gracefully();
      on_first_();
    } else if (count == 2) {
      control_.stop_now();
    } else {
      _exit(kExitInterrupted);  // the kernel kills the engine with us
    }
  }
}

}  // namespace sluice
