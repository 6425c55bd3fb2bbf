// A plain HTTP client over a blocking socket: it shows the bytes as they came. Shares nothing with the server.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::engine::test {

struct Reply {
  unsigned status = 0;
  std::string head;                           // the header's bytes
  std::map<std::string, std::string> fields;  // names in lower case
  std::string body;                           // chunked encoding undone
  bool whole = false;                         // false: the connection ended first
  std::string field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? std::string() : found->second;
  }
};

class Client {
 public:
  explicit Client(std::uint16_t port, std::optional<int> receive_buffer = {})
      : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &*receive_buffer, sizeof(int));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  Client(Client&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)), connected_(other.connected_), in_(std::move(other.in_)) {}
  Client& operator=(Client&&) = delete;
  ~Client() { close(); }

  bool connected() const { return connected_; }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }
  /// Ends the connection by a reset instead of in order.
  void reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;  // the server may close while we still send
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  void post(const std::string& path, const std::string& body, const std::string& more = {}) {
    send("POST " + path + " HTTP/1.1\r\nHost: x\r\n" + more + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body);
  }
  void get(const std::string& path, const std::string& more = {}) {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\n" + more + "\r\n");
  }

  /// Reads until `end` has come; false when the connection ended or 20 s passed.
  bool read_until(std::string_view end) {
    while (in_.find(end) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  bool read_some() {
    pollfd wait{.fd = socket_, .events = POLLIN, .revents = 0};
    if (::poll(&wait, 1, 20'000) <= 0) return false;
    char buffer[65536];
    const auto count = ::recv(socket_, buffer, sizeof buffer, 0);
    if (count <= 0) return false;
    in_.append(buffer, static_cast<std::size_t>(count));
    return true;
  }
  /// True when the server closes without sending more.
  bool closed() {
    const auto before = in_.size();
    while (read_some()) {
    }
    return in_.size() == before;
  }

  /// The next reply; `head_only`: to a HEAD request.
  Reply reply(bool head_only = false) {
    Reply out;
    if (!read_until("\r\n\r\n")) return out;
    const auto end = in_.find("\r\n\r\n") + 4;
    out.head = in_.substr(0, end);
    in_.erase(0, end);
    out.status = static_cast<unsigned>(std::strtoul(out.head.c_str() + 9, nullptr, 10));
    for (std::size_t at = out.head.find("\r\n") + 2; at + 2 < out.head.size();) {
      const auto line_end = out.head.find("\r\n", at);
      const auto colon = out.head.find(": ", at);
      std::string name = out.head.substr(at, colon - at);
      for (char& byte : name) byte = static_cast<char>(std::tolower(static_cast<unsigned char>(byte)));
      out.fields[name] = out.head.substr(colon + 2, line_end - colon - 2);
      at = line_end + 2;
    }
    if (head_only || out.status == 204 || out.status == 304 || out.status == 100) {
      out.whole = true;
    } else if (out.field("transfer-encoding") == "chunked") {
      out.whole = read_chunks(out.body);
    } else if (!out.field("content-length").empty()) {
      const auto length = std::strtoull(out.field("content-length").c_str(), nullptr, 10);
      while (in_.size() < length && read_some()) {
      }
      out.whole = in_.size() >= length;
      out.body = in_.substr(0, length);
      in_.erase(0, length);
    } else {  // until the end of the connection
      while (read_some()) {
      }
      out.whole = true;
      out.body = std::exchange(in_, {});
    }
    return out;
  }

  int socket() const { return socket_; }

 private:
  bool read_chunks(std::string& body) {
    for (;;) {
      if (!read_until("\r\n")) return false;
      const auto line = in_.find("\r\n");
      const auto size = std::strtoull(in_.c_str(), nullptr, 16);
      while (in_.size() < line + 2 + size + 2) {
        if (!read_some()) return false;
      }
      body += in_.substr(line + 2, size);
      if (in_.substr(line + 2 + size, 2) != "\r\n") return false;
      in_.erase(0, line + 2 + size + 2);
      if (size == 0) return true;
    }
  }

  int socket_;
  bool connected_ = false;
  std::string in_;
};

}  // namespace sluice::engine::test
