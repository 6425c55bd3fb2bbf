// Where the time to the first content of a stream went: the client, the network, the server. Pure.
#pragma once

#include <optional>

#include "harness/base/time.h"
#include "harness/metrics/record.h"

namespace sluice {

/// The parts add up to ttft, where the server's do not exceed it.
struct TtftSplit {
  Nanoseconds client{}, network{};
  Nanoseconds queue{-1}, prefill{-1}, output{-1};  // as the server says; -1: it does not
  bool exceeded = false;  // the server's times are longer than ttft: the other parts are 0, and they add up to more
};

/// None where there is no ttft, or where the server has said neither queue nor prefill.
std::optional<TtftSplit> split_ttft(const RequestRecord& record);

/// From t_start until the request was sent, without what is the network's: connecting, and waiting on purpose for a
/// slow one. REQUIRES: it was sent.
Instant own_sending_time(const RequestRecord& record);

}  // namespace sluice
