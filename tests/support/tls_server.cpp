#include "tests/support/tls_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace sluice::testing_support {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  ::ERR_print_errors_fp(stderr);
  std::abort();
}

template <auto kFree>
struct Free {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;

Certificate self_signed(EVP_PKEY* key, const std::string& names) {
  Certificate made(::X509_new());
  X509* const x = made.get();
  ::X509_set_version(x, X509_VERSION_3);
  ::ASN1_INTEGER_set(::X509_get_serialNumber(x), 1);
  ::X509_gmtime_adj(::X509_getm_notBefore(x), -60);
  ::X509_gmtime_adj(::X509_getm_notAfter(x), 3600);
  ::X509_set_pubkey(x, key);
  X509_NAME* const name = ::X509_get_subject_name(x);
  static constexpr std::string_view kName = "Sluice test";
  ::X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(kName.data()),
                               static_cast<int>(kName.size()), -1, 0);
  ::X509_set_issuer_name(x, name);
  std::unique_ptr<X509_EXTENSION, Free<X509_EXTENSION_free>> extension(
      ::X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str()));
  require(extension != nullptr, "subjectAltName");
  ::X509_add_ext(x, extension.get(), -1);
  require(::X509_sign(x, key, ::EVP_sha256()) > 0, "X509_sign");
  return made;
}

std::string pem_of(X509* certificate) {
  const std::unique_ptr<BIO, Free<BIO_free>> memory(::BIO_new(::BIO_s_mem()));
  require(::PEM_write_bio_X509(memory.get(), certificate) == 1, "PEM_write_bio_X509");
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

std::string pem_of(EVP_PKEY* key) {
  const std::unique_ptr<BIO, Free<BIO_free>> memory(::BIO_new(::BIO_s_mem()));
  require(::PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
          "PEM_write_bio_PrivateKey");
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

}  // namespace

void* new_server_context(const std::string& names, std::string* pem) {
  const Key key(::EVP_EC_gen("P-256"));
  require(key != nullptr, "EVP_EC_gen");
  const Certificate certificate = self_signed(key.get(), names);
  if (pem != nullptr) *pem = pem_of(certificate.get());
  SSL_CTX* const context = ::SSL_CTX_new(::TLS_server_method());
  require(context != nullptr, "SSL_CTX_new");
  require(::SSL_CTX_use_certificate(context, certificate.get()) == 1, "SSL_CTX_use_certificate");
  require(::SSL_CTX_use_PrivateKey(context, key.get()) == 1, "SSL_CTX_use_PrivateKey");
  return context;
}

TlsServer::TlsServer(std::vector<Script> scripts, const TlsServerOptions& options) : scripts_(std::move(scripts)) {
  SSL_CTX* const context = static_cast<SSL_CTX*>(new_server_context(options.names, &certificate_));
  context_ = context;
  const Key client_key(::EVP_EC_gen("P-256"));
  require(client_key != nullptr, "EVP_EC_gen");
  const Certificate client = self_signed(client_key.get(), "DNS:client.example");
  client_certificate_ = pem_of(client.get());
  client_key_ = pem_of(client_key.get());
  ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context), client.get());
  if (options.only_tls1_2) ::SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  if (options.wants_client_certificate) {
    ::SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
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
  thread_ = std::thread([this] { serve(); });
}

TlsServer::~TlsServer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    ::shutdown(listener_, SHUT_RDWR);  // wakes accept
    if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
  }
  thread_.join();
  ::close(listener_);
  ::SSL_CTX_free(static_cast<SSL_CTX*>(context_));
}

std::string TlsServer::server_name() const {
  const std::lock_guard lock(mutex_);
  return server_name_;
}

bool TlsServer::first_client_said_goodbye() const {
  first_ended_.wait(false);
  return first_said_goodbye_.load();
}

void TlsServer::serve() {
  // OpenSSL writes with write(2). The test's own thread keeps its SIGPIPE: the client must never raise it.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  while (true) {
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        if (socket >= 0) ::close(socket);
        break;
      }
      socket_ = socket;
    }
    if (socket < 0) continue;
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto number = static_cast<std::size_t>(connections_.fetch_add(1));
    play(socket, scripts_[std::min(number, scripts_.size() - 1)]);
    {
      const std::lock_guard lock(mutex_);
      socket_ = -1;
    }
    ::close(socket);
    if (number == 0) {
      first_ended_.store(true);
      first_ended_.notify_all();
    }
  }
  first_ended_.store(true);
  first_ended_.notify_all();
}

void TlsServer::play(int socket, const Script& script) {
  const std::unique_ptr<SSL, Free<SSL_free>> owner(::SSL_new(static_cast<SSL_CTX*>(context_)));
  SSL* const ssl = owner.get();
  ::SSL_set_fd(ssl, socket);
  if (::SSL_accept(ssl) != 1) return;
  if (const char* const name = ::SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name); name != nullptr) {
    const std::lock_guard lock(mutex_);
    if (server_name_.empty()) server_name_ = name;
  }
  std::string received;
  std::array<char, 4096> buffer{};
  for (const Action& action : script) {
    if (action.delay.count() > 0) std::this_thread::sleep_for(action.delay);
    if (action.kind == Action::Kind::await_request) {
      std::size_t end = 0;
      while ((end = received.find("\r\n\r\n")) == std::string::npos) {
        const int got = ::SSL_read(ssl, buffer.data(), static_cast<int>(buffer.size()));
        if (got <= 0) return;
        received.append(buffer.data(), static_cast<std::size_t>(got));
      }
      received.erase(0, end + 4);
    } else if (action.kind == Action::Kind::send) {
      if (!action.bytes.empty() && ::SSL_write(ssl, action.bytes.data(), static_cast<int>(action.bytes.size())) <= 0) {
        return;
      }
    } else if (action.kind == Action::Kind::half_close) {
      ::shutdown(socket, SHUT_WR);
    } else if (action.kind == Action::Kind::close) {
      ::SSL_shutdown(ssl);
      ::shutdown(socket, SHUT_WR);
    } else {
      const linger at_once{1, 0};
      ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      return;  // the caller closes it
    }
  }
  int got = 0;
  while ((got = ::SSL_read(ssl, buffer.data(), static_cast<int>(buffer.size()))) > 0) {
  }
  if (connections_.load() == 1) first_said_goodbye_ = ::SSL_get_error(ssl, got) == SSL_ERROR_ZERO_RETURN;
}

}  // namespace sluice::testing_support
