#include "harness/output/request_trace.h"

#include <algorithm>

namespace sluice {

void RequestTracer::add(const RequestRecord& record, StepId step) {
  const std::uint64_t number = seen_.fetch_add(1, std::memory_order_relaxed);
  if (number >= requests_.size()) return;
  TracedRequest& kept = requests_[number];
  kept.step = step;
  kept.request_id = record.request_id;
  kept.id = record.id;
  kept.outcome = record.outcome;
  kept.status = record.status;
  kept.scheduled_at = record.scheduled_at;
  kept.started_at = record.started_at;
  kept.looked_up_at = record.looked_up_at;
  kept.connected_at = record.connected_at;
  kept.tls_at = record.tls_at;
  kept.send_began_at = record.send_began_at;
  kept.sent_at = record.sent_at;
  kept.first_byte_at = record.first_byte_at;
  kept.ended_at = record.ended_at;
  const std::size_t events = std::min(record.content.size(), limits::trace_marks_max);
  kept.content.assign(record.content.begin(), record.content.begin() + static_cast<std::ptrdiff_t>(events));
  kept.content_left_out = record.content.size() - events;
  kept.prompt_tokens = record.prompt_tokens;
  kept.output_tokens = record.output_tokens;
}

RequestTrace RequestTracer::take() {
  RequestTrace trace;
  const std::uint64_t seen = seen_.load();
  const std::uint64_t kept = std::min<std::uint64_t>(seen, requests_.size());
  requests_.resize(kept);
  trace.requests = std::move(requests_);
  trace.left_out = seen - kept;
  return trace;
}

}  // namespace sluice
