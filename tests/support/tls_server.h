// A server on loopback that plays scripts over TLS, with a certificate of its own making.
//
// As ScriptedServer, with what TLS adds: `close` says so first (close_notify), `half_close` ends TCP's stream without
// saying so, `reset` is TCP's. One connection at a time, on a thread that ends with the object. Nothing outlives it but
// what certificate() was written to.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/scripted_server.h"

namespace sluice::testing_support {

struct TlsServerOptions {
  std::string names = "DNS:localhost,IP:127.0.0.1";  // the certificate's subjectAltName
  bool wants_client_certificate = false;             // TLS 1.2, where its lack fails the handshake itself
  bool only_tls1_2 = false;
};

/// An SSL_CTX of a server with a fresh self-signed certificate, which is written to `certificate` (PEM) if that is not
/// null. The caller frees it.
void* new_server_context(const std::string& names = TlsServerOptions{}.names, std::string* certificate = nullptr);

class TlsServer {
 public:
  explicit TlsServer(std::vector<Script> scripts, const TlsServerOptions& options = {});
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(port_);
  }
  const std::string& certificate() const { return certificate_; }  // self-signed, PEM
  /// What it takes from a client, PEM.
  const std::string& client_certificate() const { return client_certificate_; }
  const std::string& client_key() const { return client_key_; }
  int connections() const { return connections_.load(); }  // of TCP
  /// What the client said in its first handshake that was whole (SNI); empty: nothing.
  std::string server_name() const;
  /// Whether the client announced the end of its first connection (close_notify). Waits until that has ended.
  bool first_client_said_goodbye() const;

 private:
  void serve();
  void play(int socket, const Script& script);

  std::vector<Script> scripts_;
  void* context_ = nullptr;  // SSL_CTX
  std::string certificate_, client_certificate_, client_key_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_{0};
  std::atomic<bool> first_ended_{false}, first_said_goodbye_{false};
  mutable std::mutex mutex_;
  std::string server_name_;  // guarded by mutex_
  int socket_ = -1;          // of the connection that is being served; guarded by mutex_
  bool stopping_ = false;    // guarded by mutex_
  std::thread thread_;
};

}  // namespace sluice::testing_support
