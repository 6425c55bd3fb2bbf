#include "harness/output/sample.h"

#include <algorithm>

#include "harness/metrics/chunk_figures.h"

namespace sluice::samples {
namespace {

bool happened(Instant at) { return at != kNever; }

class PointList {
 public:
  PointList(Instant at, std::vector<Point>& out) : at_(at), out_(out) { out_.clear(); }

  void value(Metric metric, double value) { value_at(metric, value, at_); }
  void value_at(Metric metric, double value, Instant at) { out_.push_back({metric, at, value}); }
  void count(Metric metric, std::uint64_t amount) { value(metric, static_cast<double>(amount)); }
  void rate(Metric metric, bool passed) { value(metric, passed ? 1 : 0); }
  void finding(const Point::Found& found) { out_.push_back({Metric::stream_findings, at_, 1, found}); }
  void duration(Metric metric, Instant time) { duration_at(metric, time, at_); }
  void duration_at(Metric metric, Instant time, Instant at) {
    out_.push_back({metric, at, static_cast<double>(std::max<Instant>(time, 0)) / 1e6});
  }
  /// Where both happened.
  void between(Metric metric, Instant from, Instant to) {
    if (happened(from) && happened(to)) duration(metric, to - from);
  }

 private:
  Instant at_;
  std::vector<Point>& out_;
};

Instant span(Instant from, Instant to) { return happened(from) && happened(to) ? to - from : 0; }

void add_http(const Request& r, bool interrupted, bool failed, PointList& list) {
  list.count(Metric::http_reqs, 1);
  const bool connected = happened(r.send_began_at);
  if (connected && !interrupted) {
    list.between(Metric::http_req_duration, r.send_began_at, r.ended_at);
    list.between(Metric::http_req_duration_sched, r.scheduled_at, r.ended_at);
  }
  if (connected) {
    list.between(Metric::http_req_blocked, r.started_at, r.send_began_at);
    const Instant looked_up_at = happened(r.looked_up_at) ? r.looked_up_at : r.started_at;
    list.duration(Metric::http_req_looking_up, r.new_connection ? looked_up_at - r.started_at : 0);
    list.duration(Metric::http_req_connecting, r.new_connection ? span(looked_up_at, r.connected_at) : 0);
    list.duration(Metric::http_req_tls_handshaking, r.new_connection ? span(r.connected_at, r.tls_at) : 0);
    list.between(Metric::http_req_sending, r.send_began_at, r.sent_at);
    list.between(Metric::http_req_waiting, r.sent_at, r.first_byte_at);
    if (!interrupted) list.between(Metric::http_req_receiving, r.first_byte_at, r.ended_at);
  }
  if (!interrupted) {
    list.rate(Metric::http_req_failed, failed && r.outcome != Outcome::stream_invalid);
    list.rate(Metric::connect_failed, r.outcome == Outcome::connect_failed);
    list.rate(Metric::timed_out, r.outcome == Outcome::timed_out);
  }
  list.count(Metric::data_sent, r.bytes_sent);
  list.count(Metric::data_received, r.bytes_received);
  const auto tokens = [&](Metric metric, std::int64_t count) {
    if (count >= 0) list.value(metric, static_cast<double>(count));
  };
  tokens(Metric::output_tokens, r.output_tokens);
  tokens(Metric::prompt_tokens, r.prompt_tokens);
  tokens(Metric::cached_tokens, r.cached_tokens);
}

void add_gaps(std::span<const ContentStamp> content, PointList& list) {
  const bool token_deltas_known =
      std::all_of(content.begin(), content.end(), [](const ContentStamp& stamp) { return stamp.tokens > 0; });
  for (std::size_t i = 1; i < content.size(); ++i) {
    const Instant gap = std::max<Instant>(content[i].at - content[i - 1].at, 0);
    list.duration_at(Metric::icl, gap, content[i].at);
    // A point each token: so that whoever averages the points weighs them as the tally does.
    for (std::uint32_t token = 0; token_deltas_known && token < content[i].tokens; ++token)
      list.duration_at(Metric::itl, gap / content[i].tokens, content[i].at);
  }
}

/// Of a whole stream.
void add_chunks(const Request& r, std::span<const ContentStamp> content, Nanoseconds token_time, PointList& list) {
  std::uint64_t characters = 0;
  bool token_deltas_known = true;
  for (const ContentStamp& stamp : content) {
    characters += stamp.characters;
    token_deltas_known = token_deltas_known && stamp.tokens > 0;
  }
  const auto per_chunk = tokens_per_chunk(r.output_tokens, content.size(), characters);
  if (per_chunk) list.value(Metric::tokens_per_chunk, *per_chunk);
  Fluidity fluidity(token_time);
  for (const ContentStamp& stamp : content)
    fluidity.add(stamp.at, token_deltas_known ? stamp.tokens : per_chunk.value_or(1));
  list.value(Metric::fluidity, fluidity.share() * 100);
}

void add_stream(const RequestView& view, bool interrupted, bool failed, Nanoseconds token_time, PointList& list) {
  const Request& r = view.request;
  const auto& content = view.content;
  const Instant first = content.empty() ? kNever : content.front().at;
  const Instant last = content.empty() ? kNever : content.back().at;
  if (r.status >= 200 && r.status < 300) {
    list.between(Metric::ttfb, r.started_at, r.first_body_at);
    list.between(Metric::ttfe, r.started_at, r.first_event_at);
    list.between(Metric::ttft, r.started_at, first);
    list.between(Metric::ttft_sched, r.scheduled_at, first);
    list.between(Metric::ttfa, r.started_at, r.first_answer_at);
    const auto part = [&](Metric metric, Nanoseconds time) {
      if (time.count() >= 0) list.duration(metric, time.count());
    };
    part(Metric::ttft_client, r.ttft_client);
    part(Metric::ttft_network, r.ttft_network);
    part(Metric::ttft_queue, r.ttft_queue);
    part(Metric::ttft_prefill, r.ttft_prefill);
    part(Metric::ttft_output, r.ttft_output);
    if (!content.empty()) add_gaps(content, list);
    for (const ContentStamp& stamp : content) list.value_at(Metric::chunk_size, stamp.characters, stamp.at);
    if (r.reads > 0) list.value(Metric::events_per_read, static_cast<double>(r.events) / r.reads);
  }
  std::string_view bytes = view.finding_bytes;
  for (const FindingMark& mark : view.findings) {
    list.finding({mark.rule, mark.offset, view.stream_id, bytes.substr(0, mark.bytes)});
    bytes.remove_prefix(mark.bytes);
  }
  if (interrupted) return;
  list.rate(Metric::stream_failed, failed);
  if (failed) return;
  list.count(Metric::stream_chunks, content.size());
  list.count(Metric::stream_events, r.events);
  list.between(Metric::e2e_done, r.started_at, r.done_at);
  if (content.empty()) return;
  list.between(Metric::e2e, r.started_at, last);
  list.between(Metric::e2e_sched, r.scheduled_at, last);
  const std::int64_t first_tokens = std::max<std::int64_t>(content.front().tokens, 1);
  if (r.output_tokens > first_tokens)
    list.duration(Metric::tpot, std::max<Instant>(last - first, 0) / (r.output_tokens - first_tokens));
  add_chunks(r, content, token_time, list);
}

}  // namespace

bool http_failed(Outcome outcome) {
  return outcome != Outcome::ok && outcome != Outcome::interrupted && outcome != Outcome::stream_invalid;
}

RequestView::RequestView(std::span<const std::byte> bytes) : request(*reinterpret_cast<const Request*>(bytes.data())) {
  const std::byte* at = bytes.data() + sizeof(Request);
  content = {reinterpret_cast<const ContentStamp*>(at), request.content};
  at += content.size_bytes();
  findings = {reinterpret_cast<const FindingMark*>(at), request.findings};
  at += findings.size_bytes();
  error = {reinterpret_cast<const char*>(at), request.error_bytes};
  stream_id = {error.data() + error.size(), request.id_bytes};
  std::size_t found_bytes = 0;
  for (const FindingMark& mark : findings) found_bytes += mark.bytes;
  finding_bytes = {stream_id.data() + stream_id.size(), found_bytes};
}

void points_of(const RequestView& view, bool step_streams, Nanoseconds token_time, std::vector<Point>& out) {
  const Request& r = view.request;
  const bool interrupted = r.outcome == Outcome::interrupted;
  const bool failed = r.outcome != Outcome::ok && !interrupted;
  PointList list(r.ended_at, out);
  add_http(r, interrupted, failed, list);
  if (step_streams) add_stream(view, interrupted, failed, token_time, list);
}

void points_of(const WebSocket& w, std::vector<Point>& out) {
  PointList list(w.ended_at, out);
  list.count(Metric::ws_sessions, 1);
  list.between(Metric::ws_connecting, w.started_at, w.opened_at);
  if (w.outcome != Outcome::interrupted) list.between(Metric::ws_session_duration, w.started_at, w.ended_at);
  list.count(Metric::ws_msgs_sent, w.sent);
  list.count(Metric::ws_msgs_received, w.received);
  if (w.pong_time.count() >= 0) list.duration(Metric::ws_ping, w.pong_time.count());
  list.count(Metric::data_sent, w.bytes_sent);
  list.count(Metric::data_received, w.bytes_received);
  if (w.outcome == Outcome::interrupted) return;
  list.rate(Metric::connect_failed, w.outcome == Outcome::connect_failed);
  list.rate(Metric::timed_out, w.outcome == Outcome::timed_out);
}

}  // namespace sluice::samples
