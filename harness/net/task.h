// A coroutine that runs on one load thread and hands back a T.
//
// Lazy: it starts when awaited, or by start() when it is the outermost. The caller goes on the moment it ends, without
// a trip through the loop. Frames come from a cache of the thread, so that a request in steady state allocates nothing;
// a frame must be destroyed on the thread that made it. Exceptions do not leave a task: one that tries is a bug and
// ends the program.
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <utility>

namespace sluice {

/// Memory of coroutine frames, kept by size for the next of the same. One a thread.
class FrameCache {
 public:
  FrameCache() = default;
  FrameCache(const FrameCache&) = delete;
  FrameCache& operator=(const FrameCache&) = delete;
  ~FrameCache() {
    for (Free*& list : lists_) {
      while (list != nullptr) ::operator delete(std::exchange(list, list->next));
    }
  }

  static void* take(std::size_t bytes) {
    const std::size_t index = (bytes + kStep - 1) / kStep;
    if (index >= kLists) return ::operator new(bytes);
    Free*& list = of_thread().lists_[index];
    if (list == nullptr) return ::operator new(index* kStep);
    return std::exchange(list, list->next);
  }
  static void give(void* memory, std::size_t bytes) {
    const std::size_t index = (bytes + kStep - 1) / kStep;
    if (index >= kLists) {
      ::operator delete(memory);
      return;
    }
    Free*& list = of_thread().lists_[index];
    list = ::new (memory) Free{list};
  }

 private:
  struct Free {
    Free* next;
  };
  static constexpr std::size_t kStep = 64, kLists = 64;
  static FrameCache& of_thread() {
    thread_local FrameCache cache;
    return cache;
  }
  std::array<Free*, kLists> lists_{};
};

namespace detail {

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();

  static void* operator new(std::size_t bytes) { return FrameCache::take(bytes); }
  static void operator delete(void* memory, std::size_t bytes) { FrameCache::give(memory, bytes); }

  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      return ended.promise().continuation;
    }
    void await_resume() const noexcept {}
  };
  std::suspend_always initial_suspend() const noexcept { return {}; }
  Final final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  auto get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
  void return_value(T result) { value.emplace(std::move(result)); }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  auto get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace detail

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  Task(Handle handle) : handle_(handle) {}  // NOLINT: what get_return_object() gives
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  /// Runs an outermost task up to its first wait.
  void start() { handle_.resume(); }
  bool done() const { return !handle_ || handle_.done(); }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    handle_.promise().continuation = caller;
    return handle_;
  }
  T await_resume() { return handle_.promise().take(); }

 private:
  Handle handle_;
};

}  // namespace sluice
