// One WebSocket session, measured: connects, upgrades, sends its texts, reads messages until it has what it waits for,
// and closes. RFC 6455 without extensions.
//
// Every wait ends with the request's deadline or when the waiter is interrupted. A server's mistakes end in the
// record's outcome and `error`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "harness/base/time.h"
#include "harness/metrics/record.h"
#include "harness/net/connection.h"
#include "harness/net/event_loop.h"
#include "harness/net/exchange.h"
#include "harness/net/task.h"

namespace sluice {

struct WebSocketRequest {
  std::string_view upgrade;            // the GET's bytes, with kWebSocketKeyPlace where the key goes
  std::span<const std::string> texts;  // sent once it is open, in order; must live until the session has ended
  std::uint64_t receive = 0;           // messages to wait for
  std::string_view until;              // not empty: instead, a message that contains this
  bool ping = false;                   // asks once for a pong, and waits for it
  bool keep_body = false;              // the messages, one a line, for checks
  bool keep_headers = false;           // of the answer to the upgrade
  Nanoseconds timeout{};               // of the whole session, from record.started_at
  std::uint64_t random = 0;            // what keys and masks follow from
};

/// One VU's sessions, one at a time.
class WebSocketSession {
 public:
  /// All must outlive it.
  WebSocketSession(EventLoop& loop, ExchangeBuffers& buffers);
  ~WebSocketSession();
  WebSocketSession(const WebSocketSession&) = delete;
  WebSocketSession& operator=(const WebSocketSession&) = delete;

  /// REQUIRES: record is clear but for scheduled_at and started_at, and the connection is closed, as it is again
  /// afterwards. record.events: the messages received.
  Task<> run(Waiter& waiter, Connection& connection, WebSocketRequest request, RequestRecord& record,
             WebSocketRecord& session);

  /// The same for a loop that has nothing else to do.
  void run_alone(Waiter& waiter, Connection& connection, WebSocketRequest request, RequestRecord& record,
                 WebSocketRecord& session);

 private:
  struct State;
  Task<> open(Waiter& waiter, Connection& connection);
  Task<> talk(Waiter& waiter, Connection& connection);
  Task<> run_and_stop(Waiter& waiter, Connection& connection, WebSocketRequest request, RequestRecord& record,
                      WebSocketRecord& session);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
