#include "tests/support/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace sluice::testing_support {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

/// Bytes of the first whole request in `bytes`; 0 when it is not whole yet.
std::size_t whole_request(std::string_view bytes) {
  const std::size_t head = bytes.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  const std::size_t at = bytes.substr(0, head).find("Content-Length: ");
  const std::size_t body = at == std::string_view::npos ? 0 : std::stoul(std::string(bytes.substr(at + 16, 12)));
  return bytes.size() >= head + 4 + body ? head + 4 + body : 0;
}

}  // namespace

Action await_request() { return {Action::Kind::await_request, {}, {}}; }
Action send(std::string bytes, std::chrono::milliseconds delay) {
  return {Action::Kind::send, delay, std::move(bytes)};
}
Action close_connection(std::chrono::milliseconds delay) { return {Action::Kind::close, delay, {}}; }
Action reset_connection(std::chrono::milliseconds delay) { return {Action::Kind::reset, delay, {}}; }
Action wait(std::chrono::milliseconds delay) { return {Action::Kind::send, delay, {}}; }

std::string answer(std::string_view body, std::string_view content_type, int status) {
  return "HTTP/1.1 " + std::to_string(status) + " Said\r\nContent-Type: " + std::string(content_type) +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

std::string stream_head(std::string_view content_type) {
  return "HTTP/1.1 200 OK\r\nContent-Type: " + std::string(content_type) + "\r\nTransfer-Encoding: chunked\r\n\r\n";
}

std::string chunk(std::string_view bytes) {
  std::array<char, 20> size{};
  std::snprintf(size.data(), size.size(), "%zx\r\n", bytes.size());
  return std::string(size.data()) + std::string(bytes) + "\r\n";
}

namespace {
std::string chunk_event(const std::string& choices) {
  return R"(data: {"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[)" + choices +
         "]}\n\n";
}
}  // namespace

std::string role_event() {
  return chunk_event(R"({"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null})");
}
std::string content_event(std::string_view json_text) {
  return chunk_event(R"({"index":0,"delta":{"content":")" + std::string(json_text) + R"("},"finish_reason":null})");
}
std::string finish_event(std::string_view reason) {
  return chunk_event(R"({"index":0,"delta":{},"finish_reason":")" + std::string(reason) + R"("})");
}
std::string usage_event(int prompt_tokens, int completion_tokens) {
  return R"(data: {"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[],"usage":{)"
         R"("prompt_tokens":)" +
         std::to_string(prompt_tokens) + R"(,"completion_tokens":)" + std::to_string(completion_tokens) +
         R"(,"total_tokens":)" + std::to_string(prompt_tokens + completion_tokens) + "}}\n\n";
}
std::string done_event() { return "data: [DONE]\n\n"; }

ScriptedServer::ScriptedServer(std::vector<Script> scripts) : scripts_(std::move(scripts)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(listener_ >= 0, "socket");
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof self;
  require(::bind(listener_, reinterpret_cast<sockaddr*>(&self), length) == 0, "bind");
  require(::listen(listener_, 1024) == 0, "listen");
  require(::getsockname(listener_, reinterpret_cast<sockaddr*>(&self), &length) == 0, "getsockname");
  port_ = ntohs(self.sin_port);
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  require(stop_ >= 0, "eventfd");
  acceptor_ = std::thread([this] { accept_all(); });
}

ScriptedServer::~ScriptedServer() {
  const std::uint64_t one = 1;
  require(::write(stop_, &one, sizeof one) == sizeof one, "write");
  acceptor_.join();
  for (std::thread& player : players_) player.join();
  ::close(listener_);
  ::close(stop_);
}

std::vector<std::string> ScriptedServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void ScriptedServer::accept_all() {
  while (true) {
    std::array<pollfd, 2> wanted{{{listener_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    ::poll(wanted.data(), wanted.size(), -1);
    if (wanted[1].revents != 0) return;
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto number = static_cast<std::size_t>(connections_.fetch_add(1));
    const Script& script = scripts_[std::min(number, scripts_.size() - 1)];
    players_.emplace_back([this, socket, &script] { play(socket, script); });
  }
}

/// False: the server ends.
bool ScriptedServer::pause(std::chrono::milliseconds delay) const {
  pollfd stopped{stop_, POLLIN, 0};
  return ::poll(&stopped, 1, static_cast<int>(delay.count())) == 0;
}

void ScriptedServer::play(int socket, const Script& script) {
  std::string received;
  for (const Action& action : script) {
    if (!pause(action.delay)) break;
    if (action.kind == Action::Kind::await_request) {
      std::size_t size = 0;
      while ((size = whole_request(received)) == 0) {
        std::array<pollfd, 2> wanted{{{socket, POLLIN, 0}, {stop_, POLLIN, 0}}};
        ::poll(wanted.data(), wanted.size(), -1);
        std::array<char, 4096> buffer{};
        if (wanted[1].revents != 0) break;
        const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
        if (got <= 0) break;
        received.append(buffer.data(), static_cast<std::size_t>(got));
      }
      if (size == 0) break;
      const std::lock_guard lock(mutex_);
      requests_.push_back(received.substr(0, size));
      received.erase(0, size);
    } else if (action.kind == Action::Kind::send) {
      std::string_view unsent = action.bytes;
      while (!unsent.empty()) {
        const ssize_t sent = ::send(socket, unsent.data(), unsent.size(), MSG_NOSIGNAL);
        if (sent <= 0) break;
        unsent.remove_prefix(static_cast<std::size_t>(sent));
      }
    } else if (action.kind == Action::Kind::half_close) {
      ::shutdown(socket, SHUT_WR);
    } else {
      const linger at_once{1, 0};
      if (action.kind == Action::Kind::reset) ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      ::close(socket);
      return;
    }
  }
  // The script is over: the connection stays as it is until the client goes or the server ends.
  std::array<pollfd, 2> wanted{{{socket, POLLIN | POLLRDHUP, 0}, {stop_, POLLIN, 0}}};
  while (::poll(wanted.data(), wanted.size(), -1) >= 0 && wanted[1].revents == 0) {
    std::array<char, 4096> buffer{};
    if (::recv(socket, buffer.data(), buffer.size(), 0) <= 0) break;
  }
  ::close(socket);
}

}  // namespace sluice::testing_support
