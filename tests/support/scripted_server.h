// A server on loopback that says given bytes at given times, whatever it is asked.
//
// Each connection follows the script of its number (the last script repeats): for each request it waits until the whole
// request is there, then plays the actions that follow. Own thread; ends with the object. Time is real here: tests that
// use delays keep them short and their bounds generous.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sluice::testing_support {

struct Action {
  enum class Kind : std::uint8_t {
    await_request,  // head, and the body its Content-Length promises
    send,           // bytes, after the delay
    close,          // in order: what was sent arrives
    reset,          // RST
    half_close      // no more from us; goes on reading
  };
  Kind kind = Kind::send;
  std::chrono::milliseconds delay{0};
  std::string bytes;
};
using Script = std::vector<Action>;

Action await_request();
Action send(std::string bytes, std::chrono::milliseconds delay = std::chrono::milliseconds(0));
Action close_connection(std::chrono::milliseconds delay = std::chrono::milliseconds(0));
Action reset_connection(std::chrono::milliseconds delay = std::chrono::milliseconds(0));
Action wait(std::chrono::milliseconds delay);

/// A 200 answer with its length.
std::string answer(std::string_view body, std::string_view content_type = "text/plain", int status = 200);
/// Head of a chunked event stream.
std::string stream_head(std::string_view content_type = "text/event-stream");
/// One chunk; an empty one is the end.
std::string chunk(std::string_view bytes);

// ---- a chat stream by the book, in events ("data: ...\n\n") -------------------------------------------------------

std::string role_event();
std::string content_event(std::string_view json_text);  // of choices[0].delta.content, already escaped
std::string finish_event(std::string_view reason = "stop");
std::string usage_event(int prompt_tokens, int completion_tokens);
std::string done_event();

class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<Script> scripts);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  std::uint16_t port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  /// Requests that were whole, in the order of their ends.
  std::vector<std::string> requests() const;
  int connections() const { return connections_.load(); }

 private:
  void accept_all();
  void play(int socket, const Script& script);
  bool pause(std::chrono::milliseconds delay) const;

  std::vector<Script> scripts_;
  int listener_ = -1, stop_ = -1;  // stop_: an eventfd, readable once the server ends
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> requests_;  // guarded by mutex_
  std::atomic<int> connections_{0};
  std::thread acceptor_;
  std::vector<std::thread> players_;  // of the acceptor's thread until it has ended
};

}  // namespace sluice::testing_support
