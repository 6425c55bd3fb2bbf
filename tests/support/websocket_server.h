// A WebSocket server on loopback that echoes, with a second implementation of the frames: it shares nothing with the
// client under test.
//
// Each text comes back as it is. Some are orders: "pieces" comes back in three frames with a ping between them,
// "binary" as a binary message, "quit N" is answered by a close frame with that code, "drop" by the end of the
// connection, "mute" by nothing from then on, "two" by two messages, "masked" by a frame that the protocol forbids. Own
// threads; ends with the object.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sluice::testing_support {

class WebSocketServer {
 public:
  /// `wrong_accept`: it answers the upgrade with another client's Sec-WebSocket-Accept.
  explicit WebSocketServer(bool wrong_accept = false);
  ~WebSocketServer();
  WebSocketServer(const WebSocketServer&) = delete;
  WebSocketServer& operator=(const WebSocketServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> heads() const;     // of the upgrades
  std::vector<std::string> received() const;  // texts, in order; "pong:" and "close:" before what such frames say
  int unmasked() const { return unmasked_.load(); }

 private:
  void accept_all();
  void serve(int socket);
  void note(std::string text);

  bool wrong_accept_;
  int listener_ = -1, stop_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> heads_, received_;  // guarded by mutex_
  std::atomic<int> unmasked_{0};
  std::thread acceptor_;
  std::vector<std::thread> servers_;  // of the acceptor's thread until it has ended
};

}  // namespace sluice::testing_support
