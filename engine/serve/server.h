// OpenAI's HTTP API in front of an engine.
//
// Binds first and answers /health from then on; /ready and the API follow once publish() has handed over a model. One
// thread, the caller of run(), serves every socket; the engine's chunks reach it through flush_hook(), one wake-up a
// step. A client that goes away cancels its requests; one that does not read is dropped when its backlog passes a
// limit. SIGTERM and SIGINT drain: nothing new is accepted, what runs may finish; the second signal ends at once. When
// the engine's device has failed the server tells its clients and ends with exit code 1.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/core/limits.h"
#include "engine/core/result.h"
#include "engine/engine.h"
#include "engine/serve/chunk_policy.h"
#include "engine/serve/prepare.h"

namespace sluice::engine {

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;               // 0: a free one
  std::size_t connections_max = 16384;  // further clients wait in the kernel's backlog
  std::size_t body_bytes_max = limits::http_body_bytes_max;
  std::size_t backlog_bytes_max = 1u << 20;        // unsent bytes of a stream, beyond what was put at once, before its
                                                   // client is dropped
  std::size_t hold_bytes_max = 16u << 20;          // gathered during a stall before it ends early
  std::optional<int> send_buffer_bytes;            // SO_SNDBUF; for tests of the backlog
  std::chrono::milliseconds header_limit{10'000};  // from a request's first byte to the end of its header
  std::chrono::milliseconds body_limit{60'000};    // from there to the end of its body
  std::chrono::milliseconds idle_limit{75'000};    // between requests
  std::chrono::milliseconds write_limit{30'000};   // without the client taking a byte that waits for it
  std::chrono::milliseconds drain_limit{30'000};   // then what still runs is cancelled
  bool handle_signals = false;                     // SIGTERM, SIGINT
  std::string emit_log;                            // path; empty: none
  std::uint64_t emit_log_records = 1u << 20;
  ChunkPolicy chunking;                         // of streams whose request says nothing
  std::string replay;                           // path of a recording that is served instead of a model; empty: none
  double replay_speed = 1;                      // above 0
  std::function<void(const std::string&)> log;  // a line for people; never a prompt. May be empty
};

struct ServedModel {
  ModelText text;
  std::int64_t created_s = 0;  // seconds since 1970
  Engine* engine = nullptr;    // outlives run()
};

class Server {
 public:
  /// Listens from here on; connections are answered once run() is called.
  static Result<std::unique_ptr<Server>> bind(ServerOptions options);
  ~Server();

  std::uint16_t port() const;

  /// For EngineOptions::flush: brings the chunks of a step to the sockets. The server outlives the engine.
  std::function<void()> flush_hook();
  /// For EngineOptions::failed: the errors still reach their clients, then run() returns 1.
  std::function<void(const std::string&)> failed_hook();

  /// Serves until drained or stopped. Returns the exit code.
  int run();

  // Any thread:
  void publish(ServedModel model);
  void drain();
  void stop(int exit_code);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::engine
