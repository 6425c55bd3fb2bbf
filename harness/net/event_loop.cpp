#include "harness/net/event_loop.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <utility>
#include <vector>

#include "harness/base/check.h"

namespace sluice {
namespace {

constexpr std::size_t kEventsAtOnce = 256;
constexpr std::size_t kWheelSlots = 1024;  // ten seconds; what lies beyond is looked at on the way

struct Sleep {
  Instant until;
  std::uint64_t generation;
  Waiter* waiter;
};
bool later(const Sleep& a, const Sleep& b) { return a.until > b.until; }

/// epoll_wait with a time limit in nanoseconds.
int wait_for(int epoll, epoll_event* events, int count, Instant limit) {
  if (limit <= 0) return ::epoll_wait(epoll, events, count, 0);
  const timespec time{limit / 1'000'000'000, limit % 1'000'000'000};
  static std::atomic<bool> has_pwait2 = true;  // of Linux 5.11; containers may refuse what they do not know
  if (has_pwait2.load(std::memory_order_relaxed)) {
    const int found = ::epoll_pwait2(epoll, events, count, &time, nullptr);
    if (found >= 0 || errno == EINTR) return found;
    has_pwait2 = false;
  }
  pollfd any{epoll, POLLIN, 0};
  ::ppoll(&any, 1, &time, nullptr);
  return ::epoll_wait(epoll, events, count, 0);
}

}  // namespace

struct EventLoop::State {
  int epoll = -1;
  std::array<epoll_event, kEventsAtOnce> events;
  std::vector<Sleep> sleeps;  // a heap, the earliest first
  std::array<Waiter*, kWheelSlots> wheel{};
  std::int64_t tick = 0;  // the tick that comes next
  Instant tick_origin = kNever;
  Instant ticked_at = kNever, ticked_before = kNever;  // the last two ticks
  bool running = false;
  std::function<void(Instant, Nanoseconds)> on_tick;

  ~State() { ::close(epoll); }

  Instant tick_time(std::int64_t number) const { return tick_origin + number * kTick.count(); }
  std::int64_t tick_after(Instant instant) const {
    return instant <= tick_origin ? 0 : (instant - tick_origin + kTick.count() - 1) / kTick.count();
  }

  void take_sockets();
  void wake_sleepers(Instant at);
  void take_tick(Instant at);
  void turn_wheel(std::int64_t first, std::int64_t last, Instant at);
  void link(Waiter& waiter, std::int64_t at);
};

// ---- waiter -------------------------------------------------------------------------------------------------------

void Waiter::set_deadline(Instant deadline) {
  deadline_ = deadline;
  // Already in the wheel: when its slot comes round it is looked at, and moved on if the deadline has moved.
  if (deadline != kNever) loop_.add_to_wheel(*this);
}

void Waiter::interrupt() {
  interrupted_ = true;
  if (suspended_) resume(Wake::interrupted);
}

void Waiter::resume(Wake why) {
  wake_ = why;
  std::exchange(suspended_, nullptr).resume();
}

bool SocketWait::await_ready() const noexcept {
  if (waiter.interrupted_) {
    waiter.wake_ = Wake::interrupted;
    return true;
  }
  if ((readiness.flags_ & wanted) == 0) return false;
  waiter.wake_ = Wake::ready;
  return true;
}

void SocketWait::await_suspend(std::coroutine_handle<> coroutine) const noexcept {
  waiter.suspended_ = coroutine;
  ++waiter.waits_;
  readiness.waiter_ = &waiter;
  readiness.wanted_ = wanted;
}

Wake SocketWait::await_resume() const noexcept {
  readiness.waiter_ = nullptr;
  readiness.wanted_ = 0;
  return waiter.wake_;
}

void SleepWait::await_suspend(std::coroutine_handle<> coroutine) const {
  waiter.suspended_ = coroutine;
  ++waiter.waits_;
  waiter.loop_.add_sleep(waiter, until);
}

Wake SleepWait::await_resume() const noexcept {
  ++waiter.sleep_generation_;
  return waiter.interrupted_ ? Wake::interrupted : waiter.wake_;
}

// ---- loop ---------------------------------------------------------------------------------------------------------

EventLoop::EventLoop() : state_(std::make_unique<State>()) {
  state_->epoll = ::epoll_create1(EPOLL_CLOEXEC);
  SLUICE_CHECK(state_->epoll >= 0);  // run() has made sure of enough descriptors
  state_->tick_origin = now();
}

EventLoop::~EventLoop() = default;

bool EventLoop::add(int socket, Readiness& readiness) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &readiness;
  return ::epoll_ctl(state_->epoll, EPOLL_CTL_ADD, socket, &event) == 0;
}

void EventLoop::run(std::function<void(Instant, Nanoseconds)> on_tick) {
  State& s = *state_;
  s.on_tick = std::move(on_tick);
  ::prctl(PR_SET_TIMERSLACK, 1UL);  // of this thread: the system would wake it up to 50 us late to save power
  s.tick = std::max(s.tick, s.tick_after(now()));
  s.running = true;
  while (s.running) {
    s.take_sockets();
    const Instant at = now();
    s.wake_sleepers(at);
    if (s.tick_time(s.tick) <= at) s.take_tick(at);
  }
}

Instant EventLoop::offered_until() const {
  return state_->ticked_before != kNever ? state_->ticked_before : state_->tick_origin;
}

void EventLoop::stop() { state_->running = false; }

/// Waits for sockets until something else is due, and lets those go on that wait for them.
void EventLoop::State::take_sockets() {
  Instant due = tick_time(tick);
  if (!sleeps.empty()) due = std::min(due, sleeps.front().until);
  // More than one round: a busy set is emptied; bounded, so that timers have their turn.
  for (int round = 0; round < 8; ++round) {
    const int count = wait_for(epoll, events.data(), static_cast<int>(events.size()), round == 0 ? due - now() : 0);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      auto& readiness = *static_cast<Readiness*>(event.data.ptr);
      std::uint8_t flags = readiness.flags_;
      if ((event.events & EPOLLIN) != 0) flags |= Readiness::kRead;
      if ((event.events & EPOLLOUT) != 0) flags |= Readiness::kWrite;
      if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) flags |= Readiness::kReadEnd;
      if ((event.events & (EPOLLHUP | EPOLLERR)) != 0) flags |= Readiness::kBroken;
      readiness.flags_ = flags;
      Waiter* const waiter = readiness.waiter_;
      if (waiter != nullptr && (flags & readiness.wanted_) != 0) waiter->resume(Wake::ready);
    }
    if (count < static_cast<int>(events.size())) break;
  }
}

void EventLoop::State::take_tick(Instant at) {
  ticked_before = std::exchange(ticked_at, at);
  const Nanoseconds lateness(at - tick_time(tick));
  const std::int64_t now_tick = (at - tick_origin) / kTick.count();
  // Before the wheel turns: what is set meanwhile goes to a slot that is still to come.
  const std::int64_t first = std::exchange(tick, now_tick + 1);
  turn_wheel(first, now_tick, at);
  on_tick(at, lateness);
}

/// Only those that are due now: a waiter that sleeps until a past instant again must not keep the others waiting.
void EventLoop::State::wake_sleepers(Instant at) {
  for (std::size_t due = sleeps.size(); due > 0 && !sleeps.empty() && sleeps.front().until <= at; --due) {
    std::pop_heap(sleeps.begin(), sleeps.end(), later);
    const Sleep sleep = sleeps.back();
    sleeps.pop_back();
    Waiter& waiter = *sleep.waiter;
    if (sleep.generation == waiter.sleep_generation_ && waiter.suspended_) waiter.resume(Wake::ready);
  }
}

void EventLoop::State::link(Waiter& waiter, std::int64_t at) {
  waiter.wheel_tick_ = at;
  Waiter*& slot = wheel[static_cast<std::size_t>(at) % kWheelSlots];
  waiter.wheel_next_ = slot;
  slot = &waiter;
}

void EventLoop::add_to_wheel(Waiter& waiter) {
  State& s = *state_;
  if (waiter.wheel_tick_ >= 0) {
    // Its slot comes round before the deadline: it is looked at then, and moved on. Only a deadline before that is
    // moved now.
    if (waiter.wheel_tick_ <= s.tick_after(waiter.deadline_)) return;
    Waiter** link = &s.wheel[static_cast<std::size_t>(waiter.wheel_tick_) % kWheelSlots];
    while (*link != &waiter) link = &(*link)->wheel_next_;
    *link = waiter.wheel_next_;
  }
  const std::int64_t wanted = std::max(s.tick_after(waiter.deadline_), s.tick);
  s.link(waiter, std::min(wanted, s.tick + static_cast<std::int64_t>(kWheelSlots) - 1));
}

void EventLoop::State::turn_wheel(std::int64_t first, std::int64_t last, Instant at) {
  // A loop that stood still for longer than a turn looks at each slot once.
  for (std::int64_t number = std::max(first, last - static_cast<std::int64_t>(kWheelSlots) + 1); number <= last;
       ++number) {
    Waiter* waiter = std::exchange(wheel[static_cast<std::size_t>(number) % kWheelSlots], nullptr);
    while (waiter != nullptr) {
      Waiter* const next = waiter->wheel_next_;
      waiter->wheel_tick_ = -1;
      if (waiter->deadline_ != kNever && waiter->deadline_ > at) {
        const std::int64_t wanted = std::max(tick_after(waiter->deadline_), last + 1);
        link(*waiter, std::min(wanted, last + static_cast<std::int64_t>(kWheelSlots) - 1));
      } else if (waiter->deadline_ != kNever && waiter->suspended_) {
        waiter->resume(Wake::deadline);
      } else if (waiter->deadline_ != kNever) {
        link(*waiter, last + 1);  // it is not waiting just now
      }
      waiter = next;
    }
  }
}

void EventLoop::add_sleep(Waiter& waiter, Instant until) {
  State& s = *state_;
  s.sleeps.push_back(Sleep{until, waiter.sleep_generation_, &waiter});
  std::push_heap(s.sleeps.begin(), s.sleeps.end(), later);
}

}  // namespace sluice
