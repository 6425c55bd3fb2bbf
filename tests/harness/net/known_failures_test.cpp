// What today's clients are known to get wrong, each as a test; and what only the times of the reads can tell.
#include <gtest/gtest.h>

#include <boost/beast/http/field.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "harness/net/answer_reader.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;

const std::string kRole = role_event(), kA = content_event("a"), kB = content_event("b"), kStop = finish_event(),
                  kDone = done_event();

struct Piece {
  std::string bytes;
  Nanoseconds after{};  // the piece before
};

/// The reads of one answer: as Exchange calls them, on a clock of their own.
class Answer {
 public:
  explicit Answer(ExchangeRequest request = {}, LiveStreams* others = nullptr)
      : reader_(chat_, others != nullptr ? *others : live_, nullptr) {
    request.answer = ExchangeRequest::Answer::stream;
    request.keep_text = true;
    request.timeout = 1h;
    record.started_at = record.send_began_at = record.sent_at = at_;
    reader_.begin(request, record);
    reader_.status(200);
    reader_.header("Content-Type", "text/event-stream", boost::beast::http::field::content_type);
    reader_.headers_end();
  }
  Answer& read(const std::string& bytes, Nanoseconds after = 1ms) {
    at_ += after.count();
    reader_.read(bytes.size(), kNever, at_);
    reader_.body(bytes);
    reader_.read_end(true);
    return *this;
  }
  std::vector<std::string> rules() {
    reader_.judge();
    std::vector<std::string> names;
    for (const Finding& finding : record.findings) names.emplace_back(info(finding.rule).name);
    return names;
  }
  Instant at() const { return at_; }

  RequestRecord record;

 private:
  ChatEventParser chat_;
  LiveStreams live_;
  AnswerReader reader_;
  Instant at_ = 1'000'000'000'000;
};

struct Row {
  const char* name;
  std::string stream, text;
  std::size_t chunks;
  Outcome outcome;
};

std::string with_line_ends(std::string stream, std::string_view end) {
  for (std::size_t at = 0; (at = stream.find('\n', at)) != std::string::npos; at += end.size())
    stream.replace(at, 1, end);
  return stream;
}

TEST(KnownFailures, AreNoneOfOurs) {
  const std::string whole = kRole + kA + kB + kStop + kDone;
  std::string without_space = whole;
  for (std::size_t at = 0; (at = without_space.find("data: ", at)) != std::string::npos; ++at)
    without_space.erase(at + 5, 1);
  const std::vector<Row> rows{
      {"a comment and a blank line between events", kRole + kA + ": keep-alive\n\n" + kB + kStop + kDone, "ab", 2,
       Outcome::ok},
      {"a lone comment that no blank line ends", kRole + kA + ":\n" + kB + ": keep-alive\n" + kStop + kDone, "ab", 2,
       Outcome::ok},
      {"a comment first", ":\n\n:\n\n" + whole, "ab", 2, Outcome::ok},
      {"data: without a space", without_space, "ab", 2, Outcome::ok},
      {"CRLF", with_line_ends(whole, "\r\n"), "ab", 2, Outcome::ok},
      {"CR", with_line_ends(whole, "\r"), "ab", 2, Outcome::ok},
      {"a leading byte order mark", "\xEF\xBB\xBF" + whole, "ab", 2, Outcome::ok},
      {"white space at either end of a piece",
       kRole + content_event("  a ") + content_event("\\n") + content_event(" \\t") + kStop + kDone, "  a \n \t", 3,
       Outcome::ok},
      {"UTF-8 of two, three and four bytes",
       kRole + content_event("\xC3\xA4\xE6\x97\xA5") + content_event("\xF0\x9F\x98\x80") + kStop + kDone,
       "\xC3\xA4\xE6\x97\xA5\xF0\x9F\x98\x80", 2, Outcome::ok},
      {"an error in mid-stream is no success", kRole + kA + "data: {\"error\":{\"message\":\"x\"}}\n\n" + kDone, "a", 1,
       Outcome::stream_invalid},
      {"an end without finish_reason is no success", kRole + kA + kB + kDone, "ab", 2, Outcome::stream_invalid},
      {"an end without [DONE] is no success", kRole + kA + kB + kStop, "ab", 2, Outcome::stream_invalid},
      {"an event that no blank line ends is no success", kRole + kA + kStop + "data: [DONE]", "a", 1,
       Outcome::stream_invalid},
      {"a role alone is no content", kRole + kStop + kDone, "", 0, Outcome::stream_invalid},
  };
  for (const Row& row : rows) {
    // Read whole, byte by byte, and in pieces that cut everything somewhere else.
    for (const std::size_t step :
         {row.stream.size(), std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{61}}) {
      Answer answer;
      for (std::size_t at = 0; at < row.stream.size(); at += step) answer.read(row.stream.substr(at, step));
      answer.rules();
      EXPECT_EQ(answer.record.text, row.text) << row.name << ", " << step << " bytes a read";
      EXPECT_EQ(answer.record.content.size(), row.chunks) << row.name << ", " << step << " bytes a read";
      EXPECT_EQ(answer.record.outcome, row.outcome) << row.name << ": " << answer.record.error;
    }
  }
}

TEST(KnownFailures, ARoleIsNotTheFirstToken) {
  Answer answer;
  answer.read(kRole);
  const Instant role_at = answer.at();
  answer.read(kA, 300ms);
  EXPECT_EQ(answer.record.first_event_at, role_at);
  EXPECT_EQ(answer.record.content.front().received_at, answer.at());
  EXPECT_EQ(answer.record.first_answer_at, answer.at());
}

TEST(AnswerReader, ReadsAStreamOfTheDialectsApi) {
  ExchangeRequest request;
  request.api = StreamApi::messages;
  Answer answer(request);
  const auto event = [](const std::string& type, const std::string& more) {
    return "event: " + type + "\ndata: {\"type\":\"" + type + "\"" + more + "}\n\n";
  };
  answer.read(event(
      "message_start",
      R"(,"message":{"id":"msg_1","role":"assistant","model":"m","usage":{"input_tokens":25,"output_tokens":1}})"));
  answer.read(event("content_block_start", R"(,"index":0,"content_block":{"type":"text","text":""})"));
  answer.read(event("content_block_delta", R"(,"index":0,"delta":{"type":"text_delta","text":"Hi"})"));
  const Instant first_at = answer.at();
  answer.read(event("content_block_stop", R"(,"index":0)") +
              event("message_delta", R"(,"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3})") +
              event("message_stop", ""));
  EXPECT_EQ(answer.rules(), std::vector<std::string>{});
  const RequestRecord& r = answer.record;
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  EXPECT_EQ(r.text, "Hi");
  EXPECT_EQ(r.id, "msg_1");
  EXPECT_EQ(r.content.front().received_at, first_at);
  EXPECT_EQ(r.finish_reason, "end_turn");
  EXPECT_TRUE(r.saw_done);
  EXPECT_EQ(r.prompt_tokens, 25);
  EXPECT_EQ(r.output_tokens, 3);
}

TEST(AnswerReader, KnowsEventsOfAStreamThatIsOpenBesideIt) {
  const auto of = [](std::string event, const std::string& id) { return event.replace(event.find("c-1"), 3, id); };
  LiveStreams thread;
  Answer ours({}, &thread), theirs({}, &thread);
  ours.read(of(kRole, "ours"));
  theirs.read(of(kRole, "theirs"));
  ours.read(of(kA, "theirs") + of(kStop, "theirs") + kDone);
  EXPECT_EQ(ours.rules(), std::vector<std::string>{"interleaved"});
  EXPECT_EQ(ours.record.outcome, Outcome::stream_invalid);
  EXPECT_EQ(ours.record.findings[0].offset, of(kRole, "ours").size());
  theirs.read(of(kA, "theirs") + of(kStop, "theirs") + kDone);
  EXPECT_EQ(theirs.rules(), std::vector<std::string>{});
}

// ---- what the times tell ------------------------------------------------------------------------------------------

TEST(AnswerReader, FindsASilenceThatIsTooLong) {
  ExchangeRequest request;
  request.keepalive = 15s;
  const auto rules = [&](const std::vector<Piece>& pieces) {
    Answer answer(request);
    for (const Piece& piece : pieces) answer.read(piece.bytes, piece.after);
    return answer.rules();
  };
  const std::vector<std::string> silent{"keepalive-missing"};
  EXPECT_EQ(rules({{kRole, 60s}, {kA, 15s}, {kStop + kDone, 1s}}), std::vector<std::string>{})
      << "before the answer's first byte there is no stream";
  EXPECT_EQ(rules({{kRole, 1s}, {kA, 15001ms}, {kStop + kDone, 1s}}), silent);
  EXPECT_EQ(rules({{kRole, 1s}, {":\n\n", 10s}, {kA, 10s}, {kStop + kDone, 1s}}), std::vector<std::string>{})
      << "a comment is a sign of life";
  request.keepalive = {};
  EXPECT_EQ(rules({{kRole, 1s}, {kA, 100s}, {kStop + kDone, 1s}}), std::vector<std::string>{});
}

TEST(AnswerReader, FindsAProxyThatHoldsEventsBack) {
  const std::string five = kA + kA + kA + kA + kA;
  const std::vector<Piece> held{{kRole, 1ms}, {five, 200ms}, {five, 200ms}, {five, 200ms}, {kStop + kDone, 1ms}};
  const auto rules = [](const std::vector<Piece>& pieces, const ExchangeRequest& request = {}) {
    Answer answer(request);
    for (const Piece& piece : pieces) answer.read(piece.bytes, piece.after);
    return answer.rules();
  };
  EXPECT_EQ(rules(held), std::vector<std::string>{"proxy-buffering"});
  EXPECT_EQ(rules({{kRole + five + five + kStop + kDone, 2s}}), std::vector<std::string>{"proxy-buffering"});
  EXPECT_EQ(rules({{kRole, 1ms}, {five, 10ms}, {five, 10ms}, {five, 10ms}, {kStop + kDone, 1ms}}),
            std::vector<std::string>{})
      << "a fast server";
  ExchangeRequest slow;
  slow.judge_bursts = false;
  EXPECT_EQ(rules(held, slow), std::vector<std::string>{});
}

}  // namespace
}  // namespace sluice
