// One request and its answer, measured: fills a RequestRecord as docs/metrics.md defines the instants.
//
// The request is bytes, ready made; the answer is parsed over the thread's read buffer and never stored, but for what a
// check asks to keep (bounded). Each server-sent event is stamped: by the kernel where the connection has stamps, else
// by the time of the read. In steady state nothing is allocated. Every wait ends with the request's deadline or when
// the waiter is interrupted. A server's mistakes end in the record's outcome, `error` and `findings`.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "harness/base/time.h"
#include "harness/metrics/record.h"
#include "harness/net/answer_reader.h"
#include "harness/net/connection.h"
#include "harness/net/event_loop.h"
#include "harness/net/http2.h"
#include "harness/net/task.h"

namespace sluice {

/// What exchanges of one load thread share.
class ExchangeBuffers {
 public:
  ExchangeBuffers();
  ~ExchangeBuffers();
  char* read_buffer() { return bytes_.get(); }
  static constexpr std::size_t kReadBytes = std::size_t{64} << 10;  // one read

 private:
  friend class Exchange;
  friend class WebSocketSession;
  static constexpr std::size_t kHeldBytes = std::size_t{32} << 10;  // an unfinished header or chunk line before it
  std::unique_ptr<char[]> bytes_;
  ChatEventParser chat_;
  LiveStreams live_;
};

/// One VU's exchanges, one at a time.
class Exchange {
 public:
  /// All must outlive the exchange.
  Exchange(EventLoop& loop, ExchangeBuffers& buffers);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// REQUIRES: record is clear but for scheduled_at and started_at. Opens the connection when it is not open. An idle
  /// connection that turns out to be closed before a byte came back is opened anew and the request sent once more.
  Task<> run(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record);

  /// The same over HTTP/2, on a connection that others may use at the same time.
  Task<> run(Waiter& waiter, Http2Client& client, ExchangeRequest request, RequestRecord& record);

  /// The same for a loop that has nothing else to do: runs it until this exchange has ended.
  template <class Way>  // Connection or Http2Client
  void run_alone(Waiter& waiter, Way& way, ExchangeRequest request, RequestRecord& record,
                 const std::function<void(Instant now)>& on_tick = {}) {
    run_alone(run(waiter, way, request, record), on_tick);
  }

  const StreamRules& rules() const;      // of the last stream
  const AnswerHeaders& headers() const;  // of the last answer

 private:
  struct State;
  void run_alone(Task<> exchange, const std::function<void(Instant now)>& on_tick);
  Task<> run_and_stop(Task<> exchange);

  std::unique_ptr<State> state_;
};

/// Makes a record ready for another request; keeps its memory.
void clear(RequestRecord& record);

}  // namespace sluice
