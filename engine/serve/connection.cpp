#include "engine/serve/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <charconv>
#include <ctime>
#include <exception>
#include <iterator>

#include "engine/core/check.h"
#include "engine/core/rng.h"
#include "engine/serve/target.h"

namespace sluice::engine {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t kReadAheadMax = 64u << 10;       // pipelined bytes taken while a request is at work
constexpr std::size_t kPrepareBesideBytes = 8u << 10;  // a longer body costs the better part of a millisecond
constexpr std::size_t kRequestIdBytesMax = 128;
constexpr auto kLingerLimit = std::chrono::seconds(2);
constexpr const char* kJson = "application/json";
constexpr const char* kFaultAsked = "this is the fault that was asked for";

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

ApiError refused_error(const Refusal& refusal) {
  switch (refusal.reason) {
    case Refusal::Reason::too_large:
      return {.message = refusal.message, .param = "messages", .code = "context_length_exceeded"};
    case Refusal::Reason::queue_full:
      return {.status = 429, .message = refusal.message, .type = "rate_limit_error", .param = {}, .code = "queue_full"};
    case Refusal::Reason::failed:
      return {.status = 503, .message = refusal.message, .type = "server_error", .param = {}, .code = "engine_failed"};
    case Refusal::Reason::draining:
      break;
  }
  return {.status = 503, .message = refusal.message, .type = "server_error", .param = {}, .code = "draining"};
}

ApiError server_error(unsigned status, std::string message, std::string code) {
  return {
      .status = status, .message = std::move(message), .type = "server_error", .param = {}, .code = std::move(code)};
}

void append_chunk(std::string& out, std::string_view bytes) {
  char size[16];
  const auto [end, error] = std::to_chars(size, size + sizeof size, bytes.size(), 16);
  out.append(size, end).append("\r\n").append(bytes).append("\r\n");
}

/// What a client sent may stand in our header only if it cannot break out of it.
bool is_plain_id(std::string_view id) {
  return !id.empty() && id.size() <= kRequestIdBytesMax &&
         std::ranges::all_of(id, [](char byte) { return byte > 0x20 && byte < 0x7f; });
}

}  // namespace

Exchange::Exchange(AnswerHead answer, const ApiRequest& request, const Tokenizer* words, const ChunkPolicy& chunking)
    : head(std::move(answer)),
      tokenizer(request.logprobs ? words : nullptr),
      frames(head, request.include_usage, request.continuous_usage, tokenizer),
      stream(request.stream),
      include_usage(request.include_usage),
      choices(request.choices),
      open(request.choices) {
  const ChunkPolicy policy = request.chunking.value_or(chunking);
  const bool in_one = request.fault && request.fault->kind == Fault::Kind::one_chunk;  // whatever the policy
  if (stream && policy.changes_frames() && !in_one) merged.assign(request.choices, {ChunkMerger(policy), {}});
}

bool Outbox::hand_over() {
  if (staged_.empty()) return false;
  const std::lock_guard lock(mutex_);
  ready_.insert(ready_.end(), std::make_move_iterator(staged_.begin()), std::make_move_iterator(staged_.end()));
  staged_.clear();
  return !std::exchange(waking_, true);
}

void Outbox::take(std::vector<Item>& items) {
  const std::lock_guard lock(mutex_);
  items.swap(ready_);
  waking_ = false;
}

std::uint64_t Service::draw() {
  const auto bits = philox4x32({static_cast<std::uint32_t>(++last_id), static_cast<std::uint32_t>(last_id >> 32), 0, 0},
                               {static_cast<std::uint32_t>(boot_seed), static_cast<std::uint32_t>(boot_seed >> 32)});
  return (std::uint64_t{bits[0]} << 32) | bits[1];
}

const std::string& Service::date() {
  const std::time_t now = std::time(nullptr);
  if (now != date_second_) {
    date_second_ = now;
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[64];
    date_.assign(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
  }
  return date_;
}

void Service::hold_until(Exchange& exchange, Clock::time_point until) {
  if (until == exchange.held_until) return;
  held.erase({exchange.held_until, &exchange});
  exchange.held_until = until;
  if (until == Clock::time_point::max()) return;
  held.insert({until, &exchange});
  if (until < hold_timer_at) arm_hold_timer();
}

void Service::arm_hold_timer() {
  hold_timer_at = held.begin()->first;
  hold_timer.expires_at(hold_timer_at);
  hold_timer.async_wait([this](error_code error) {
    if (error) return;  // set anew, to an earlier time
    hold_timer_at = Clock::time_point::max();
    const auto now = Clock::now();
    while (!held.empty() && held.begin()->first <= now) {
      Exchange& exchange = *held.begin()->second;
      exchange.connection->release_held(exchange, now);
    }
    if (!held.empty()) arm_hold_timer();
  });
}

struct Connection::HttpRequest {
  http::verb method = http::verb::unknown;
  std::string target;
  std::string id;                // for x-request-id
  std::int64_t received_ns = 0;  // the read that brought its last byte
  std::string body;
  bool keep_alive = false;
  bool http_1_0 = false;
  bool head() const { return method == http::verb::head; }
};

struct Connection::Parser {
  http::request_parser<http::string_body> http;
};

Connection::Connection(asio::ip::tcp::socket socket, Service& service)
    : socket_(std::move(socket)), service_(service), event_(service.io) {
  event_.expires_at(asio::steady_timer::time_point::max());
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  // A peer that vanished without a word would otherwise hold its request until something is written to it.
  socket_.set_option(asio::socket_base::keep_alive(true), ignored);
  if (service.options.send_buffer_bytes) {
    socket_.set_option(asio::socket_base::send_buffer_size(*service.options.send_buffer_bytes), ignored);
  }
}

void Connection::start() {
  enter(Phase::idle);
  asio::co_spawn(
      service_.io, [self = shared_from_this()] { return self->run(); },
      [self = shared_from_this()](const std::exception_ptr& thrown) {
        if (thrown) {
          try {
            std::rethrow_exception(thrown);
          } catch (const std::exception& error) {
            if (self->service_.options.log)
              self->service_.options.log(fmt::format("a connection ended: {}", error.what()));
          }
        }
        self->abort();
        self->end_served();
        self->service_.connections.erase(self.get());
        if (self->service_.on_connection_closed) self->service_.on_connection_closed();
      });
}

// ---- the life of a connection
// ----------------------------------------------------------------------------------------

asio::awaitable<void> Connection::run() {
  for (bool again = true; again;) {
    // Not `while (co_await ...)`: g++ 12.2 destroys the awaited frame twice when it stands in a loop's condition.
    const bool served = co_await serve_one();
    again = served;
  }
  co_await linger();
}

asio::awaitable<bool> Connection::serve_one() {
  HttpRequest request;
  const bool complete = co_await read_request(request);
  if (complete) {
    enter(Phase::working);
    std::optional<Api> generation;
    const RecordedStream* replayed = nullptr;
    route(request, generation, replayed);
    if (generation) co_await generate(request, *generation);
    if (replayed != nullptr) co_await replay(request, *replayed);
  }
  co_await written();
  end_served();
  co_return complete && !gone_ && !close_after_;
}

/// False when there is none: the client has left, or what it sent has been answered with an error already.
asio::awaitable<bool> Connection::read_request(HttpRequest& request) {
  enter(Phase::idle);
  const auto parser = std::make_unique<Parser>();
  parser->http.header_limit(limits::http_header_bytes_max);
  parser->http.body_limit(service_.options.body_bytes_max);
  parser->http.eager(true);
  for (;;) {
    const Parsed parsed = parse_inbox(*parser, request);
    if (parsed != Parsed::partly) co_return parsed == Parsed::whole;
    const bool more = co_await more_bytes();
    if (more) continue;
    if (timed_out_ && phase_ != Phase::idle)
      refuse_bytes(request, 408, "the request did not arrive in time", "timeout");
    co_return false;
  }
}

Connection::Parsed Connection::parse_inbox(Parser& parser, HttpRequest& request) {
  auto& http_parser = parser.http;
  if (phase_ == Phase::idle && !inbox_.empty()) enter(Phase::header);
  while (!inbox_.empty() && !http_parser.is_done()) {
    error_code error;
    const std::size_t used = http_parser.put(asio::buffer(inbox_), error);
    inbox_.erase(0, used);
    if (error == http::error::need_more) break;
    if (error) {
      refuse_bytes(request, error);
      return Parsed::refused;
    }
    if (used == 0) break;
  }
  if (http_parser.is_done()) {
    take_request(parser, request);
    return Parsed::whole;
  }
  if (http_parser.is_header_done() && phase_ == Phase::header) {
    enter(Phase::body);
    if (boost::beast::iequals(http_parser.get()[http::field::expect], "100-continue")) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      flush();
    }
  }
  return Parsed::partly;
}

void Connection::take_request(Parser& parser, HttpRequest& request) {
  auto message = parser.http.release();
  request.method = message.method();
  request.target = std::string(message.target());
  request.keep_alive = message.keep_alive();
  request.http_1_0 = message.version() < 11;
  request.received_ns = read_at_ns_;
  request.body = std::move(message.body());
  const auto id = message["x-request-id"];
  if (is_plain_id({id.data(), id.size()})) request.id = std::string(id);
  if (!request.keep_alive || service_.draining) close_after_ = true;
}

void Connection::refuse_bytes(const HttpRequest& request, const error_code& error) {
  if (error == http::error::body_limit) {
    return refuse_bytes(
        request, 413,
        fmt::format("the body is larger than the {} bytes that are read", service_.options.body_bytes_max),
        "body_too_large");
  }
  if (error == http::error::header_limit) {
    return refuse_bytes(
        request, 431,
        fmt::format("the header is larger than the {} bytes that are read", limits::http_header_bytes_max),
        "header_too_large");
  }
  refuse_bytes(request, 400, "not an HTTP request: " + error.message(), "bad_http");
}

/// Where the next request would begin is not known, so this one is the last.
void Connection::refuse_bytes(const HttpRequest& request, unsigned status, std::string message, std::string code) {
  close_after_ = refused_ = true;
  respond_error(request, {.status = status, .message = std::move(message), .param = {}, .code = std::move(code)});
}

/// True when the inbox has grown.
asio::awaitable<bool> Connection::more_bytes() {
  const std::size_t before = inbox_.size();
  while (inbox_.size() == before && !at_end_ && !gone_ && !timed_out_) {
    if (phase_ == Phase::idle && service_.draining) break;
    start_read();
    co_await notified();
  }
  co_return inbox_.size() > before;
}

/// Until everything rendered has been sent.
asio::awaitable<void> Connection::written() {
  flush();
  while (!gone_ && out_sent_ < out_.size()) co_await notified();
}

/// Closing with unread bytes would reset the connection and could take the answer with it.
asio::awaitable<void> Connection::linger() {
  if (gone_ || at_end_ || (!refused_ && inbox_.empty())) co_return;
  enter(Phase::closing);
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  std::size_t swallowed = 0;
  while (!at_end_ && !gone_ && !timed_out_ && swallowed < service_.options.body_bytes_max) {
    swallowed += inbox_.size();
    inbox_.clear();
    start_read();
    co_await notified();
  }
}

asio::awaitable<void> Connection::notified() {
  error_code ignored;
  auto into_ignored = asio::redirect_error(asio::use_awaitable, ignored);
  co_await event_.async_wait(into_ignored);
}

void Connection::notify() { event_.cancel(); }

void Connection::enter(Phase phase) {
  phase_ = phase;
  timed_out_ = false;
  const auto& options = service_.options;
  const auto in = [](auto time) { return Clock::now() + time; };
  switch (phase) {
    case Phase::idle:
      deadline_ = in(options.idle_limit);
      break;
    case Phase::header:
      deadline_ = in(options.header_limit);
      break;
    case Phase::body:
      deadline_ = in(options.body_limit);
      break;
    case Phase::working:
      deadline_ = Clock::time_point::max();
      break;
    case Phase::closing:
      deadline_ = in(kLingerLimit);
      break;
  }
}

void Connection::sweep(Clock::time_point now) {
  if (now > deadline_ && !timed_out_) {
    timed_out_ = true;
    notify();
  }
  if (waiting_writable_ && now > write_progress_ + service_.options.write_limit) drop_slow_reader();
}

void Connection::drain() {
  if (phase_ == Phase::idle) notify();
  close_after_ = true;
}

void Connection::abort() {
  hold_.reset();
  if (!std::exchange(gone_, true)) {
    error_code ignored;
    socket_.close(ignored);
  }
  notify();
}

// ---- bytes
// -------------------------------------------------------------------------------------------------------------

void Connection::start_read() {
  if (reading_ || gone_ || at_end_) return;
  reading_ = true;
  socket_.async_wait(asio::ip::tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
    self->reading_ = false;
    if (self->gone_) return;
    if (!error) {
      auto& buffer = self->service_.read_buffer;
      const std::size_t count = self->socket_.read_some(asio::buffer(buffer), error);
      self->read_at_ns_ = now_ns();
      self->inbox_.append(buffer.data(), count);
    }
    if (error && error != asio::error::would_block) self->at_end_ = true;
    self->notify();
  });
}

void Connection::flush() {
  const std::size_t backlog = out_.size() - out_sent_;
  if (hold_ && backlog > service_.options.hold_bytes_max) end_hold();
  if (gone_ || hold_) return;
  if (waiting_writable_) {
    if (streaming_ && backlog > gathered_ + service_.options.backlog_bytes_max) drop_slow_reader();
    return;
  }
  while (out_sent_ < out_.size()) {
    // With an emission log each event has its own write, so that its instants are its own.
    Mark* mark = marks_.empty() ? nullptr : &marks_.front();
    const std::size_t end = mark != nullptr ? mark->end : out_.size();
    const bool timed = served_ || mark != nullptr;
    const std::int64_t before_ns = timed ? now_ns() : 0;
    if (mark != nullptr && mark->before_ns == 0) mark->before_ns = before_ns;
    const std::uint32_t event = mark != nullptr ? mark->event : last_event_;
    if (first_content_ && event >= *first_content_) {
      served_->first_content_ns = before_ns;
      first_content_.reset();
    }
    error_code error;
    const std::size_t count = socket_.write_some(asio::buffer(out_.data() + out_sent_, end - out_sent_), error);
    out_sent_ += count;
    const std::int64_t after_ns = timed ? now_ns() : 0;
    if (served_ && count > 0) {
      served_->add(
          {.before_ns = before_ns, .after_ns = after_ns, .bytes = static_cast<std::uint32_t>(count), .event = event});
    }
    if (mark != nullptr && out_sent_ == end) {
      service_.emit_log->add(marks_id_, mark->event, mark->content, mark->before_ns, after_ns);
      marks_.pop_front();
    }
    if (!error) continue;
    if (error != asio::error::would_block && error != asio::error::try_again) return abort();
    forget_sent();
    waiting_writable_ = true;
    write_progress_ = Clock::now();
    const std::size_t left = out_.size() - out_sent_;
    gathered_ = gathered_ == 0 ? left : std::min(gathered_, left);
    socket_.async_wait(asio::ip::tcp::socket::wait_write, [self = shared_from_this()](error_code failed) {
      self->waiting_writable_ = false;
      if (failed) return;
      self->flush();
      if (self->played_ && !self->played_->place) self->play();  // it had stopped for this
      if (self->out_sent_ == self->out_.size()) self->notify();
    });
    return;
  }
  out_.clear();
  out_sent_ = gathered_ = 0;
  if (break_off_ != BreakOff::no) break_off();
}

/// A stream that never catches up must not keep what it has sent.
void Connection::forget_sent() {
  constexpr std::size_t kWorthMoving = 64u << 10;
  if (out_sent_ < kWorthMoving) return;
  for (Mark& mark : marks_) mark.end -= out_sent_;
  out_.erase(0, out_sent_);
  out_sent_ = 0;
}

void Connection::drop_slow_reader() {
  ++service_.stats.slow_readers_dropped;
  abort();
}

void Connection::append_status(const HttpRequest& request, unsigned status) {
  ++service_.stats.responses[status];
  const auto reason = http::obsolete_reason(http::int_to_status(status));
  fmt::format_to(std::back_inserter(out_), "HTTP/1.1 {} {}\r\nDate: {}\r\nServer: sluice-engine\r\n", status,
                 std::string_view(reason.data(), reason.size()), service_.date());
  if (!request.id.empty()) fmt::format_to(std::back_inserter(out_), "X-Request-Id: {}\r\n", request.id);
  if (close_after_) {
    out_ += "Connection: close\r\n";
  } else if (request.http_1_0) {
    out_ += "Connection: keep-alive\r\n";
  }
}

void Connection::respond(const HttpRequest& request, unsigned status, std::string_view content_type,
                         std::string_view body, std::string_view more_headers) {
  append_status(request, status);
  if (!content_type.empty()) fmt::format_to(std::back_inserter(out_), "Content-Type: {}\r\n", content_type);
  if (status != 204) fmt::format_to(std::back_inserter(out_), "Content-Length: {}\r\n", body.size());
  out_.append(more_headers).append("\r\n");
  if (!request.head()) out_ += body;
  flush();
}

void Connection::respond_error(const HttpRequest& request, const ApiError& error, std::string_view more_headers) {
  respond(request, error.status, kJson, error_body(error), more_headers);
}

// ---- what is asked for
// -------------------------------------------------------------------------------------------------

void Connection::route(const HttpRequest& request, std::optional<Api>& generation, const RecordedStream*& replayed) {
  if (request.method == http::verb::options && request.target == "*") {
    return respond(request, 204, {}, {}, "Allow: GET, HEAD, POST, OPTIONS\r\n");
  }
  const auto path = path_of(request.target);
  if (!path) {
    return respond_error(request, {.message = "the request target is not a path", .param = {}, .code = "bad_target"});
  }
  if (service_.replay && route_replay(request, *path, replayed)) return;
  constexpr std::string_view kModels = "/v1/models/", kRequests = "/v1/requests/", kTimeline = "/timeline";
  const bool completions = *path == "/v1/completions", chat = *path == "/v1/chat/completions";
  const bool one_model = path->starts_with(kModels);
  const bool timeline =
      path->starts_with(kRequests) && path->ends_with(kTimeline) && path->size() > kRequests.size() + kTimeline.size();
  const bool readable = one_model || timeline || *path == "/v1/models" || *path == "/health" || *path == "/ready" ||
                        *path == "/metrics" || *path == "/api/v1/health";
  if (!completions && !chat && !readable) {
    return respond_error(request, {.status = 404,
                                   .message = fmt::format("there is no '{}' here", path->substr(0, 100)),
                                   .param = {},
                                   .code = "not_found"});
  }
  const auto allow = readable ? "Allow: GET, HEAD, OPTIONS\r\n" : "Allow: POST, OPTIONS\r\n";
  if (request.method == http::verb::options) return respond(request, 204, {}, {}, allow);
  const bool reads = request.method == http::verb::get || request.method == http::verb::head;
  if (readable ? !reads : request.method != http::verb::post) {
    return respond_error(request,
                         {.status = 405,
                          .message = fmt::format("'{}' takes {}", *path, readable ? "GET" : "POST"),
                          .param = {},
                          .code = "method_not_allowed"},
                         allow);
  }

  const auto& model = service_.model;
  if (*path == "/health") return respond(request, 200, kJson, "{\"status\":\"ok\"}");
  if (*path == "/metrics") {
    service_.stats.connections = static_cast<std::uint32_t>(service_.connections.size());
    std::optional<EngineFigures> figures;
    if (model) {
      const auto& info = model->engine->info();
      figures = {model->text.id, info.backend, info.device, model->engine->stats()};
    }
    return respond(request, 200, "text/plain; version=0.0.4; charset=utf-8",
                   metrics_text(service_.stats, figures ? &*figures : nullptr));
  }
  if (*path == "/ready" || *path == "/api/v1/health") {
    const char* why = service_.failed                       ? "failed"
                      : service_.draining                   ? "draining"
                      : !model                              ? "loading"
                      : !model->engine->ready(Clock::now()) ? "stuck"
                                                            : nullptr;
    const std::string body = *path == "/ready" ? fmt::format("{{\"status\":\"{}\"}}", why != nullptr ? why : "ready")
                                               : health_body(why != nullptr ? why : "ok");
    return respond(request, why == nullptr ? 200 : 503, kJson, body, why == nullptr ? "" : "Retry-After: 1\r\n");
  }
  if (timeline) {
    const std::string_view whole = *path;
    const auto id = whole.substr(kRequests.size(), whole.size() - kRequests.size() - kTimeline.size());
    if (const auto served = service_.timelines.find(id)) {
      return respond(request, 200, kJson, timeline_body(*served, now_ns()));
    }
    return respond_error(request,
                         {.status = 404,
                          .message = fmt::format("no request '{}' is known here (any more)", id.substr(0, 100)),
                          .param = {},
                          .code = "request_not_found"});
  }
  if (completions || chat) {
    if (!model) {
      return respond_error(request, server_error(503, "the model is still being loaded", "loading"),
                           "Retry-After: 1\r\n");
    }
    generation = chat ? Api::chat : Api::completions;
    return;
  }
  std::string entry;
  if (model) {
    entry = "{\"id\":\"";
    append_escaped(entry, model->text.id);
    entry += fmt::format("\",\"object\":\"model\",\"created\":{},\"owned_by\":\"sluice\",\"max_model_len\":{}}}",
                         model->created_s, model->engine->tokens_max());
  }
  if (!one_model) return respond(request, 200, kJson, "{\"object\":\"list\",\"data\":[" + entry + "]}");
  const auto name = path->substr(kModels.size());
  if (model && name == model->text.id) return respond(request, 200, kJson, entry);
  respond_error(request, {.status = 404,
                          .message = fmt::format("the model '{}' does not exist", name.substr(0, 100)),
                          .param = "model",
                          .code = "model_not_found"});
}

std::string Connection::health_body(const char* status) const {
  const auto& model = service_.model;
  std::string out = fmt::format("{{\"status\":\"{}\",\"backend\":", status);
  out += model ? fmt::format("\"{}\"", model->engine->info().backend) : "null";
  out += ",\"models\":[";
  if (model) {
    out += '"';
    append_escaped(out, model->text.id);
    out += '"';
  }
  return out + "]}";
}

asio::awaitable<void> Connection::prepare_beside(const std::string& body, Api api,
                                                 std::optional<boost::system::result<Prepared, ApiError>>& out) {
  worked_ = false;
  asio::post(service_.workers, [self = shared_from_this(), &body, api, &out] {
    out = prepare(self->service_.model->text, body, api);
    asio::post(self->service_.io, [self] {
      self->worked_ = true;
      self->notify();
    });
  });
  while (!worked_) co_await notified();
}

asio::awaitable<void> Connection::generate(HttpRequest& request, Api api) {
  std::optional<boost::system::result<Prepared, ApiError>> prepared;
  if (request.body.size() < kPrepareBesideBytes) {
    prepared = prepare(service_.model->text, request.body, api);
  } else {
    co_await prepare_beside(request.body, api, prepared);
  }
  if (gone_) co_return;
  request.body = {};
  if (!*prepared) co_return respond_error(request, prepared->error());

  const auto exchange = std::make_shared<Exchange>(new_head(api), (*prepared)->request, service_.model->text.tokenizer,
                                                   service_.options.chunking);
  if (request.id.empty()) request.id = exchange->head.id;
  exchange->served = std::make_shared<ServedRequest>();
  exchange->served->id = request.id;
  exchange->served->response_id = exchange->head.id;
  exchange->served->received_ns = request.received_ns;
  if (const auto& fault = (*prepared)->request.fault) {
    if (fault->kind == Fault::Kind::http_status) {
      ApiError error = server_error(fault->status, kFaultAsked, "sluice_fault");
      if (fault->status < 500) error.type = "invalid_request_error";
      co_return respond_error(request, error);
    }
    if (fault->kind == Fault::Kind::slow_headers) {
      hold(fault->time);
      co_await held();
      if (hold_) abort();
      if (gone_) co_return;
    }
    if (exchange->stream) exchange->faulty.emplace(*fault, exchange->head.id);
  }
  const auto refusal = submit(exchange, std::move(**prepared));
  if (refusal) co_return respond_refusal(request, *refusal, api);
  exchange->connection = this;
  served_ = exchange->served;
  service_.timelines.add(served_);
  if (exchange->stream) begin_stream(request, *exchange);

  while (!exchange->ended() && !gone_ && !at_end_) {
    if (inbox_.size() < kReadAheadMax) start_read();
    co_await notified();
  }
  co_await held();
  leave(*exchange);
  for (const RequestId id : exchange->ids) {
    if (!exchange->ended() || exchange->failure) service_.model->engine->cancel(id);
  }
  if (!exchange->ended() || hold_) co_return abort();
  if (exchange->stream) co_return;
  if (exchange->failure) co_return respond_error(request, *exchange->failure);
  first_content_ = 0;
  const std::string metrics = metrics_json(*served_);
  respond(request, 200, kJson,
          answer_body(exchange->head, exchange->choices, exchange->usage, exchange->tokenizer, metrics));
}

/// Its chunks are not rendered any more; what has been may still have to be written.
void Connection::leave(Exchange& exchange) {
  service_.hold_until(exchange, Clock::time_point::max());
  exchange.connection = nullptr;
  streaming_ = false;
}

/// The answer has been written, or will not be.
void Connection::end_served() {
  if (!served_) return;
  service_.timelines.finish(served_);
  served_.reset();
  first_content_.reset();
  last_event_ = 0;
}

/// As of now: the first content counts as written where it stands in the same write.
std::string Connection::metrics_json(ServedRequest& served) const {
  if (first_content_) served.first_content_ns = now_ns();
  std::string out;
  append_metrics(out, metrics_of(served));
  return out;
}

AnswerHead Connection::new_head(Api api) {
  const std::uint64_t draw = service_.draw();
  return {.api = api,
          .id = fmt::format("{}-{:016x}{:08x}", api == Api::chat ? "chatcmpl" : "cmpl", draw,
                            static_cast<std::uint32_t>(service_.last_id)),
          .model = service_.model->text.id,
          .created_s = std::time(nullptr)};
}

void Connection::respond_refusal(const HttpRequest& request, const Refusal& refusal, Api api) {
  ApiError error = refused_error(refusal);
  if (api == Api::completions && !error.param.empty()) error.param = "prompt";
  respond_error(request, error, error.status == 400 ? "" : "Retry-After: 1\r\n");
}

std::optional<Refusal> Connection::submit(const std::shared_ptr<Exchange>& exchange, Prepared&& prepared) {
  ApiRequest& asked = prepared.request;
  if (!asked.has_seed) asked.sampling.seed = service_.draw();
  Engine& engine = *service_.model->engine;
  constexpr std::uint32_t kStepsGuess = 256;  // where the request does not say: room then grows as it is used
  const std::size_t steps = asked.tokens_max.value_or(kStepsGuess) + prepared.prompt.size() / limits::block_tokens;
  exchange->served->engine = std::make_shared<RequestTimeline>(steps);
  if (asked.stream) exchange->served->writes.reserve(std::min(steps, limits::timeline_writes_max));
  for (std::uint32_t choice = 0; choice < asked.choices; ++choice) {
    asked.sampling.choice = choice;
    Request request = engine_request(prepared);
    if (choice == 0) request.timeline = exchange->served->engine;
    const auto id = engine.submit(std::move(request), [outbox = service_.outbox, exchange, choice](Chunk&& chunk) {
      outbox->stage(exchange, choice, std::move(chunk));
    });
    if (!id) {
      for (const RequestId begun : exchange->ids) engine.cancel(begun);
      return id.error();
    }
    exchange->ids.push_back(*id);
  }
  return std::nullopt;
}

// ---- a stream
// ----------------------------------------------------------------------------------------------------------

void Connection::begin_stream(const HttpRequest& request, Exchange& exchange) {
  chunked_ = !request.http_1_0;
  if (!chunked_) close_after_ = true;  // its end is the connection's
  streaming_ = true;
  marks_id_ = exchange.head.id;
  append_status(request, 200);
  out_ += "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  out_ += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
  if (exchange.head.api == Api::chat) {
    for (std::uint32_t choice = 0; choice < exchange.choices.size(); ++choice) {
      scratch_.clear();
      exchange.frames.role(scratch_, choice);
      put_event(exchange, false, false);
    }
  }
  flush();
}

void Connection::put_event(Exchange& exchange, bool has_content, bool last) {
  if (exchange.faulty && !pass_fault(exchange, last)) return;
  std::string_view event = scratch_;
  const std::size_t end = exchange.faulty ? event.find("\n\n") + 2 : event.size();
  if (end < event.size()) {  // the fault has put another before it
    put_event(exchange, event.substr(0, end), false, false);
    event.remove_prefix(end);
  }
  put_event(exchange, event, has_content, last);
}

void Connection::put_event(Exchange& exchange, std::string_view bytes, bool has_content, bool last) {
  if (chunked_) {
    append_chunk(out_, bytes);
    if (last) out_ += "0\r\n\r\n";
  } else {
    out_ += bytes;
  }
  const std::uint32_t event = last_event_ = exchange.events++;
  if (has_content && exchange.contents == 0) first_content_ = event;
  const std::uint32_t content = has_content ? exchange.contents++ : EmitRecord::kNoContent;
  if (service_.emit_log) marks_.push_back({.end = out_.size(), .event = event, .content = content});
}

void Connection::put_content(Exchange& exchange, std::uint32_t choice, std::string_view text,
                             std::span<const OutputToken> tokens, const Usage& usage) {
  ++exchange.served->frames;
  ++service_.stats.content_frames;
  scratch_.clear();
  exchange.frames.content(scratch_, choice, text, tokens, usage);
  put_event(exchange, true, false);
}

void Connection::put_merged(Exchange& exchange, std::uint32_t choice, Clock::time_point now) {
  auto& [merger, usage] = exchange.merged[choice];
  while (const auto frame = merger.next(now)) put_content(exchange, choice, frame->text, frame->tokens, usage);
  auto due = Clock::time_point::max();
  for (const auto& other : exchange.merged) due = std::min(due, other.merger.due());
  service_.hold_until(exchange, due);
}

void Connection::release_held(Exchange& exchange, Clock::time_point now) {
  for (std::uint32_t choice = 0; choice < exchange.merged.size(); ++choice) put_merged(exchange, choice, now);
  flush();
  if (exchange.ended()) end_exchange(exchange);  // by a fault
}

void Connection::deliver(Exchange& exchange, std::uint32_t choice, Chunk&& chunk) {
  if (exchange.ended() || gone_) return;
  const bool finished = chunk.finish != FinishReason::none;
  if (finished) {
    --exchange.open;
    exchange.usage.prompt_tokens = chunk.usage.prompt_tokens;  // the same prompt for every choice
    exchange.usage.cached_tokens = std::max(exchange.usage.cached_tokens, chunk.usage.cached_tokens);
    exchange.usage.completion_tokens += chunk.usage.completion_tokens;
    exchange.usage.logits_hash ^= chunk.usage.logits_hash;
    if (chunk.finish == FinishReason::error)
      exchange.failure = server_error(500, std::move(chunk.error), "engine_error");
    if (chunk.finish == FinishReason::cancelled) {
      exchange.failure = server_error(503, "the server is shutting down", "draining");
    }
  }
  if (!exchange.stream) {
    if (!chunk.text.empty() || !chunk.tokens.empty()) ++exchange.served->pieces;
    Answer& answer = exchange.choices[choice];
    answer.text += chunk.text;
    std::ranges::move(chunk.tokens, std::back_inserter(answer.tokens));
    answer.finish = chunk.finish;
  } else {
    if (exchange.faulty && exchange.faulty->fault().kind == Fault::Kind::one_chunk) gather(exchange, choice, chunk);
    if (!chunk.text.empty() || !chunk.tokens.empty()) {
      ++exchange.served->pieces;
      ++service_.stats.content_pieces;
      if (exchange.merged.empty()) {
        put_content(exchange, choice, chunk.text, chunk.tokens, chunk.usage);
      } else {
        exchange.merged[choice].merger.push(chunk.text, std::move(chunk.tokens), Clock::now());
        exchange.merged[choice].usage = chunk.usage;
      }
    }
    if (!exchange.merged.empty()) {
      if (finished) exchange.merged[choice].merger.finish();
      put_merged(exchange, choice, Clock::now());
    }
    if (exchange.failure) {
      scratch_.clear();
      Frames::error(scratch_, *exchange.failure);
      put_event(exchange, false, true);
    } else if (finished) {
      scratch_.clear();
      exchange.frames.finish(scratch_, choice, chunk.finish, chunk.usage);
      put_event(exchange, false, false);
      if (exchange.open == 0) {
        if (exchange.include_usage) {
          scratch_.clear();
          exchange.frames.usage(scratch_, exchange.usage, metrics_json(*exchange.served));
          put_event(exchange, false, false);
        }
        scratch_.clear();
        Frames::done(scratch_);
        put_event(exchange, false, true);
      }
    }
    service_.dirty.push_back(this);
  }
  if (exchange.ended()) end_exchange(exchange);
}

void Connection::end_exchange(Exchange& exchange) {
  service_.hold_until(exchange, Clock::time_point::max());  // what other choices held would come after the end
  notify();
}

// ---- faults on cue
// -----------------------------------------------------------------------------------------------------

/// What the fault makes of the event in scratch_; false: nothing of it is to be put.
bool Connection::pass_fault(Exchange& exchange, bool& last) {
  switch (exchange.faulty->pass(scratch_)) {
    case FaultyStream::Then::go_on:
      return true;
    case FaultyStream::Then::drop:
      return false;
    case FaultyStream::Then::hold:
      flush();
      hold(exchange.faulty->fault().time);
      return true;
    case FaultyStream::Then::end:
      if (!exchange.ended()) exchange.failure = server_error(500, kFaultAsked, "sluice_fault");
      last = true;
      if (scratch_.empty() && chunked_) out_ += "0\r\n\r\n";
      return !scratch_.empty();
    case FaultyStream::Then::close:
      break_off_ = BreakOff::close;
      break;
    case FaultyStream::Then::reset:
      break_off_ = BreakOff::reset;
      break;
  }
  if (chunked_ && !scratch_.empty()) {
    append_chunk(out_, scratch_);
  } else {
    out_ += scratch_;
  }
  return false;
}

/// Keeps the text of a choice until it ends.
void Connection::gather(Exchange& exchange, std::uint32_t choice, Chunk& chunk) {
  Answer& answer = exchange.choices[choice];
  answer.text += std::exchange(chunk.text, {});
  std::ranges::move(std::exchange(chunk.tokens, {}), std::back_inserter(answer.tokens));
  if (chunk.finish == FinishReason::none) return;
  chunk.text = std::move(answer.text);
  chunk.tokens = std::move(answer.tokens);
}

void Connection::hold(std::chrono::nanoseconds time) {
  hold_.emplace(service_.io, std::chrono::duration_cast<asio::steady_timer::duration>(time));
  hold_->async_wait([self = shared_from_this()](error_code error) {
    if (error) return;
    self->end_hold();
    self->flush();
  });
}

/// What has gathered meanwhile may leave.
void Connection::end_hold() {
  hold_.reset();
  gathered_ = out_.size() - out_sent_;
  notify();
}

/// Until the hold is over; it is not when the client has left.
asio::awaitable<void> Connection::held() {
  while (hold_ && !gone_ && !at_end_) {
    if (inbox_.size() < kReadAheadMax) start_read();
    co_await notified();
  }
}

void Connection::break_off() {
  error_code ignored;
  if (break_off_ == BreakOff::reset) socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  abort();
}

// ---- replays
// -----------------------------------------------------------------------------------------------------------

/// False: it is for who answers without a recording.
bool Connection::route_replay(const HttpRequest& request, const std::string& path, const RecordedStream*& replayed) {
  Replay& replay = *service_.replay;
  const auto name = http::to_string(request.method);
  replayed = replay.next({name.data(), name.size()}, path);
  if (replayed != nullptr) return true;
  if (request.method == http::verb::options) return false;
  if (const auto methods = replay.methods_of(path); !methods.empty()) {
    respond_error(request,
                  {.status = 405,
                   .message = fmt::format("'{}' was recorded with {}", path.substr(0, 100), methods),
                   .param = {},
                   .code = "method_not_allowed"},
                  fmt::format("Allow: {}\r\n", methods));
    return true;
  }
  if (path == "/health" || path == "/metrics") return false;
  const bool reads = request.method == http::verb::get || request.method == http::verb::head;
  if (path == "/ready" && reads && !service_.draining) {
    respond(request, 200, kJson, "{\"status\":\"ready\"}");
    return true;
  }
  if (path == "/v1/models" && reads) {
    std::string list;
    for (const auto& model : replay.models()) {
      list += list.empty() ? "{\"id\":\"" : ",{\"id\":\"";
      append_escaped(list, model);
      list += "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"sluice\"}";
    }
    respond(request, 200, kJson, "{\"object\":\"list\",\"data\":[" + list + "]}");
    return true;
  }
  if (path == "/ready") return false;
  respond_error(request, {.status = 404,
                          .message = fmt::format("there is no stream of '{}' in the recording", path.substr(0, 100)),
                          .param = {},
                          .code = "not_found"});
  return true;
}

asio::awaitable<void> Connection::replay(HttpRequest& request, const RecordedStream& stream) {
  request.body = {};  // it may be long, and a replay too
  const bool has_body = !request.head() && stream.status != 204 && stream.status != 304;
  chunked_ = has_body && !request.http_1_0;
  if (request.http_1_0) close_after_ = true;  // its end is the connection's
  streaming_ = true;
  marks_id_ = fmt::format("replay-{}", service_.replay->count());
  played_.emplace(
      Played{.stream = ReplayedStream(stream), .request = &request, .began = Clock::now(), .has_body = has_body});
  play();
  while (played_ && !gone_ && !at_end_) {
    if (inbox_.size() < kReadAheadMax) start_read();
    co_await notified();
  }
  streaming_ = false;
  if (!played_) co_return;
  if (played_->place) service_.playout.remove(*played_->place);
  played_.reset();  // the client has left
  abort();
}

void Connection::play() {
  if (played_) played_->place.reset();
  while (played_ && !gone_ && !waiting_writable_) {
    const auto due = played_->began + service_.replay->after(played_->stream.due_us());
    if (due > Clock::now()) {
      played_->place = service_.playout.add(due, weak_from_this());
      return;
    }
    bool more = true;
    switch (played_->stream.step()) {
      case ReplayedStream::Step::head:
        play_head();
        break;
      case ReplayedStream::Step::piece:
        play_piece();
        break;
      case ReplayedStream::Step::end:
        more = play_end();
        break;
    }
    if (played_) played_->stream.advance();
    flush();
    if (!more) return;
  }
}

void Connection::play_head() {
  const RecordedStream& stream = played_->stream.stream();
  append_status(*played_->request, stream.status);
  for (const auto& [name, value] : stream.headers) fmt::format_to(std::back_inserter(out_), "{}: {}\r\n", name, value);
  out_ += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
}

void Connection::play_piece() {
  if (!played_->has_body) return;
  if (chunked_) {
    append_chunk(out_, played_->stream.piece());
  } else {
    out_ += played_->stream.piece();
  }
  if (service_.emit_log)
    marks_.push_back({.end = out_.size(), .event = played_->stream.piece_index(), .content = EmitRecord::kNoContent});
}

/// False: nothing follows, not even the end of the request.
bool Connection::play_end() {
  switch (played_->stream.stream().end) {
    case RecordedStream::End::timeout:  // the client had waited in vain
      return false;
    case RecordedStream::End::complete:
      if (chunked_) out_ += "0\r\n\r\n";
      break;
    case RecordedStream::End::reset:
      break_off_ = BreakOff::reset;
      break;
    case RecordedStream::End::closed:
    case RecordedStream::End::cut:
    case RecordedStream::End::malformed:
      break_off_ = BreakOff::close;
      break;
  }
  played_.reset();
  notify();
  return true;
}

}  // namespace sluice::engine
