#include "engine/serve/server.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <random>
#include <utility>

#include "engine/serve/connection.h"

namespace sluice::engine {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr auto kSweepEvery = std::chrono::milliseconds(100);
constexpr auto kFullPause = std::chrono::milliseconds(50);     // out of connections or of file descriptors
constexpr auto kLastMoment = std::chrono::milliseconds(1000);  // after cancelling: for the last events to leave

std::string left_out_of(const Recording& recording) {
  std::string out;
  if (recording.unfinished > 0)
    out += fmt::format("; {} that were not recorded to their end are left out", recording.unfinished);
  if (recording.unservable > 0)
    out += fmt::format("; {} whose status is not from 200 to 599 are left out", recording.unservable);
  return out;
}

}  // namespace

struct Server::Impl {
  explicit Impl(ServerOptions options)
      : service(std::move(options)),
        acceptor(service.io),
        sweeper(service.io),
        pause(service.io),
        drain_timer(service.io),
        signals(service.io) {
    service.boot_seed = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
    service.on_connection_closed = [this] { stop_when_drained(); };
  }

  error_code listen() {
    error_code error;
    const auto& host = service.options.host;
    const auto address = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
    if (error) return error;
    const asio::ip::tcp::endpoint endpoint(address, service.options.port);
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    return error;
  }

  asio::awaitable<void> accept() {
    for (;;) {
      error_code error;
      if (service.connections.size() < service.options.connections_max) {
        auto into_error = asio::redirect_error(asio::use_awaitable, error);
        asio::ip::tcp::socket socket = co_await acceptor.async_accept(into_error);
        if (!acceptor.is_open()) co_return;
        if (!error) {
          const auto connection = std::make_shared<Connection>(std::move(socket), service);
          service.connections.emplace(connection.get(), connection);
          ++service.stats.connections_total;
          connection->start();
          continue;
        }
        if (error == asio::error::connection_aborted) continue;
      }
      pause.expires_after(kFullPause);
      error_code ignored;
      auto into_ignored = asio::redirect_error(asio::use_awaitable, ignored);
      co_await pause.async_wait(into_ignored);
      if (!acceptor.is_open()) co_return;
    }
  }

  void sweep() {
    sweeper.expires_after(kSweepEvery);
    sweeper.async_wait([this](error_code error) {
      if (error) return;
      const auto now = Clock::now();
      for (const auto& [key, connection] : service.connections) connection->sweep(now);
      sweep();
    });
  }

  void wait_for_signal() {
    signals.async_wait([this](error_code error, int signal) {
      if (error) return;
      if (service.draining) return stop(128 + signal);
      drain();
      wait_for_signal();
    });
  }

  void deliver() {
    service.outbox->take(items);
    for (auto& item : items) {
      if (item.exchange->connection != nullptr) {
        item.exchange->connection->deliver(*item.exchange, item.choice, std::move(item.chunk));
      }
    }
    items.clear();
    // One write a connection for all that this delivery brought it.
    for (Connection* connection : service.dirty) connection->flush();
    service.dirty.clear();
  }

  void drain() {
    if (std::exchange(service.draining, true)) return;
    if (service.options.log) service.options.log("draining: nothing new is accepted, what runs may finish");
    error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
    if (service.model) service.model->engine->begin_drain();
    for (const auto& [key, connection] : service.connections) connection->drain();
    drain_timer.expires_after(service.options.drain_limit);
    drain_timer.async_wait([this](error_code error) {
      if (error) return;
      if (service.options.log) service.options.log("draining took too long: cancelling what still runs");
      if (service.model) service.model->engine->cancel_all();
      drain_timer.expires_after(kLastMoment);
      drain_timer.async_wait([this](error_code cancelled) {
        if (!cancelled) stop(exit_code);
      });
    });
    stop_when_drained();
  }

  /// Clients have their errors once what is rendered has been written; who does not read is not waited for long.
  void fail(const std::string& sentence) {
    if (std::exchange(service.failed, true)) return;
    if (service.options.log) service.options.log("the device has failed, ending: " + sentence);
    exit_code = 1;
    drain();
    drain_timer.expires_after(kLastMoment);  // instead of the limit for work that would still finish
    drain_timer.async_wait([this](error_code error) {
      if (!error) stop(exit_code);
    });
  }

  void stop_when_drained() {
    if (service.draining && service.connections.empty()) service.io.stop();
  }

  void stop(int code) {
    exit_code = code;
    service.io.stop();
  }

  Service service;
  asio::ip::tcp::acceptor acceptor;
  asio::steady_timer sweeper, pause, drain_timer;
  asio::signal_set signals;
  std::vector<Outbox::Item> items;
  int exit_code = 0;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::bind(ServerOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  const auto& chosen = impl->service.options;
  if (!chosen.emit_log.empty()) {
    auto log = EmitLog::create(chosen.emit_log, chosen.emit_log_records);
    if (!log) return log.error();
    impl->service.emit_log.emplace(std::move(*log));
  }
  if (!chosen.replay.empty()) {
    auto recording = load_recording(chosen.replay);
    if (!recording) return recording.error();
    if (chosen.log)
      chosen.log(fmt::format("replaying {} streams of {}{}", recording->streams.size(), chosen.replay,
                             left_out_of(*recording)));
    impl->service.replay.emplace(std::move(*recording), chosen.replay_speed);
  }
  if (const auto error = impl->listen()) {
    return fail(fmt::format("cannot listen on {}:{}: {}", chosen.host, chosen.port, error.message()));
  }
  if (chosen.handle_signals) {
    error_code error;
    impl->signals.add(SIGTERM, error);
    if (!error) impl->signals.add(SIGINT, error);
    if (error) return fail("cannot handle signals: " + error.message());
    impl->wait_for_signal();
  }
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

std::uint16_t Server::port() const { return impl_->acceptor.local_endpoint().port(); }

std::function<void()> Server::flush_hook() {
  return [impl = impl_.get()] {
    if (impl->service.outbox->hand_over()) asio::post(impl->service.io, [impl] { impl->deliver(); });
  };
}

std::function<void(const std::string&)> Server::failed_hook() {
  return [impl = impl_.get()](const std::string& sentence) {
    asio::post(impl->service.io, [impl, sentence] { impl->fail(sentence); });
  };
}

int Server::run() {
  Impl& impl = *impl_;
  asio::co_spawn(impl.service.io, impl.accept(), asio::detached);
  impl.sweep();
  impl.service.io.run();
  // Coroutines that are still there hold their connections, and workers may still read their requests.
  impl.service.workers.join();
  return impl.exit_code;
}

void Server::publish(ServedModel model) {
  asio::post(impl_->service.io, [impl = impl_.get(), model = std::move(model)]() mutable {
    if (impl->service.draining) model.engine->begin_drain();
    impl->service.model = std::move(model);
  });
}

void Server::drain() {
  asio::post(impl_->service.io, [impl = impl_.get()] { impl->drain(); });
}

void Server::stop(int exit_code) {
  asio::post(impl_->service.io, [impl = impl_.get(), exit_code] { impl->stop(exit_code); });
}

}  // namespace sluice::engine
