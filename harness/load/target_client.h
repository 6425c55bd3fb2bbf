// Asks the target itself, beside the load: its models, what it says of requests. One request at a time, over a
// connection that is kept.
#pragma once

#include <memory>
#include <string_view>

#include "harness/load/program.h"
#include "harness/metrics/record.h"

namespace sluice {

class TargetClient {
 public:
  /// Both must outlive it.
  TargetClient(const Plan& plan, const Endpoint& target, std::shared_ptr<TlsContext> tls);
  ~TargetClient();
  TargetClient(const TargetClient&) = delete;
  TargetClient& operator=(const TargetClient&) = delete;

  /// GET `path`, with the headers that the scenario gives the target. Good until the next call; the body is kept.
  const RequestRecord& get(std::string_view path, Nanoseconds timeout);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice
