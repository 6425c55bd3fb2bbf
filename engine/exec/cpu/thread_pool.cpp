#include "engine/exec/cpu/thread_pool.h"

#include <sched.h>

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

constexpr std::chrono::microseconds kSpinTime{30};

}  // namespace

ThreadPool::ThreadPool(unsigned threads) : threads_(threads) {
  SLUICE_ENGINE_CHECK(threads > 0);
  workers_.reserve(threads - 1);
  for (unsigned thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  run_.fetch_add(1, std::memory_order_release);
  run_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::wait_while_equal(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < 64; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  const auto until = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 64; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      relax();
    }
  } while (std::chrono::steady_clock::now() < until);
  value.wait(old, std::memory_order_acquire);
}

void ThreadPool::barrier() {
  if (threads_ == 1) return;
  const std::uint32_t generation = generation_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    generation_.notify_all();
    return;
  }
  while (generation_.load(std::memory_order_acquire) == generation) wait_while_equal(generation_, generation);
}

void ThreadPool::run_erased(Entry entry, void* context) {
  entry_ = entry;
  context_ = context;
  run_.fetch_add(1, std::memory_order_release);
  if (threads_ > 1) run_.notify_all();
  entry(context, 0);
  barrier();
}

void ThreadPool::work(unsigned thread) {
  for (std::uint32_t seen = 0;;) {
    wait_while_equal(run_, seen);
    const std::uint32_t now = run_.load(std::memory_order_acquire);
    if (now == seen) continue;
    if (stop_.load(std::memory_order_relaxed)) return;
    seen = now;
    entry_(context_, thread);
    barrier();
  }
}

unsigned available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1u, std::thread::hardware_concurrency());
  const int count = CPU_COUNT(&set);
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

}  // namespace sluice::engine::cpu
