// Of a Session: what is rare enough to stand apart from its one straight way: redirects, and WebSocket.
#include "harness/load/session.h"

namespace sluice {

/// After an answer that a browser would act upon. Each hop is a request of its own, as in k6; what is left in the
/// record is the last.
Task<> Session::browse(const StepProgram& step, ExchangeRequest request, std::string_view bytes) {
  std::size_t server = step.endpoint;
  const Instant deadline = record_.started_at + step.timeout.count();
  for (std::uint32_t left = step.redirects; true; --left) {
    const AnswerHeaders& headers = exchange_.headers();
    browser_.take(headers, bytes, server, record_);
    if (left == 0) co_return;
    const auto hop = browser_.follow(headers, bytes, server, record_);
    if (!hop) co_return;
    tally(step);
    clear(record_);
    bytes = hop->bytes;
    server = hop->server;
    request.bytes = browser_.dressed(bytes, server);
    request.head = method_of(bytes) == "HEAD";
    record_.started_at = record_.scheduled_at = now();
    request.timeout = Nanoseconds(std::max<Instant>(deadline - record_.started_at, 1));
    co_await exchange(server, request);
    if (!Browser::concerns(exchange_.headers(), record_)) co_return;
  }
}

Task<> Session::run_websocket(const StepProgram& step) {
  const auto& socket = std::get<WebSocketStep>(step.step->verb);
  if (web_socket_ == nullptr) web_socket_ = std::make_unique<WebSocketSession>(around_.loop, around_.buffers);
  if (socket_connections_.size() <= step.endpoint) socket_connections_.resize(step.endpoint + 1);
  std::unique_ptr<Connection>& connection = socket_connections_[step.endpoint];
  if (connection == nullptr) connection = make_connection(step.endpoint);
  clear(record_);
  WebSocketRequest request;
  const std::string_view bytes = render(step);
  if (!failure_.empty()) co_return;
  request.upgrade = browser_.dressed(bytes, step.endpoint);
  texts_.resize(socket.texts.size());
  for (std::size_t i = 0; i < texts_.size(); ++i) render(socket.texts[i], texts_[i]);
  request.texts = texts_;
  request.receive = socket.receive;
  request.until = socket.until;
  request.ping = socket.ping;
  request.keep_body = step.keep_body;
  request.keep_headers = step.keep_headers;
  request.timeout = step.timeout;
  request.random = random(kSocketStream + step.id);
  start_clock();
  WebSocketRecord session;
  co_await web_socket_->run(waiter_, *connection, request, record_, session);
  const bool counted = around_.tally.add_websocket(record_, session, step.id);
  if (around_.samples != nullptr && counted) around_.samples->add_websocket(record_, session, step.id);
  take_answer(step);
}

}  // namespace sluice
