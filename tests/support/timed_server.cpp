#include "tests/support/timed_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/support/scripted_server.h"

namespace sluice::testing_support {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

TimedServer::TimedServer(ServerTimes times) : times_(times), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof self;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&self), size) != 0 || ::listen(listener_, 4096) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&self), &size) != 0)
    throw std::runtime_error("no socket");
  port_ = ntohs(self.sin_port);
  thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
}

TimedServer::~TimedServer() {
  thread_.request_stop();
  thread_.join();
  ::close(listener_);
}

void TimedServer::serve(const std::stop_token& stop) const {
  constexpr nanoseconds kLongestWait = std::chrono::milliseconds(10);
  const std::string reply = answer("ok");
  std::vector<pollfd> sockets{{listener_, POLLIN, 0}};
  std::deque<std::pair<Clock::time_point, int>> due;  // when each answer is to leave
  std::optional<Clock::time_point> first;
  Clock::time_point busy_until{};
  std::array<char, 4096> buffer{};
  bool frozen = times_.freeze.count() == 0;
  while (!stop.stop_requested()) {
    if (first && !frozen && Clock::now() >= *first + times_.freeze_after) {
      frozen = true;
      std::this_thread::sleep_for(times_.freeze);  // what is tested, not a wait for something
    }
    for (const auto now = Clock::now(); !due.empty() && due.front().first <= now; due.pop_front())
      (void)!::send(due.front().second, reply.data(), reply.size(), MSG_NOSIGNAL);
    const nanoseconds until_due = due.empty() ? kLongestWait : nanoseconds(due.front().first - Clock::now());
    const timespec limit{0, static_cast<long>(std::clamp(until_due, nanoseconds{}, kLongestWait).count())};
    ::ppoll(sockets.data(), sockets.size(), &limit, nullptr);
    const std::size_t count = sockets.size();
    for (std::size_t i = 0; i < count; ++i) {
      if (sockets[i].revents == 0) continue;
      if (i == 0) {
        sockets.push_back({::accept(listener_, nullptr, nullptr), POLLIN, 0});
      } else if (::recv(sockets[i].fd, buffer.data(), buffer.size(), 0) <= 0) {
        ::close(sockets[i].fd);
        sockets[i].fd = -1;
      } else {
        const auto now = Clock::now();
        if (!first) first = now;
        busy_until = std::max(busy_until, now) + times_.service;
        due.emplace_back(busy_until, sockets[i].fd);
      }
    }
  }
  for (const pollfd& one : sockets)
    if (one.fd != listener_ && one.fd >= 0) ::close(one.fd);
}

}  // namespace sluice::testing_support
