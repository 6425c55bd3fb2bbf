#include "harness/net/answer_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <utility>

#include "harness/base/duration.h"
#include "harness/base/limits.h"
#include "harness/output/record_sink.h"
#include "harness/stream/server_timing.h"

namespace sluice {

namespace http = boost::beast::http;

namespace {

void append_bounded(std::string& to, std::string_view bytes, std::size_t bytes_max) {
  if (to.size() < bytes_max) to.append(bytes.substr(0, bytes_max - to.size()));
}

}  // namespace

void AnswerReader::begin(const ExchangeRequest& request, RequestRecord& record, Nanoseconds shift) {
  request_ = request;
  record_ = &record;
  record.stream = is_stream();
  shift_ = shift.count();
  received_at_ = kNever;
  cut_ = Outcome::ok;
  why_.clear();
  closed_ = false;
  recorded_ = 0;
  deadline_ = record.started_at + request.timeout.count();
  const Instant abandoned_at =
      request.abandon_after.count() > 0 ? record.started_at + request.abandon_after.count() : kNever;
  may_abandon_ = abandoned_at != kNever && abandoned_at < deadline_;
  if (may_abandon_) deadline_ = abandoned_at;
  begin_again();
}

void AnswerReader::begin_again() {
  content_type_.clear();
  headers_.location.clear();
  headers_.content_encoding.clear();
  headers_.set_cookies.clear();
  recorded_headers_.clear();
  tokens_so_far_ = 0;
  informational_ = false;
  if (record_->stream) {
    sse_.reset();
    if (request_.answer == ExchangeRequest::Answer::stream) rules_.begin(request_.api, request_.noted, &live_);
  }
}

void AnswerReader::header(std::string_view name, std::string_view value, http::field field) {
  if (field == http::field::content_type) {
    content_type_.assign(value);
  } else if (field == http::field::content_encoding) {
    headers_.content_encoding.assign(value);
  } else if (field == http::field::location && request_.keep_location) {
    headers_.location.assign(value);
  } else if (field == http::field::set_cookie && request_.keep_cookies &&
             headers_.set_cookies.size() < limits::set_cookies_kept) {
    headers_.set_cookies.emplace_back(value);
  } else if (field == http::field::unknown && boost::beast::iequals(name, "server-timing")) {
    take_server_timing(value, record_->server);
  }
  if (request_.recorder != nullptr && RecordSink::keeps(name) &&
      recorded_headers_.size() + name.size() + value.size() < limits::recorded_headers_bytes_max)
    recorded_headers_.append(name).append(": ").append(value).append("\n");
  if (request_.keep_headers && record_->headers.size() < limits::headers_kept)
    record_->headers.emplace_back(name, value);
}

void AnswerReader::headers_end() {
  informational_ = record_->status >= 100 && record_->status <= 199;
  if (request_.answer == ExchangeRequest::Answer::stream && !informational_)
    rules_.header(record_->status, content_type_);
  if (informational_) recorded_headers_.clear();
  if (request_.recorder != nullptr && is_stream() && !informational_) record_head();
}

void AnswerReader::record_head() {
  recorded_from_ = record_->sent_at != kNever ? record_->sent_at : received_at_;
  recorded_after_ = Nanoseconds(std::max<Instant>(received_at_ - recorded_from_, 0));
  recorded_ = request_.recorder->begin({.request = request_.bytes,
                                        .status = record_->status,
                                        .content_type = content_type_,
                                        .headers = recorded_headers_,
                                        .sent_at = recorded_from_,
                                        .head_at = recorded_from_ + recorded_after_.count()});
}

void AnswerReader::record_end() {
  RecordedEnd how = RecordedEnd::complete;
  switch (cut_) {
    case Outcome::reset:
    case Outcome::connect_failed:
      how = closed_ ? RecordedEnd::closed : RecordedEnd::reset;
      break;
    case Outcome::timed_out:
      how = RecordedEnd::timeout;
      break;
    case Outcome::malformed:
      how = RecordedEnd::malformed;
      break;
    case Outcome::interrupted:
    case Outcome::stream_invalid:  // an event that was too large to go on
      how = RecordedEnd::cut;
      break;
    case Outcome::ok:
    case Outcome::http_error:
    case Outcome::flow_failed:
      break;
  }
  request_.recorder->end(recorded_, std::max(recorded_after_, Nanoseconds(record_->ended_at - recorded_from_)), how);
  recorded_ = 0;
}

void AnswerReader::body(std::string_view bytes) {
  RequestRecord& r = *record_;
  if (r.first_body_at == kNever) r.first_body_at = received_at_;
  if (recorded_ != 0) {
    recorded_after_ = std::max(recorded_after_, Nanoseconds(received_at_ - recorded_from_));
    if (!request_.recorder->add(recorded_, recorded_after_, bytes)) recorded_ = 0;
  }
  if (streaming()) {
    sse_.push(bytes);
    while (const auto event = sse_.next()) {
      if (r.saw_done && request_.answer == ExchangeRequest::Answer::events) break;
      if (is_abandoned()) break;
      if (request_.answer == ExchangeRequest::Answer::stream) {
        take_event(*event);
      } else {
        take_plain_event(*event);
      }
    }
  } else if (request_.keep_body || request_.answer == ExchangeRequest::Answer::chat) {
    append_bounded(r.body, bytes, limits::body_bytes_kept);
  }
}

void AnswerReader::take_event(const SseEvent& raw) {
  RequestRecord& r = *record_;
  const ChatEvent event = chat_.parse(raw.data, request_.api);
  const Instant seen_at = now() + shift_;
  ++r.events;
  if (kernel_stamp_) ++r.events_kernel_stamped;
  if (r.first_event_at == kNever) r.first_event_at = received_at_;
  rules_.event(raw, event);
  if (r.id.empty() && !event.id.empty()) r.id.assign(event.id.substr(0, limits::stream_id_bytes_kept));

  last_event_was_content_ = event.has_text();
  if (event.has_text()) {
    ContentEvent content;
    content.received_at = received_at_;
    content.seen_at = seen_at;
    content.kernel_stamp = kernel_stamp_;
    content.coalesced = true;  // until the read has turned out to end with it
    content.after_silence = silence_.count() > 0;
    r.content_choices |= event.content_choices;
    content.characters =
        count_code_points(event.text) + count_code_points(event.reasoning) + count_code_points(event.tool_text);
    if (event.has_usage && event.usage.completion_tokens > tokens_so_far_) {
      content.tokens = static_cast<std::uint32_t>(event.usage.completion_tokens - tokens_so_far_);
    }
    if (r.content.size() < limits::content_events_kept) r.content.push_back(content);
    if (!event.text.empty() && r.first_answer_at == kNever) r.first_answer_at = received_at_;
    if (request_.keep_text) append_bounded(r.text, event.text, limits::body_bytes_kept);
  }
  if (event.has_usage) {
    tokens_so_far_ = std::max(tokens_so_far_, event.usage.completion_tokens);
    // Some APIs say one part at the beginning and another at the end.
    if (event.usage.prompt_tokens >= 0) r.prompt_tokens = event.usage.prompt_tokens;
    if (event.usage.completion_tokens >= 0) r.output_tokens = event.usage.completion_tokens;
    if (event.usage.cached_tokens >= 0) r.cached_tokens = event.usage.cached_tokens;
  }
  if (event.times.source != ServerTimes::Source::none) r.server = event.times;
  if (!event.finish_reason.empty()) {
    if (r.finish_seen_at == kNever) r.finish_seen_at = received_at_;
    if (r.finish_reason.empty()) r.finish_reason.assign(event.finish_reason.substr(0, limits::stream_id_bytes_kept));
  }
  if (event.kind == ChatEvent::Kind::done) {
    r.saw_done = true;
    if (r.done_at == kNever) r.done_at = received_at_;
  }
}

void AnswerReader::take_plain_event(const SseEvent& raw) {
  RequestRecord& r = *record_;
  ++r.events;
  if (kernel_stamp_) ++r.events_kernel_stamped;
  if (r.first_event_at == kNever) r.first_event_at = received_at_;
  last_event_was_content_ = false;
  if (!request_.until.empty() && raw.data == request_.until) {
    r.saw_done = true;
    r.done_at = received_at_;
    return;
  }
  if (raw.data.empty()) return;
  ContentEvent content;
  content.received_at = received_at_;
  content.seen_at = now() + shift_;
  content.kernel_stamp = kernel_stamp_;
  content.coalesced = true;  // until the read has turned out to end with it
  content.characters = count_code_points(raw.data);
  last_event_was_content_ = true;
  if (r.content.size() < limits::content_events_kept) r.content.push_back(content);
  if (r.first_answer_at == kNever) r.first_answer_at = received_at_;
  if (request_.keep_text) append_bounded(r.text, raw.data, limits::body_bytes_kept);
}

void AnswerReader::read(std::size_t bytes, Instant stamp, Instant at) {
  RequestRecord& r = *record_;
  received_before_ = r.bytes_received;
  r.bytes_received += bytes;
  // A stamp from before we sent, or from the future, is of a clock that was set meanwhile.
  kernel_stamp_ = stamp != kNever && stamp >= r.send_began_at - 1000 && stamp <= at + 1000;
  const Instant previous_at = received_at_;
  received_at_ = kernel_stamp_ ? std::min(stamp + shift_, at) : at;
  if (r.first_byte_at == kNever) {
    r.first_byte_at = received_at_;
    // We were off our core between the send and the look at the clock: the request had left before it was answered.
    r.sent_at = std::min(r.sent_at, received_at_);
  }
  events_before_ = r.events;
  last_event_was_content_ = false;
  if (request_.answer == ExchangeRequest::Answer::stream) listen_for_silence(previous_at, at);
}

/// `previous_at`: of the read before; kNever: there was none.
void AnswerReader::listen_for_silence(Instant previous_at, Instant at) {
  offset_before_ = sse_.bytes_consumed();
  content_before_ = rules_.content_events();
  silence_ = {};
  if (previous_at != kNever && request_.keepalive.count() > 0 &&
      received_at_ - previous_at > request_.keepalive.count())
    rules_.silence(Nanoseconds(received_at_ - previous_at), offset_before_);
  if (!request_.judge_bursts) return;
  // All of it has come since the loop last looked: what a late loop finds together need not have come together.
  const Instant since = loop_ != nullptr ? std::min(loop_->offered_until(), at) : at;
  const Nanoseconds silence(since - (previous_at != kNever ? previous_at : record_->send_began_at));
  constexpr int kLateness = 2;  // the silence must be so many times as long as the time in which it came
  if (silence >= StreamRules::kBurstSilence && (at - since) * kLateness <= silence.count()) silence_ = silence;
}

void AnswerReader::read_end(bool drained) {
  RequestRecord& r = *record_;
  if (r.events == events_before_) return;
  ++r.reads;
  const std::uint64_t content = rules_.content_events() - content_before_;
  if (silence_.count() > 0 && content >= StreamRules::kBurstEvents) rules_.burst(content, silence_, offset_before_);
  if (silence_.count() > 0 && content > 1) r.burst_bytes += r.bytes_received - received_before_;
  // The stamp is that of the last byte read: it is the last event's own only if nothing of another follows.
  if (drained && last_event_was_content_ && !sse_.has_partial() && !r.content.empty())
    r.content.back().coalesced = false;
}

/// The whole body of an unstreamed answer.
void AnswerReader::take_whole() {
  RequestRecord& r = *record_;
  const ChatEvent event = chat_.parse(r.body);
  if (event.kind == ChatEvent::Kind::broken) {
    r.outcome = Outcome::stream_invalid;
    r.error = r.body.size() >= limits::body_bytes_kept ? "the answer is too long to be read" : "the answer is not JSON";
    return;
  }
  if (event.kind == ChatEvent::Kind::error) {
    r.outcome = Outcome::stream_invalid;
    r.error = "the answer is an error object";
    return;
  }
  r.id.assign(event.id.substr(0, limits::stream_id_bytes_kept));
  r.finish_reason.assign(event.finish_reason.substr(0, limits::stream_id_bytes_kept));
  if (request_.keep_text) r.text.assign(event.text);
  if (event.times.source != ServerTimes::Source::none) r.server = event.times;
  if (event.has_usage) {
    r.prompt_tokens = event.usage.prompt_tokens;
    r.output_tokens = event.usage.completion_tokens;
    r.cached_tokens = event.usage.cached_tokens;
  }
}

/// The end of server-sent events of any kind.
void AnswerReader::judge_events() {
  RequestRecord& r = *record_;
  if (r.outcome != Outcome::ok) {
    r.error = "an event is too large";
  } else if (!content_type_.empty() && !boost::beast::iequals(content_type_.substr(0, 17), "text/event-stream")) {
    r.outcome = Outcome::stream_invalid;
    r.error = "the answer is no stream of events";
  } else if (!request_.until.empty() && !r.saw_done) {
    r.outcome = Outcome::stream_invalid;
    r.error = "ended before the event that until: names";
  }
}

void AnswerReader::cut(Outcome broken, std::string why, bool closed) {
  cut_ = broken;
  closed_ = closed;
  why_ = std::move(why);
}

void AnswerReader::abandon() {
  cut(Outcome::interrupted, "abandoned");
  record_->abandoned = true;
}

void AnswerReader::cut_enough() {
  if (overflowed())
    cut(Outcome::stream_invalid, {});
  else if (is_abandoned())
    abandon();
}

void AnswerReader::give_up(Wake wake) {
  if (wake == Wake::interrupted) return cut(Outcome::interrupted, "cut by the end of the run");
  if (may_abandon_) return abandon();
  const bool nothing = record_->first_byte_at == kNever;
  cut(Outcome::timed_out, (nothing ? "no answer within " : "not finished within ") + format_duration(request_.timeout));
}

void AnswerReader::judge() {
  RequestRecord& r = *record_;
  r.ended_at = cut_ == Outcome::ok && received_at_ != kNever ? received_at_ : now();
  r.outcome = cut_;
  r.error = std::move(why_);
  if (recorded_ != 0) record_end();
  const bool answered = r.status != 0 && !informational_;
  if (request_.answer == ExchangeRequest::Answer::stream && answered) {
    const Nanoseconds silence(received_at_ != kNever ? r.ended_at - received_at_ : 0);
    if (request_.keepalive.count() > 0 && silence > request_.keepalive) rules_.silence(silence, sse_.bytes_consumed());
    StreamEnd end;
    end.framing_whole = cut_ == Outcome::ok;
    end.partial_event = sse_.has_partial();
    end.event_too_large = sse_.overflowed();
    end.interrupted = cut_ == Outcome::interrupted;
    end.offset = sse_.bytes_consumed();
    rules_.end(end);
    r.findings = rules_.findings();
    r.judged = true;
  }
  if (cut_ != Outcome::ok && cut_ != Outcome::stream_invalid) return;
  if (r.status >= 400) {
    r.outcome = Outcome::http_error;
    r.error = fmt::format("HTTP status {}", r.status);
  } else if (request_.answer == ExchangeRequest::Answer::events) {
    judge_events();
  } else if (r.stream && rules_.failed()) {
    r.outcome = Outcome::stream_invalid;
    for (const Finding& finding : rules_.findings()) {
      if (!StreamRules::fails(finding)) continue;
      if (!r.error.empty()) r.error += ", ";
      r.error += info(finding.rule).name;
    }
  } else if (request_.answer == ExchangeRequest::Answer::chat && ok_status()) {
    take_whole();
  }
}

}  // namespace sluice
