// Where one load thread leaves the streams that it reads, for a recording (docs/recordings.md).
//
// Leaving a piece copies its bytes into memory that was allocated before the load: no lock, no system call, no waiting.
// When there is no room, because the file is written more slowly than streams come, the stream is given up: it has no
// end in the file, which readers take as "not there". Of a request nothing is kept but its method, its path without
// query, and, where that is asked for, its body.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/base/time.h"
#include "harness/output/byte_ring.h"

namespace sluice {

/// How a recorded stream ended.
enum class RecordedEnd : std::uint8_t {
  complete,   // as its framing says
  closed,     // the server closed the connection before that
  reset,      // the connection or the HTTP/2 stream was reset
  timeout,    // the request's time was up
  cut,        // by us: the end of the run, abandon:
  malformed,  // not HTTP any more
};

/// What is known of a stream when the head of its answer is there. Views are good for the call.
struct RecordedHead {
  std::string_view request;  // its bytes: head and body
  unsigned status = 0;
  std::string_view content_type;  // empty: none
  std::string_view headers;       // "name: value\n" of those that are kept, names in lower case
  Instant sent_at = kNever;       // t_sent
  Instant head_at = kNever;
};

/// One thread adds; the writer's thread reads the ring and the counts.
class RecordSink {
 public:
  /// Streams are numbered `first`, `first + step`, ...
  RecordSink(std::size_t ring_bytes, std::uint64_t first, std::uint64_t step, bool with_request)
      : ring_(ring_bytes), next_(first), step_(step), with_request_(with_request) {}

  /// The stream's number; 0: it is not recorded.
  std::uint64_t begin(const RecordedHead& head);
  /// False: the stream has been given up, and nothing more is to be added to it. `after`: since t_sent.
  bool add(std::uint64_t stream, Nanoseconds after, std::string_view bytes);
  void end(std::uint64_t stream, Nanoseconds after, RecordedEnd how);

  /// Whether the answer's header of this name (any letters' case) is kept: none that could be a secret is.
  static bool keeps(std::string_view name);

  ByteRing& ring() { return ring_; }
  std::uint64_t begun() const { return begun_.load(std::memory_order_relaxed); }
  std::uint64_t given_up() const { return given_up_.load(std::memory_order_relaxed); }

 private:
  void count(std::atomic<std::uint64_t>& counter);

  ByteRing ring_;
  std::uint64_t next_;
  const std::uint64_t step_;
  const bool with_request_;
  std::atomic<std::uint64_t> begun_{0}, given_up_{0};  // written by the adding thread only
};

/// What lies in the ring: one of these, and its bytes behind it.
struct RecordedMark {
  enum class Kind : std::uint8_t { head, piece, end };
  Kind kind{};
  RecordedEnd how{};         // of end
  std::uint16_t status = 0;  // of head
  // of head: bytes of method, path, content type, headers, request body, in this order; of piece: its bytes
  std::uint32_t sizes[5] = {};
  std::uint64_t stream = 0;
  Nanoseconds after{};       // since t_sent
  Instant sent_at = kNever;  // of head
};

}  // namespace sluice
