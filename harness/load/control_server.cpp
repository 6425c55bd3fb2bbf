#include "harness/load/control_server.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <csignal>
#include <thread>
#include <utility>

#include "harness/base/limits.h"

namespace sluice {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr std::uint32_t kHeadBytes = 8u << 10, kBodyBytes = 16u << 10;
constexpr std::chrono::seconds kPatience{2};
constexpr std::chrono::milliseconds kPauseAfterError{100};

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

}  // namespace

Result<StatusChange> parse_status_change(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (json.size() > kBodyBytes) return fail("the body is too long");
  if (parser.parse(json.data(), json.size()).get(object) != simdjson::SUCCESS) {
    return fail("a JSON object is wanted, as in {\"vus\": 20}");
  }
  simdjson::dom::object inner;
  if (object["data"]["attributes"].get(inner) == simdjson::SUCCESS) object = inner;  // k6's document
  StatusChange change;
  for (const auto& [key, value] : object) {
    std::uint64_t number = 0;
    bool truth = false;
    if (key == "vus") {
      if (value.get(number) != simdjson::SUCCESS || number > limits::vus_max)
        return fail(fmt::format("vus: a whole number of at most {} is wanted", limits::vus_max));
      change.vus = static_cast<std::uint32_t>(number);
    } else if (key == "paused" || key == "stopped") {
      if (value.get(truth) != simdjson::SUCCESS) return fail(fmt::format("{}: true or false is wanted", key));
      (key == "paused" ? change.paused : change.stopped) = truth;
    } else if (key != "vus-max" && key != "status" && key != "running" && key != "tainted") {  // k6 sends them too
      return fail("there is vus, paused and stopped to change");
    }
  }
  return change;
}

struct ControlServer::State {
  State(RunControl& control_in, std::uint32_t vus_max_in, std::function<std::uint32_t()> vus_now_in)
      : control(control_in), vus_max(vus_max_in), vus_now(std::move(vus_now_in)) {}

  RunControl& control;
  const std::uint32_t vus_max;
  const std::function<std::uint32_t()> vus_now;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  std::thread thread;

  asio::awaitable<void> accept();
  Response answer(const Request& request);
  std::string status() const;
};

std::string ControlServer::State::status() const {
  const bool stopped = control.state() != RunControl::State::running;
  const std::string members =
      fmt::format(R"("paused":{},"vus":{},"vus-max":{},"stopped":{},"running":{},"tainted":false)", control.paused(),
                  vus_now(), vus_max, stopped, !stopped);
  return fmt::format(R"({{{},"data":{{"type":"status","id":"default","attributes":{{{}}}}}}})", members, members) +
         "\n";
}

Response ControlServer::State::answer(const Request& request) {
  Response response;
  response.version(11);
  response.keep_alive(false);
  response.set(http::field::content_type, "application/json");
  const auto refuse = [&](http::status status, std::string_view why) {
    response.result(status);
    response.body() = "{\"error\":" + json_text(why) + "}\n";
  };
  if (request.target() != "/v1/status") {
    refuse(http::status::not_found, "there is /v1/status");
  } else if (request.method() == http::verb::get) {
    response.body() = status();
  } else if (request.method() == http::verb::patch) {
    if (const auto change = parse_status_change(request.body()); !change) {
      refuse(http::status::bad_request, change.error().message);
    } else if (change->vus && *change->vus > vus_max) {
      refuse(http::status::bad_request, fmt::format("vus: the scenario's max_vus is {}", vus_max));
    } else {
      if (change->vus) control.set_vus(*change->vus);
      if (change->paused) control.set_paused(*change->paused);
      if (change->stopped.value_or(false)) control.stop_gracefully();
      response.body() = status();
    }
  } else {
    refuse(http::status::method_not_allowed, "there is GET and PATCH");
  }
  response.prepare_payload();
  return response;
}

asio::awaitable<void> ControlServer::State::accept() {
  for (;;) {
    ErrorCode error;
    auto into_error = asio::redirect_error(asio::use_awaitable, error);
    tcp::socket socket = co_await acceptor.async_accept(into_error);
    if (error == asio::error::operation_aborted) co_return;
    if (error) {  // out of descriptors, or a client that has gone: not for ever
      asio::steady_timer pause(io, kPauseAfterError);
      co_await pause.async_wait(into_error);
      continue;
    }
    beast::tcp_stream stream(std::move(socket));
    beast::flat_buffer buffer(kHeadBytes + kBodyBytes);
    http::request_parser<http::string_body> parser;
    parser.header_limit(kHeadBytes);
    parser.body_limit(kBodyBytes);
    stream.expires_after(kPatience);
    co_await http::async_read(stream, buffer, parser, into_error);
    if (error) continue;
    Response response = answer(parser.get());
    co_await http::async_write(stream, response, into_error);
    stream.socket().shutdown(tcp::socket::shutdown_both, error);
  }
}

ControlServer::ControlServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& address, bool allow_remote,
                                                            RunControl& control, std::uint32_t vus_max,
                                                            std::function<std::uint32_t()> vus_now) {
  const std::size_t colon = address.rfind(':');
  std::string host = colon == std::string::npos ? std::string() : address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (host == "localhost") host = "127.0.0.1";
  ErrorCode error;
  const auto ip = asio::ip::make_address(host, error);
  std::uint16_t port = 0;
  const std::string digits = colon == std::string::npos ? std::string() : address.substr(colon + 1);
  const auto number = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error || number.ec != std::errc{} || number.ptr != digits.data() + digits.size()) {
    return fail(fmt::format("'{}' is no address to control a run at: write one such as 127.0.0.1:6565", address));
  }
  if (!ip.is_loopback() && !allow_remote) {
    return fail(
        fmt::format("{} can be reached from other machines, and whoever reaches it steers the run: take "
                    "127.0.0.1, or allow it with --control-remote",
                    address));
  }
  auto state = std::make_unique<State>(control, vus_max, std::move(vus_now));
  const tcp::endpoint endpoint(ip, port);
  state->acceptor.open(endpoint.protocol(), error);
  if (!error) state->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) state->acceptor.bind(endpoint, error);
  if (!error) state->acceptor.listen(16, error);
  if (error) return fail(fmt::format("cannot listen on {} to control the run: {}", address, error.message()));
  asio::co_spawn(state->io, state->accept(), asio::detached);
  State* const raw = state.get();
  state->thread = std::thread([raw] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are main's
    raw->io.run();
  });
  return {boost::system::in_place_value, std::unique_ptr<ControlServer>(new ControlServer(std::move(state)))};
}

ControlServer::~ControlServer() {
  state_->io.stop();
  state_->thread.join();
}

std::string ControlServer::url() const {
  const auto endpoint = state_->acceptor.local_endpoint();
  const std::string host = endpoint.address().to_string();
  return fmt::format("http://{}:{}/v1/status", endpoint.address().is_v6() ? "[" + host + "]" : host, endpoint.port());
}

}  // namespace sluice
