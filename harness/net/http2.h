// Requests over HTTP/2 (RFC 9113): many at a time on one connection, framed by nghttp2.
//
// Over TLS the server must choose "h2" (ALPN); without TLS it is spoken from the first byte (prior knowledge), as the
// scenario says that the server can. A connection carries as many requests as the server's SETTINGS allow, and another
// is opened only when all are full. Requests come as the HTTP/1.1 bytes that Exchange sends otherwise, and are
// translated: so what is measured, kept and judged is the same for both.
//
// A read of the connection may hold parts of several answers: the kernel's stamp is that of its last byte, so only the
// answer that the read ends with may count its last event as stamped on its own (ContentEvent::coalesced).
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "harness/net/answer_reader.h"
#include "harness/net/connection.h"
#include "harness/net/endpoint.h"
#include "harness/net/event_loop.h"
#include "harness/net/task.h"

namespace sluice {

/// One load thread's way to one server. Its requests may belong to any number of coroutines of that thread.
class Http2Client {
 public:
  /// All must outlive the client, `read_buffer` (of `read_bytes`) too: others may use it between two reads. The
  /// endpoint must be resolved. `options.shape` must be null. REQUIRES: the loop does not run after the client's end.
  Http2Client(EventLoop& loop, char* read_buffer, std::size_t read_bytes, const Endpoint& endpoint,
              ConnectionOptions options);
  ~Http2Client();
  Http2Client(const Http2Client&) = delete;
  Http2Client& operator=(const Http2Client&) = delete;

  /// REQUIRES: answer.begin() with the request, and the waiter's deadline set. Ends with the answer, or with why there
  /// is none. A request that the server has refused, or whose idle
  /// connection turns out to be closed, is sent once more.
  Task<> run(Waiter& waiter, AnswerReader& answer);

  std::size_t connections() const;  // open now

 private:
  class Link;
  struct Stream;
  /// One with room, else a new one, which it then begins to open.
  Link& link_with_room(bool& is_new);

  EventLoop& loop_;
  char* const read_buffer_;
  const std::size_t read_bytes_;
  const Endpoint& endpoint_;
  const ConnectionOptions options_;
  std::vector<std::unique_ptr<Link>> links_;
};

}  // namespace sluice
