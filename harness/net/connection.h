// One connection to an endpoint: plain TCP with the kernel's receive stamps, or TLS.
//
// Non-blocking: read() and write() do what can be done at once and say so; the caller waits on readiness(). A closed
// connection can be opened again. Failures are values with a sentence for people.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "harness/base/result.h"
#include "harness/base/time.h"
#include "harness/net/endpoint.h"
#include "harness/net/event_loop.h"
#include "harness/net/kernel_clock.h"
#include "harness/net/network_shape.h"
#include "harness/net/task.h"

namespace sluice {

struct TlsOptions {
  bool verify = true;                      // certificates must be trusted, and carry the host's name
  std::string ca = {};                     // a PEM file of those who are trusted; empty: whom the system trusts
  std::string certificate = {}, key = {};  // PEM files of our own, for servers that ask; empty: none
  enum class Version : std::uint8_t { tls1_2, tls1_3 } least = Version::tls1_2;
};

/// What all TLS connections of a run share: trust and protocol versions. Thread-safe once made.
class TlsContext {
 public:
  /// Fails when a file cannot be read, or a key is not that of the certificate.
  static Result<std::shared_ptr<TlsContext>> make(const TlsOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class Connection;
  TlsContext() = default;
  void* context_ = nullptr;  // SSL_CTX
  bool verify_ = true;
};

struct ConnectionOptions {
  Nanoseconds connect_timeout = std::chrono::seconds(10);  // TLS included
  const KernelClock* stamps = nullptr;                     // the kernel stamps what is read; null: nobody asks for it
  std::shared_ptr<TlsContext> tls;                         // shared with the run's other connections; for https
  const NetworkShape* shape = nullptr;                     // must outlive the connection; null: as fast as it goes
  bool http2 = false;                                      // over TLS the server must choose h2
};

class Connection {
 public:
  /// The endpoint must be resolved and outlive the connection.
  Connection(EventLoop& loop, const Endpoint& endpoint, ConnectionOptions options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  struct Opened {
    Wake wake = Wake::ready;  // interrupted: `error` says nothing
    std::string error;        // empty: it is open
    Instant connected_at = kNever, tls_at = kNever;
  };
  /// Tries the endpoint's addresses in order. REQUIRES: !is_open(). Leaves the waiter's deadline at that of the caller.
  Task<Opened> open(Waiter& waiter);

  bool is_open() const { return socket_ >= 0; }
  /// The other side has ended it (or it broke): an idle connection that must not be used again.
  bool peer_closed() const { return readiness_.hung_up(); }
  void close();

  enum class Io : std::uint8_t { done, would_block_read, would_block_write, end, failed };
  struct Read {
    Io io = Io::done;
    std::size_t bytes = 0;
    bool cut = false;        // Io::end over TLS without its closing message: anybody may have ended it
    bool drained = false;    // nothing more was queued when this was read
    bool backlog = false;    // of a stamped connection: half of what the kernel may hold was queued
    Instant stamp = kNever;  // the kernel's, of the last segment touched; kNever: none
    int error = 0;           // errno of Io::failed; 0: TLS said so
  };
  Read read(char* into, std::size_t size);

  struct Written {
    Io io = Io::done;
    std::size_t bytes = 0;
    int error = 0;
  };
  Written write(const char* from, std::size_t size);

  Readiness& readiness() { return readiness_; }
  const Endpoint& endpoint() const { return endpoint_; }
  const NetworkShape* shape() const { return options_.shape; }

 private:
  Task<std::string> connect_to(Waiter& waiter, const Address& address, Wake& wake);
  Task<std::string> handshake(Waiter& waiter, Wake& wake);
  Read read_tls(char* into, std::size_t size);

  EventLoop& loop_;
  const Endpoint& endpoint_;
  ConnectionOptions options_;
  Readiness readiness_;
  int socket_ = -1;
  void* tls_ = nullptr;          // SSL
  std::optional<Read> tls_end_;  // how it has ended, once it has
};

}  // namespace sluice
