#include "harness/net/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>

#include "harness/base/check.h"
#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/stream/sse_parser.h"

namespace sluice {

namespace http = boost::beast::http;
namespace asio = boost::asio;
using boost::beast::iequals;
using ErrorCode = boost::beast::error_code;
using BeastView = boost::beast::string_view;

namespace {

/// Reads without a wait after which the other coroutines have their turn.
constexpr int kReadsInARow = 16;

std::string_view view(BeastView text) { return {text.data(), text.size()}; }

/// What a parsed answer tells, in the order of its bytes.
class AnswerSink {
 public:
  virtual void on_status(unsigned status) = 0;
  virtual void on_header(std::string_view name, std::string_view value, http::field field) = 0;
  virtual void on_headers_end() = 0;
  virtual void on_body(std::string_view bytes) = 0;

 protected:
  ~AnswerSink() = default;
};

/// Beast's incremental parser without a message: nothing is stored.
class AnswerParser final : public http::basic_parser<false> {
 public:
  explicit AnswerParser(AnswerSink& sink, bool head) : sink_(sink) {
    eager(true);
    skip(head);
    header_limit(static_cast<std::uint32_t>(std::uint32_t{32} << 10));
    body_limit(boost::none);
  }

 private:
  void on_request_impl(http::verb, BeastView, BeastView, int, ErrorCode&) override {}
  void on_response_impl(int code, BeastView, int, ErrorCode&) override { sink_.on_status(static_cast<unsigned>(code)); }
  void on_field_impl(http::field field, BeastView name, BeastView value, ErrorCode&) override {
    sink_.on_header(view(name), view(value), field);
  }
  void on_header_impl(ErrorCode&) override { sink_.on_headers_end(); }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
  std::size_t on_body_impl(BeastView bytes, ErrorCode&) override {
    sink_.on_body(view(bytes));
    return bytes.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastView, ErrorCode&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView bytes, ErrorCode&) override {
    sink_.on_body(view(bytes));
    return bytes.size();
  }
  void on_finish_impl(ErrorCode&) override {}

  AnswerSink& sink_;
};

void append_bounded(std::string& to, std::string_view bytes, std::size_t bytes_max) {
  if (to.size() < bytes_max) to.append(bytes.substr(0, bytes_max - to.size()));
}

}  // namespace

ExchangeBuffers::ExchangeBuffers() : bytes_(std::make_unique<char[]>(kHeldBytes + kReadBytes)) {}
ExchangeBuffers::~ExchangeBuffers() = default;

struct Exchange::State final : AnswerSink {
  State(EventLoop& loop_in, ExchangeBuffers& buffers_in) : loop(loop_in), buffers(buffers_in) {}

  EventLoop& loop;
  ExchangeBuffers& buffers;
  std::optional<AnswerParser> parser;
  SseParser sse;
  StreamRules rules;
  std::string held;  // read, but not yet parsed: an unfinished header or chunk line
  std::string content_type;
  AnswerHeaders headers;
  RequestRecord* record = nullptr;
  ExchangeRequest request;

  Instant shift = 0;  // what is received counts as received so much later: the latency of a shaped connection

  // of the read being parsed
  Instant read_at = kNever;      // user space's time just after it
  Instant received_at = kNever;  // the kernel's stamp where it holds, else read_at
  bool kernel_stamp = false;
  bool last_event_was_content = false;
  std::uint32_t events_before = 0;

  std::int64_t tokens_so_far = 0;  // of continuous usage
  bool informational = false;      // a 1xx answer: another one follows

  void begin(ExchangeRequest wanted, RequestRecord& into);
  void begin_answer();
  std::size_t parse(const char* bytes, std::size_t size, ErrorCode& error);
  void take_read(const Connection::Read& got, Instant at);
  void events_of_read_end(bool drained);
  void take_event(const SseEvent& raw);
  void take_answer();
  void judge_events();
  void judge(Outcome broken, std::string why);
  void copy_findings();

  bool is_stream() const {
    return request.answer == ExchangeRequest::Answer::stream || request.answer == ExchangeRequest::Answer::events;
  }
  bool is_abandoned() const { return request.abandon_events > 0 && record->events >= request.abandon_events; }
  void take_plain_event(const SseEvent& raw);

  bool ok_status() const { return record->status >= 200 && record->status <= 299; }
  bool streaming() const { return is_stream() && ok_status(); }

  void on_status(unsigned status) override { record->status = status; }
  void on_header(std::string_view name, std::string_view value, http::field field) override {
    if (field == http::field::content_type) {
      content_type.assign(value);
    } else if (field == http::field::content_encoding) {
      headers.content_encoding.assign(value);
    } else if (field == http::field::location && request.keep_location) {
      headers.location.assign(value);
    } else if (field == http::field::set_cookie && request.keep_cookies &&
               headers.set_cookies.size() < limits::set_cookies_kept) {
      headers.set_cookies.emplace_back(value);
    }
    if (request.keep_headers && record->headers.size() < limits::headers_kept)
      record->headers.emplace_back(name, value);
  }
  void on_headers_end() override {
    informational = record->status >= 100 && record->status <= 199;
    if (request.answer == ExchangeRequest::Answer::stream && !informational) rules.header(record->status, content_type);
  }
  void on_body(std::string_view bytes) override;
};

void Exchange::State::begin(ExchangeRequest wanted, RequestRecord& into) {
  request = wanted;
  record = &into;
  record->stream = is_stream();
  begin_answer();
}

/// Also before the second attempt on a new connection.
void Exchange::State::begin_answer() {
  parser.emplace(*this, request.head);
  held.clear();
  content_type.clear();
  headers.location.clear();
  headers.content_encoding.clear();
  headers.set_cookies.clear();
  tokens_so_far = 0;
  informational = false;
  if (record->stream) {
    sse.reset();
    rules.begin(request.api, request.dialect);
  }
}

void Exchange::State::on_body(std::string_view bytes) {
  RequestRecord& r = *record;
  if (r.first_body_at == kNever) r.first_body_at = received_at;
  if (streaming()) {
    sse.push(bytes);
    while (const auto event = sse.next()) {
      if (r.saw_done && request.answer == ExchangeRequest::Answer::events) break;
      if (is_abandoned()) break;
      if (request.answer == ExchangeRequest::Answer::stream) {
        take_event(*event);
      } else {
        take_plain_event(*event);
      }
    }
  } else if (request.keep_body || request.answer == ExchangeRequest::Answer::chat) {
    append_bounded(r.body, bytes, limits::body_bytes_kept);
  }
}

void Exchange::State::take_event(const SseEvent& raw) {
  RequestRecord& r = *record;
  const ChatEvent event = buffers.chat_.parse(raw.data);
  const Instant seen_at = now() + shift;
  ++r.events;
  if (kernel_stamp) ++r.events_kernel_stamped;
  if (r.first_event_at == kNever) r.first_event_at = received_at;
  rules.event(raw, event);
  if (r.id.empty() && !event.id.empty()) r.id.assign(event.id.substr(0, limits::stream_id_bytes_kept));

  last_event_was_content = event.has_text();
  if (event.has_text()) {
    ContentEvent content;
    content.received_at = received_at;
    content.seen_at = seen_at;
    content.kernel_stamp = kernel_stamp;
    content.coalesced = true;  // until the read has turned out to end with it
    content.characters =
        count_code_points(event.text) + count_code_points(event.reasoning) + count_code_points(event.tool_text);
    if (event.has_usage && event.usage.completion_tokens > tokens_so_far) {
      content.tokens = static_cast<std::uint32_t>(event.usage.completion_tokens - tokens_so_far);
    }
    if (r.content.size() < limits::content_events_kept) r.content.push_back(content);
    if (!event.text.empty() && r.first_answer_at == kNever) r.first_answer_at = received_at;
    if (request.keep_text) append_bounded(r.text, event.text, limits::body_bytes_kept);
  }
  if (event.has_usage) {
    tokens_so_far = std::max(tokens_so_far, event.usage.completion_tokens);
    r.prompt_tokens = event.usage.prompt_tokens;
    r.output_tokens = event.usage.completion_tokens;
    r.cached_tokens = event.usage.cached_tokens;
  }
  if (!event.finish_reason.empty()) {
    if (r.finish_seen_at == kNever) r.finish_seen_at = received_at;
    if (r.finish_reason.empty()) r.finish_reason.assign(event.finish_reason.substr(0, limits::stream_id_bytes_kept));
  }
  if (event.kind == ChatEvent::Kind::done) {
    r.saw_done = true;
    if (r.done_at == kNever) r.done_at = received_at;
  }
}

void Exchange::State::take_plain_event(const SseEvent& raw) {
  RequestRecord& r = *record;
  ++r.events;
  if (kernel_stamp) ++r.events_kernel_stamped;
  if (r.first_event_at == kNever) r.first_event_at = received_at;
  last_event_was_content = false;
  if (!request.until.empty() && raw.data == request.until) {
    r.saw_done = true;
    r.done_at = received_at;
    return;
  }
  if (raw.data.empty()) return;
  ContentEvent content;
  content.received_at = received_at;
  content.seen_at = now() + shift;
  content.kernel_stamp = kernel_stamp;
  content.coalesced = true;  // until the read has turned out to end with it
  content.characters = count_code_points(raw.data);
  last_event_was_content = true;
  if (r.content.size() < limits::content_events_kept) r.content.push_back(content);
  if (r.first_answer_at == kNever) r.first_answer_at = received_at;
  if (request.keep_text) append_bounded(r.text, raw.data, limits::body_bytes_kept);
}

void Exchange::State::take_read(const Connection::Read& got, Instant at) {
  RequestRecord& r = *record;
  r.bytes_received += got.bytes;
  read_at = at;
  // A stamp from before we sent, or from the future, is of a clock that was set meanwhile.
  kernel_stamp = got.stamp != kNever && got.stamp >= r.send_began_at - 1000 && got.stamp <= at + 1000;
  received_at = kernel_stamp ? std::min(got.stamp + shift, at) : at;
  if (r.first_byte_at == kNever) {
    r.first_byte_at = received_at;
    // We were off our core between the send and the look at the clock: the request had left before it was answered.
    r.sent_at = std::min(r.sent_at, received_at);
  }
  events_before = r.events;
  last_event_was_content = false;
}

void Exchange::State::events_of_read_end(bool drained) {
  RequestRecord& r = *record;
  if (r.events == events_before) return;
  ++r.reads;
  // The stamp is that of the last byte read: it is the last event's own only if nothing of another follows.
  if (drained && last_event_was_content && !sse.has_partial() && !r.content.empty()) r.content.back().coalesced = false;
}

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
    if (error || sse.overflowed()) break;
    if (parser->is_done()) {
      if (!informational) break;
      const bool head = request.head;
      parser.emplace(*this, head);
      continue;
    }
    if (step == 0) break;
  }
  return used;
}

/// The whole body of an unstreamed answer.
void Exchange::State::take_answer() {
  RequestRecord& r = *record;
  const ChatEvent event = buffers.chat_.parse(r.body);
  if (event.kind == ChatEvent::Kind::broken) {
    r.outcome = Outcome::stream_invalid;
    r.error = r.body.size() >= limits::body_bytes_kept ? "the answer is too long to be read" : "the answer is not JSON";
    return;
  }
  if (event.kind == ChatEvent::Kind::error) {
    r.outcome = Outcome::stream_invalid;
    r.error = "the answer is an error object";
    return;
  }
  r.id.assign(event.id.substr(0, limits::stream_id_bytes_kept));
  r.finish_reason.assign(event.finish_reason.substr(0, limits::stream_id_bytes_kept));
  if (request.keep_text) r.text.assign(event.text);
  if (event.has_usage) {
    r.prompt_tokens = event.usage.prompt_tokens;
    r.output_tokens = event.usage.completion_tokens;
    r.cached_tokens = event.usage.cached_tokens;
  }
}

/// The end of server-sent events of any kind.
void Exchange::State::judge_events() {
  RequestRecord& r = *record;
  if (r.outcome != Outcome::ok) {
    r.error = "an event is too large";
  } else if (!content_type.empty() && !boost::beast::iequals(content_type.substr(0, 17), "text/event-stream")) {
    r.outcome = Outcome::stream_invalid;
    r.error = "the answer is no stream of events";
  } else if (!request.until.empty() && !r.saw_done) {
    r.outcome = Outcome::stream_invalid;
    r.error = "ended before the event that until: names";
  }
}

void Exchange::State::copy_findings() {
  for (const Finding& finding : rules.findings()) {
    record->findings.push_back(static_cast<std::uint8_t>(finding.rule));
    record->finding_examples.push_back(finding.bytes);
  }
}

/// The end: `broken` and `why` say what cut the exchange short; Outcome::ok: nothing did.
void Exchange::State::judge(Outcome broken, std::string why) {
  RequestRecord& r = *record;
  r.ended_at = broken == Outcome::ok && received_at != kNever ? received_at : now();
  r.outcome = broken;
  r.error = std::move(why);
  const bool answered = r.status != 0 && !informational;
  if (request.answer == ExchangeRequest::Answer::stream && answered) {
    StreamEnd end;
    end.framing_whole = broken == Outcome::ok;
    end.partial_event = sse.has_partial();
    end.event_too_large = sse.overflowed();
    end.interrupted = broken == Outcome::interrupted;
    end.offset = sse.bytes_consumed();
    rules.end(end);
    copy_findings();
  }
  if (broken != Outcome::ok && broken != Outcome::stream_invalid) return;
  if (r.status >= 400) {
    r.outcome = Outcome::http_error;
    r.error = fmt::format("HTTP status {}", r.status);
  } else if (request.answer == ExchangeRequest::Answer::events) {
    judge_events();
  } else if (r.stream && rules.failed()) {
    r.outcome = Outcome::stream_invalid;
    for (const Finding& finding : rules.findings()) {
      const StreamRuleInfo& rule = info(finding.rule);
      const bool counts =
          rule.severity == Severity::fatal || rule.rule == StreamRule::no_finish || rule.rule == StreamRule::no_done;
      if (!counts) continue;
      if (!r.error.empty()) r.error += ", ";
      r.error += rule.name;
    }
  } else if (request.answer == ExchangeRequest::Answer::chat && ok_status()) {
    take_answer();
  }
}

Exchange::Exchange(EventLoop& loop, ExchangeBuffers& buffers) : state_(std::make_unique<State>(loop, buffers)) {}
Exchange::~Exchange() = default;
const StreamRules& Exchange::rules() const { return state_->rules; }
const AnswerHeaders& Exchange::headers() const { return state_->headers; }

Task<> Exchange::run(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record) {
  using Io = Connection::Io;
  State& s = *state_;
  s.begin(request, record);
  Instant deadline = record.started_at + request.timeout.count();
  const Instant abandoned_at =
      request.abandon_after.count() > 0 ? record.started_at + request.abandon_after.count() : kNever;
  const bool may_abandon = abandoned_at != kNever && abandoned_at < deadline;
  if (may_abandon) deadline = abandoned_at;
  waiter.set_deadline(deadline);
  s.received_at = kNever;
  const NetworkShape* const shape = connection.shape();
  s.shift = shape == nullptr ? 0 : shape->latency.count();
  const bool slow_up = shape != nullptr && shape->upload_bytes_per_s > 0;
  const bool slow_down = shape != nullptr && shape->download_bytes_per_s > 0;
  Pace upload(slow_up ? shape->upload_bytes_per_s : 1), download(slow_down ? shape->download_bytes_per_s : 1);

  Outcome broken = Outcome::ok;
  std::string why;
  const auto abandon = [&] {
    broken = Outcome::interrupted;
    why = "abandoned";
    record.abandoned = true;
  };
  const auto give_up = [&](Wake wake) {
    if (wake == Wake::deadline && may_abandon) return abandon();
    broken = wake == Wake::interrupted ? Outcome::interrupted : Outcome::timed_out;
    why = wake == Wake::interrupted        ? "cut by the end of the run"
          : record.first_byte_at == kNever ? "no answer within " + format_duration(request.timeout)
                                           : "not finished within " + format_duration(request.timeout);
  };

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
        if (opened.wake == Wake::interrupted || (opened.wake == Wake::deadline && may_abandon)) {
          give_up(opened.wake);
        } else {
          broken = Outcome::connect_failed;
          why = std::move(opened.error);
        }
        break;
      }
      if (s.shift > 0) {  // TCP's handshake is a round trip, TLS's is another
        const Instant round_trip = 2 * s.shift;
        const bool tls = record.tls_at != kNever;
        record.connected_at += round_trip;
        if (tls) record.tls_at += 2 * round_trip;
        const Wake wake = co_await s.loop.sleep_until(waiter, now() + (tls ? 2 : 1) * round_trip);
        if (wake != Wake::ready) {
          give_up(wake);
          break;
        }
      }
    }

    record.send_began_at = now();
    if (s.shift > 0) {
      const Wake wake = co_await s.loop.sleep_until(waiter, record.send_began_at + s.shift);
      if (wake != Wake::ready) {
        give_up(wake);
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
          give_up(wake);
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
        give_up(wake);
        break;
      }
    }
    if (broken != Outcome::ok) break;
    record.sent_at = now() - s.shift;
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
          give_up(wake);
          break;
        }
      }
      const Wake wake = co_await s.loop.readable(waiter, connection.readiness());
      if (wake != Wake::ready) {
        give_up(wake);
        break;
      }
      char* const start = s.buffers.bytes_.get();
      const std::size_t held = s.held.size();
      const std::size_t piece =
          slow_down ? NetworkShape::piece(shape->download_bytes_per_s) : ExchangeBuffers::kReadBytes;
      const Connection::Read got = connection.read(start + held, piece);
      Instant at = now() + s.shift;
      if (got.io == Io::would_block_read) {
        if (at > deadline) {
          give_up(Wake::deadline);
          break;
        }
        continue;
      }
      if (got.io == Io::would_block_write) {
        const Wake writable = co_await s.loop.writable(waiter, connection.readiness());
        if (writable != Wake::ready) {
          give_up(writable);
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
        broken = Outcome::reset;
        why = record.first_byte_at == kNever
                  ? (got.io == Io::end ? "closed by the server before an answer" : "connection reset before an answer")
                  : (got.io == Io::end ? "closed by the server in the middle of an answer"
                                       : "connection reset in the middle of an answer");
        break;
      }
      // The bytes lie in a buffer that others read into next: they are taken now, as of when they have come.
      const Instant free_at = slow_down ? download.after(got.bytes, now()) : 0;
      if (slow_down) at = free_at + s.shift;
      if (held > 0) std::memcpy(start, s.held.data(), held);
      s.held.clear();
      s.take_read(got, at);
      const std::size_t size = held + got.bytes;
      const std::size_t used = s.parse(start, size, error);
      s.events_of_read_end(got.drained);
      if (error) {
        broken = Outcome::malformed;
        why = "not HTTP: " + error.message();
        break;
      }
      if (s.sse.overflowed()) {
        broken = Outcome::stream_invalid;
        break;
      }
      if (s.is_abandoned()) {
        abandon();
        break;
      }
      if (s.request.answer == ExchangeRequest::Answer::events && record.saw_done) break;
      if (used < size) {
        if (s.parser->is_done() || size - used > ExchangeBuffers::kHeldBytes) {
          // Bytes that nobody asked for: what they belong to cannot be known, so the connection is done for.
          if (!s.parser->is_done()) {
            broken = Outcome::malformed;
            why = "not HTTP: a header or chunk line is too long";
          }
          connection.close();
          break;
        }
        s.held.assign(start + used, size - used);
      }
      if (at > deadline && !s.parser->is_done()) {
        give_up(Wake::deadline);
        break;
      }
      if (slow_down && !s.parser->is_done()) {
        const Wake paced = co_await s.loop.sleep_until(waiter, free_at);
        if (paced != Wake::ready) {
          give_up(paced);
          break;
        }
      }
    }
    if (again) {
      connection.close();
      s.begin_answer();
      continue;
    }
    if (send_failed && broken == Outcome::ok && !s.parser->is_done()) {
      broken = Outcome::reset;
      why = "connection reset while sending";
    }
    if (send_failed) connection.close();
  }

  if (shape != nullptr && broken == Outcome::ok && s.received_at > now()) {  // it has still to come
    const Wake wake = co_await s.loop.sleep_until(waiter, s.received_at);
    if (wake != Wake::ready) give_up(wake);
  }
  waiter.set_deadline(kNever);
  if (broken != Outcome::ok || !s.parser->is_done() || !s.parser->keep_alive()) connection.close();
  s.judge(broken, std::move(why));
}

Task<> Exchange::run_and_stop(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record) {
  co_await run(waiter, connection, request, record);
  state_->loop.stop();
}

void Exchange::run_alone(Waiter& waiter, Connection& connection, ExchangeRequest request, RequestRecord& record,
                         const std::function<void(Instant now)>& on_tick) {
  Task<> task = run_and_stop(waiter, connection, request, record);
  task.start();
  if (task.done()) return;
  state_->loop.run([&](Instant at, Nanoseconds) {
    if (on_tick) on_tick(at);
  });
  SLUICE_CHECK(task.done());
}

void clear(RequestRecord& record) {
  std::vector<ContentEvent> content = std::move(record.content);
  std::vector<std::uint8_t> findings = std::move(record.findings);
  std::vector<std::string> examples = std::move(record.finding_examples);
  std::vector<std::pair<std::string, std::string>> headers = std::move(record.headers);
  std::string error = std::move(record.error), finish = std::move(record.finish_reason), id = std::move(record.id);
  std::string text = std::move(record.text), body = std::move(record.body);
  record = RequestRecord{};
  const auto reuse = [](auto& to, auto& from) {
    from.clear();
    to = std::move(from);
  };
  reuse(record.content, content);
  reuse(record.findings, findings);
  reuse(record.finding_examples, examples);
  reuse(record.headers, headers);
  reuse(record.error, error);
  reuse(record.finish_reason, finish);
  reuse(record.id, id);
  reuse(record.text, text);
  reuse(record.body, body);
}

}  // namespace sluice
