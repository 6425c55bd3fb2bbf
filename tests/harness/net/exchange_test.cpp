#include "harness/net/exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client with one connection: exchanges run to their end, one after the other.
class Client {
 public:
  explicit Client(const std::string& url, bool stamps = true, NetworkShape shape = {}) : shape_(shape) {
    endpoint_ = *parse_endpoint(url);
    if (!resolve(endpoint_)) throw std::runtime_error("resolve");
    ConnectionOptions options;
    options.connect_timeout = 2s;
    if (shape_.any()) options.shape = &shape_;
    if (stamps) {
      stamping_ = clock_.start();
      options.stamps = &clock_;
    }
    connection_ = std::make_unique<Connection>(loop_, endpoint_, std::move(options));
  }

  RequestRecord exchange(ExchangeRequest request, std::function<void(Instant)> on_tick = {}) {
    RequestRecord record;
    record.scheduled_at = record.started_at = now();
    exchange_.run_alone(waiter_, *connection_, request, record, on_tick);
    return record;
  }

  RequestRecord get(std::string_view bytes = kGet) {
    ExchangeRequest request;
    request.bytes = bytes;
    request.timeout = 2s;
    request.keep_body = request.keep_headers = true;
    return exchange(request);
  }

  RequestRecord stream(Nanoseconds timeout = 2s) {
    ExchangeRequest request;
    request.bytes = kGet;
    request.timeout = timeout;
    request.answer = ExchangeRequest::Answer::stream;
    request.keep_text = true;
    return exchange(request);
  }

  Waiter& waiter() { return waiter_; }
  const AnswerHeaders& headers() const { return exchange_.headers(); }
  bool stamping() const { return stamping_; }
  bool open() const { return connection_->is_open(); }

 private:
  Endpoint endpoint_;
  EventLoop loop_;
  KernelClock clock_;
  ExchangeBuffers buffers_;
  Waiter waiter_{loop_};
  Exchange exchange_{loop_, buffers_};
  NetworkShape shape_;
  std::unique_ptr<Connection> connection_;
  bool stamping_ = false;
};

std::vector<std::string> rules_of(const RequestRecord& record) {
  std::vector<std::string> names;
  for (const Finding& finding : record.findings) names.emplace_back(info(finding.rule).name);
  return names;
}

const std::string kRole = role_event(), kA = content_event("a"), kB = content_event("b"), kStop = finish_event(),
                  kUsage = usage_event(3, 2), kDone = done_event();
const std::string kByTheBook = kRole + kA + kB + kStop + kUsage + kDone;

RequestRecord streamed(const Script& after_request, Nanoseconds timeout = 2s) {
  Script script{await_request()};
  script.insert(script.end(), after_request.begin(), after_request.end());
  ScriptedServer server({script});
  Client client(server.url());
  return client.stream(timeout);
}

// ---- plain answers ------------------------------------------------------------------------------------------------

TEST(Exchange, ReadsAnAnswerAndFillsTheInstantsInOrder) {
  ScriptedServer server({{await_request(), send(answer("hello"))}});
  Client client(server.url());
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::ok);
  EXPECT_EQ(r.error, "");
  EXPECT_EQ(r.status, 200u);
  EXPECT_EQ(r.body, "hello");
  EXPECT_TRUE(r.new_connection);
  EXPECT_EQ(r.bytes_sent, kGet.size());
  EXPECT_EQ(r.bytes_received, answer("hello").size());
  EXPECT_THAT(r.headers, Contains(testing::Pair("Content-Type", "text/plain")));
  const std::vector<Instant> order{r.scheduled_at, r.started_at,    r.looked_up_at,  r.connected_at, r.send_began_at,
                                   r.sent_at,      r.first_byte_at, r.first_body_at, r.ended_at};
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << testing::PrintToString(order);
  EXPECT_NE(r.looked_up_at, kNever);
  EXPECT_EQ(r.tls_at, kNever);
  EXPECT_EQ(server.requests().front(), kGet);
}

TEST(Exchange, UsesTheConnectionAgain) {
  ScriptedServer server({{await_request(), send(answer("1")), await_request(), send(answer("2"))}});
  Client client(server.url());
  EXPECT_EQ(client.get().body, "1");
  const RequestRecord second = client.get();
  EXPECT_EQ(second.body, "2");
  EXPECT_FALSE(second.new_connection);
  EXPECT_EQ(second.connected_at, kNever);
  EXPECT_EQ(server.connections(), 1);
}

TEST(Exchange, OpensAnewAfterConnectionClose) {
  ScriptedServer server({{await_request(), send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1")},
                         {await_request(), send(answer("2"))}});
  Client client(server.url());
  EXPECT_EQ(client.get().body, "1");
  EXPECT_FALSE(client.open());
  const RequestRecord second = client.get();
  EXPECT_EQ(second.outcome, Outcome::ok);
  EXPECT_EQ(second.body, "2");
}

TEST(Exchange, SendsOnceMoreWhenAKeptConnectionWasClosedWhileIdle) {
  // It closes when the second request is there, or before: both ways the second one must succeed.
  for (const bool after_request : {false, true}) {
    Script first{await_request(), send(answer("1"))};
    if (after_request) first.push_back(await_request());
    first.push_back(close_connection());
    ScriptedServer server({first, {await_request(), send(answer("2"))}});
    Client client(server.url());
    EXPECT_EQ(client.get().body, "1");
    const RequestRecord second = client.get();
    EXPECT_EQ(second.outcome, Outcome::ok) << second.error;
    EXPECT_EQ(second.body, "2");
    EXPECT_TRUE(second.new_connection);
    EXPECT_EQ(server.connections(), 2);
  }
}

TEST(Exchange, DoesNotSendTwiceOnANewConnection) {
  ScriptedServer server({{await_request(), close_connection()}});
  Client client(server.url());
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::reset);
  EXPECT_EQ(r.error, "closed by the server before an answer");
  EXPECT_EQ(server.connections(), 1);
}

TEST(Exchange, ReadsABodyThatEndsWithTheConnection) {
  ScriptedServer server({{await_request(), send("HTTP/1.0 200 OK\r\n\r\nhel"), send("lo", 20ms), close_connection()}});
  Client client(server.url());
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::ok);
  EXPECT_EQ(r.body, "hello");
}

TEST(Exchange, SkipsInformationalAnswers) {
  ScriptedServer server(
      {{await_request(), send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
        send(answer("hello"), 10ms)}});
  Client client(server.url());
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::ok);
  EXPECT_EQ(r.status, 200u);
  EXPECT_EQ(r.body, "hello");
}

TEST(Exchange, KnowsThatTheAnswerToHeadHasNoBody) {
  ScriptedServer server({{await_request(), send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")}});
  Client client(server.url());
  ExchangeRequest request;
  request.bytes = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n";
  request.head = true;
  request.timeout = 2s;
  EXPECT_EQ(client.exchange(request).outcome, Outcome::ok);
  EXPECT_TRUE(client.open());
}

TEST(Exchange, ReadsALargeBodyThatItDoesNotKeep) {
  const std::string body(3'000'000, 'x');
  ScriptedServer server({{await_request(), send(answer(body))}});
  Client client(server.url(), false);
  ExchangeRequest request;
  request.bytes = kGet;
  request.timeout = 10s;
  const RequestRecord r = client.exchange(request);
  EXPECT_EQ(r.outcome, Outcome::ok);
  EXPECT_EQ(r.bytes_received, answer(body).size());
  EXPECT_THAT(r.body, IsEmpty());
}

TEST(Exchange, SendsALargeRequestToASlowReader) {
  const std::string body(5'000'000, 'y');
  const std::string post = "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  ScriptedServer server({{wait(50ms), await_request(), send(answer("ok"))}});
  Client client(server.url());
  const RequestRecord r = client.get(post);
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  EXPECT_EQ(server.requests().front(), post);
}

struct Broken {
  const char* name;
  Script script;
  Outcome outcome;
  std::string error;
};

TEST(Exchange, CountsEachFailureAsWhatItIs) {
  const std::vector<Broken> rows{
      {"500", {send(answer("oops", "text/plain", 500))}, Outcome::http_error, "HTTP status 500"},
      {"404", {send(answer("", "text/plain", 404))}, Outcome::http_error, "HTTP status 404"},
      {"not http", {send("SSH-2.0-x\r\n\r\n")}, Outcome::malformed, "not HTTP"},
      {"bad chunk size",
       {send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")},
       Outcome::malformed,
       "not HTTP"},
      {"bad length", {send("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n")}, Outcome::malformed, "not HTTP"},
      {"endless header", {send("HTTP/1.1 200 OK\r\nX: " + std::string(70'000, 'x'))}, Outcome::malformed, "not HTTP"},
      {"cut in the body",
       {send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"), close_connection()},
       Outcome::reset,
       "in the middle"},
      {"cut in the header", {send("HTTP/1.1 200 O"), close_connection()}, Outcome::reset, "in the middle"},
      {"closed after an answer of 1xx",
       {send("HTTP/1.1 100 Continue\r\n\r\n"), close_connection()},
       Outcome::reset,
       "in the middle"},
      {"cut in the chunks", {send(stream_head() + chunk("abc")), close_connection()}, Outcome::reset, "in the middle"},
      {"cut in a chunk's size",
       {send(stream_head() + chunk("abc") + "1"), close_connection()},
       Outcome::reset,
       "in the middle"},
      {"reset",
       {send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"), reset_connection(20ms)},
       Outcome::reset,
       "in the middle"},
      {"reset at once", {reset_connection()}, Outcome::reset, "before an answer"},
      {"half closed without an answer", {Action{Action::Kind::half_close, {}, {}}}, Outcome::reset, "before an answer"},
  };
  for (const Broken& row : rows) {
    Script script{await_request()};
    script.insert(script.end(), row.script.begin(), row.script.end());
    ScriptedServer server({script});
    Client client(server.url());
    const RequestRecord r = client.get();
    EXPECT_EQ(r.outcome, row.outcome) << row.name << ": " << r.error;
    EXPECT_THAT(r.error, HasSubstr(row.error)) << row.name;
    EXPECT_NE(r.ended_at, kNever) << row.name;
    EXPECT_EQ(client.open(), row.outcome == Outcome::http_error) << row.name;
  }
}

TEST(Exchange, SaysThatNobodyListens) {
  std::string url;
  {
    ScriptedServer gone(std::vector<Script>(1));
    url = gone.url();
  }
  Client client(url);
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::connect_failed);
  EXPECT_EQ(r.error, "Connection refused");
  EXPECT_EQ(r.send_began_at, kNever);
}

TEST(Exchange, GivesUpWhenTheTimeIsOver) {
  struct Row {
    const char* name;
    Script script;
    std::string error;
  };
  const std::vector<Row> rows{
      {"no answer", {await_request()}, "no answer within 100ms"},
      {"slow header", {await_request(), send("HTTP/1.1 200 OK\r\n")}, "not finished within 100ms"},
      {"stall in the stream", {await_request(), send(stream_head() + chunk(kRole + kA))}, "not finished within 100ms"},
  };
  for (const Row& row : rows) {
    ScriptedServer server({row.script});
    Client client(server.url());
    const RequestRecord r = client.stream(100ms);
    EXPECT_EQ(r.outcome, Outcome::timed_out) << row.name;
    EXPECT_EQ(r.error, row.error) << row.name;
    const Nanoseconds took(r.ended_at - r.started_at);
    EXPECT_GE(took, 100ms) << row.name;
    EXPECT_LT(took, 1s) << row.name;
    EXPECT_FALSE(client.open()) << row.name;
  }
}

TEST(Exchange, GivesUpOnAServerThatNeverStopsTalking) {
  // Enough to keep every read full: a deadline that only waits could notice would come too late.
  Script script{await_request(), send("HTTP/1.1 200 OK\r\n\r\n")};
  for (int i = 0; i < 400; ++i) script.push_back(send(std::string(1'000'000, 'x')));
  ScriptedServer server({script});
  Client client(server.url(), false);
  ExchangeRequest request;
  request.bytes = kGet;
  request.timeout = 30ms;
  const RequestRecord r = client.exchange(request);
  EXPECT_EQ(r.outcome, Outcome::timed_out);
  EXPECT_LT(Nanoseconds(r.ended_at - r.started_at), 1s);
}

TEST(Exchange, IsCutByAnInterrupt) {
  ScriptedServer server({{await_request(), send(stream_head() + chunk(kRole + kA))}});
  Client client(server.url());
  ExchangeRequest request;
  request.bytes = kGet;
  request.timeout = 10s;
  request.answer = ExchangeRequest::Answer::stream;
  int ticks = 0;
  const RequestRecord r = client.exchange(request, [&](Instant) {
    if (++ticks == 5) client.waiter().interrupt();
  });
  EXPECT_EQ(r.outcome, Outcome::interrupted);
  EXPECT_EQ(r.content.size(), 1u);
  EXPECT_THAT(rules_of(r), IsEmpty());
  EXPECT_LT(Nanoseconds(r.ended_at - r.started_at), 2s);
}

// ---- streams ------------------------------------------------------------------------------------------------------

TEST(Exchange, ReadsAStreamByTheBook) {
  const RequestRecord r = streamed({send(stream_head() + chunk(kByTheBook) + chunk(""))});
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  EXPECT_THAT(rules_of(r), IsEmpty());
  EXPECT_EQ(r.text, "ab");
  EXPECT_EQ(r.id, "c-1");
  EXPECT_EQ(r.events, 6u);
  EXPECT_EQ(r.content.size(), 2u);
  EXPECT_TRUE(r.saw_done);
  EXPECT_EQ(r.finish_reason, "stop");
  EXPECT_EQ(r.prompt_tokens, 3);
  EXPECT_EQ(r.output_tokens, 2);
}

TEST(Exchange, GivesEachEventWhenItComesAndNotWhenTheChunkIsWhole) {
  // The chunk's end never comes: what waits for it would see no event at all.
  const std::string half = kRole + kA;
  const std::string head = stream_head() + "ffff\r\n" + half;
  ScriptedServer server({{await_request(), send(head)}});
  Client client(server.url());
  const RequestRecord r = client.stream(150ms);
  EXPECT_EQ(r.outcome, Outcome::timed_out);
  ASSERT_EQ(r.content.size(), 1u);
  EXPECT_LT(r.content[0].received_at - r.sent_at, Nanoseconds(100ms).count());
}

TEST(Exchange, StampsEachEventWithTheTimeAtWhichItCame) {
  const RequestRecord r = streamed({send(stream_head()), send(chunk(kRole), 30ms), send(chunk(kA), 30ms),
                                    send(chunk(kB), 30ms), send(chunk(kStop + kDone) + chunk(""), 30ms)});
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  ASSERT_EQ(r.content.size(), 2u);
  EXPECT_GE(r.first_event_at - r.started_at, Nanoseconds(25ms).count());
  EXPECT_GE(r.content[0].received_at - r.first_event_at, Nanoseconds(25ms).count());
  EXPECT_GE(r.content[1].received_at - r.content[0].received_at, Nanoseconds(25ms).count());
  EXPECT_LT(r.content[1].received_at - r.started_at, Nanoseconds(1s).count());
  for (const ContentEvent& event : r.content) {
    EXPECT_FALSE(event.coalesced);
    EXPECT_GE(event.seen_at, event.received_at);
    EXPECT_EQ(event.characters, 1u);
  }
  EXPECT_GE(r.done_at, r.finish_seen_at);
  EXPECT_GE(r.first_byte_at, r.sent_at - 1000);
}

TEST(Exchange, UsesTheKernelsStampsWhereThereAreSome) {
  ScriptedServer server({{await_request(), send(stream_head()), send(chunk(kRole), 5ms), send(chunk(kA), 5ms),
                          send(chunk(kStop + kDone) + chunk(""), 5ms)}});
  Client client(server.url());
  if (!client.stamping()) GTEST_SKIP() << "this kernel does not stamp what it receives";
  const RequestRecord r = client.stream();
  ASSERT_EQ(r.content.size(), 1u);
  EXPECT_TRUE(r.content[0].kernel_stamp);
  EXPECT_EQ(r.events_kernel_stamped, r.events);
}

TEST(Exchange, FallsBackToItsOwnTimeWithoutStamps) {
  ScriptedServer server({{await_request(), send(stream_head() + chunk(kByTheBook) + chunk(""))}});
  Client client(server.url(), false);
  const RequestRecord r = client.stream();
  EXPECT_EQ(r.outcome, Outcome::ok);
  EXPECT_EQ(r.events_kernel_stamped, 0u);
  EXPECT_FALSE(r.content.at(0).kernel_stamp);
}

TEST(Exchange, MarksEventsThatOneReadBroughtTogether) {
  // One send: one segment, one read. Only the last content event before the read's end could be told apart, and here
  // even that one is followed by more.
  const RequestRecord r =
      streamed({send(stream_head()), send(chunk(kRole + kA + kB), 20ms), send(chunk(kA), 30ms),
                send(chunk(kB + "data: {"), 30ms), send(chunk("}\n\n" + kStop + kDone) + chunk(""), 30ms)});
  ASSERT_EQ(r.content.size(), 4u);
  EXPECT_TRUE(r.content[0].coalesced);
  EXPECT_FALSE(r.content[1].coalesced) << "the last of its read";
  EXPECT_FALSE(r.content[2].coalesced) << "alone in its read";
  EXPECT_TRUE(r.content[3].coalesced) << "part of another event came with it";
}

TEST(Exchange, ReadsTheSameStreamHoweverItsBytesAreCut) {
  const std::string utf8 = content_event("\xC3\xA4\xF0\x9F\x98\x80");
  const std::string whole = stream_head() + chunk(kRole + utf8) + chunk(kB + kStop) + chunk(kUsage + kDone) + chunk("");
  // Pieces of some bytes each, one by one in time: cuts within the header, chunk-size lines, JSON and code points.
  for (const std::size_t step : {1, 3, 7, 50}) {
    Script script;
    for (std::size_t at = 0; at < whole.size(); at += step) script.push_back(send(whole.substr(at, step)));
    const RequestRecord r = streamed(script, 10s);
    EXPECT_EQ(r.outcome, Outcome::ok) << step << ": " << r.error;
    EXPECT_EQ(r.text,
              "\xC3\xA4\xF0\x9F\x98\x80"
              "b")
        << step;
    EXPECT_EQ(r.events, 6u) << step;
    EXPECT_EQ(r.content.at(0).characters, 2u) << step;
    EXPECT_EQ(r.bytes_received, whole.size()) << step;
  }
}

struct BrokenStream {
  const char* name;
  Script script;
  Outcome outcome;
  std::vector<std::string> rules;
};

TEST(Exchange, FindsWhatIsWrongWithAStream) {
  const auto whole = [](const std::string& events) { return send(stream_head() + chunk(events) + chunk("")); };
  const std::vector<BrokenStream> rows{
      {"error status",
       {send(answer(R"({"error":{}})", "application/json", 503))},
       Outcome::http_error,
       {"http-status"}},
      {"not a stream",
       {send(answer(R"({"choices":[]})", "application/json"))},
       Outcome::stream_invalid,
       {"content-type"}},
      {"cut between chunks",
       {send(stream_head() + chunk(kRole + kA)), close_connection()},
       Outcome::reset,
       {"truncated", "no-finish", "no-done"}},
      {"cut in an event",
       {send(stream_head() + chunk(kRole + kA + "data: {")), close_connection()},
       Outcome::reset,
       {"truncated", "no-finish", "no-done"}},
      {"reset",
       {send(stream_head() + chunk(kRole + kA)), reset_connection(20ms)},
       Outcome::reset,
       {"truncated", "no-finish", "no-done"}},
      {"closed without chunks, all there",
       {send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + kByTheBook), close_connection()},
       Outcome::ok,
       {}},
      {"closed without chunks, no end",
       {send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + kRole + kA), close_connection()},
       Outcome::stream_invalid,
       {"no-finish", "no-done"}},
      {"error in mid-stream",
       {whole(kRole + kA + "data: {\"error\":{\"message\":\"x\"}}\n\n")},
       Outcome::stream_invalid,
       {"error-event"}},
      {"half a code point",
       {whole(kRole + content_event("\xC3") + kStop + kDone)},
       Outcome::stream_invalid,
       {"invalid-utf8", "no-content"}},
      {"not json", {whole(kRole + kA + "data: {oops\n\n" + kStop + kDone)}, Outcome::stream_invalid, {"invalid-json"}},
      {"role only", {whole(kRole + kStop + kDone)}, Outcome::stream_invalid, {"no-content"}},
      {"no finish", {whole(kRole + kA + kDone)}, Outcome::stream_invalid, {"no-finish"}},
      {"no done", {whole(kRole + kA + kStop)}, Outcome::stream_invalid, {"no-done"}},
      {"only a warning", {whole(kA + kStop + kDone)}, Outcome::ok, {"role-missing"}},
      {"only an error", {whole(kRole + kA + kStop + kDone + kDone)}, Outcome::ok, {"done-twice"}},
      {"keep-alive comments", {whole(kRole + ":\n\n" + kA + ": keep-alive\n\n" + kB + kStop + kDone)}, Outcome::ok, {}},
  };
  for (const BrokenStream& row : rows) {
    const RequestRecord r = streamed(row.script);
    EXPECT_EQ(r.outcome, row.outcome) << row.name << ": " << r.error;
    EXPECT_EQ(rules_of(r), row.rules) << row.name;
    EXPECT_EQ(r.error.empty(), row.outcome == Outcome::ok) << row.name;
  }
}

TEST(Exchange, SeesHowTheEventsCame) {
  const std::string five = kA + kA + kA + kA + kA;
  const auto rules = [](const std::string& piece, std::chrono::milliseconds gap, int pieces, Nanoseconds keepalive) {
    Script script{await_request(), send(stream_head() + chunk(kRole))};
    for (int i = 0; i < pieces; ++i) script.push_back(send(chunk(piece), gap));
    script.push_back(send(chunk(kStop + kDone) + chunk("")));
    ScriptedServer server({script});
    Client client(server.url());
    ExchangeRequest request;
    request.bytes = kGet;
    request.timeout = 5s;
    request.answer = ExchangeRequest::Answer::stream;
    request.keepalive = keepalive;
    return rules_of(client.exchange(request));
  };
  EXPECT_EQ(rules(five, 150ms, 4, 10s), std::vector<std::string>{"proxy-buffering"});
  EXPECT_EQ(rules(kA, 20ms, 20, 10s), std::vector<std::string>{});
  EXPECT_EQ(rules(kA, 400ms, 1, 200ms), std::vector<std::string>{"keepalive-missing"});
}

TEST(Exchange, MarksWhatCameAfterASilenceOfTheNetwork) {
  const std::string burst = kA + kB + kA;
  const RequestRecord r = streamed({send(stream_head() + chunk(kRole)), send(chunk(burst), 150ms), send(chunk(kB), 2ms),
                                    send(chunk(kA), 150ms), send(chunk(kStop + kDone) + chunk(""))});
  ASSERT_EQ(r.content.size(), 5u);
  std::vector<bool> after;
  for (const ContentEvent& event : r.content) after.push_back(event.after_silence);
  EXPECT_THAT(after, ElementsAre(true, true, true, false, true));
  EXPECT_EQ(r.burst_bytes, chunk(burst).size()) << "of the one read that brought several";
  EXPECT_EQ(r.content_choices, 1u);
}

TEST(Exchange, EndsAStreamWithAnEventThatIsTooLarge) {
  Script script{await_request(), send(stream_head())};
  for (int i = 0; i < 10; ++i) script.push_back(send(chunk((i == 0 ? "data: " : "") + std::string(1 << 20, 'x'))));
  ScriptedServer server({script});
  Client client(server.url());
  const RequestRecord r = client.stream(10s);
  EXPECT_EQ(r.outcome, Outcome::stream_invalid);
  EXPECT_THAT(rules_of(r), ElementsAre("event-too-large"));
  EXPECT_FALSE(client.open());
}

TEST(Exchange, CountsTokensOfContinuousUsage) {
  const auto piece = [](const char* text, int tokens) {
    return std::string(
               R"(data: {"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":null,"content":")") +
           text + R"("}}],"usage":{"prompt_tokens":1,"completion_tokens":)" + std::to_string(tokens) + "}}\n\n";
  };
  const RequestRecord r =
      streamed({send(stream_head() + chunk(kRole + piece("a", 1) + piece("bcd", 4) + kStop + kDone) + chunk(""))});
  ASSERT_EQ(r.content.size(), 2u);
  EXPECT_EQ(r.content[0].tokens, 1u);
  EXPECT_EQ(r.content[1].tokens, 3u);
  EXPECT_EQ(r.output_tokens, 4);
}

TEST(Exchange, KeepsWhatAServerSaysOfItsTimes) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nserver-timing: queue;dur=2\r\n"
      "Server-Timing: prefill;dur=30, total;dur=99\r\nTransfer-Encoding: chunked\r\n\r\n";
  const RequestRecord by_header = streamed({send(head + chunk(kByTheBook) + chunk(""))});
  EXPECT_EQ(by_header.outcome, Outcome::ok);
  EXPECT_EQ(by_header.server, (ServerTimes{ServerTimes::Source::server_timing, 2ms, 30ms, Nanoseconds(-1)}));
  const std::string told =
      R"(data: {"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[],"usage":{)"
      R"("prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"metrics":{"queue_time_ms":1,"prefill_time_ms":20}})"
      "\n\n";
  const RequestRecord by_event = streamed({send(head + chunk(kRole + kA + kStop + told + kDone) + chunk(""))});
  EXPECT_EQ(by_event.outcome, Outcome::ok);
  EXPECT_EQ(by_event.server, (ServerTimes{ServerTimes::Source::engine, 1ms, 20ms, Nanoseconds(-1)}))
      << "an event knows better than a header that was sent before it";
}

TEST(Exchange, UsesAStreamsConnectionAgain) {
  const std::string stream = stream_head() + chunk(kByTheBook) + chunk("");
  ScriptedServer server({{await_request(), send(stream), await_request(), send(stream)}});
  Client client(server.url());
  EXPECT_EQ(client.stream().outcome, Outcome::ok);
  const RequestRecord second = client.stream();
  EXPECT_EQ(second.outcome, Outcome::ok);
  EXPECT_FALSE(second.new_connection);
  EXPECT_EQ(second.content.size(), 2u);
}

// ---- unstreamed chat answers --------------------------------------------------------------------------------------

TEST(Exchange, ReadsAnUnstreamedAnswer) {
  ScriptedServer server(
      {{await_request(),
        send(answer(
            R"({"id":"c-7","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"length"}],"usage":{"prompt_tokens":4,"completion_tokens":1,"total_tokens":5}})",
            "application/json"))}});
  Client client(server.url());
  ExchangeRequest request;
  request.bytes = kGet;
  request.timeout = 2s;
  request.answer = ExchangeRequest::Answer::chat;
  request.keep_text = true;
  const RequestRecord r = client.exchange(request);
  EXPECT_EQ(r.outcome, Outcome::ok);
  EXPECT_EQ(r.text, "Hi");
  EXPECT_EQ(r.finish_reason, "length");
  EXPECT_EQ(r.output_tokens, 1);
  EXPECT_EQ(r.id, "c-7");
}

TEST(Exchange, RefusesAnUnstreamedAnswerThatIsNone) {
  for (const char* body : {"<html>", "", R"({"error":{"message":"x"}})"}) {
    ScriptedServer server({{await_request(), send(answer(body, "application/json"))}});
    Client client(server.url());
    ExchangeRequest request;
    request.bytes = kGet;
    request.timeout = 2s;
    request.answer = ExchangeRequest::Answer::chat;
    const RequestRecord r = client.exchange(request);
    EXPECT_EQ(r.outcome, Outcome::stream_invalid) << body;
    EXPECT_NE(r.error, "") << body;
  }
}

// ---- URLs ---------------------------------------------------------------------------------------------------------

TEST(Endpoint, TakesUrlsApart) {
  const auto told = [](const char* url) {
    const auto e = parse_endpoint(url);
    return e ? (e->tls ? "tls " : "tcp ") + e->host + " " + e->port + " " + e->host_header + " " + e->path
             : "error: " + e.error().message;
  };
  EXPECT_EQ(told("http://127.0.0.1:8000"), "tcp 127.0.0.1 8000 127.0.0.1:8000 ");
  EXPECT_EQ(told("http://example.com/"), "tcp example.com 80 example.com ");
  EXPECT_EQ(told("https://example.com/api/"), "tls example.com 443 example.com /api");
  EXPECT_EQ(told("https://example.com:8443/a/b"), "tls example.com 8443 example.com:8443 /a/b");
  EXPECT_EQ(told("http://[::1]:8000"), "tcp ::1 8000 [::1]:8000 ");
  for (const char* bad : {"", "example.com", "ftp://x/", "http://", "http://x:99999", "http://x:0", "http://u:p@x/",
                          "http://x/#f", "http://x/?q=1", "http://a b/"}) {
    EXPECT_THAT(told(bad), testing::StartsWith("error: ")) << bad;
  }
  EXPECT_THAT(told("http://user:secret@x/"), testing::Not(HasSubstr("secret")));
}

TEST(Endpoint, SaysThatAHostIsNotFound) {
  auto endpoint = parse_endpoint("http://no-such-host.invalid:1");
  const auto resolved = resolve(*endpoint);
  ASSERT_FALSE(resolved);
  EXPECT_THAT(resolved.error().message, HasSubstr("no-such-host.invalid"));
}

// ---- what says what comes next ------------------------------------------------------------------------------------

TEST(Exchange, HandsOnTheHeadersThatItIsAskedFor) {
  const std::string with_all =
      "HTTP/1.1 302 Found\r\nSet-Cookie: a=1\r\nlocation: /next\r\nSet-Cookie: b=2\r\nContent-Encoding: gzip\r\n"
      "Content-Length: 0\r\n\r\n";
  ScriptedServer server(
      {{await_request(), send(with_all), await_request(), send(with_all), await_request(), send(answer("plain"))}});
  Client client(server.url());
  ExchangeRequest request;
  request.bytes = kGet;
  request.timeout = 2s;
  request.keep_location = request.keep_cookies = true;
  EXPECT_EQ(client.exchange(request).status, 302u);
  EXPECT_EQ(client.headers().location, "/next");
  EXPECT_THAT(client.headers().set_cookies, ElementsAre("a=1", "b=2"));
  EXPECT_EQ(client.headers().content_encoding, "gzip");
  client.get();
  EXPECT_EQ(client.headers().location, "");
  EXPECT_THAT(client.headers().set_cookies, IsEmpty());
  client.get();
  EXPECT_EQ(client.headers().content_encoding, "");
}

// ---- slow networks ------------------------------------------------------------------------------------------------

TEST(SlowNetwork, LatencyDelaysTheRequestAndTheAnswerAndNotTheirOrder) {
  ScriptedServer server({{await_request(), send(answer("1")), await_request(), send(answer("2"))}});
  NetworkShape shape;
  shape.latency = 30ms;
  Client client(server.url(), true, shape);
  const Instant began = now();
  const RequestRecord first = client.get();
  EXPECT_EQ(first.outcome, Outcome::ok) << first.error;
  EXPECT_GE(now() - began, Nanoseconds(120ms).count()) << "connecting is a round trip, and so is the request";
  EXPECT_GE(first.ended_at - first.send_began_at, Nanoseconds(60ms).count());
  EXPECT_GE(first.connected_at - first.looked_up_at, Nanoseconds(60ms).count());
  // sent_at is looked at a little after the request has left.
  EXPECT_GE(first.first_byte_at - first.sent_at, Nanoseconds(59ms).count());
  const std::vector<Instant> order{first.looked_up_at,  first.connected_at,  first.send_began_at, first.sent_at,
                                   first.first_byte_at, first.first_body_at, first.ended_at};
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << testing::PrintToString(order);
  const RequestRecord second = client.get();
  EXPECT_GE(second.ended_at - second.started_at, Nanoseconds(60ms).count());
  EXPECT_LT(second.ended_at - second.started_at, Nanoseconds(1s).count());
}

TEST(SlowNetwork, LatencyLeavesTheGapsOfAStreamAsTheyAre) {
  ScriptedServer server({{await_request(), send(stream_head() + chunk(kRole)), send(chunk(kA)), send(chunk(kB), 60ms),
                          send(chunk(kStop + kUsage + kDone) + chunk(""))}});
  NetworkShape shape;
  shape.latency = 250ms;  // more than the gap
  Client client(server.url(), true, shape);
  const RequestRecord r = client.stream(5s);
  ASSERT_EQ(r.outcome, Outcome::ok) << r.error;
  ASSERT_EQ(r.content.size(), 2u);
  EXPECT_GE(r.content[0].received_at - r.started_at, Nanoseconds(1000ms).count());
  EXPECT_GE(r.content[1].received_at - r.content[0].received_at, Nanoseconds(50ms).count());
  EXPECT_LT(r.content[1].received_at - r.content[0].received_at, Nanoseconds(250ms).count());
  for (const ContentEvent& event : r.content) EXPECT_GE(event.seen_at, event.received_at);
}

TEST(SlowNetwork, ReadsNoFasterThanItsBandwidthAndHoldsTheServerBack) {
  const std::string body(200'000, 'x');
  ScriptedServer server({{await_request(), send(answer(body))}});
  NetworkShape shape;
  shape.download_bytes_per_s = 500'000;
  Client client(server.url(), false, shape);
  const RequestRecord r = client.get();
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  EXPECT_EQ(r.body, body);
  EXPECT_GE(r.ended_at - r.first_byte_at, Nanoseconds(350ms).count());
  EXPECT_LT(r.ended_at - r.first_byte_at, Nanoseconds(2s).count());
}

TEST(SlowNetwork, WritesNoFasterThanItsBandwidth) {
  const std::string body(100'000, 'x');
  ScriptedServer server({{await_request(), send(answer("thanks"))}});
  NetworkShape shape;
  shape.upload_bytes_per_s = 500'000;
  Client client(server.url(), false, shape);
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + body;
  const RequestRecord r = client.get(post);
  EXPECT_EQ(r.outcome, Outcome::ok) << r.error;
  EXPECT_EQ(server.requests().front(), post);
  EXPECT_GE(r.sent_at - r.send_began_at, Nanoseconds(180ms).count());
}

TEST(SlowNetwork, IsNoExcuseForATimeOut) {
  ScriptedServer server({{await_request(), send(answer(std::string(100'000, 'x')))}});
  NetworkShape shape;
  shape.download_bytes_per_s = 50'000;
  Client client(server.url(), false, shape);
  ExchangeRequest request;
  request.bytes = kGet;
  request.timeout = 200ms;
  const RequestRecord r = client.exchange(request);
  EXPECT_EQ(r.outcome, Outcome::timed_out);
  EXPECT_LT(r.ended_at - r.started_at, Nanoseconds(1s).count());
}

}  // namespace
}  // namespace sluice
