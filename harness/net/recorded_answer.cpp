#include "harness/net/recorded_answer.h"

#include <string_view>

#include "harness/net/answer_reader.h"

namespace sluice {

namespace http = boost::beast::http;

namespace {

constexpr Nanoseconds kKeepalive = std::chrono::seconds(15);  // as of scenarios that say nothing else

/// A reader of one answer, and what it needs.
struct Judge {
  /// `age`: how long ago its request was sent.
  Judge(StreamApi api, const RuleSet& noted, Nanoseconds keepalive, Nanoseconds age) : at(now() - age.count()) {
    ExchangeRequest request;
    request.answer = ExchangeRequest::Answer::stream;
    request.api = api;
    request.noted = noted;
    request.keepalive = keepalive;
    request.timeout = std::chrono::hours(1);
    record.started_at = record.send_began_at = record.sent_at = at;
    reader.begin(request, record);
  }
  void head(const RecordedStream& answer) {
    reader.status(answer.status);
    if (!answer.content_type.empty()) reader.header("Content-Type", answer.content_type, http::field::content_type);
    reader.headers_end();
  }

  const Instant at;
  ChatEventParser chat;
  LiveStreams live;
  AnswerReader reader{chat, live, nullptr};
  RequestRecord record;
};

void cut(AnswerReader& reader, TimedStream::End end) {
  switch (end) {
    case TimedStream::End::complete:
      return;
    case TimedStream::End::closed:
      return reader.cut(Outcome::reset, "closed by the server in the middle of an answer", true);
    case TimedStream::End::reset:
      return reader.cut(Outcome::reset, "connection reset in the middle of an answer");
    case TimedStream::End::timeout:
      return reader.cut(Outcome::timed_out, "not finished within the request's time");
    case TimedStream::End::cut:
      return reader.cut(Outcome::interrupted, "cut by who recorded it");
    case TimedStream::End::malformed:
      return reader.cut(Outcome::malformed, "not HTTP");
  }
}

}  // namespace

RequestRecord answer_of(const RecordedStream& recording, StreamApi api, const RuleSet& noted) {
  Judge judge(api, noted, {}, {});
  AnswerReader& reader = judge.reader;
  judge.head(recording);
  // In pieces, as it would come: no more than one read is looked at together.
  constexpr std::size_t kReadBytes = std::size_t{64} << 10;
  const std::string_view body = recording.body;
  for (std::size_t from = 0; from < body.size() && !reader.overflowed(); from += kReadBytes) {
    const std::string_view piece = body.substr(from, kReadBytes);
    reader.read(piece.size(), kNever, judge.at);
    reader.body(piece);
    reader.read_end(true);
  }
  if (!recording.problem.empty()) reader.cut(Outcome::reset, recording.problem);
  if (reader.overflowed()) reader.cut_enough();
  reader.judge();
  return std::move(judge.record);
}

RequestRecord answer_of(const TimedStream& recorded, StreamApi api, const RuleSet& noted) {
  Judge judge(api, noted, kKeepalive, std::chrono::microseconds(recorded.end_us));
  AnswerReader& reader = judge.reader;
  const std::string_view body = recorded.answer.body;
  const auto instant = [&](std::int64_t us) { return judge.at + us * 1000; };
  // A head that came with the first piece was one read with it: the silence before counts from when it was asked for.
  bool head_alone = recorded.pieces.empty() || recorded.pieces.front().us != recorded.head_us;
  if (head_alone) {
    reader.read(0, kNever, instant(recorded.head_us));
    judge.head(recorded.answer);
    reader.read_end(true);
  }
  std::size_t from = 0;
  for (std::size_t i = 0; i < recorded.pieces.size() && !reader.overflowed();) {
    // Pieces of one instant were one read.
    const std::int64_t us = recorded.pieces[i].us;
    std::size_t last = i;
    while (last + 1 < recorded.pieces.size() && recorded.pieces[last + 1].us == us) ++last;
    reader.read(recorded.pieces[last].end - from, kNever, instant(us));
    if (!std::exchange(head_alone, true)) judge.head(recorded.answer);
    for (; i <= last; ++i) {
      reader.body(body.substr(from, recorded.pieces[i].end - from));
      from = recorded.pieces[i].end;
    }
    reader.read_end(true);
  }
  cut(reader, recorded.end);
  if (reader.overflowed()) reader.cut_enough();
  reader.judge();
  judge.record.ended_at = instant(recorded.end_us);
  return std::move(judge.record);
}

}  // namespace sluice
