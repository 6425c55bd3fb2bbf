// A server on loopback whose capacity is known: it serves one request at a time, each for so long, in the order in
// which they came; and it may stand still once. The end of each service is an instant of a schedule, so that a late
// wake-up costs no capacity. Own thread; ends with the object.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

namespace sluice::testing_support {

struct ServerTimes {
  std::chrono::nanoseconds service{};       // of each request; 0: answered at once
  std::chrono::nanoseconds freeze_after{};  // since the first request
  std::chrono::nanoseconds freeze{};        // how long it then stands still, once; 0: never
};

class TimedServer {
 public:
  explicit TimedServer(ServerTimes times);
  ~TimedServer();
  TimedServer(const TimedServer&) = delete;
  TimedServer& operator=(const TimedServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void serve(const std::stop_token& stop) const;

  const ServerTimes times_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::jthread thread_;
};

}  // namespace sluice::testing_support
