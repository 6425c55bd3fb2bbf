#include "harness/net/websocket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "harness/base/limits.h"
#include "harness/net/websocket_frames.h"
#include "tests/support/scripted_server.h"
#include "tests/support/websocket_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

std::string bytes(std::string_view text) { return std::string(text); }
std::string frame(unsigned char first, std::string_view payload) {
  return std::string(1, static_cast<char>(first)) + static_cast<char>(payload.size()) + std::string(payload);
}

/// "text:a;ping:b;" or "error: ..." behind what came before it.
std::string read_all(std::string_view wire, std::size_t step) {
  WsReader reader;
  std::string out;
  for (std::size_t at = 0; at < wire.size(); at += step) {
    reader.push(wire.substr(at, step));
    while (const auto message = reader.next()) {
      out += message->kind == WsOpcode::text     ? "text:"
             : message->kind == WsOpcode::binary ? "binary:"
             : message->kind == WsOpcode::ping   ? "ping:"
             : message->kind == WsOpcode::pong   ? "pong:"
                                                 : "close:";
      if (message->kind == WsOpcode::close) {
        const WsClose close = close_of(message->payload);
        out += std::to_string(close.code) + " " + std::string(close.reason) + ";";
      } else {
        out += std::string(message->payload) + ";";
      }
    }
    if (reader.failed()) return out + "error: " + std::string(reader.error());
  }
  return out;
}

TEST(WebSocketFrames, GiveTheSameMessagesHoweverTheBytesAreSplit) {
  struct Case {
    std::string_view what;
    std::string wire;
    std::string_view read;
  };
  const std::vector<Case> cases{
      {"a text", frame(0x81, "Hello"), "text:Hello;"},
      {"the RFC's pieces", frame(0x01, "Hel") + frame(0x80, "lo"), "text:Hello;"},
      {"control between pieces", frame(0x01, "Hel") + frame(0x89, "p") + frame(0x80, "lo"), "ping:p;text:Hello;"},
      {"two in one", frame(0x81, "a") + frame(0x82, "b"), "text:a;binary:b;"},
      {"empty", frame(0x81, ""), "text:;"},
      {"pong", frame(0x8A, "x"), "pong:x;"},
      {"close",
       frame(0x88,
             "\x03\xe8"
             "bye"),
       "close:1000 bye;"},
      {"close that says nothing", frame(0x88, ""), "close:1005 ;"},
      {"UTF-8 across pieces", frame(0x01, "\xc3") + frame(0x80, "\xa4"), "text:\xc3\xa4;"},
      {"no UTF-8", frame(0x81, "\xff"), "error: a text that is not UTF-8"},
      {"binary may be anything", frame(0x82, "\xff"), "binary:\xff;"},
      {"reserved bits", frame(0xC1, "a"), "error: a frame with reserved bits set"},
      {"masked", bytes("\x81\x81mask!"), "error: a masked frame from the server"},
      {"unknown opcode", frame(0x83, "a"), "error: a frame of an unknown kind"},
      {"unknown control", frame(0x8B, "a"), "error: a frame of an unknown kind"},
      {"ping in pieces", frame(0x09, "a"), "error: a control frame that is long or in pieces"},
      {"long ping", bytes(std::string("\x89\x7e\x00\x7e", 4)), "error: a control frame that is long or in pieces"},
      {"continuation of nothing", frame(0x80, "a"), "error: a continuation of nothing"},
      {"message in a message", frame(0x01, "a") + frame(0x81, "b"), "error: a new message within another"},
      {"length too long", std::string("\x81\x7e\x00\x05Hello", 9), "error: a frame's length written too long"},
      {"longer than is read", std::string("\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00", 10),
       "error: a message that is too long to be read"},
      {"close of one byte", frame(0x88, "x"), "error: a close frame that cannot be read"},
  };
  for (const Case& one : cases) {
    for (std::size_t step = 1; step <= one.wire.size(); ++step) {
      EXPECT_EQ(read_all(one.wire, step), one.read) << one.what << ", " << step << " at a time";
    }
  }
}

TEST(WebSocketFrames, ComeBackAsTheyWereWhenUnmasked) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{125}, std::size_t{126}, std::size_t{65535},
                                 std::size_t{65536}, std::size_t{100'000}}) {
    std::string text(size, 'a'), wire;
    append_frame(WsOpcode::text, text, 0x12345678, wire);
    const std::size_t digits = size < 126 ? 0 : size < 65536 ? 2 : 8;
    ASSERT_EQ(wire.size(), 2 + digits + 4 + size);
    EXPECT_TRUE((static_cast<unsigned char>(wire[1]) & 0x80U) != 0);
    // As the server sees it: mask off, mask bit off.
    std::string plain = wire.substr(0, 2 + digits) + wire.substr(2 + digits + 4);
    plain[1] = static_cast<char>(plain[1] & 0x7F);
    const std::string mask = wire.substr(2 + digits, 4);
    for (std::size_t i = 0; i < size; ++i) {
      char& c = plain[2 + digits + i];
      c = static_cast<char>(c ^ mask[i % 4]);
    }
    EXPECT_EQ(read_all(plain, plain.size()), "text:" + text + ";") << size;
  }
}

TEST(WebSocketFrames, KnowTheAnswerToTheRfcsKey) {
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(websocket_key(0, 0), kWebSocketKeyPlace);
}

TEST(WebSocketFrames, BoundAMessageOfManyPieces) {
  WsReader reader;
  const std::string piece(125, 'x');
  std::size_t pieces = 0;
  reader.push(frame(0x02, piece));
  while (!reader.next() && !reader.failed()) {
    reader.push(frame(0x00, piece));
    ++pieces;
  }
  EXPECT_TRUE(reader.failed());
  EXPECT_LE(pieces * 125, limits::ws_message_bytes_max);
}

// ---- sessions -----------------------------------------------------------------------------------------------------

struct Ran {
  RequestRecord record;
  WebSocketRecord session;
};

const std::string kUpgrade =
    "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: " +
    std::string(kWebSocketKeyPlace) + "\r\n\r\n";

Ran session(const std::string& url, std::vector<std::string> texts, std::uint64_t receive, std::string_view until = {},
            bool ping = false, Nanoseconds timeout = 5s, NetworkShape shape = {}) {
  Endpoint endpoint = *parse_endpoint(url);
  if (!resolve(endpoint)) throw std::runtime_error("resolve");
  EventLoop loop;
  ExchangeBuffers buffers;
  Waiter waiter(loop);
  WebSocketSession web(loop, buffers);
  ConnectionOptions options;
  options.connect_timeout = 2s;
  options.shape = shape.any() ? &shape : nullptr;
  Connection connection(loop, endpoint, options);
  Ran ran;
  ran.record.scheduled_at = ran.record.started_at = now();
  WebSocketRequest request;
  request.upgrade = kUpgrade;
  request.texts = texts;
  request.receive = receive;
  request.until = until;
  request.ping = ping;
  request.keep_body = true;
  request.timeout = timeout;
  request.random = 7;
  web.run_alone(waiter, connection, request, ran.record, ran.session);
  EXPECT_FALSE(connection.is_open());
  return ran;
}

TEST(WebSocket, SendsItsTextsAndReadsTheEcho) {
  WebSocketServer server;
  const std::string large(70'000, 'z');
  const Ran ran = session(server.url(), {"first", "second", large}, 3);
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
  EXPECT_EQ(ran.record.status, 101u);
  EXPECT_EQ(ran.session.sent, 3u);
  EXPECT_EQ(ran.session.received, 3u);
  EXPECT_EQ(ran.record.events, 3u);
  EXPECT_TRUE(ran.record.body == "first\nsecond\n" + large);
  EXPECT_GE(ran.session.opened_at, ran.record.connected_at);
  EXPECT_GE(ran.record.ended_at, ran.session.opened_at);
  const auto received = server.received();
  ASSERT_EQ(received.size(), 4u);
  EXPECT_EQ(received[1], "second");
  EXPECT_TRUE(received[2] == large);
  EXPECT_EQ(received[3], "close:1000");
  EXPECT_EQ(server.unmasked(), 0);
}

TEST(WebSocket, PutsTogetherPiecesAndAnswersPings) {
  WebSocketServer server;
  const Ran ran = session(server.url(), {"pieces", "binary"}, 2);
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
  EXPECT_EQ(ran.record.body, std::string("pieces\n\0\xff", 9));
  EXPECT_THAT(server.received(), Contains("pong:still there?"));
}

TEST(WebSocket, WaitsUntilAMessageContainsTheText) {
  WebSocketServer server;
  const Ran ran = session(server.url(), {"a", "two", "b"}, 0, "tw");
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
  EXPECT_GE(ran.session.received, 3u);
}

TEST(WebSocket, MeasuresAPong) {
  WebSocketServer server;
  const Ran ran = session(server.url(), {}, 0, {}, true);
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
  EXPECT_GE(ran.session.pong_time.count(), 0);
}

TEST(WebSocket, MaySendAndCloseAtOnce) {
  WebSocketServer server;
  const Ran ran = session(server.url(), {"a"}, 0);
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
}

TEST(WebSocket, SaysHowASessionFailed) {
  struct Case {
    std::vector<std::string> texts;
    Outcome outcome;
    std::string_view error;
  };
  const std::vector<Case> cases{
      {{"quit 1011"}, Outcome::reset, "closed by the server with code 1011"},
      {{"drop"}, Outcome::reset, "without a word"},
      {{"masked"}, Outcome::malformed, "not WebSocket: a masked frame"},
      {{"mute"}, Outcome::timed_out, "not what was waited for within 300ms, in 0 messages"},
  };
  for (const Case& one : cases) {
    WebSocketServer server;
    const Ran ran = session(server.url(), one.texts, 5, {}, false, 300ms);
    EXPECT_EQ(ran.record.outcome, one.outcome) << ran.record.error;
    EXPECT_THAT(ran.record.error, HasSubstr(std::string(one.error)));
  }
}

TEST(WebSocket, IsNotHeldUpByAServerThatDoesNotAnswerTheClose) {
  WebSocketServer server;
  const Ran ran = session(server.url(), {"a", "mute"}, 1);
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
}

TEST(WebSocket, SaysHowAnUpgradeFailed) {
  struct Case {
    std::string answer;
    Outcome outcome;
    std::string_view error;
  };
  const std::vector<Case> cases{
      {answer("no", "text/plain", 403), Outcome::http_error, "HTTP status 403"},
      {answer("no"), Outcome::malformed, "no upgrade to WebSocket: HTTP status 200"},
      {"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", Outcome::malformed, "lacks Upgrade or Connection"},
      {"SSH-2.0-OpenSSH\r\n", Outcome::malformed, "is not HTTP"},
      {"HTTP/1.1 1x1 Y\r\n\r\n", Outcome::malformed, "is not HTTP"},
      {"HTTP/1.1 101 X\r\nX: " + std::string(40'000, 'x'), Outcome::malformed, "too long"},
  };
  for (const Case& one : cases) {
    ScriptedServer server({{await_request(), send(one.answer)}});
    const Ran ran = session(server.url(), {}, 1);
    EXPECT_EQ(ran.record.outcome, one.outcome) << ran.record.error;
    EXPECT_THAT(ran.record.error, HasSubstr(std::string(one.error)));
  }
  WebSocketServer liar(true);
  EXPECT_THAT(session(liar.url(), {}, 1).record.error, HasSubstr("wrong Sec-WebSocket-Accept"));
  EXPECT_EQ(session("http://127.0.0.1:9", {}, 1).record.outcome, Outcome::connect_failed);
}

TEST(WebSocket, IsAsSlowAsTheNetworkAskedFor) {
  WebSocketServer server;
  NetworkShape shape;
  shape.latency = 20ms;
  const Ran ran = session(server.url(), {"a"}, 1, {}, false, 5s, shape);
  EXPECT_EQ(ran.record.outcome, Outcome::ok) << ran.record.error;
  // TCP's handshake and the upgrade are a round trip each.
  EXPECT_GE(ran.session.opened_at - ran.record.started_at, Nanoseconds(80ms).count());
}

}  // namespace
}  // namespace sluice
