// An HTTP/2 server on loopback that answers as a test wants: nghttp2's server side, one thread a connection.
//
// Time is real here: tests that use delays keep them short and their bounds generous. Ends with the object.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::testing_support {

struct Http2Request {
  std::string method, scheme, authority, path, body;
  std::vector<std::pair<std::string, std::string>> headers;
  int connection = 0;            // from 1
  std::size_t open_streams = 0;  // of its connection, this one included
};

struct Http2Answer {
  enum class End : std::uint8_t {
    whole,
    trailers,  // and a field "x-trailer: end" after the body
    reset,     // RST_STREAM with INTERNAL_ERROR in place of the end
    refuse,    // RST_STREAM with REFUSED_STREAM, nothing else
    go_away,   // GOAWAY that leaves this one out, then the connection ends
    close,     // the connection ends in place of the answer's end
    hang       // nothing more
  };
  std::string status = "200";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::vector<std::string> pieces = {};  // of the body, a DATA frame each
  std::chrono::milliseconds gap{0};      // before each piece but the first
  End end = End::whole;
  bool early_hints = false;  // a 103 before it
};

struct Http2ServerOptions {
  std::uint32_t streams_max = 100;  // of one connection
  bool tls = false;
  std::uint16_t port = 0;  // 0: any
};

class Http2Server {
 public:
  using Handler = std::function<Http2Answer(const Http2Request&)>;  // called by any of its threads, one at a time

  explicit Http2Server(Handler handler, const Http2ServerOptions& options = {});
  ~Http2Server();
  Http2Server(const Http2Server&) = delete;
  Http2Server& operator=(const Http2Server&) = delete;

  std::string url() const {
    return (tls_ != nullptr ? "https://127.0.0.1:" : "http://127.0.0.1:") + std::to_string(port_);
  }
  int connections() const { return connections_.load(); }
  int cancelled() const { return cancelled_.load(); }                  // streams that the client has reset
  std::size_t most_open_streams() const { return most_open_.load(); }  // on one connection at a time

 private:
  class Connection;
  void accept_all();

  Handler handler_;
  const Http2ServerOptions options_;
  void* tls_ = nullptr;            // SSL_CTX
  int listener_ = -1, stop_ = -1;  // stop_: an eventfd, readable once the server ends
  std::uint16_t port_ = 0;
  std::mutex mutex_;  // of the handler
  std::atomic<int> connections_{0}, cancelled_{0};
  std::atomic<std::size_t> most_open_{0};
  std::thread acceptor_;
  std::vector<std::thread> threads_;  // of the acceptor's thread until it has ended
};

}  // namespace sluice::testing_support
