#include "harness/load/control_server.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <csignal>
#include <thread>
#include <utility>

#include "harness/output/text_pieces.h"

namespace sluice {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using ErrorCode = boost::system::error_code;

namespace {

constexpr std::uint32_t kHeadBytes = 8u << 10, kBodyBytes = kStatusChangeBytesMax;
constexpr std::chrono::seconds kPatience{2};
constexpr int kClientsMax = 16;
constexpr std::chrono::milliseconds kPauseAfterError{100};

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

/// One request of one client, which its handlers own together until the last has run.
struct Client {
  Client(tcp::socket socket, int& count_in) : stream(std::move(socket)), count(count_in) { ++count; }
  ~Client() { --count; }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  beast::tcp_stream stream;
  int& count;
  beast::flat_buffer buffer{kHeadBytes + kBodyBytes};
  http::request_parser<http::string_body> parser;
  Response response;
};

}  // namespace

struct ControlServer::State {
  State(RunControl& control_in, std::uint32_t vus_max_in, std::function<std::uint32_t()> vus_now_in)
      : control(control_in), vus_max(vus_max_in), vus_now(std::move(vus_now_in)) {}

  RunControl& control;
  const std::uint32_t vus_max;
  const std::function<std::uint32_t()> vus_now;
  int clients = 0;  // before io, whose handlers count down when they end with it
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  std::thread thread;

  asio::steady_timer pause{io};

  void accept();
  void serve(tcp::socket socket);
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
    response.body() = "{\"error\":";
    samples::append_json_string(why, response.body());
    response.body() += "}\n";
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

void ControlServer::State::accept() {
  acceptor.async_accept([this](const ErrorCode& error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {  // out of descriptors, or a client that has gone: not for ever
      pause.expires_after(kPauseAfterError);
      pause.async_wait([this](const ErrorCode& stopped) {
        if (!stopped) accept();
      });
      return;
    }
    if (clients < kClientsMax) serve(std::move(socket));
    accept();
  });
}

void ControlServer::State::serve(tcp::socket socket) {
  auto client = std::make_shared<Client>(std::move(socket), clients);
  client->parser.header_limit(kHeadBytes);
  client->parser.body_limit(kBodyBytes);
  client->stream.expires_after(kPatience);
  http::async_read(client->stream, client->buffer, client->parser, [this, client](const ErrorCode& error, std::size_t) {
    if (error) return;
    client->response = answer(client->parser.get());
    http::async_write(client->stream, client->response, [client](ErrorCode, std::size_t) {
      ErrorCode ignored;
      client->stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
    });
  });
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
  state->accept();
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
