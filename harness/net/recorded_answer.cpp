#include "harness/net/recorded_answer.h"

#include <string_view>

#include "harness/net/answer_reader.h"

namespace sluice {

RequestRecord answer_of(const RecordedStream& recording, StreamApi api, const RuleSet& noted) {
  namespace http = boost::beast::http;
  ChatEventParser chat;
  LiveStreams live;
  AnswerReader reader(chat, live, nullptr);
  ExchangeRequest request;
  request.answer = ExchangeRequest::Answer::stream;
  request.api = api;
  request.noted = noted;
  request.timeout = std::chrono::hours(1);
  RequestRecord record;
  const Instant at = now();
  record.started_at = record.send_began_at = record.sent_at = at;
  reader.begin(request, record);
  reader.status(recording.status);
  if (!recording.content_type.empty()) reader.header("Content-Type", recording.content_type, http::field::content_type);
  reader.headers_end();
  // In pieces, as it would come: no more than one read is looked at together.
  constexpr std::size_t kReadBytes = std::size_t{64} << 10;
  const std::string_view body = recording.body;
  for (std::size_t from = 0; from < body.size() && !reader.overflowed(); from += kReadBytes) {
    const std::string_view piece = body.substr(from, kReadBytes);
    reader.read(piece.size(), kNever, at);
    reader.body(piece);
    reader.read_end(true);
  }
  if (!recording.problem.empty()) reader.cut(Outcome::reset, recording.problem);
  if (reader.overflowed()) reader.cut_enough();
  reader.judge();
  return record;
}

}  // namespace sluice
