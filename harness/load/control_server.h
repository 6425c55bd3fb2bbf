// A small HTTP API over a run that lasts, for scenarios with executor: externally-controlled.
//
//     GET /v1/status                                     how the run stands
//     PATCH /v1/status {"vus": 20, "paused": false}      changes what it names; "stopped": true ends the run gracefully
//
// k6's documents ({"data": {"attributes": {...}}}) are taken and given as well, so that its tools work. An own thread;
// requests are small, one a connection, from few clients at a time. Whoever reaches the address may steer the run, so
// it is a loopback one unless the caller asks otherwise. What a client does wrong is answered with 4xx and a sentence.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "harness/base/result.h"
#include "harness/load/run.h"
#include "harness/load/status_change.h"

namespace sluice {

class ControlServer {
 public:
  /// `address`: "127.0.0.1:6565"; port 0: a free one. Fails where it cannot listen, and on an address of other machines
  /// unless `allow_remote`. `vus_max`: what the plan allows; `vus_now` is asked from the server's thread. Both must
  /// outlive the server.
  static Result<std::unique_ptr<ControlServer>> start(const std::string& address, bool allow_remote,
                                                      RunControl& control, std::uint32_t vus_max,
                                                      std::function<std::uint32_t()> vus_now);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  std::string url() const;

 private:
  struct State;
  explicit ControlServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sluice
