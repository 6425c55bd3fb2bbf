#include "harness/metrics/ttft_split.h"

#include <algorithm>

namespace sluice {

Instant own_sending_time(const RequestRecord& r) {
  // Over HTTP/2 others wait for the same connection, and the server's flow control says when a body may go.
  const bool connects = r.new_connection || r.http2;
  const Instant connecting = connects ? std::max<Instant>(r.send_began_at - r.started_at, 0) : 0;
  return (r.http2 ? r.send_began_at : r.sent_at) - r.started_at - connecting - r.paced.count();
}

std::optional<TtftSplit> split_ttft(const RequestRecord& r) {
  const ServerTimes& server = r.server;
  const bool measured = r.stream && r.status >= 200 && r.status < 300 && !r.content.empty() && r.sent_at != kNever;
  if (!measured || (server.queue.count() < 0 && server.prefill.count() < 0)) return std::nullopt;
  TtftSplit split{.queue = server.queue, .prefill = server.prefill, .output = server.output};
  Nanoseconds rest(std::max<Instant>(r.content.front().received_at - r.started_at, 0));
  for (const Nanoseconds part : {server.queue, server.prefill, server.output}) rest -= std::max(part, Nanoseconds(0));
  split.exceeded = rest.count() < 0;
  rest = std::max(rest, Nanoseconds(0));
  // We were off our core between the send and the look at the clock, if the server had the request meanwhile.
  split.client = std::clamp(Nanoseconds(own_sending_time(r)), Nanoseconds(0), rest);
  split.network = rest - split.client;
  return split;
}

}  // namespace sluice
