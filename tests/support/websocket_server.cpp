#include "tests/support/websocket_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace sluice::testing_support {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

std::string accept_for(const std::string& head) {
  constexpr const char* kName = "Sec-WebSocket-Key: ";
  const std::size_t at = head.find(kName);
  if (at == std::string::npos) return {};
  const std::size_t from = at + std::string(kName).size();
  const std::string text = head.substr(from, head.find("\r\n", from) - from) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::array<unsigned char, 20> digest{};
  ::SHA1(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<unsigned char, 40> coded{};
  ::EVP_EncodeBlock(coded.data(), digest.data(), static_cast<int>(digest.size()));
  return reinterpret_cast<const char*>(coded.data());
}

std::string frame(unsigned first, const std::string& payload) {
  std::string out(1, static_cast<char>(first));
  if (payload.size() < 126) {
    out += static_cast<char>(payload.size());
  } else if (payload.size() < 65536) {
    out += static_cast<char>(126);
    out += static_cast<char>(payload.size() >> 8U);
    out += static_cast<char>(payload.size() & 0xFFU);
  } else {
    out += static_cast<char>(127);
    for (unsigned shift = 64; shift > 0; shift -= 8) out += static_cast<char>(payload.size() >> (shift - 8U) & 0xFFU);
  }
  return out + payload;
}

/// One connection's bytes, until the server is told to end.
class Wire {
 public:
  Wire(int socket, int stop) : socket_(socket), stop_(stop) {}
  bool more() {
    std::array<pollfd, 2> wanted{{{socket_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    ::poll(wanted.data(), wanted.size(), -1);
    std::array<char, 65536> block{};
    if (wanted[1].revents != 0) return false;
    const ssize_t got = ::recv(socket_, block.data(), block.size(), 0);
    if (got <= 0) return false;
    bytes_.append(block.data(), static_cast<std::size_t>(got));
    return true;
  }
  bool has(std::size_t size) {
    while (bytes_.size() < size) {
      if (!more()) return false;
    }
    return true;
  }
  std::string take(std::size_t size) {
    std::string out = bytes_.substr(0, size);
    bytes_.erase(0, size);
    return out;
  }
  const std::string& bytes() const { return bytes_; }
  void send(const std::string& out) const {
    for (std::size_t at = 0; at < out.size();) {
      const ssize_t sent = ::send(socket_, out.data() + at, out.size() - at, MSG_NOSIGNAL);
      if (sent <= 0) return;
      at += static_cast<std::size_t>(sent);
    }
  }

 private:
  int socket_, stop_;
  std::string bytes_;
};

unsigned byte_at(const std::string& bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }

}  // namespace

WebSocketServer::WebSocketServer(bool wrong_accept) : wrong_accept_(wrong_accept) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(listener_ >= 0, "socket");
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof self;
  require(::bind(listener_, reinterpret_cast<sockaddr*>(&self), length) == 0, "bind");
  require(::listen(listener_, 64) == 0, "listen");
  require(::getsockname(listener_, reinterpret_cast<sockaddr*>(&self), &length) == 0, "getsockname");
  port_ = ntohs(self.sin_port);
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  require(stop_ >= 0, "eventfd");
  acceptor_ = std::thread([this] { accept_all(); });
}

WebSocketServer::~WebSocketServer() {
  const std::uint64_t one = 1;
  require(::write(stop_, &one, sizeof one) == sizeof one, "write");
  acceptor_.join();
  for (std::thread& server : servers_) server.join();
  ::close(listener_);
  ::close(stop_);
}

std::vector<std::string> WebSocketServer::heads() const {
  const std::lock_guard lock(mutex_);
  return heads_;
}
std::vector<std::string> WebSocketServer::received() const {
  const std::lock_guard lock(mutex_);
  return received_;
}
void WebSocketServer::note(std::string text) {
  const std::lock_guard lock(mutex_);
  received_.push_back(std::move(text));
}

void WebSocketServer::accept_all() {
  while (true) {
    std::array<pollfd, 2> wanted{{{listener_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    ::poll(wanted.data(), wanted.size(), -1);
    if (wanted[1].revents != 0) return;
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) continue;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    servers_.emplace_back([this, socket] {
      serve(socket);
      ::close(socket);
    });
  }
}

void WebSocketServer::serve(int socket) {
  Wire wire(socket, stop_);
  while (wire.bytes().find("\r\n\r\n") == std::string::npos) {
    if (!wire.more()) return;
  }
  const std::string head = wire.take(wire.bytes().find("\r\n\r\n") + 4);
  {
    const std::lock_guard lock(mutex_);
    heads_.push_back(head);
  }
  const std::string accept = wrong_accept_ ? "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" : accept_for(head);
  if (accept.empty()) return wire.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n");
  wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
            accept + "\r\n\r\n");
  bool mute = false;
  while (true) {
    if (!wire.has(2)) return;
    const unsigned opcode = byte_at(wire.bytes(), 0) & 0x0FU, coded = byte_at(wire.bytes(), 1) & 0x7FU;
    if ((byte_at(wire.bytes(), 1) & 0x80U) == 0) unmasked_.fetch_add(1);
    const std::size_t digits = coded == 126 ? 2 : coded == 127 ? 8 : 0;
    if (!wire.has(2 + digits + 4)) return;
    std::size_t size = digits == 0 ? coded : 0;
    for (std::size_t i = 0; i < digits; ++i) size = size << 8U | byte_at(wire.bytes(), 2 + i);
    if (!wire.has(2 + digits + 4 + size)) return;
    const std::string mask = wire.take(2 + digits + 4).substr(2 + digits);
    std::string text = wire.take(size);
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(text[i] ^ mask[i % 4]);
    if (opcode == 8) {
      note("close:" + std::to_string(text.size() < 2 ? 1005 : byte_at(text, 0) << 8U | byte_at(text, 1)));
      if (!mute) wire.send(frame(0x88, text));
      if (!mute) return;
    } else if (opcode == 9) {
      if (!mute) wire.send(frame(0x8A, text));
    } else if (opcode == 10) {
      note("pong:" + text);
    } else {
      note(text);
      if (mute) continue;
      if (text == "pieces") {
        wire.send(frame(0x01, "pie") + frame(0x00, "") + frame(0x89, "still there?") + frame(0x80, "ces"));
      } else if (text == "binary") {
        wire.send(frame(0x82, std::string("\0\xFF", 2)));
      } else if (text.starts_with("quit ")) {
        const auto code = static_cast<unsigned>(std::stoul(text.substr(5)));
        wire.send(frame(0x88, {static_cast<char>(code >> 8U), static_cast<char>(code & 0xFFU)}));
      } else if (text == "drop") {
        return;
      } else if (text == "mute") {
        mute = true;
      } else if (text == "two") {
        wire.send(frame(0x81, "one") + frame(0x81, "two"));
      } else if (text == "masked") {
        wire.send(std::string("\x81\x81", 2) + "mask" + "x");
      } else {
        wire.send(frame(0x81, text));
      }
    }
  }
}

}  // namespace sluice::testing_support
