// The cheapest HTTP server there can be: one read and one write a request, the same 13 bytes for everybody. What it
// cannot take is not the client's fault; so it says nothing about servers, only about clients.
//
//     fast_server [port [threads]]          prints the port it listens on; the system spreads connections over threads
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace {

int listen_on(std::uint16_t& port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  self.sin_port = htons(port);
  socklen_t length = sizeof self;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&self), length) != 0 || ::listen(listener, 4096) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&self), &length) != 0) {
    std::perror("fast_server");
    std::exit(1);
  }
  port = ntohs(self.sin_port);
  return listener;
}

[[noreturn]] void serve(int listener) {
  constexpr std::string_view kAnswer =
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
  const int on = 1;
  const int epoll = ::epoll_create1(0);
  const auto watch = [&](int socket) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = socket;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
  };
  watch(listener);
  std::array<epoll_event, 512> events;
  std::array<char, 4096> buffer;
  while (true) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int socket = events[static_cast<std::size_t>(i)].data.fd;
      if (socket == listener) {
        const int client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (client < 0) continue;
        ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(client);
      } else if (::recv(socket, buffer.data(), buffer.size(), 0) <= 0 ||
                 ::send(socket, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) < 0) {
        ::close(socket);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::uint16_t port = static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  const int first = listen_on(port);
  for (int i = 1; i < threads; ++i) std::thread(serve, listen_on(port)).detach();
  std::printf("%u\n", static_cast<unsigned>(port));
  std::fflush(stdout);
  serve(first);
}
