// sluice-engine as a child process: started on a free port, watched, stopped, and never left behind.
//
// The child is killed by the kernel when the thread that called start() ends, even by SIGKILL; so call start() on a
// thread that outlives the engine: main's. It runs in a process group of its own, so that Ctrl-C in the terminal
// reaches only us. Its output is read all the time; the last of it is kept for messages
// (limits::engine_log_bytes_kept).
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "harness/base/result.h"
#include "harness/base/time.h"
#include "harness/scenario/plan.h"

namespace sluice {

struct EngineProcessOptions {
  std::string executable;           // empty: $SLUICE_ENGINE, else sluice-engine beside this program
  std::function<bool()> cancelled;  // asked while waiting for readiness; may be empty
  std::function<void()> on_death;  // called once, from another thread, when it ends unasked after start(); may be empty
};

class EngineProcess {
 public:
  /// Returns when GET /ready answers 200. Fails with its log's tail when it ends, is not ready within
  /// target.ready_timeout, cannot be run at all, or `cancelled` says so; then nothing is left running.
  static Result<std::unique_ptr<EngineProcess>> start(const EngineTarget& target, EngineProcessOptions options);

  ~EngineProcess();  // stop()
  EngineProcess(const EngineProcess&) = delete;
  EngineProcess& operator=(const EngineProcess&) = delete;

  const std::string& url() const;  // http://127.0.0.1:PORT
  pid_t pid() const;

  /// Said when it has ended unasked: "ended with exit code 1", "was killed by signal 9".
  std::optional<std::string> death() const;
  std::string log_tail() const;

  /// SIGTERM, and SIGKILL when it has not ended after `grace`. Returns when it is gone; a second call does nothing.
  void stop(Nanoseconds grace = std::chrono::seconds(5));

 private:
  struct State;
  explicit EngineProcess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Where sluice-engine is looked for when nothing is said.
Result<std::string> find_engine_executable();

}  // namespace sluice
