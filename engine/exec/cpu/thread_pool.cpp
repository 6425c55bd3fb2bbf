#include "engine/exec/cpu/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "engine/core/check.h"

namespace sluice::engine::cpu {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The kernel's own wait, not std::atomic's: its table of waiters is shared by the whole program.
void sleep_while(std::atomic<std::uint32_t>& value, std::uint32_t old) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&value), FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
}
void wake_all(std::atomic<std::uint32_t>& value) {
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&value), FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0);
}

constexpr std::chrono::microseconds kSpinTime{30};

/// Looks until ready() for about kSpinTime; whether it was.
template <class Ready>
bool spin_until(Ready ready) {
  for (int i = 0; i < 100; ++i) {
    if (ready()) return true;
    relax();
  }
  const auto until = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 50; ++i) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

}  // namespace

ThreadPool::ThreadPool(unsigned threads) : threads_(threads), shares_(threads) {
  SLUICE_ENGINE_CHECK(threads > 0 && threads <= kThreadsMax);
  workers_.reserve(threads - 1);
  for (unsigned thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  phase_.fetch_add(1);
  wake_all(phase_);
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(const Job& job, const std::size_t* first) {
  if (job.count == 0) return;
  if (threads_ == 1 || job.count <= job.grain) {
    for (std::size_t item = 0; item < job.count; ++item) job.entry(job.body, item, 0);
    return;
  }
  // Nobody holds a chunk of the phase before, and its shares are empty: the job may change.
  job_ = job;
  const std::size_t chunks = (job.count + job.grain - 1) / job.grain;
  SLUICE_ENGINE_CHECK(chunks < std::size_t{1} << 31);
  done_.store(0, std::memory_order_relaxed);
  for (unsigned thread = 0; thread < threads_; ++thread) {
    const std::uint64_t begin = first != nullptr ? first[thread] : chunks * thread / threads_;
    const std::uint64_t end = first != nullptr ? first[thread + 1] : chunks * (thread + 1) / threads_;
    shares_[thread].chunks.store(end << 32 | begin, std::memory_order_release);
  }
  phase_.fetch_add(1);  // sequentially consistent, as is the sleeper's count: one of the two sees the other
  if (sleepers_.load() > 0) wake_all(phase_);

  take_part(0);
  const auto all = static_cast<std::uint32_t>(chunks);
  const auto finished = [&] { return done_.load(std::memory_order_acquire) == all; };
  if (spin_until(finished)) return;
  caller_sleeps_.store(true);
  for (std::uint32_t done = done_.load(); done != all; done = done_.load()) sleep_while(done_, done);
  caller_sleeps_.store(false);
}

void ThreadPool::take_part(unsigned thread) {
  for (unsigned i = 0; i < threads_; ++i) {
    auto& chunks = shares_[(thread + i) % threads_].chunks;
    for (;;) {
      std::uint64_t range = chunks.load(std::memory_order_relaxed);
      if (static_cast<std::uint32_t>(range) >= range >> 32) break;
      range = chunks.fetch_add(1, std::memory_order_acquire);
      const std::size_t chunk = static_cast<std::uint32_t>(range);
      if (chunk >= range >> 32) break;
      const std::size_t end = std::min(job_.count, (chunk + 1) * job_.grain);
      for (std::size_t item = chunk * job_.grain; item < end; ++item) job_.entry(job_.body, item, thread);
      done_.fetch_add(1);
      if (caller_sleeps_.load()) wake_all(done_);
    }
  }
}

void ThreadPool::work(unsigned thread) {
  for (std::uint32_t seen = 0;;) {
    const auto changed = [&] { return phase_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(changed)) {
      sleepers_.fetch_add(1);
      while (!changed()) sleep_while(phase_, seen);
      sleepers_.fetch_sub(1);
    }
    seen = phase_.load(std::memory_order_acquire);  // before stop_: the destructor changes it once more after that
    if (stop_.load()) return;
    take_part(thread);
  }
}

unsigned available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1u, std::thread::hardware_concurrency());
  return std::clamp(static_cast<unsigned>(CPU_COUNT(&set)), 1u, ThreadPool::kThreadsMax);
}

}  // namespace sluice::engine::cpu
