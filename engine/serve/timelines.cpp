#include "engine/serve/timelines.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "engine/core/limits.h"
#include "engine/serve/api.h"
#include "engine/serve/frames.h"

namespace sluice::engine {
namespace {

std::int64_t ns_of(Clock::time_point at) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
}

std::optional<std::int64_t> between(std::int64_t from, std::int64_t to) {
  if (from == 0 || to == 0) return std::nullopt;
  return to - from;
}

void append_ms(std::string& out, std::string_view name, std::optional<std::int64_t> time_ns) {
  if (time_ns) {
    fmt::format_to(std::back_inserter(out), "\"{}\":{:.3f},", name, static_cast<double>(*time_ns) / 1e6);
  } else {
    fmt::format_to(std::back_inserter(out), "\"{}\":null,", name);
  }
}

void append_instant(std::string& out, std::string_view name, std::int64_t ns) {
  if (ns != 0) {
    fmt::format_to(std::back_inserter(out), "\"{}\":{},", name, ns);
  } else {
    fmt::format_to(std::back_inserter(out), "\"{}\":null,", name);
  }
}

}  // namespace

void ServedRequest::add(const TimelineWrite& write) {
  if (writes.size() < limits::timeline_writes_max) {
    writes.push_back(write);
  } else {
    ++writes_dropped;
  }
}

RequestMetrics metrics_of(const ServedRequest& request) {
  const TimelineMarks marks = request.engine->marks();
  const std::int64_t admitted = ns_of(marks.admitted), first = ns_of(marks.first_token), last = ns_of(marks.last_token);
  RequestMetrics out;
  out.time_to_first_token_ns = between(admitted, first);
  out.generation_time_ns = between(first, last);
  out.queue_time_ns = between(request.received_ns, admitted);
  if (marks.drawn > 1) out.mean_itl_ns = (last - first) / (marks.drawn - 1);
  if (last > admitted && admitted != 0) {
    out.tokens_per_second =
        static_cast<double>(marks.usage.completion_tokens) * 1e9 / static_cast<double>(last - admitted);
  }
  out.prefill_time_ns = between(admitted, first);
  out.output_time_ns = between(first, request.first_content_ns);
  out.server_ttft_ns = between(request.received_ns, request.first_content_ns);
  out.frames = request.frames;
  out.pieces = request.pieces;
  return out;
}

void append_metrics(std::string& out, const RequestMetrics& metrics) {
  out += '{';
  append_ms(out, "time_to_first_token_ms", metrics.time_to_first_token_ns);
  append_ms(out, "generation_time_ms", metrics.generation_time_ns);
  append_ms(out, "queue_time_ms", metrics.queue_time_ns);
  append_ms(out, "mean_itl_ms", metrics.mean_itl_ns);
  if (metrics.tokens_per_second) {
    fmt::format_to(std::back_inserter(out), "\"tokens_per_second\":{:.3f},", *metrics.tokens_per_second);
  } else {
    out += "\"tokens_per_second\":null,";
  }
  append_ms(out, "prefill_time_ms", metrics.prefill_time_ns);
  append_ms(out, "output_time_ms", metrics.output_time_ns);
  append_ms(out, "server_ttft_ms", metrics.server_ttft_ns);
  fmt::format_to(std::back_inserter(out), "\"chunks\":{},\"pieces\":{}}}", metrics.frames, metrics.pieces);
}

std::string timeline_body(const ServedRequest& request, std::int64_t now_ns) {
  const TimelineMarks marks = request.engine->marks();
  std::string out = "{\"id\":\"";
  append_escaped(out, request.id);
  out += "\",\"response_id\":\"";
  append_escaped(out, request.response_id);
  fmt::format_to(std::back_inserter(out), "\",\"clock\":\"CLOCK_MONOTONIC\",\"now_ns\":{},", now_ns);
  append_instant(out, "received_ns", request.received_ns);
  append_instant(out, "queued_ns", ns_of(marks.queued));
  append_instant(out, "prefill_start_ns", ns_of(marks.admitted));
  append_instant(out, "prefill_end_ns", ns_of(marks.first_token));
  append_instant(out, "first_token_ns", ns_of(marks.first_token));
  append_instant(out, "finished_ns", ns_of(marks.finished));
  fmt::format_to(std::back_inserter(out), "\"prompt_tokens\":{},\"cached_tokens\":{},\"completion_tokens\":{},",
                 marks.usage.prompt_tokens, marks.usage.cached_tokens, marks.usage.completion_tokens);
  if (marks.finish == FinishReason::none) {
    out += "\"finish_reason\":null,";
  } else {
    fmt::format_to(std::back_inserter(out), "\"finish_reason\":\"{}\",",
                   marks.finish == FinishReason::cancelled ? "cancelled" : name_of(marks.finish));
  }
  out += "\"steps\":[";
  const char* comma = "";
  for (const TimelineStep& step : request.engine->steps()) {
    fmt::format_to(std::back_inserter(out), "{}{{\"start_ns\":{},\"end_ns\":{},\"kind\":\"{}\",\"rows\":{}}}",
                   std::exchange(comma, ","), ns_of(step.start), ns_of(step.end), step.prefill ? "prefill" : "decode",
                   step.rows);
  }
  fmt::format_to(std::back_inserter(out), "],\"steps_dropped\":{},\"writes\":[", marks.steps_dropped);
  comma = "";
  for (const TimelineWrite& write : request.writes) {
    fmt::format_to(std::back_inserter(out), "{}{{\"before_ns\":{},\"after_ns\":{},\"bytes\":{},\"event\":{}}}",
                   std::exchange(comma, ","), write.before_ns, write.after_ns, write.bytes, write.event);
  }
  fmt::format_to(std::back_inserter(out), "],\"writes_dropped\":{}}}", request.writes_dropped);
  return out;
}

void Timelines::add(std::shared_ptr<ServedRequest> request) {
  by_id_[request->response_id] = request;
  by_id_[request->id] = std::move(request);
}

void Timelines::finish(const std::shared_ptr<ServedRequest>& request) {
  const std::size_t steps = request->engine->settle();
  request->writes.shrink_to_fit();
  constexpr std::size_t kBesideThem = 1024;  // the strings, the marks and the places in the maps, about
  const std::size_t bytes = kBesideThem + steps * sizeof(TimelineStep) + request->writes.size() * sizeof(TimelineWrite);
  finished_.push_back({request, bytes});
  finished_bytes_ += bytes;
  while (finished_.size() > limits::timelines_finished_max || finished_bytes_ > limits::timelines_bytes_max) {
    const Finished& oldest = finished_.front();
    forget(oldest.request->id, oldest.request.get());
    forget(oldest.request->response_id, oldest.request.get());
    finished_bytes_ -= oldest.bytes;
    finished_.pop_front();
  }
}

void Timelines::forget(const std::string& id, const ServedRequest* request) {
  const auto found = by_id_.find(id);
  if (found != by_id_.end() && found->second.get() == request) by_id_.erase(found);
}

std::shared_ptr<const ServedRequest> Timelines::find(std::string_view id) const {
  const auto found = by_id_.find(std::string(id));
  return found == by_id_.end() ? nullptr : found->second;
}

}  // namespace sluice::engine
