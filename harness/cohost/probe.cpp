#include "harness/cohost/probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

#include "harness/base/limits.h"

namespace sluice {

namespace {

class Socket {
 public:
  explicit Socket(int family) : descriptor_(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  /// 0, or an errno.
  int connect_to(const sockaddr* address, socklen_t length, Instant deadline) {
    if (descriptor_ < 0) return errno;
    if (connect(descriptor_, address, length) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (!wait(POLLOUT, deadline)) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    return error;
  }

  bool send_all(std::string_view bytes, Instant deadline) {
    while (!bytes.empty()) {
      if (!wait(POLLOUT, deadline)) return false;
      const ssize_t sent = send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EINTR && errno != EAGAIN) return false;
      if (sent > 0) bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  /// Reads until there are `enough` bytes, the other side closes, or the deadline.
  std::string receive(std::size_t enough, Instant deadline) {
    std::string text;
    std::array<char, 4096> block{};
    while (text.size() < enough && wait(POLLIN, deadline)) {
      const ssize_t got = recv(descriptor_, block.data(), block.size(), 0);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) break;
      text.append(block.data(), static_cast<std::size_t>(got));
    }
    return text;
  }

 private:
  bool wait(short events, Instant deadline) const {
    pollfd one{descriptor_, events, 0};
    while (true) {
      const std::int64_t left_ms = (deadline - now()) / 1'000'000;
      if (left_ms < 0) return false;
      const int ready = poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left_ms + 1, 60'000)));
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
  }

  int descriptor_;
};

}  // namespace

Result<void> can_connect(const std::string& host, const std::string& port, Nanoseconds limit) {
  const Instant deadline = now() + limit.count();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &list); error != 0) {
    return fail(fmt::format("the name '{}' cannot be looked up: {}", host, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  int error = ECONNREFUSED;
  for (const addrinfo* address = list; address; address = address->ai_next) {
    error = Socket(address->ai_family).connect_to(address->ai_addr, address->ai_addrlen, deadline);
    if (error == 0) return {};
  }
  return fail(fmt::format("cannot connect to {}:{}: {}", host, port, std::strerror(error)));
}

namespace {

/// What the server sends to GET `path` until it closes, `enough` bytes are there, or the limit.
std::string ask_locally(std::uint16_t port, const std::string& path, std::size_t enough, Nanoseconds limit) {
  const Instant deadline = now() + limit.count();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Socket socket(AF_INET);
  if (socket.connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline) != 0) return {};
  if (!socket.send_all(fmt::format("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path), deadline))
    return {};
  return socket.receive(enough, deadline);
}

/// Of "HTTP/1.1 200 ..."; 0 when it is nothing of the kind.
int status_of(std::string_view answer) {
  if (answer.size() < 12 || !answer.starts_with("HTTP/1.")) return 0;
  int status = 0;
  for (const char c : answer.substr(9, 3)) {
    if (c < '0' || c > '9') return 0;
    status = status * 10 + (c - '0');
  }
  return status;
}

}  // namespace

LocalAnswer local_http_get(std::uint16_t port, const std::string& path, Nanoseconds limit) {
  const std::string answer = ask_locally(port, path, limits::local_body_bytes_max, limit);
  const auto head_end = answer.find("\r\n\r\n");
  if (head_end == std::string::npos) return {};
  LocalAnswer read{status_of(answer), answer.substr(head_end + 4)};
  // Half a number is another number, so what was cut is no answer.
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  if (const auto at = answer.find(kLength); at < head_end) {
    std::size_t length = 0;
    const char* const digits = answer.data() + at + kLength.size();
    std::from_chars(digits, answer.data() + head_end, length);
    if (read.body.size() < length) return {};
  }
  return read;
}

int local_http_status(std::uint16_t port, const std::string& path, Nanoseconds limit) {
  return status_of(ask_locally(port, path, 12, limit));
}

}  // namespace sluice
