// Threads that run one function together, step after step, and meet at barriers within it.
//
// The caller is thread 0 and takes part. Nothing is allocated after construction. Between runs the others look for work
// for about 30 us (the next step usually comes within that), then sleep in the kernel: an idle engine costs nothing.
// One caller at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace sluice::engine::cpu {

class ThreadPool {
 public:
  /// REQUIRES: threads > 0.
  explicit ThreadPool(unsigned threads);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  unsigned size() const { return threads_; }

  /// body(thread) on every thread, thread = 0 .. size()-1; returns when all have.
  template <class Body>
  void run(Body&& body) {
    run_erased([](void* context, unsigned thread) { (*static_cast<std::remove_reference_t<Body>*>(context))(thread); },
               &body);
  }

  /// Within run(): waits until every thread has come here. All threads call it equally often.
  void barrier();

 private:
  using Entry = void (*)(void*, unsigned);
  void run_erased(Entry entry, void* context);
  void work(unsigned thread);
  static void wait_while_equal(const std::atomic<std::uint32_t>& value, std::uint32_t old);

  const unsigned threads_;
  Entry entry_ = nullptr;  // written before run_ is raised, read after it was seen raised
  void* context_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> run_{0};         // counts runs
  alignas(64) std::atomic<std::uint32_t> arrived_{0};     // at the barrier that is being waited at
  alignas(64) std::atomic<std::uint32_t> generation_{0};  // counts barriers passed
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

/// Cores that this process may run on.
unsigned available_cores();

}  // namespace sluice::engine::cpu
