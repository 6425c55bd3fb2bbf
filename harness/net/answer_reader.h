// The answer to one request, taken apart as its bytes come: fills a RequestRecord as docs/metrics.md defines the
// instants.
//
// What HTTP/1.1 and HTTP/2 have in common; who carries the bytes calls in their order. Nothing is stored but for what a
// check asks to keep (bounded). A server's mistakes end in the record's outcome, `error` and `findings`. Single thread.
#pragma once

#include <boost/beast/http/field.hpp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/time.h"
#include "harness/metrics/record.h"
#include "harness/net/event_loop.h"
#include "harness/stream/chat_event.h"
#include "harness/stream/sse_parser.h"
#include "harness/stream/stream_rules.h"

namespace sluice {

class RecordSink;

struct ExchangeRequest {
  enum class Answer : std::uint8_t {
    plain,   // any body
    chat,    // one JSON answer of a chat or text completion
    stream,  // server-sent events of one
    events   // server-sent events of any kind: the data of each is content
  };
  std::string_view bytes;  // head and body; must live until the exchange has ended
  Answer answer = Answer::plain;
  bool head = false;                // a HEAD request: its answer has no body, whatever it says
  StreamApi api = StreamApi::chat;  // of a stream
  RuleSet noted;                    // of a stream: rules whose findings are only noted
  Nanoseconds keepalive{};          // of a stream: a longer silence is a finding; 0: none is
  bool judge_bursts = true;         // what comes in bursts is the server's doing, not that of a slow connection
  Nanoseconds timeout{};            // of the whole request, connecting included; from record.started_at
  bool keep_text = false, keep_body = false, keep_headers = false;  // for checks
  std::string_view until;            // Answer::events: data of the event that ends it; empty: the answer's end does
  std::uint64_t abandon_events = 0;  // a stream is dropped after so many events; 0: it is not
  Nanoseconds abandon_after{};       // and at this time, from record.started_at; 0: it is not
  bool keep_location = false, keep_cookies = false;  // in AnswerHeaders
  RecordSink* recorder = nullptr;                    // a stream's bytes are left there; null: they are not kept
};

/// Headers of the last answer that say what comes next.
struct AnswerHeaders {
  std::string location, content_encoding;
  std::vector<std::string> set_cookies;
};

class AnswerReader {
 public:
  /// All must outlive it. `loop`: that reads; null: whatever comes is read at once.
  AnswerReader(ChatEventParser& chat, LiveStreams& live, const EventLoop* loop)
      : chat_(chat), live_(live), loop_(loop) {}

  /// REQUIRES: record is clear but for scheduled_at and started_at; it lives until judge(). What is received counts as
  /// received `shift` later.
  void begin(const ExchangeRequest& request, RequestRecord& record, Nanoseconds shift = {});
  /// Another attempt at the same request; nothing of an answer has come yet.
  void begin_again();

  /// When the request's time is up, or (may_abandon) that after which its stream is dropped.
  Instant deadline() const { return deadline_; }
  bool may_abandon() const { return may_abandon_; }

  // What comes, in the order of its bytes. A read, then what was in it, then its end.
  /// `stamp`: the kernel's, kNever: none. `at`: user space's time just after.
  void read(std::size_t bytes, Instant stamp, Instant at);
  void status(unsigned status) { record_->status = status; }
  void header(std::string_view name, std::string_view value, boost::beast::http::field field);
  void headers_end();
  void body(std::string_view bytes);
  /// `drained`: nothing more was queued behind its last byte, which was this answer's.
  void read_end(bool drained);

  bool informational() const { return informational_; }  // of 1xx: another one follows
  bool overflowed() const { return sse_.overflowed(); }
  /// Whatever else comes is of no interest: a stream to be abandoned, one that has said what it was to, or too much.
  bool enough() const {
    return is_abandoned() || overflowed() || (request_.answer == ExchangeRequest::Answer::events && record_->saw_done);
  }

  /// The exchange ends here, before the answer has. `closed`: the server closed the connection in order.
  void cut(Outcome broken, std::string why, bool closed = false);
  /// Likewise, because a wait has ended as `wake` says.
  void give_up(Wake wake);
  /// Likewise, because of enough().
  void cut_enough();
  bool is_cut() const { return cut_ != Outcome::ok; }
  /// The end: of a whole answer, or of one that was cut.
  void judge();

  const ExchangeRequest& request() const { return request_; }
  RequestRecord& record() { return *record_; }
  const StreamRules& rules() const { return rules_; }
  const AnswerHeaders& headers() const { return headers_; }
  Instant received_at() const { return received_at_; }  // of the last read; kNever: there was none
  Instant shift() const { return shift_; }

 private:
  void take_event(const SseEvent& raw);
  void take_plain_event(const SseEvent& raw);
  void take_whole();
  void listen_for_silence(Instant previous_at, Instant at);
  void judge_events();
  void record_head();
  void record_end();
  void abandon();
  bool is_abandoned() const { return request_.abandon_events > 0 && record_->events >= request_.abandon_events; }
  bool is_stream() const {
    return request_.answer == ExchangeRequest::Answer::stream || request_.answer == ExchangeRequest::Answer::events;
  }
  bool ok_status() const { return record_->status >= 200 && record_->status <= 299; }
  bool streaming() const { return is_stream() && ok_status(); }

  ChatEventParser& chat_;
  LiveStreams& live_;
  const EventLoop* loop_;
  ExchangeRequest request_;
  RequestRecord* record_ = nullptr;
  SseParser sse_;
  StreamRules rules_;
  std::string content_type_;
  AnswerHeaders headers_;
  Instant shift_ = 0;  // the latency of a shaped connection
  Instant deadline_ = kNever;
  bool may_abandon_ = false;  // the deadline is that of abandon_after

  Outcome cut_ = Outcome::ok;
  std::string why_;
  bool closed_ = false;

  std::uint64_t recorded_ = 0;     // the stream's number in the recording; 0: it is not recorded
  std::string recorded_headers_;   // "name: value\n"
  Instant recorded_from_ = 0;      // t_sent
  Nanoseconds recorded_after_{0};  // since then, of the last piece

  // of the read being parsed
  Instant received_at_ = kNever;  // the kernel's stamp where it holds, else user space's
  bool kernel_stamp_ = false;
  bool last_event_was_content_ = false;
  std::uint32_t events_before_ = 0;
  std::uint64_t content_before_ = 0, offset_before_ = 0, received_before_ = 0;
  Nanoseconds silence_{};  // on the network, before it; 0: too short, or not certain

  std::int64_t tokens_so_far_ = 0;  // of continuous usage
  bool informational_ = false;
};

}  // namespace sluice
