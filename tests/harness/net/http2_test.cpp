#include "harness/net/http2.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "harness/net/exchange.h"
#include "tests/support/http2_server.h"
#include "tests/support/scripted_server.h"
#include "tests/support/tls_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using End = Http2Answer::End;

const std::string kGet = "GET /a?b=c HTTP/1.1\r\nHost: example:1\r\nConnection: keep-alive\r\nX-Mixed: Case\r\n\r\n";

ExchangeRequest get(std::string_view bytes = kGet) {
  ExchangeRequest request;
  request.bytes = bytes;
  request.timeout = 5s;
  request.keep_body = request.keep_headers = true;
  return request;
}

ExchangeRequest chat_stream() {
  ExchangeRequest request = get();
  request.answer = ExchangeRequest::Answer::stream;
  request.keep_text = true;
  return request;
}

Http2Answer chat_answer(int tokens) {
  Http2Answer answer;
  answer.headers = {{"content-type", "text/event-stream"}};
  answer.pieces.push_back(role_event());
  for (int i = 0; i < tokens; ++i) answer.pieces.push_back(content_event("a"));
  answer.pieces.push_back(finish_event());
  answer.pieces.push_back(done_event());
  return answer;
}

/// A thread's client, and as many VUs of it as a test asks for.
class Client {
 public:
  explicit Client(const std::string& url, Nanoseconds connect_timeout = 2s) {
    endpoint_ = *parse_endpoint(url);
    if (!resolve(endpoint_)) throw std::runtime_error("resolve");
    ConnectionOptions options;
    options.connect_timeout = connect_timeout;
    if (clock_.start()) options.stamps = &clock_;
    if (endpoint_.tls) {
      TlsOptions tls;
      tls.verify = false;
      options.tls = *TlsContext::make(tls);
    }
    client_ = std::make_unique<Http2Client>(loop_, buffers_.read_buffer(), ExchangeBuffers::kReadBytes, endpoint_,
                                            std::move(options));
  }

  /// Each request is that of a VU of its own; all at the same time.
  std::deque<RequestRecord> all(std::vector<ExchangeRequest> requests, std::function<void(Instant)> on_tick = {}) {
    std::deque<RequestRecord> records(requests.size());
    std::size_t left = requests.size();
    std::vector<Task<>> tasks;
    while (vus_.size() < requests.size()) vus_.push_back(std::make_unique<Vu>(*this));
    for (std::size_t i = 0; i < requests.size(); ++i) {
      tasks.push_back(one(*vus_[i], requests[i], records[i], left));
      tasks.back().start();
    }
    if (left > 0)
      loop_.run([&](Instant at, Nanoseconds) {
        if (on_tick) on_tick(at);
      });
    return records;
  }
  RequestRecord one(const ExchangeRequest& request) { return all({request}).front(); }

  Waiter& waiter(std::size_t vu) { return vus_.at(vu)->waiter; }
  std::size_t connections() const { return client_->connections(); }

 private:
  struct Vu {
    explicit Vu(Client& client) : waiter(client.loop_), exchange(client.loop_, client.buffers_) {}
    Waiter waiter;
    Exchange exchange;
  };

  Task<> one(Vu& vu, const ExchangeRequest& request, RequestRecord& record, std::size_t& left) {
    record.scheduled_at = record.started_at = now();
    co_await vu.exchange.run(vu.waiter, *client_, request, record);
    if (--left == 0) loop_.stop();
  }

  Endpoint endpoint_;
  EventLoop loop_;
  KernelClock clock_;
  ExchangeBuffers buffers_;
  std::unique_ptr<Http2Client> client_;
  std::vector<std::unique_ptr<Vu>> vus_;
};

TEST(Http2, CarriesARequestOverAsItStandsAndItsAnswerBack) {
  Http2Request seen;
  Http2Server server([&](const Http2Request& request) {
    seen = request;
    return Http2Answer{.headers = {{"content-type", "text/plain"}, {"x-more", "1"}}, .pieces = {"hello, ", "world"}};
  });
  Client client(server.url());
  const std::string post =
      "POST /p HTTP/1.1\r\nHost: example:1\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
  const RequestRecord record = client.one(get(post));
  EXPECT_EQ(record.outcome, Outcome::ok) << record.error;
  EXPECT_EQ(record.status, 200u);
  EXPECT_EQ(record.body, "hello, world");
  EXPECT_THAT(record.headers, Contains(Pair("x-more", "1")));
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.scheme, "http");
  EXPECT_EQ(seen.authority, "example:1");
  EXPECT_EQ(seen.path, "/p");
  EXPECT_EQ(seen.body, "{\"a\":1}");
  EXPECT_THAT(seen.headers, Contains(Pair("content-type", "application/json")));
  client.one(get());
  EXPECT_EQ(seen.path, "/a?b=c");
  EXPECT_THAT(seen.headers, testing::ElementsAre(Pair("x-mixed", "Case")));
}

TEST(Http2, MeasuresTheSameInstantsInTheSameOrder) {
  Http2Server server([](const Http2Request&) { return chat_answer(3); });
  Client client(server.url());
  const RequestRecord first = client.one(chat_stream()), second = client.one(chat_stream());
  for (const RequestRecord* record : {&first, &second}) {
    EXPECT_EQ(record->outcome, Outcome::ok) << record->error;
    EXPECT_EQ(record->text, "aaa");
    EXPECT_EQ(record->content.size(), 3u);
    EXPECT_TRUE(record->saw_done);
    EXPECT_LE(record->started_at, record->send_began_at);
    EXPECT_LE(record->send_began_at, record->sent_at);
    EXPECT_LE(record->sent_at, record->first_byte_at);
    EXPECT_LE(record->first_byte_at, record->first_body_at);
    EXPECT_LE(record->first_body_at, record->ended_at);
    EXPECT_GT(record->bytes_sent, 9u);
    EXPECT_GT(record->bytes_received, 300u);
  }
  EXPECT_TRUE(first.new_connection);
  EXPECT_LE(first.looked_up_at, first.connected_at);
  EXPECT_FALSE(second.new_connection);
  EXPECT_EQ(second.connected_at, kNever);
  EXPECT_EQ(server.connections(), 1);
}

TEST(Http2, ManyStreamsShareOneConnection) {
  Http2Server server([](const Http2Request&) {
    Http2Answer answer = chat_answer(20);
    answer.gap = 2ms;
    return answer;
  });
  Client client(server.url());
  const auto records = client.all(std::vector<ExchangeRequest>(50, chat_stream()));
  std::size_t openers = 0;
  for (const RequestRecord& record : records) {
    EXPECT_EQ(record.outcome, Outcome::ok) << record.error;
    EXPECT_EQ(record.text, std::string(20, 'a'));
    EXPECT_THAT(record.findings, IsEmpty());
    openers += record.new_connection ? 1 : 0;
  }
  EXPECT_EQ(openers, 1u);
  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(server.most_open_streams(), 50u);
}

TEST(Http2, AsManyStreamsAsTheServerAllowsThenAnotherConnection) {
  Http2Server server(
      [](const Http2Request&) {
        Http2Answer answer = chat_answer(5);
        answer.gap = 5ms;
        return answer;
      },
      {.streams_max = 8});
  Client client(server.url());
  for (int round = 0; round < 2; ++round) {
    for (const RequestRecord& record : client.all(std::vector<ExchangeRequest>(20, chat_stream())))
      EXPECT_EQ(record.outcome, Outcome::ok) << record.error;
  }
  EXPECT_EQ(server.connections(), 3);
  EXPECT_EQ(client.connections(), 3u);
  EXPECT_LE(server.most_open_streams(), 8u);
}

TEST(Http2, OnlyTheAnswerThatAReadEndsWithHasItsLastEventStampedAlone) {
  Http2Server server([](const Http2Request&) {
    Http2Answer answer = chat_answer(20);
    answer.gap = 1ms;
    return answer;
  });
  Client client(server.url());
  for (const RequestRecord& record : client.all(std::vector<ExchangeRequest>(8, chat_stream()))) {
    EXPECT_GE(record.reads, 1u);
    for (std::size_t i = 1; i < record.content.size(); ++i)
      EXPECT_LE(record.content[i - 1].received_at, record.content[i].received_at);
  }
}

struct EndCase {
  const char* name;
  End end;
  Outcome outcome;
  const char* error;
};

TEST(Http2, AnAnswerThatDoesNotEndWellIsCountedByCause) {
  for (const EndCase& each : {
           EndCase{"whole", End::whole, Outcome::ok, ""},
           EndCase{"trailers", End::trailers, Outcome::ok, ""},
           EndCase{"reset", End::reset, Outcome::reset, "the server reset the stream: INTERNAL_ERROR"},
           EndCase{"refused twice", End::refuse, Outcome::reset, "the server reset the stream: REFUSED_STREAM"},
           EndCase{"closed", End::close, Outcome::reset, "closed by the server in the middle of an answer"},
           EndCase{"silent", End::hang, Outcome::timed_out, "not finished within 300ms"},
       }) {
    Http2Server server([&](const Http2Request&) { return Http2Answer{.pieces = {"part"}, .end = each.end}; });
    Client client(server.url());
    ExchangeRequest request = get();
    request.timeout = 300ms;
    const RequestRecord record = client.one(request);
    EXPECT_EQ(record.outcome, each.outcome) << each.name << ": " << record.error;
    EXPECT_EQ(record.error, each.error) << each.name;
    EXPECT_EQ(record.body, each.end == End::refuse ? "" : "part") << each.name;
    EXPECT_THAT(record.headers, testing::Not(Contains(Pair("x-trailer", "end")))) << each.name;
  }
}

TEST(Http2, AfterEarlyHintsTheAnswerItselfCounts) {
  Http2Server server([](const Http2Request&) { return Http2Answer{.pieces = {"a"}, .early_hints = true}; });
  Client client(server.url());
  const RequestRecord record = client.one(get());
  EXPECT_EQ(record.status, 200u);
  EXPECT_EQ(record.body, "a");
}

TEST(Http2, ARequestThatTheServerHasNotLookedAtIsSentOnceMore) {
  for (const End end : {End::refuse, End::go_away}) {
    int requests = 0;
    Http2Server server(
        [&](const Http2Request&) { return ++requests == 2 ? Http2Answer{.end = end} : Http2Answer{.pieces = {"a"}}; });
    Client client(server.url());
    EXPECT_EQ(client.one(get()).outcome, Outcome::ok);
    const RequestRecord record = client.one(get());
    EXPECT_EQ(record.outcome, Outcome::ok) << record.error;
    EXPECT_EQ(requests, 3);
    EXPECT_EQ(server.connections(), end == End::go_away ? 2 : 1);
  }
}

TEST(Http2, ARequestThatTheServerMayHaveLookedAtIsNotSentAgain) {
  int requests = 0;
  Http2Server server([&](const Http2Request& request) {
    ++requests;
    return Http2Answer{.end = request.open_streams == 4 ? End::close : End::hang};
  });
  Client client(server.url());
  for (const RequestRecord& record : client.all(std::vector<ExchangeRequest>(4, get())))
    EXPECT_EQ(record.outcome, Outcome::reset) << record.error;
  EXPECT_EQ(requests, 4);
}

TEST(Http2, AServerThatTurnsEachConnectionAwayIsNotAskedForEver) {
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9), go_away("\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\0", 17);
  ScriptedServer server({{send(settings + go_away), wait(2s)}});
  Client client(server.url());
  const RequestRecord record = client.one(get());
  EXPECT_EQ(record.outcome, Outcome::reset);
  EXPECT_THAT(record.error, HasSubstr("closes each connection"));
  EXPECT_LE(server.connections(), 2);
}

TEST(Http2, AStreamThatIsAbandonedLeavesTheOthersAlone) {
  Http2Server server([](const Http2Request& request) {
    Http2Answer answer = chat_answer(30);
    answer.gap = 2ms;
    if (request.path == "/until") answer.pieces[5] = "data: enough\n\n";
    return answer;
  });
  Client client(server.url());
  std::vector<ExchangeRequest> requests(3, chat_stream());
  requests[0].abandon_events = 4;
  const std::string until = "GET /until HTTP/1.1\r\nHost: x\r\n\r\n";
  requests[1].bytes = until;
  requests[1].answer = ExchangeRequest::Answer::events;
  requests[1].until = "enough";
  const auto records = client.all(requests);
  EXPECT_TRUE(records[0].abandoned) << records[0].error;
  EXPECT_EQ(records[0].events, 4u);
  EXPECT_EQ(records[1].outcome, Outcome::ok) << records[1].error;
  EXPECT_EQ(records[1].events, 6u);
  EXPECT_EQ(records[2].outcome, Outcome::ok) << records[2].error;
  EXPECT_EQ(records[2].text.size(), 30u);
  EXPECT_EQ(client.one(get()).outcome, Outcome::ok);
  EXPECT_EQ(server.cancelled(), 2);
  EXPECT_EQ(server.connections(), 1);
}

TEST(Http2, AnInterruptedRequestIsCutAndItsStreamCancelled) {
  Http2Server server([](const Http2Request& request) {
    return Http2Answer{.pieces = {"a"}, .end = request.path == "/ok" ? End::whole : End::hang};
  });
  Client client(server.url());
  bool interrupted = false;
  const auto records = client.all({get()}, [&](Instant) {
    if (!std::exchange(interrupted, true)) client.waiter(0).interrupt();
  });
  EXPECT_EQ(records[0].outcome, Outcome::interrupted);
  client.waiter(0).clear_interrupt();
  EXPECT_EQ(client.one(get("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")).outcome, Outcome::ok);
  EXPECT_EQ(server.cancelled(), 1);
}

TEST(Http2, ALargeBodyWaitsForTheServersWindow) {
  std::size_t got = 0;
  Http2Server server([&](const Http2Request& request) {
    got = request.body.size();
    return Http2Answer{.pieces = {std::string(3 << 20, 'b')}};
  });
  Client client(server.url());
  const std::string body(1 << 20, 'a');
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" + body;
  const RequestRecord record = client.one(get(post));
  EXPECT_EQ(record.outcome, Outcome::ok) << record.error;
  EXPECT_EQ(got, body.size());
  EXPECT_GT(record.bytes_received, 3u << 20);
  EXPECT_GT(record.bytes_sent, 1u << 20);
}

TEST(Http2, OverTlsTheServerMustChooseIt) {
  Http2Server server([](const Http2Request& request) { return Http2Answer{.pieces = {request.scheme}}; },
                     {.tls = true});
  Client client(server.url());
  const RequestRecord record = client.one(get());
  EXPECT_EQ(record.outcome, Outcome::ok) << record.error;
  EXPECT_EQ(record.body, "https");
  EXPECT_NE(record.tls_at, kNever);

  TlsServer old({{await_request(), send(answer("x"))}});
  Client refused(old.url());
  const RequestRecord none = refused.one(get());
  EXPECT_EQ(none.outcome, Outcome::connect_failed);
  EXPECT_THAT(none.error, HasSubstr("does not speak HTTP/2"));
}

TEST(Http2, AServerOfHttp1IsNamedAsSuch) {
  ScriptedServer answering({{send("HTTP/1.1 400 Bad Request\r\n\r\n")}});
  ScriptedServer closing({{close_connection()}});
  ScriptedServer silent({{wait(10s)}});
  for (const auto& [url, error] :
       {std::pair(answering.url(), "answers in HTTP/1"), std::pair(closing.url(), "it may not speak HTTP/2"),
        std::pair(silent.url(), "no SETTINGS within 200ms")}) {
    Client client(url, 200ms);
    const auto records = client.all(std::vector<ExchangeRequest>(3, get()));
    for (const RequestRecord& record : records) {
      EXPECT_EQ(record.outcome, Outcome::connect_failed);
      EXPECT_THAT(record.error, HasSubstr(error));
    }
  }
}

TEST(Http2, BytesThatAreNoHttp2EndEachRequestAndTheConnectionIsOpenedAnew) {
  const std::string settings("\0\0\0\4\0\0\0\0\0", 9);
  const std::string headers_of_no_stream("\0\0\1\1\5\0\0\0\0\x88", 10);
  ScriptedServer server({{send(settings), send(headers_of_no_stream, 50ms)}});
  Client client(server.url());
  for (int i = 0; i < 2; ++i) {
    const RequestRecord record = client.one(get());
    EXPECT_NE(record.outcome, Outcome::ok);
    EXPECT_THAT(record.error, testing::Not(IsEmpty()));
  }
}

TEST(Http2, ALostConnectionCutsEachOfItsStreams) {
  Http2Server server([](const Http2Request& request) {
    return Http2Answer{.pieces = {"a"}, .gap = 5ms, .end = request.open_streams == 5 ? End::close : End::hang};
  });
  Client client(server.url());
  for (const RequestRecord& record : client.all(std::vector<ExchangeRequest>(5, get()))) {
    EXPECT_EQ(record.outcome, Outcome::reset);
    EXPECT_THAT(record.error, HasSubstr("closed by the server"));
  }
}

}  // namespace
}  // namespace sluice
