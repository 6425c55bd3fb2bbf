// Any frames as an HTTP/2 server's answer to two requests, over a real socket: each ends with an outcome.
//
// The server says its SETTINGS and waits for the first request, so that what follows may be an answer to it.
// A Unix socket in place of TCP: nothing lingers in the kernel after each of some thousands of connections a second.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "harness/net/exchange.h"
#include "harness/net/http2.h"
#include "tests/fuzz/unix_listener.h"

namespace {

using namespace sluice;

struct Vu {
  explicit Vu(EventLoop& loop, ExchangeBuffers& buffers) : waiter(loop), exchange(loop, buffers) {}
  Waiter waiter;
  Exchange exchange;
  RequestRecord record;
};

struct Fixture {
  Endpoint endpoint;
  int listener = testing_support::listen_at(endpoint);
  EventLoop loop;
  ExchangeBuffers buffers;
  Http2Client client{loop, buffers.read_buffer(), ExchangeBuffers::kReadBytes, endpoint, ConnectionOptions{}};
  Vu vus[2] = {Vu(loop, buffers), Vu(loop, buffers)};
  int left = 0;

  Task<> run(Vu& vu, ExchangeRequest request) {
    clear(vu.record);
    vu.record.scheduled_at = vu.record.started_at = now();
    co_await vu.exchange.run(vu.waiter, client, request, vu.record);
    if (--left == 0) loop.stop();
  }
};

/// Reads what the client says until it has asked for something. False: it has gone.
bool await_request(int socket) {
  std::string heard;
  char bytes[4096];
  while (true) {
    for (std::size_t at = 24; at + 9 <= heard.size();) {  // behind the preface: frames
      if (heard[at + 3] == 1) return true;                // HEADERS
      const auto byte = [&](std::size_t i) {
        return static_cast<std::size_t>(static_cast<unsigned char>(heard[at + i]));
      };
      at += 9 + (byte(0) << 16) + (byte(1) << 8) + byte(2);
    }
    const ssize_t got = ::recv(socket, bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    heard.append(bytes, static_cast<std::size_t>(got));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Fixture fixture;
  if (size < 1 || size > 60'000) return 0;
  ExchangeRequest request;
  request.bytes = "GET / HTTP/1.1\r\n\r\n";
  request.answer = static_cast<ExchangeRequest::Answer>(data[0] % 3);
  request.head = (data[0] & 0x10U) != 0;
  request.keep_text = request.keep_body = request.keep_headers = true;
  request.timeout = std::chrono::seconds(20);  // a wake-up that was lost shows, a busy machine does not
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t cut = std::min<std::size_t>(bytes.size(), data[0]);
  std::atomic<bool> over = false;
  std::thread server([&] {
    // A request that was certainly not looked at comes again, on a connection that says nothing.
    for (bool first = true; true; first = false) {
      const int socket = ::accept(fixture.listener, nullptr, nullptr);
      if (over) {
        ::close(socket);
        return;
      }
      static constexpr char kSettings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
      (void)!::send(socket, kSettings, sizeof kSettings, MSG_NOSIGNAL);
      if (await_request(socket) && first && ::send(socket, bytes.data(), cut, MSG_NOSIGNAL) >= 0)
        (void)!::send(socket, bytes.data() + cut, bytes.size() - cut, MSG_NOSIGNAL);
      ::shutdown(socket, SHUT_WR);
      ::close(socket);
    }
  });
  fixture.left = 2;
  Task<> one = fixture.run(fixture.vus[0], request), two = fixture.run(fixture.vus[1], request);
  one.start();
  two.start();
  if (fixture.left > 0) fixture.loop.run([](Instant, Nanoseconds) {});
  over = true;
  const int last = ::socket(AF_UNIX, SOCK_STREAM, 0);  // wakes the server
  const Address& address = fixture.endpoint.addresses[0];
  if (::connect(last, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) __builtin_trap();
  server.join();
  ::close(last);
  for (const Vu& vu : fixture.vus) {
    if (vu.record.ended_at == kNever) __builtin_trap();
    if (vu.record.outcome == Outcome::timed_out) __builtin_trap();  // everything was there, and the end too
    if ((vu.record.outcome == Outcome::ok) != vu.record.error.empty()) __builtin_trap();
  }
  return 0;
}
