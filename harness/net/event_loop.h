// The loop of one load thread: which coroutine goes on when.
//
// One epoll set, in which sockets are registered once, edge-triggered, so that a wait for a socket costs no system call
// of its own. Deadlines lie in a coarse wheel (10 ms): setting one is a store. Sleeps are exact: the set is waited for
// until the earliest of them. Single thread: every member is called from the thread that runs.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>

#include "harness/base/result.h"
#include "harness/base/time.h"

namespace sluice {

enum class Wake : std::uint8_t {
  ready,
  deadline,     // the waiter's deadline has passed
  interrupted,  // interrupt() was called on the waiter
};

class EventLoop;

/// A chain of coroutines, waiting for at most one thing at a time. Must outlive the loop's run().
class Waiter {
 public:
  explicit Waiter(EventLoop& loop) : loop_(loop) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// Until when the waits that follow may last; kNever: for ever. Coarse: noticed up to 20 ms late.
  void set_deadline(Instant deadline);
  Instant deadline() const { return deadline_; }

  /// Ends the wait under way, and each that follows until clear_interrupt(). Resumes the coroutine before it returns.
  void interrupt();
  void clear_interrupt() { interrupted_ = false; }
  bool interrupted() const { return interrupted_; }
  /// How often it has really waited: tells a loop that never gives way from one that does.
  std::uint64_t waits() const { return waits_; }

 private:
  friend class EventLoop;
  friend struct SocketWait;
  friend struct SleepWait;
  void resume(Wake why);

  EventLoop& loop_;
  std::coroutine_handle<> suspended_;
  Instant deadline_ = kNever;
  Waiter* wheel_next_ = nullptr;
  std::int64_t wheel_tick_ = -1;        // the tick at which the wheel looks at it again; -1: not in the wheel
  std::uint64_t sleep_generation_ = 0;  // entries of older ones are stale
  std::uint64_t waits_ = 0;
  Wake wake_ = Wake::ready;
  bool interrupted_ = false;
};

/// What is known about a registered socket. Its address is the registration: it must not move, nor end before the loop.
class Readiness {
 public:
  enum : std::uint8_t {
    kNone = 0,
    kRead = 1,
    kWrite = 2,
    kReadEnd = 4,  // the other side sends no more: every read finds something, the end at last
    kBroken = 8    // no direction blocks any more
  };

  /// Reading (writing) has found that it would block: the next edge tells.
  void drained() { flags_ = static_cast<std::uint8_t>(flags_ & ~kRead); }
  void filled() { flags_ = static_cast<std::uint8_t>(flags_ & ~kWrite); }
  void reset() { flags_ = 0; }
  bool hung_up() const { return (flags_ & (kReadEnd | kBroken)) != 0; }

 private:
  friend class EventLoop;
  friend struct SocketWait;
  std::uint8_t flags_ = 0, wanted_ = 0;
  Waiter* waiter_ = nullptr;
};

struct [[nodiscard]] SocketWait {
  Waiter& waiter;
  Readiness& readiness;
  std::uint8_t wanted;

  bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> coroutine) const noexcept;
  Wake await_resume() const noexcept;
};

struct [[nodiscard]] SleepWait {
  Waiter& waiter;
  Instant until;

  bool await_ready() const noexcept { return waiter.interrupted_; }
  void await_suspend(std::coroutine_handle<> coroutine) const;
  Wake await_resume() const noexcept;
};

class EventLoop {
 public:
  static constexpr Nanoseconds kTick = std::chrono::milliseconds(10);

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Registers a non-blocking socket; closing it ends the registration. False: the system refused (out of memory).
  bool add(int socket, Readiness& readiness);

  /// Each `co_await` goes on when the socket may be read (written), or as the waiter says. Trying may still find
  /// nothing.
  SocketWait readable(Waiter& waiter, Readiness& readiness) {
    return {waiter, readiness, Readiness::kRead | Readiness::kReadEnd | Readiness::kBroken};
  }
  SocketWait writable(Waiter& waiter, Readiness& readiness) {
    return {waiter, readiness, Readiness::kWrite | Readiness::kBroken};
  }
  /// When it may be read, or when `other` (of Readiness' flags) holds.
  SocketWait readable_or(std::uint8_t other, Waiter& waiter, Readiness& readiness) {
    return {waiter, readiness,
            static_cast<std::uint8_t>(Readiness::kRead | Readiness::kReadEnd | Readiness::kBroken | other)};
  }
  /// A wait for it that is under way also ends when it may be written.
  static void also_writable(Readiness& readiness) {
    if (readiness.waiter_ != nullptr) readiness.wanted_ |= Readiness::kWrite;
  }
  /// Makes a Readiness of no socket readable: whoever waits for it goes on before this returns.
  static void signal(Readiness& readiness) {
    readiness.flags_ |= Readiness::kRead;
    if (readiness.waiter_ != nullptr && (readiness.wanted_ & Readiness::kRead) != 0)
      readiness.waiter_->resume(Wake::ready);
  }

  /// Sleeps until the instant; ends early only when interrupted. A past instant gives the others a turn.
  SleepWait sleep_until(Waiter& waiter, Instant until) { return {waiter, until}; }

  /// What had come by then has been offered to whoever waits for it: two ticks ago, unless the loop is late.
  Instant offered_until() const;

  /// Runs until stop(); may be run again. `on_tick` is called every 10 ms with the time and how late the tick was.
  void run(std::function<void(Instant now, Nanoseconds lateness)> on_tick);
  void stop();

 private:
  friend class Waiter;
  friend struct SocketWait;
  friend struct SleepWait;
  struct State;
  void add_sleep(Waiter& waiter, Instant until);
  void add_to_wheel(Waiter& waiter);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
