#include "harness/net/websocket.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/base/mix.h"
#include "harness/net/header_text.h"
#include "harness/net/websocket_frames.h"

namespace sluice {
namespace {

/// Reads without a wait after which the other coroutines have their turn.
constexpr int kReadsInARow = 16;

/// How long the server may take to answer our close.
constexpr Nanoseconds kCloseTime = std::chrono::seconds(1);

constexpr std::size_t kPongsUnsentMax = std::size_t{64} << 10;
constexpr std::uint16_t kNormal = 1000, kProtocolError = 1002;

std::string close_payload(std::uint16_t code) {
  return {static_cast<char>(code >> 8U), static_cast<char>(code & 0xFFU)};
}

}  // namespace

struct WebSocketSession::State {
  State(EventLoop& loop_in, ExchangeBuffers& buffers_in) : loop(loop_in), buffers(buffers_in) {}

  EventLoop& loop;
  ExchangeBuffers& buffers;
  WsReader reader;
  WebSocketRequest request;
  RequestRecord* record = nullptr;
  WebSocketRecord* session = nullptr;
  std::string key, head, out;
  std::size_t unsent_from = 0;  // of out
  std::uint64_t random = 0;
  enum class Phase : std::uint8_t { upgrading, open, closing, closed } phase = Phase::upgrading;
  Instant deadline = kNever, pinged_at = kNever;
  Instant shift = 0;  // as in an Exchange
  Outcome broken = Outcome::ok;
  std::string why;

  void begin(WebSocketRequest wanted, RequestRecord& into, WebSocketRecord& into_session);
  void send(WsOpcode opcode, std::string_view payload) {
    append_frame(opcode, payload, static_cast<std::uint32_t>(draw()), out);
  }
  void give_up(Wake wake);
  std::uint64_t draw() {
    const std::uint64_t number = mix(random);
    random += kMixStep;
    return number;
  }
  void fail(Outcome outcome, std::string text) {
    broken = outcome;
    why = std::move(text);
  }
  void take_bytes(Waiter& waiter, std::string_view bytes, Instant at);
  void take_upgrade(Instant at);
  void take_message(const WsMessage& message, Instant at);
  void start_closing_when_done();
  void take_end(bool broken_off);
};

void WebSocketSession::State::begin(WebSocketRequest wanted, RequestRecord& into, WebSocketRecord& into_session) {
  request = wanted;
  record = &into;
  session = &into_session;
  into_session = {};
  reader.reset();
  head.clear();
  phase = Phase::upgrading;
  broken = Outcome::ok;
  why.clear();
  random = wanted.random;
  pinged_at = kNever;
  deadline = into.started_at + wanted.timeout.count();
  const std::uint64_t first = draw();
  key = websocket_key(first, draw());
  out.assign(wanted.upgrade);
  if (const std::size_t at = out.find(kWebSocketKeyPlace); at != std::string::npos) out.replace(at, key.size(), key);
  unsent_from = 0;
}

void WebSocketSession::State::give_up(Wake wake) {
  if (wake == Wake::interrupted) return fail(Outcome::interrupted, "cut by the end of the run");
  if (phase == Phase::upgrading) {
    return fail(Outcome::timed_out, "no upgrade to WebSocket within " + format_duration(request.timeout));
  }
  fail(Outcome::timed_out, fmt::format("not what was waited for within {}, in {} messages",
                                       format_duration(request.timeout), session->received));
}

void WebSocketSession::State::take_upgrade(Instant at) {
  const auto answer = read_upgrade(head, key);
  if (!answer) return;
  record->status = answer->status;
  if (request.keep_headers && answer->size > 0) {
    for_each_header(std::string_view(head).substr(0, answer->size),
                    [this](std::string_view name, std::string_view value) {
                      if (record->headers.size() < limits::headers_kept) record->headers.emplace_back(name, value);
                    });
  }
  if (!answer->accepted) {
    if (answer->status >= 400) return fail(Outcome::http_error, fmt::format("HTTP status {}", answer->status));
    if (answer->status != 0 && answer->status != 101) {
      return fail(Outcome::malformed, fmt::format("{}: HTTP status {}", answer->error, answer->status));
    }
    return fail(Outcome::malformed, std::string(answer->error));
  }
  session->opened_at = at;
  phase = Phase::open;
  reader.push(std::string_view(head).substr(answer->size));
  for (const std::string& text : request.texts) {
    send(WsOpcode::text, text);
    ++session->sent;
  }
  if (request.ping) {
    send(WsOpcode::ping, "sluice");
    pinged_at = at;
  }
  start_closing_when_done();
}

/// Everything that was waited for is there: says so.
void WebSocketSession::State::start_closing_when_done() {
  const bool pong_due = request.ping && session->pong_time.count() < 0;
  if (phase != Phase::open || pong_due) return;
  if (request.until.empty() ? session->received < request.receive : !session->found) return;
  phase = Phase::closing;
  send(WsOpcode::close, close_payload(kNormal));
}

void WebSocketSession::State::take_message(const WsMessage& message, Instant at) {
  switch (message.kind) {
    case WsOpcode::text:
    case WsOpcode::binary:
      ++session->received;
      ++record->events;
      if (record->first_body_at == kNever) record->first_body_at = at;
      if (request.keep_body && record->body.size() < limits::body_bytes_kept) {
        if (session->received > 1) record->body += '\n';
        record->body.append(message.payload.substr(0, limits::body_bytes_kept - record->body.size()));
      }
      if (!request.until.empty() && message.payload.find(request.until) != std::string_view::npos) {
        session->found = true;
      }
      break;
    case WsOpcode::ping:
      // A server that asks faster than it reads gets no more: our memory is not its queue.
      if (phase == Phase::open && out.size() < kPongsUnsentMax) send(WsOpcode::pong, message.payload);
      break;
    case WsOpcode::pong:
      if (pinged_at != kNever && session->pong_time.count() < 0) session->pong_time = Nanoseconds(at - pinged_at);
      break;
    default:
      if (phase == Phase::open) {
        const WsClose close = close_of(message.payload);
        send(WsOpcode::close, close_payload(close.code == WsClose{}.code ? kNormal : close.code));
        fail(Outcome::reset, fmt::format("closed by the server with code {} before what was waited for", close.code));
      }
      phase = Phase::closed;
  }
  start_closing_when_done();
}

void WebSocketSession::State::take_bytes(Waiter& waiter, std::string_view bytes, Instant at) {
  if (record->first_byte_at == kNever) record->first_byte_at = at;
  record->bytes_received += bytes.size();
  const bool was_closing = phase == Phase::closing;
  if (phase == Phase::upgrading) {
    head.append(bytes);
    take_upgrade(at);
    if (phase == Phase::upgrading) return;
  } else {
    reader.push(bytes);
  }
  while (phase != Phase::closed && broken == Outcome::ok) {
    const auto message = reader.next();
    if (!message) break;
    take_message(*message, at);
  }
  if (reader.failed() && broken == Outcome::ok) {
    send(WsOpcode::close, close_payload(kProtocolError));
    phase = Phase::closed;
    fail(Outcome::malformed, fmt::format("not WebSocket: {}", reader.error()));
  }
  if (phase == Phase::closing && !was_closing) waiter.set_deadline(std::min(deadline, at + kCloseTime.count()));
}

/// The other side is gone.
void WebSocketSession::State::take_end(bool broken_off) {
  if (phase == Phase::open) {
    fail(Outcome::reset, broken_off ? "connection reset in the middle of a session"
                                    : "closed by the server, without a word, before what was waited for");
  } else if (phase == Phase::upgrading) {
    fail(Outcome::reset, broken_off ? "connection reset before an answer" : "closed by the server before an answer");
  }
  phase = Phase::closed;
}

WebSocketSession::WebSocketSession(EventLoop& loop, ExchangeBuffers& buffers)
    : state_(std::make_unique<State>(loop, buffers)) {}
WebSocketSession::~WebSocketSession() = default;

Task<> WebSocketSession::open(Waiter& waiter, Connection& connection) {
  State& s = *state_;
  RequestRecord& r = *s.record;
  r.looked_up_at = now();
  r.new_connection = true;
  Connection::Opened opened = co_await connection.open(waiter);
  r.connected_at = opened.connected_at;
  r.tls_at = opened.error.empty() || opened.wake == Wake::ready ? opened.tls_at : kNever;
  if (opened.wake == Wake::interrupted) {
    s.give_up(opened.wake);
  } else if (!opened.error.empty()) {
    s.fail(Outcome::connect_failed, std::move(opened.error));
  } else if (s.shift > 0) {
    const int round_trips = r.tls_at == kNever ? 1 : 2;
    const Wake wake = co_await s.loop.sleep_until(waiter, now() + 2 * s.shift * round_trips);
    if (wake != Wake::ready) s.give_up(wake);
  }
}

Task<> WebSocketSession::talk(Waiter& waiter, Connection& connection) {
  using Io = Connection::Io;
  State& s = *state_;
  RequestRecord& r = *s.record;
  const NetworkShape* const shape = connection.shape();
  const bool slow_up = shape != nullptr && shape->upload_bytes_per_s > 0;
  const bool slow_down = shape != nullptr && shape->download_bytes_per_s > 0;
  Pace upload(slow_up ? shape->upload_bytes_per_s : 1), download(slow_down ? shape->download_bytes_per_s : 1);
  int reads_in_a_row = 0;
  std::uint64_t waits = waiter.waits();
  bool blocked = false;  // the last write found no room
  while (true) {
    // Our own frames first: a pong or a close is due before anything is read.
    while (s.unsent_from < s.out.size() && !blocked) {
      if (s.shift > 0 && s.unsent_from == 0) {
        const Wake late = co_await s.loop.sleep_until(waiter, now() + s.shift);
        if (late != Wake::ready) co_return s.give_up(late);
      }
      const std::size_t left = s.out.size() - s.unsent_from;
      const std::size_t piece = slow_up ? std::min(NetworkShape::piece(shape->upload_bytes_per_s), left) : left;
      const Connection::Written sent = connection.write(s.out.data() + s.unsent_from, piece);
      s.unsent_from += sent.bytes;
      r.bytes_sent += sent.bytes;
      if (sent.io == Io::failed) {
        if (s.broken == Outcome::ok) s.take_end(true);
        co_return;
      }
      blocked = sent.io != Io::done;
      if (slow_up && sent.bytes > 0) {
        const Wake paced = co_await s.loop.sleep_until(waiter, upload.after(sent.bytes, now()));
        if (paced != Wake::ready) co_return s.give_up(paced);
      }
    }
    if (s.unsent_from == s.out.size()) {
      s.out.clear();
      s.unsent_from = 0;
      blocked = false;
      if (r.sent_at == kNever) r.sent_at = now() - s.shift;
    }
    if (s.broken != Outcome::ok || s.phase == State::Phase::closed) co_return;

    if (waiter.waits() != waits) {
      waits = waiter.waits();
      reads_in_a_row = 0;
    } else if (++reads_in_a_row > kReadsInARow) {
      const Wake turn = co_await s.loop.sleep_until(waiter, now());
      if (turn == Wake::interrupted) co_return s.give_up(turn);
    }
    char* const into = s.buffers.bytes_.get();
    const std::size_t piece =
        slow_down ? NetworkShape::piece(shape->download_bytes_per_s) : ExchangeBuffers::kReadBytes;
    const Connection::Read got = connection.read(into, piece);
    if (got.io == Io::end || got.io == Io::failed) {
      s.take_end(got.io == Io::failed);
      co_return;
    }
    if (got.io == Io::done) {
      const Instant free_at = slow_down ? download.after(got.bytes, now()) : now();
      s.take_bytes(waiter, std::string_view(into, got.bytes), free_at + s.shift);
      if (slow_down) {
        const Wake paced = co_await s.loop.sleep_until(waiter, free_at);
        if (paced != Wake::ready) co_return s.give_up(paced);
      }
      continue;
    }
    const bool writes = blocked || got.io == Io::would_block_write;
    const SocketWait either{waiter, connection.readiness(),
                            static_cast<std::uint8_t>(Readiness::kRead | Readiness::kReadEnd | Readiness::kBroken |
                                                      (writes ? static_cast<unsigned>(Readiness::kWrite) : 0U))};
    const Wake wake = co_await either;
    blocked = false;
    if (wake == Wake::ready) continue;
    if (wake == Wake::deadline && s.phase == State::Phase::closing) co_return;  // it does not answer our close
    co_return s.give_up(wake);
  }
}

Task<> WebSocketSession::run(Waiter& waiter, Connection& connection, WebSocketRequest request, RequestRecord& record,
                             WebSocketRecord& session) {
  State& s = *state_;
  SLUICE_CHECK(!connection.is_open());
  s.begin(request, record, session);
  s.shift = connection.shape() == nullptr ? 0 : connection.shape()->latency.count();
  waiter.set_deadline(s.deadline);
  co_await open(waiter, connection);
  if (s.broken == Outcome::ok) {
    record.send_began_at = now();
    co_await talk(waiter, connection);
  }
  waiter.set_deadline(kNever);
  connection.close();
  record.ended_at = now();
  record.outcome = s.broken;
  record.error = std::move(s.why);
}

Task<> WebSocketSession::run_and_stop(Waiter& waiter, Connection& connection, WebSocketRequest request,
                                      RequestRecord& record, WebSocketRecord& session) {
  co_await run(waiter, connection, request, record, session);
  state_->loop.stop();
}

void WebSocketSession::run_alone(Waiter& waiter, Connection& connection, WebSocketRequest request,
                                 RequestRecord& record, WebSocketRecord& session) {
  Task<> task = run_and_stop(waiter, connection, request, record, session);
  task.start();
  if (task.done()) return;
  state_->loop.run([](Instant, Nanoseconds) {});
  SLUICE_CHECK(task.done());
}

}  // namespace sluice
