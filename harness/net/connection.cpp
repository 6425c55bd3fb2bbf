#include "harness/net/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "harness/base/duration.h"

namespace sluice {
namespace {

SSL* ssl_of(void* tls) { return static_cast<SSL*>(tls); }

std::string tls_error() {
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  const bool of_tls = ERR_GET_LIB(code) == ERR_LIB_SSL;
  if (code == 0 || (of_tls && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
    return "the connection ended";
  }
  if (of_tls && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER) {
    return "the answer is not TLS (does this port speak http instead of https?)";
  }
  const char* const reason = ::ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown error";
}

/// The text of an errno, as the C library has it.
std::string error_text(int error) {
  std::array<char, 256> buffer{};
  return ::strerror_r(error, buffer.data(), buffer.size());
}

// OpenSSL's own BIO for sockets writes with write(2), which raises SIGPIPE when the server has broken the connection,
// and that ends the program.

int socket_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(::BIO_get_data(bio))); }

int bio_write(BIO* bio, const char* from, int size) {
  const ssize_t sent = ::send(socket_of(bio), from, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  BIO_clear_retry_flags(bio);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* into, int size) {
  const ssize_t got = ::recv(socket_of(bio), into, static_cast<std::size_t>(size), 0);
  BIO_clear_retry_flags(bio);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  if (got == 0) ::BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(got);
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF) return ::BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

/// Null: out of memory. Does not own the socket.
BIO* bio_of(int socket) {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* const made = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (made == nullptr) return made;
    ::BIO_meth_set_write(made, &bio_write);
    ::BIO_meth_set_read(made, &bio_read);
    ::BIO_meth_set_ctrl(made, &bio_control);
    return made;
  }();
  BIO* const bio = method == nullptr ? nullptr : ::BIO_new(method);
  if (bio == nullptr) return nullptr;
  ::BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket)));
  ::BIO_set_init(bio, 1);
  return bio;
}

bool is_address(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> binary{};
  return ::inet_pton(AF_INET, host.c_str(), binary.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), binary.data()) == 1;
}

/// Is half of the receive buffer full? Then the window that the sender sees is about to close. `read`: bytes that have
/// just left it.
bool has_backlog(int socket, std::size_t read) {
  int queued = 0, room = 0;
  socklen_t size = sizeof room;
  if (::ioctl(socket, FIONREAD, &queued) != 0) return false;
  if (::getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &room, &size) != 0) return false;
  return 2 * (static_cast<std::size_t>(queued) + read) > static_cast<std::size_t>(room);
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::make(const TlsOptions& options) {
  std::shared_ptr<TlsContext> made(new TlsContext);
  SSL_CTX* const context = ::SSL_CTX_new(::TLS_client_method());
  if (context == nullptr) return fail("OpenSSL cannot be started: " + tls_error());
  made->context_ = context;
  made->verify_ = options.verify;
  const bool newest = options.least == TlsOptions::Version::tls1_3;
  ::SSL_CTX_set_min_proto_version(context, newest ? TLS1_3_VERSION : TLS1_2_VERSION);
  ::SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  if (options.verify) {
    if (!options.ca.empty()) {
      if (::SSL_CTX_load_verify_file(context, options.ca.c_str()) != 1) {
        return fail(fmt::format("tls: ca: {} cannot be read as PEM: {}", options.ca, tls_error()));
      }
    } else if (::SSL_CTX_set_default_verify_paths(context) != 1) {
      return fail("the system's certificates cannot be read: " + tls_error());
    }
    ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  if (!options.certificate.empty()) {
    if (::SSL_CTX_use_certificate_chain_file(context, options.certificate.c_str()) != 1) {
      return fail(fmt::format("tls: cert: {} cannot be read as PEM: {}", options.certificate, tls_error()));
    }
    // Without a question on the terminal: a key under a passphrase cannot be used.
    ::SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return -1; });
    if (::SSL_CTX_use_PrivateKey_file(context, options.key.c_str(), SSL_FILETYPE_PEM) != 1) {
      return fail(fmt::format("tls: key: {} cannot be used: {} (PEM without a passphrase, that of the certificate)",
                              options.key, tls_error()));
    }
  }
  return made;
}

TlsContext::~TlsContext() { ::SSL_CTX_free(static_cast<SSL_CTX*>(context_)); }

Connection::Connection(EventLoop& loop, const Endpoint& endpoint, ConnectionOptions options)
    : loop_(loop), endpoint_(endpoint), options_(std::move(options)) {}

Connection::~Connection() { close(); }

void Connection::close() {
  if (tls_ != nullptr) {
    // Not while a handshake is under way, nor after a failure: OpenSSL takes both for a handshake.
    if (::SSL_is_init_finished(ssl_of(tls_)) != 0) ::SSL_shutdown(ssl_of(tls_));
    ::ERR_clear_error();
    ::SSL_free(ssl_of(tls_));
    tls_ = nullptr;
  }
  tls_end_.reset();
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
  if (options_.shape != nullptr && options_.shape->receive_buffer() > 0) {
    const int bytes = options_.shape->receive_buffer();  // before the connection: its window follows from it
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
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
  static constexpr std::array<unsigned char, 9> kHttp11 = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  static constexpr std::array<unsigned char, 3> kHttp2 = {2, 'h', '2'};
  if (options_.http2)
    ::SSL_set_alpn_protos(ssl, kHttp2.data(), kHttp2.size());
  else
    ::SSL_set_alpn_protos(ssl, kHttp11.data(), kHttp11.size());
  const std::string& name = endpoint_.tls_name.empty() ? endpoint_.host : endpoint_.tls_name;
  const bool address = is_address(name);
  if (!address) SSL_set_tlsext_host_name(ssl, name.c_str());
  if (options_.tls->verify_) {
    const int named = address ? ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl), name.c_str())
                              : ::SSL_set1_host(ssl, name.c_str());
    if (named != 1) co_return "TLS: " + tls_error();
  }
  BIO* const bio = bio_of(socket_);
  if (bio == nullptr) co_return "TLS: " + tls_error();
  ::SSL_set_bio(ssl, bio, bio);
  while (true) {
    ::ERR_clear_error();
    const int result = ::SSL_connect(ssl);
    if (result == 1) {
      const unsigned char* chosen = nullptr;
      unsigned length = 0;
      ::SSL_get0_alpn_selected(ssl, &chosen, &length);
      if (options_.http2 && (length != 2 || std::memcmp(chosen, "h2", 2) != 0))
        co_return "it does not speak HTTP/2, which its TLS says (ALPN): leave out http: h2";
      co_return std::string();
    }
    const int why = ::SSL_get_error(ssl, result);
    if (why == SSL_ERROR_WANT_READ) {
      readiness_.drained();
      wake = co_await loop_.readable(waiter, readiness_);
    } else if (why == SSL_ERROR_WANT_WRITE) {
      readiness_.filled();
      wake = co_await loop_.writable(waiter, readiness_);
    } else {
      const long verified = ::SSL_get_verify_result(ssl);
      if (options_.tls->verify_ && verified != X509_V_OK) {  // it is kept when nobody asks for it, too
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

Connection::Read Connection::read_tls(char* into, std::size_t size) {
  if (tls_end_) return *tls_end_;
  Read result;
  // Record after record, until the socket is empty: only then is it known that nothing follows what was read.
  while (result.bytes < size) {
    ::ERR_clear_error();
    const int got = ::SSL_read(ssl_of(tls_), into + result.bytes,
                               static_cast<int>(std::min<std::size_t>(size - result.bytes, 1U << 30)));
    if (got > 0) {
      result.bytes += static_cast<std::size_t>(got);
      continue;
    }
    const int error = errno;
    const int why = ::SSL_get_error(ssl_of(tls_), got);
    if (why == SSL_ERROR_WANT_READ) {
      readiness_.drained();
      result.drained = result.bytes > 0;
      if (result.bytes == 0) result.io = Io::would_block_read;
      break;
    }
    if (why == SSL_ERROR_WANT_WRITE) {
      readiness_.filled();
      if (result.bytes == 0) result.io = Io::would_block_write;
      break;
    }
    Read end;
    end.io = Io::failed;
    if (why == SSL_ERROR_ZERO_RETURN) {
      end.io = Io::end;
    } else if (why == SSL_ERROR_SYSCALL) {
      end.error = error;
    } else if (ERR_GET_REASON(::ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      end.io = Io::end;
      end.cut = true;
    }
    ::ERR_clear_error();
    tls_end_ = end;  // OpenSSL does not say the same again
    if (result.bytes == 0) return end;
    break;
  }
  return result;
}

Connection::Read Connection::read(char* into, std::size_t size) {
  if (tls_ != nullptr) return read_tls(into, size);
  Read result;
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
    if (got > 0 && static_cast<std::size_t>(got) == size) result.backlog = has_backlog(socket_, size);
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
