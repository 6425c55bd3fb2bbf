// One request and its answer, measured: fills a RequestRecord as docs/metrics.md defines the instants.
//
// The request is bytes, ready made; the answer is parsed over the thread's read buffer and never stored, but for what a
// check asks to keep (bounded). Each server-sent event is stamped: by the kernel where the connection has stamps, else
// by the time of the read. In steady state nothing is allocated. Every wait ends with the request's deadline or when
// the waiter is interrupted. A server's mistakes end in the record's outcome, `error` and `findings`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/time.h"
#include "harness/metrics/record.h"
#include "harness/net/connection.h"
#include "harness/net/event_loop.h"
#include "harness/net/task.h"
#include "harness/stream/chat_event.h"
#include "harness/stream/stream_rules.h"

namespace sluice {

struct ExchangeRequest {
  enum class Answer : std::uint8_t {
    plain,  // any body
    chat,   // one JSON answer of a chat or text completion
    stream  // server-sent events of one
  };
  std::string_view bytes;  // head and body; must live until the exchange has ended
  Answer answer = Answer::plain;
  bool head = false;  // a HEAD request: its answer has no body, whatever it says
  StreamRules::Api api = StreamRules::Api::chat;
  std::string_view dialect = "openai";
  Nanoseconds timeout{};  // of the whole request, connecting included; from record.started_at
  bool keep_text = false, keep_body = false, keep_headers = false;  // for checks
  bool keep_location = false, keep_cookies = false;                 // in AnswerHeaders
};

/// Headers of the last answer that say what comes next.
struct AnswerHeaders {
  std::string location, content_encoding;
  std::vector<std::string> set_cookies;
};

/// What exchanges of one load thread share.
class ExchangeBuffers {
 public:
  ExchangeBuffers();
  ~ExchangeBuffers();

 private:
  friend class Exchange;
  friend class WebSocketSession;
  static constexpr std::size_t kReadBytes = std::size_t{64} << 10;  // one read
  static constexpr std::size_t kHeldBytes = std::size_t{32} << 10;  // an unfinished header or chunk line before it
  std::unique_ptr<char[]> bytes_;
  ChatEventParser chat_;
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

  /// The same for a loop that has nothing else to do: runs it until this exchange has ended.
  void run_alone(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record,
                 const std::function<void(Instant now)>& on_tick = {});

  const StreamRules& rules() const;      // of the last stream
  const AnswerHeaders& headers() const;  // of the last answer

 private:
  struct State;
  Task<> run_and_stop(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record);

  std::unique_ptr<State> state_;
};

/// Makes a record ready for another request; keeps its memory.
void clear(RequestRecord& record);

}  // namespace sluice
