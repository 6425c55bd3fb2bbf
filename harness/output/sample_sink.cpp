#include "harness/output/sample_sink.h"

#include <algorithm>
#include <cstring>

#include "harness/base/limits.h"
#include "harness/metrics/ttft_split.h"
#include "harness/output/sample.h"

namespace sluice {

namespace {

std::uint32_t error_bytes(const RequestRecord& record) {
  if (record.outcome == Outcome::ok) return 0;
  return static_cast<std::uint32_t>(std::min<std::size_t>(record.error.size(), limits::sample_error_bytes_max));
}

}  // namespace

std::byte* SampleSink::reserve(std::size_t bytes) {
  // One thread writes the counts: no locked instruction is needed.
  added_.store(added() + 1, std::memory_order_relaxed);
  std::byte* const room = ring_.reserve(bytes);
  if (room == nullptr) dropped_.store(dropped() + 1, std::memory_order_relaxed);
  return room;
}

template <class Sample>
void SampleSink::push(const Sample& sample) {
  std::byte* const room = reserve(sizeof sample);
  if (room == nullptr) return;
  std::memcpy(room, &sample, sizeof sample);
  ring_.commit();
}

void SampleSink::add(const RequestRecord& record, StepId step) {
  samples::Request r{};
  r.outcome = record.outcome;
  r.new_connection = record.new_connection;
  r.step = step;
  r.scheduled_at = record.scheduled_at;
  r.started_at = record.started_at;
  r.looked_up_at = record.looked_up_at;
  r.connected_at = record.connected_at;
  r.tls_at = record.tls_at;
  r.send_began_at = record.send_began_at;
  r.sent_at = record.sent_at;
  r.first_byte_at = record.first_byte_at;
  r.first_body_at = record.first_body_at;
  r.first_event_at = record.first_event_at;
  r.first_answer_at = record.first_answer_at;
  r.done_at = record.done_at;
  r.ended_at = record.ended_at;
  r.bytes_sent = record.bytes_sent;
  r.bytes_received = record.bytes_received;
  r.prompt_tokens = record.prompt_tokens;
  r.output_tokens = record.output_tokens;
  r.cached_tokens = record.cached_tokens;
  const Nanoseconds none(-1);
  const TtftSplit split = split_ttft(record).value_or(TtftSplit{.client = none, .network = none});
  r.ttft_client = split.client;
  r.ttft_network = split.network;
  r.ttft_queue = split.queue;
  r.ttft_prefill = split.prefill;
  r.ttft_output = split.output;
  r.status = record.status;
  r.http2 = record.http2;
  r.events = record.events;
  r.reads = record.reads;
  r.content = static_cast<std::uint32_t>(record.content.size());
  r.error_bytes = error_bytes(record);
  std::size_t found_bytes = 0;
  for (const Finding& finding : record.findings) {
    if (finding.noted) continue;
    ++r.findings;
    found_bytes += finding.bytes.size();
  }
  r.id_bytes = r.findings > 0 ? static_cast<std::uint32_t>(record.id.size()) : 0;

  std::byte* room = reserve(sizeof r + r.content * sizeof(samples::ContentStamp) +
                            r.findings * sizeof(samples::FindingMark) + r.error_bytes + r.id_bytes + found_bytes);
  if (room == nullptr) return;
  const auto put = [&room](const void* bytes, std::size_t size) {
    if (size > 0) std::memcpy(room, bytes, size);
    room += size;
  };
  put(&r, sizeof r);
  for (const ContentEvent& event : record.content) {
    const samples::ContentStamp stamp{event.received_at, event.tokens, event.characters};
    put(&stamp, sizeof stamp);
  }
  for (const Finding& finding : record.findings) {
    const samples::FindingMark mark{finding.offset, static_cast<std::uint32_t>(finding.bytes.size()), finding.rule};
    if (!finding.noted) put(&mark, sizeof mark);
  }
  put(record.error.data(), r.error_bytes);
  put(record.id.data(), r.id_bytes);
  for (const Finding& finding : record.findings)
    if (!finding.noted) put(finding.bytes.data(), finding.bytes.size());
  ring_.commit();
}

void SampleSink::add_websocket(const RequestRecord& record, const WebSocketRecord& session, StepId step) {
  samples::WebSocket w{};
  w.outcome = record.outcome;
  w.step = step;
  w.started_at = record.started_at;
  w.opened_at = session.opened_at;
  w.ended_at = record.ended_at;
  w.sent = session.sent;
  w.received = session.received;
  w.bytes_sent = record.bytes_sent;
  w.bytes_received = record.bytes_received;
  w.pong_time = session.pong_time;
  w.status = record.status;
  w.error_bytes = error_bytes(record);
  std::byte* const room = reserve(sizeof w + w.error_bytes);
  if (room == nullptr) return;
  std::memcpy(room, &w, sizeof w);
  if (w.error_bytes > 0) std::memcpy(room + sizeof w, record.error.data(), w.error_bytes);
  ring_.commit();
}

void SampleSink::add_check(CheckId check, bool passed, Instant at) {
  push(samples::CheckDone{.passed = passed, .check = check, .at = at});
}

void SampleSink::add_group(StepId group, Nanoseconds duration, Instant ended_at) {
  push(samples::GroupDone{.group = group, .duration = duration, .ended_at = ended_at});
}

void SampleSink::add_iteration(std::uint32_t scenario, Nanoseconds duration, Instant ended_at, bool interrupted) {
  push(samples::IterationDone{
      .interrupted = interrupted, .scenario = scenario, .duration = duration, .ended_at = ended_at});
}

void SampleSink::add_failed_iteration(std::uint32_t scenario, Instant ended_at) {
  push(samples::IterationFailed{.scenario = scenario, .ended_at = ended_at});
}

void SampleSink::add_custom(StepId step, Metric metric, double value, Instant at) {
  push(samples::CustomValue{.metric = metric, .step = step, .value = value, .at = at});
}

void SampleSink::add_dropped(std::uint32_t scenario, std::uint64_t iterations, Instant at) {
  push(samples::IterationsDropped{.scenario = scenario, .iterations = iterations, .at = at});
}

void SampleSink::add_vus(std::uint64_t now, std::uint64_t peak, Instant at) {
  push(samples::VusNow{.now = now, .peak = peak, .at = at});
}

}  // namespace sluice
