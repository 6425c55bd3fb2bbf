// Any bytes as a server's answer, over a real socket: the exchange ends with an outcome, whatever they are.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <thread>

#include "harness/net/exchange.h"
#include "tests/fuzz/unix_listener.h"

namespace {

using namespace sluice;

struct Fixture {
  Endpoint endpoint;
  int listener = testing_support::listen_at(endpoint);
  EventLoop loop;
  KernelClock clock;
  ExchangeBuffers buffers;
  Waiter waiter{loop};
  Exchange exchange{loop, buffers};
  RequestRecord record;
};

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
  ConnectionOptions options;
  options.stamps = &fixture.clock;
  Connection connection(fixture.loop, fixture.endpoint, options);
  clear(fixture.record);
  fixture.record.scheduled_at = fixture.record.started_at = now();
  // The cut only varies how the kernel buffers the bytes.
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t cut = std::min<std::size_t>(bytes.size(), data[0]);
  std::thread server([&] {
    const int socket = ::accept(fixture.listener, nullptr, nullptr);
    // A client that has seen enough may be gone before all is sent.
    if (::send(socket, bytes.data(), cut, MSG_NOSIGNAL) >= 0) {
      (void)!::send(socket, bytes.data() + cut, bytes.size() - cut, MSG_NOSIGNAL);
    }
    ::shutdown(socket, SHUT_WR);
    ::close(socket);
  });
  fixture.exchange.run_alone(fixture.waiter, connection, request, fixture.record);
  server.join();
  if (fixture.record.ended_at == kNever) __builtin_trap();
  if (fixture.record.outcome == Outcome::timed_out) __builtin_trap();  // everything was there, and the end too
  if ((fixture.record.outcome == Outcome::ok) != fixture.record.error.empty()) __builtin_trap();
  return 0;
}
