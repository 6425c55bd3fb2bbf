#include "harness/net/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "harness/base/duration.h"

namespace sluice {
namespace {

SSL* ssl_of(void* tls) { return static_cast<SSL*>(tls); }

std::string tls_error() {
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  if (code == 0) return "the connection ended";
  const char* const reason = ::ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown error";
}

/// The text of an errno, as the C library has it.
std::string error_text(int error) {
  std::array<char, 256> buffer{};
  return ::strerror_r(error, buffer.data(), buffer.size());
}

bool is_address(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  return ::inet_pton(AF_INET, host.c_str(), binary.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), binary.data()) == 1;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::make(bool verify) {
  std::shared_ptr<TlsContext> made(new TlsContext);
  SSL_CTX* const context = ::SSL_CTX_new(::TLS_client_method());
  if (context == nullptr) return fail("OpenSSL cannot be started: " + tls_error());
  made->context_ = context;
  made->verify_ = verify;
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  // A server that ends the connection without close_notify is common; the HTTP framing says whether anything is
  // missing.
  ::SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
  static constexpr std::array<unsigned char, 9> kHttp11 = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  ::SSL_CTX_set_alpn_protos(context, kHttp11.data(), kHttp11.size());
  if (verify) {
    if (::SSL_CTX_set_default_verify_paths(context) != 1) {
      return fail("the system's certificates cannot be read: " + tls_error());
    }
    ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  return made;
}

TlsContext::~TlsContext() { ::SSL_CTX_free(static_cast<SSL_CTX*>(context_)); }

Connection::Connection(EventLoop& loop, const Endpoint& endpoint, ConnectionOptions options)
    : loop_(loop), endpoint_(endpoint), options_(std::move(options)) {}

Connection::~Connection() { close(); }

void Connection::close() {
  if (tls_ != nullptr) {
    ::SSL_free(ssl_of(tls_));
    tls_ = nullptr;
  }
  if (socket_ >= 0) {
    ::close(socket_);
    socket_ = -1;
  }
  readiness_.reset();
}

Task<Connection::Opened> Connection::open(Waiter& waiter) {
  Opened opened;
  const Instant caller_deadline = waiter.deadline();
  const Instant own_deadline = now() + options_.connect_timeout.count();
  const Instant deadline = caller_deadline == kNever ? own_deadline : std::min(own_deadline, caller_deadline);
  waiter.set_deadline(deadline);
  opened.error = "the host has no address";
  for (const Address& address : endpoint_.addresses) {
    std::string error = co_await connect_to(waiter, address, opened.wake);
    opened.error = std::move(error);
    if (opened.error.empty() || opened.wake != Wake::ready) break;
    close();
  }
  if (opened.error.empty()) {
    opened.connected_at = now();
    if (endpoint_.tls) {
      std::string error = co_await handshake(waiter, opened.wake);
      opened.error = std::move(error);
      opened.tls_at = now();
    }
  }
  if (opened.wake == Wake::deadline) {
    const bool own = deadline == own_deadline;
    opened.error = own ? "no connection within " + format_duration(options_.connect_timeout)
                       : std::string("no connection within the request's time");
  }
  if (!opened.error.empty()) close();
  waiter.set_deadline(caller_deadline);
  co_return opened;
}

Task<std::string> Connection::connect_to(Waiter& waiter, const Address& address, Wake& wake) {
  socket_ = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket_ < 0) co_return "no socket: " + error_text(errno);
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (options_.stamps != nullptr && !endpoint_.tls) KernelClock::enable(socket_);
  const int result = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address.storage), address.length);
  if (result != 0 && errno != EINPROGRESS) co_return error_text(errno);
  // Only now: a socket that has not begun to connect is reported as hung up.
  if (!loop_.add(socket_, readiness_)) co_return "the system cannot watch another socket: " + error_text(errno);
  if (result != 0) {
    wake = co_await loop_.writable(waiter, readiness_);
    if (wake != Wake::ready) co_return "given up";
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) co_return error_text(error);
  }
  co_return std::string();
}

Task<std::string> Connection::handshake(Waiter& waiter, Wake& wake) {
  if (options_.tls == nullptr) co_return "TLS was not set up";
  SSL* const ssl = ::SSL_new(static_cast<SSL_CTX*>(options_.tls->context_));
  if (ssl == nullptr) co_return "TLS: " + tls_error();
  tls_ = ssl;
  const bool address = is_address(endpoint_.host);
  if (!address) SSL_set_tlsext_host_name(ssl, endpoint_.host.c_str());
  if (options_.tls->verify_) {
    const int named = address ? ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl), endpoint_.host.c_str())
                              : ::SSL_set1_host(ssl, endpoint_.host.c_str());
    if (named != 1) co_return "TLS: " + tls_error();
  }
  ::SSL_set_fd(ssl, socket_);
  while (true) {
    ::ERR_clear_error();
    const int result = ::SSL_connect(ssl);
    if (result == 1) co_return std::string();
    const int why = ::SSL_get_error(ssl, result);
    if (why == SSL_ERROR_WANT_READ) {
      readiness_.drained();
      wake = co_await loop_.readable(waiter, readiness_);
    } else if (why == SSL_ERROR_WANT_WRITE) {
      readiness_.filled();
      wake = co_await loop_.writable(waiter, readiness_);
    } else {
      const long verified = ::SSL_get_verify_result(ssl);
      if (verified != X509_V_OK) {
        ::ERR_clear_error();
        co_return fmt::format("TLS: the certificate is not trusted: {} (tls_verify: false accepts it)",
                              ::X509_verify_cert_error_string(verified));
      }
      co_return "TLS: " + tls_error();
    }
    if (wake != Wake::ready) co_return "given up";
    // After a hang-up every wait is over at once, and the handshake finds the end itself.
  }
}

Connection::Read Connection::read(char* into, std::size_t size) {
  Read result;
  if (tls_ != nullptr) {
    ::ERR_clear_error();
    const int got = ::SSL_read(ssl_of(tls_), into, static_cast<int>(std::min<std::size_t>(size, 1U << 30)));
    if (got > 0) {
      result.bytes = static_cast<std::size_t>(got);
      return result;
    }
    switch (::SSL_get_error(ssl_of(tls_), got)) {
      case SSL_ERROR_WANT_READ:
        readiness_.drained();
        result.io = Io::would_block_read;
        break;
      case SSL_ERROR_WANT_WRITE:
        readiness_.filled();
        result.io = Io::would_block_write;
        break;
      case SSL_ERROR_ZERO_RETURN:
        result.io = Io::end;
        break;
      case SSL_ERROR_SYSCALL:
        result.io = errno == 0 ? Io::end : Io::failed;
        result.error = errno;
        break;
      default:
        result.io = Io::failed;
        ::ERR_clear_error();
    }
    return result;
  }

  ssize_t got = 0;
  if (options_.stamps != nullptr) {
    alignas(cmsghdr) std::array<char, 128> control;
    iovec buffer{into, size};
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    got = ::recvmsg(socket_, &message, 0);
    timespec stamp{};
    if (got > 0 && KernelClock::stamp_of(message, stamp)) result.stamp = options_.stamps->to_monotonic(stamp);
  } else {
    got = ::recv(socket_, into, size, 0);
  }
  if (got > 0) {
    result.bytes = static_cast<std::size_t>(got);
    result.drained = result.bytes < size;
    if (result.drained) readiness_.drained();
  } else if (got == 0) {
    result.io = Io::end;
  } else if (errno == EAGAIN || errno == EINTR) {
    if (errno == EAGAIN) readiness_.drained();
    result.io = Io::would_block_read;
  } else {
    result.io = Io::failed;
    result.error = errno;
  }
  return result;
}

Connection::Written Connection::write(const char* from, std::size_t size) {
  Written result;
  if (tls_ != nullptr) {
    ::ERR_clear_error();
    const int sent = ::SSL_write(ssl_of(tls_), from, static_cast<int>(std::min<std::size_t>(size, 1U << 30)));
    if (sent > 0) {
      result.bytes = static_cast<std::size_t>(sent);
      return result;
    }
    switch (::SSL_get_error(ssl_of(tls_), sent)) {
      case SSL_ERROR_WANT_READ:
        readiness_.drained();
        result.io = Io::would_block_read;
        break;
      case SSL_ERROR_WANT_WRITE:
        readiness_.filled();
        result.io = Io::would_block_write;
        break;
      default:
        result.io = Io::failed;
        result.error = errno;
        ::ERR_clear_error();
    }
    return result;
  }
  const ssize_t sent = ::send(socket_, from, size, MSG_NOSIGNAL);
  if (sent >= 0) {
    result.bytes = static_cast<std::size_t>(sent);
  } else if (errno == EAGAIN || errno == EINTR) {
    if (errno == EAGAIN) readiness_.filled();
    result.io = Io::would_block_write;
  } else {
    result.io = Io::failed;
    result.error = errno;
  }
  return result;
}

}  // namespace sluice
