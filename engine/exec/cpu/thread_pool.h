// Threads that share out the items of one phase after another.
//
// The caller is thread 0 and takes part. A phase's items are dealt in even, consecutive shares, so that a thread meets
// the same weights step after step; whoever has finished its share helps with the others'. A phase ends when its items
// are done, not when every thread has been there: a thread that the system has taken off its core, or that is still
// waking, holds nobody up unless it is in the middle of an item. Nothing is allocated after construction. Between
// phases the others look for work for about 30 us, then sleep in the kernel: an idle engine costs nothing. One caller
// at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace sluice::engine::cpu {

class ThreadPool {
 public:
  static constexpr unsigned kThreadsMax = 256;

  /// REQUIRES: 0 < threads <= kThreadsMax.
  explicit ThreadPool(unsigned threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  unsigned size() const { return threads_; }

  /// body(item, thread) once for each item of 0 .. count-1; returns when all are done. `grain` items are taken at a
  /// time: enough to be worth a microsecond. A single grain runs on the caller alone.
  template <class Body>
  void each(std::size_t count, std::size_t grain, Body&& body) {
    Job job = job_of(body);
    job.count = count;
    job.grain = grain;
    run(job, nullptr);
  }

  /// The same with given shares: thread t's items are first[t] .. first[t + 1] - 1; first has size() + 1 entries.
  template <class Body>
  void each_share(const std::size_t* first, Body&& body) {
    Job job = job_of(body);
    job.count = first[threads_];
    run(job, first);
  }

 private:
  struct Job {
    void (*entry)(void* body, std::size_t item, unsigned thread) = nullptr;
    void* body = nullptr;
    std::size_t count = 0;
    std::size_t grain = 1;
  };
  /// A share's chunks that are still to be taken: (end << 32) | next. Taking is one addition; whoever gets next < end
  /// has the chunk, and the phase cannot end, nor its job change, before he reports it done.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> chunks{0};
  };

  template <class Body>
  static Job job_of(Body& body) {
    Job job;
    job.entry = [](void* context, std::size_t item, unsigned thread) {
      (*static_cast<std::remove_reference_t<Body>*>(context))(item, thread);
    };
    job.body = const_cast<void*>(static_cast<const void*>(&body));
    return job;
  }
  void run(const Job& job, const std::size_t* first);
  void take_part(unsigned thread);
  void work(unsigned thread);

  const unsigned threads_;
  Job job_;  // of the phase: written while nobody holds a chunk
  std::vector<Share> shares_;
  alignas(64) std::atomic<std::uint32_t> phase_{0};  // counts phases; workers wait for it to change
  std::atomic<std::uint32_t> sleepers_{0};
  alignas(64) std::atomic<std::uint32_t> done_{0};  // chunks of the phase
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

/// Cores that this process may run on.
unsigned available_cores();

}  // namespace sluice::engine::cpu
