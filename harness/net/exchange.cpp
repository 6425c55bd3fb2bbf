#include "harness/net/exchange.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>

#include "harness/base/check.h"

namespace sluice {

namespace http = boost::beast::http;
namespace asio = boost::asio;
using ErrorCode = boost::beast::error_code;
using BeastView = boost::beast::string_view;

namespace {

/// Reads without a wait after which the other coroutines have their turn.
constexpr int kReadsInARow = 16;

std::string_view view(BeastView text) { return {text.data(), text.size()}; }

/// Beast's incremental parser without a message: nothing is stored.
class AnswerParser final : public http::basic_parser<false> {
 public:
  explicit AnswerParser(AnswerReader& answer) : answer_(answer) {
    eager(true);
    skip(answer.request().head);
    header_limit(static_cast<std::uint32_t>(std::uint32_t{32} << 10));
    body_limit(boost::none);
  }

 private:
  void on_request_impl(http::verb, BeastView, BeastView, int, ErrorCode&) override {}
  void on_response_impl(int code, BeastView, int, ErrorCode&) override { answer_.status(static_cast<unsigned>(code)); }
  void on_field_impl(http::field field, BeastView name, BeastView value, ErrorCode&) override {
    answer_.header(view(name), view(value), field);
  }
  void on_header_impl(ErrorCode&) override { answer_.headers_end(); }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
  std::size_t on_body_impl(BeastView bytes, ErrorCode&) override {
    answer_.body(view(bytes));
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastView, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView bytes, ErrorCode&) override {
    answer_.body(view(bytes));
    return bytes.size();
  }
  void on_finish_impl(ErrorCode&) override {}

  AnswerReader& answer_;
};

}  // namespace

ExchangeBuffers::ExchangeBuffers() : bytes_(std::make_unique<char[]>(kHeldBytes + kReadBytes)) {}
ExchangeBuffers::~ExchangeBuffers() = default;

struct Exchange::State {
  State(EventLoop& loop_in, ExchangeBuffers& buffers_in)
      : loop(loop_in), buffers(buffers_in), answer(buffers_in.chat_, buffers_in.live_, &loop_in) {}

  EventLoop& loop;
  ExchangeBuffers& buffers;
  AnswerReader answer;
  std::optional<AnswerParser> parser;
  std::string held;  // read, but not yet parsed: an unfinished header or chunk line

  void begin_answer() {
    parser.emplace(answer);
    held.clear();
  }
  std::size_t parse(const char* bytes, std::size_t size, ErrorCode& error);
};

/// Parses as much as there is, answers of 1xx included. What is left over is an unfinished line.
std::size_t Exchange::State::parse(const char* bytes, std::size_t size, ErrorCode& error) {
  std::size_t used = 0;
  while (used < size) {
    const std::size_t step = parser->put(asio::const_buffer(bytes + used, size - used), error);
    used += step;
    if (error == http::error::need_more) {
      error = {};
      break;
    }
    if (error || answer.overflowed()) break;
    if (parser->is_done()) {
      if (!answer.informational()) break;
      parser.emplace(answer);
      continue;
    }
    if (step == 0) break;
  }
  return used;
}

Exchange::Exchange(EventLoop& loop, ExchangeBuffers& buffers) : state_(std::make_unique<State>(loop, buffers)) {}
Exchange::~Exchange() = default;
const StreamRules& Exchange::rules() const { return state_->answer.rules(); }
const AnswerHeaders& Exchange::headers() const { return state_->answer.headers(); }

Task<> Exchange::run(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record) {
  using Io = Connection::Io;
  State& s = *state_;
  AnswerReader& answer = s.answer;
  const NetworkShape* const shape = connection.shape();
  request.judge_bursts = shape == nullptr;
  answer.begin(request, record, shape == nullptr ? Nanoseconds{} : shape->latency);
  s.begin_answer();
  const Instant deadline = answer.deadline(), shift = answer.shift();
  waiter.set_deadline(deadline);
  const bool slow_up = shape != nullptr && shape->upload_bytes_per_s > 0;
  const bool slow_down = shape != nullptr && shape->download_bytes_per_s > 0;
  Pace upload(slow_up ? shape->upload_bytes_per_s : 1), download(slow_down ? shape->download_bytes_per_s : 1);

  if (connection.is_open() && connection.peer_closed()) connection.close();
  for (bool again = true; again;) {
    again = false;
    const bool reused = connection.is_open();
    if (!reused) {
      record.looked_up_at = now();
      record.new_connection = true;
      Connection::Opened opened = co_await connection.open(waiter);
      record.connected_at = opened.connected_at;
      record.tls_at = opened.error.empty() || opened.wake == Wake::ready ? opened.tls_at : kNever;
      if (!opened.error.empty()) {
        if (opened.wake == Wake::interrupted || (opened.wake == Wake::deadline && answer.may_abandon())) {
          answer.give_up(opened.wake);
        } else {
          answer.cut(Outcome::connect_failed, std::move(opened.error));
        }
        break;
      }
      if (shift > 0) {  // TCP's handshake is a round trip, TLS's is another
        const Instant round_trip = 2 * shift;
        const bool tls = record.tls_at != kNever;
        record.connected_at += round_trip;
        if (tls) record.tls_at += 2 * round_trip;
        const Wake wake = co_await s.loop.sleep_until(waiter, now() + (tls ? 2 : 1) * round_trip);
        if (wake != Wake::ready) {
          answer.give_up(wake);
          break;
        }
      }
    }

    record.send_began_at = now();
    if (shift > 0) {
      const Wake wake = co_await s.loop.sleep_until(waiter, record.send_began_at + shift);
      if (wake != Wake::ready) {
        answer.give_up(wake);
        break;
      }
    }
    std::string_view unsent = request.bytes;
    bool send_failed = false;
    while (!unsent.empty()) {
      const std::size_t piece =
          slow_up ? std::min(NetworkShape::piece(shape->upload_bytes_per_s), unsent.size()) : unsent.size();
      const Connection::Written sent = connection.write(unsent.data(), piece);
      unsent.remove_prefix(sent.bytes);
      record.bytes_sent += sent.bytes;
      if (slow_up && sent.bytes > 0) {
        const Wake wake = co_await s.loop.sleep_until(waiter, upload.after(sent.bytes, now()));
        if (wake != Wake::ready) {
          answer.give_up(wake);
          break;
        }
      }
      if (sent.io == Io::done) continue;
      if (sent.io == Io::failed) {
        send_failed = true;  // the server may have answered before it closed: a refusal of a large body
        break;
      }
      Wake wake = Wake::ready;
      if (sent.io == Io::would_block_write) {
        wake = co_await s.loop.writable(waiter, connection.readiness());
      } else {
        wake = co_await s.loop.readable(waiter, connection.readiness());
      }
      if (wake != Wake::ready) {
        answer.give_up(wake);
        break;
      }
    }
    if (answer.is_cut()) break;
    record.sent_at = now() - shift;
    if (slow_up) record.paced = Nanoseconds(record.sent_at - record.send_began_at);

    int reads_in_a_row = 0;
    std::uint64_t waits = waiter.waits();
    while (!s.parser->is_done()) {
      if (waiter.waits() != waits) {
        waits = waiter.waits();
        reads_in_a_row = 0;
      } else if (++reads_in_a_row > kReadsInARow) {
        const Wake wake = co_await s.loop.sleep_until(waiter, now());
        if (wake == Wake::interrupted) {
          answer.give_up(wake);
          break;
        }
      }
      const Wake wake = co_await s.loop.readable(waiter, connection.readiness());
      if (wake != Wake::ready) {
        answer.give_up(wake);
        break;
      }
      char* const start = s.buffers.bytes_.get();
      const std::size_t held = s.held.size();
      const std::size_t piece =
          slow_down ? NetworkShape::piece(shape->download_bytes_per_s) : ExchangeBuffers::kReadBytes;
      const Connection::Read got = connection.read(start + held, piece);
      Instant at = now() + shift;
      if (got.io == Io::would_block_read) {
        if (at > deadline) {
          answer.give_up(Wake::deadline);
          break;
        }
        continue;
      }
      if (got.io == Io::would_block_write) {
        const Wake writable = co_await s.loop.writable(waiter, connection.readiness());
        if (writable != Wake::ready) {
          answer.give_up(writable);
          break;
        }
        continue;
      }
      ErrorCode error;
      if (got.io == Io::end || got.io == Io::failed) {
        if (record.first_byte_at == kNever && reused) {
          again = true;  // it was closed while idle, which the server may do at any time
          break;
        }
        // Over TLS an end that was not announced makes no body whole that only the end delimits (RFC 9112, 9.8).
        // Nor does an end right after a 1xx answer: the parser of the one to follow has seen nothing, and must not be
        // asked.
        if (got.io == Io::end && !got.cut && s.held.empty() && s.parser->got_some()) {
          s.parser->put_eof(error);
          if (!error && s.parser->is_done()) break;
        }
        answer.cut(Outcome::reset,
                   std::string(got.io == Io::end ? "closed by the server " : "connection reset ") +
                       (record.first_byte_at == kNever ? "before an answer" : "in the middle of an answer"),
                   got.io == Io::end);
        break;
      }
      // The bytes lie in a buffer that others read into next: they are taken now, as of when they have come.
      const Instant free_at = slow_down ? download.after(got.bytes, now()) : 0;
      if (slow_down) at = free_at + shift;
      if (held > 0) std::memcpy(start, s.held.data(), held);
      s.held.clear();
      answer.read(got.bytes, got.stamp, at);
      const std::size_t size = held + got.bytes;
      const std::size_t used = s.parse(start, size, error);
      answer.read_end(got.drained);
      if (got.backlog && !slow_down) record.backlog = true;
      if (error) {
        answer.cut(Outcome::malformed, "not HTTP: " + error.message());
        break;
      }
      if (answer.enough()) {
        answer.cut_enough();
        break;
      }
      if (used < size) {
        if (s.parser->is_done() || size - used > ExchangeBuffers::kHeldBytes) {
          // Bytes that nobody asked for: what they belong to cannot be known, so the connection is done for.
          if (!s.parser->is_done()) answer.cut(Outcome::malformed, "not HTTP: a header or chunk line is too long");
          connection.close();
          break;
        }
        s.held.assign(start + used, size - used);
      }
      if (at > deadline && !s.parser->is_done()) {
        answer.give_up(Wake::deadline);
        break;
      }
      if (slow_down && !s.parser->is_done()) {
        const Wake paced = co_await s.loop.sleep_until(waiter, free_at);
        if (paced != Wake::ready) {
          answer.give_up(paced);
          break;
        }
      }
    }
    if (again) {
      connection.close();
      answer.begin_again();
      s.begin_answer();
      continue;
    }
    if (send_failed && !answer.is_cut() && !s.parser->is_done())
      answer.cut(Outcome::reset, "connection reset while sending");
    if (send_failed) connection.close();
  }

  if (shape != nullptr && !answer.is_cut() && answer.received_at() > now()) {  // it has still to come
    const Wake wake = co_await s.loop.sleep_until(waiter, answer.received_at());
    if (wake != Wake::ready) answer.give_up(wake);
  }
  waiter.set_deadline(kNever);
  if (answer.is_cut() || !s.parser->is_done() || !s.parser->keep_alive()) connection.close();
  answer.judge();
}

Task<> Exchange::run(Waiter& waiter, Http2Client& client, ExchangeRequest request, RequestRecord& record) {
  AnswerReader& answer = state_->answer;
  answer.begin(request, record);
  record.http2 = true;
  waiter.set_deadline(answer.deadline());
  co_await client.run(waiter, answer);
  waiter.set_deadline(kNever);
  answer.judge();
}

Task<> Exchange::run_and_stop(Task<> exchange) {
  co_await exchange;
  state_->loop.stop();
}

void Exchange::run_alone(Task<> exchange, const std::function<void(Instant now)>& on_tick) {
  Task<> task = run_and_stop(std::move(exchange));
  task.start();
  if (task.done()) return;
  state_->loop.run([&](Instant at, Nanoseconds) {
    if (on_tick) on_tick(at);
  });
  SLUICE_CHECK(task.done());
}

void clear(RequestRecord& record) {
  std::vector<ContentEvent> content = std::move(record.content);
  std::vector<Finding> findings = std::move(record.findings);
  std::vector<std::pair<std::string, std::string>> headers = std::move(record.headers);
  std::string error = std::move(record.error), finish = std::move(record.finish_reason), id = std::move(record.id);
  std::string request_id = std::move(record.request_id);
  std::string text = std::move(record.text), body = std::move(record.body);
  record = RequestRecord{};
  const auto reuse = [](auto& to, auto& from) {
    from.clear();
    to = std::move(from);
  };
  reuse(record.content, content);
  reuse(record.findings, findings);
  reuse(record.headers, headers);
  reuse(record.error, error);
  reuse(record.finish_reason, finish);
  reuse(record.id, id);
  reuse(record.request_id, request_id);
  reuse(record.text, text);
  reuse(record.body, body);
}

}  // namespace sluice
