#include "harness/load/target_client.h"

#include <optional>
#include <utility>

#include "harness/net/connection.h"
#include "harness/net/event_loop.h"
#include "harness/net/exchange.h"
#include "harness/net/http2.h"

namespace sluice {

struct TargetClient::State {
  State(const Plan& plan_in, const Endpoint& target_in) : plan(plan_in), target(target_in) {}

  const Plan& plan;
  const Endpoint& target;
  EventLoop loop;
  ExchangeBuffers buffers;
  Exchange exchange{loop, buffers};
  Waiter waiter{loop};
  std::optional<Connection> connection;
  std::optional<Http2Client> http2;
  RequestRecord record;
};

TargetClient::TargetClient(const Plan& plan, const Endpoint& target, std::shared_ptr<TlsContext> tls)
    : state_(std::make_unique<State>(plan, target)) {
  ConnectionOptions options;
  options.connect_timeout = plan.target.connect_timeout;
  options.tls = std::move(tls);
  State& s = *state_;
  if (plan.target.http2) {
    s.http2.emplace(s.loop, s.buffers.read_buffer(), ExchangeBuffers::kReadBytes, target, std::move(options));
  } else {
    s.connection.emplace(s.loop, target, std::move(options));
  }
}

TargetClient::~TargetClient() = default;

const RequestRecord& TargetClient::get(std::string_view path, Nanoseconds timeout) {
  State& s = *state_;
  clear(s.record);
  s.record.started_at = s.record.scheduled_at = now();
  const std::string bytes = target_request(s.plan, s.target, path);
  ExchangeRequest request;
  request.bytes = bytes;
  request.keep_body = true;
  request.timeout = timeout;
  if (s.http2) {
    s.exchange.run_alone(s.waiter, *s.http2, request, s.record);
  } else {
    s.exchange.run_alone(s.waiter, *s.connection, request, s.record);
  }
  return s.record;
}

}  // namespace sluice
