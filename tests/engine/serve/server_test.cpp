// The server's contract, against a real one on a loopback port.
#include "engine/serve/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "engine/serve/emit_log.h"
#include "engine/serve/metrics_text.h"
#include "tests/engine/sched/fake_executor.h"
#include "tests/engine/serve/http_client.h"
#include "tests/engine/serve/test_server.h"

namespace sluice::engine::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kCompletions = "/v1/completions";
constexpr const char* kAsk = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";

std::string replaced(std::string text, const std::string& pattern, const std::string& by) {
  return std::regex_replace(text, std::regex(pattern), by);
}

TestServerOptions saying(std::string text, std::uint32_t tokens) {
  TestServerOptions options;
  options.text = std::move(text);
  options.script.tokens = tokens;
  return options;
}

/// Requests stay without a first token until they are cancelled.
TestServerOptions silent() {
  TestServerOptions options;
  options.script.ttft = 1h;
  return options;
}

std::string metric(TestServer& server, const std::string& name) {
  Client client(server.port());
  client.get("/metrics");
  const auto body = client.reply().body;
  const auto at = body.find("\n" + name + " ");
  return at == std::string::npos ? std::string()
                                 : body.substr(at + name.size() + 2, body.find('\n', at + 1) - at - name.size() - 2);
}

TEST(Server, AStreamIsByteForByteTheContract) {
  TestServer server(saying("ab", 3));
  Client client(server.port());
  client.post(kChat,
              R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}})");
  const Reply reply = client.reply();
  EXPECT_EQ(replaced(replaced(reply.head, "Date: [^\r]*", "Date: D"), "chatcmpl-[0-9a-f]{24}", "ID"),
            "HTTP/1.1 200 OK\r\nDate: D\r\nServer: sluice-engine\r\nX-Request-Id: ID\r\n"
            "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
            "Transfer-Encoding: chunked\r\n\r\n");
  const auto frame = [](const std::string& choices, const std::string& usage) {
    return R"(data: {"id":"ID","object":"chat.completion.chunk","created":T,"model":"scripted","choices":[)" + choices +
           R"(],"usage":)" + usage + "}\n\n";
  };
  const auto delta = [](const std::string& inside, const std::string& finish) {
    return R"({"index":0,"delta":{)" + inside + R"(},"logprobs":null,"finish_reason":)" + finish + "}";
  };
  std::string expected = frame(delta(R"("role":"assistant","content":"")", "null"), "null");
  for (const char* text : {"a", "b", "a"})
    expected += frame(delta(std::string(R"("content":")") + text + "\"", "null"), "null");
  expected += frame(delta("", "\"stop\""), "null");
  expected += frame(
      "", R"({"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":0}})"
          R"(,"metrics":{M})");
  expected += "data: [DONE]\n\n";
  const auto body =
      replaced(replaced(reply.body, "chatcmpl-[0-9a-f]{24}", "ID"), "\"created\":[0-9]+", "\"created\":T");
  EXPECT_EQ(replaced(body, "\"metrics\":\\{[^}]*\\}", "\"metrics\":{M}"), expected);
  EXPECT_TRUE(reply.whole);
  // The connection goes on.
  client.get("/health");
  EXPECT_EQ(client.reply().status, 200u);
}

TEST(Server, CompletionsStreamHasTextAndNoRole) {
  TestServer server(saying("xy", 2));
  Client client(server.port());
  client.post(kCompletions, R"({"prompt":"hi","stream":true})");
  const auto body = replaced(
      client.reply().body,
      "\"id\":\"cmpl-[0-9a-f]{24}\",\"object\":\"text_completion\",\"created\":[0-9]+,\"model\":\"scripted\"", "HEAD");
  EXPECT_EQ(body,
            "data: {HEAD,\"choices\":[{\"index\":0,\"text\":\"x\",\"logprobs\":null,\"finish_reason\":null}]}\n\n"
            "data: {HEAD,\"choices\":[{\"index\":0,\"text\":\"y\",\"logprobs\":null,\"finish_reason\":null}]}\n\n"
            "data: {HEAD,\"choices\":[{\"index\":0,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n"
            "data: [DONE]\n\n");
}

TEST(Server, AWholeAnswerSaysTheSameAsItsStream) {
  TestServer server(saying("a\"\n\xc3\xa9", 9));
  Client client(server.port());
  client.post(kChat, R"({"messages":[{"role":"user","content":"hi"}],"max_tokens":8})");
  const Reply reply = client.reply();
  EXPECT_EQ(reply.status, 200u);
  EXPECT_EQ(reply.field("content-type"), "application/json");
  EXPECT_THAT(reply.body, HasSubstr(R"("choices":[{"index":0,"message":{"role":"assistant","content":"a\"\n)"
                                    "\xc3\xa9"
                                    R"(a\"\n)"));
  EXPECT_THAT(reply.body, HasSubstr(R"("finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":8,)"));
}

TEST(Server, ALongPromptPreparedBesideGivesTheSameAnswer) {
  TestServerOptions options = saying("ab", 3);
  options.context = 60'000;
  TestServer server(std::move(options));
  Client client(server.port()), other(server.port()), leaving(server.port());
  const std::string body = R"({"prompt":")" + std::string(50'000, 'x') + R"("})";
  leaving.post(kCompletions, body);
  leaving.close();
  client.post(kCompletions, body);
  other.get("/health");
  EXPECT_EQ(other.reply().status, 200u);
  EXPECT_THAT(client.reply().body,
              HasSubstr(R"("text":"aba","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":50000)"));
  client.post(kCompletions, body + "x");
  EXPECT_EQ(client.reply().status, 400u);
  EXPECT_TRUE(server.idle());
}

TEST(Server, EachOfSeveralChoicesEndsOnce) {
  TestServer server(saying("ab", 2));
  Client client(server.port());
  client.post(
      kChat,
      R"({"messages":[{"role":"user","content":"hi"}],"n":3,"stream":true,"stream_options":{"include_usage":true}})");
  const auto body = client.reply().body;
  for (const char* index : {"0", "1", "2"}) {
    const auto count = [&](const std::string& what) {
      std::size_t found = 0;
      for (std::size_t at = 0; (at = body.find(what, at)) != std::string::npos; ++at) ++found;
      return found;
    };
    const std::string start = std::string(R"("choices":[{"index":)") + index + R"(,"delta":{)";
    EXPECT_EQ(count(start + R"("role")"), 1u);
    EXPECT_EQ(count(start + R"("content")"), 2u);
    EXPECT_EQ(count(start + R"(},"logprobs":null,"finish_reason":"stop")"), 1u);
  }
  EXPECT_THAT(body, HasSubstr(R"("choices":[],"usage":{"prompt_tokens":9,"completion_tokens":6,)"));
}

TEST(Server, LogprobsTravelWithTheTextTheyBelongTo) {
  // Four bytes of a code point and "xy", which is held back as it may become the stop string "xyz".
  TestServer server(saying("\xf0\x9f\x98\x80xyab", 8));
  Client client(server.port());
  client.post(kChat, R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"logprobs":true,"top_logprobs":2,)"
                     R"("stop":["xyz"]})");
  const auto body = client.reply().body;
  std::vector<std::string> frames;
  const std::regex pattern(R"re("delta":\{"content":"([^"]*)"\},"logprobs":(null|\{.*?"refusal":null\}),)re");
  for (std::sregex_iterator it(body.begin(), body.end(), pattern), end; it != end; ++it) {
    std::string bytes;
    const std::string logprobs = (*it)[2];
    const std::regex token(
        R"re("bytes":\[([0-9]+)\],"top_logprobs":\[\{"token":"[^"]*","logprob":0,"bytes":\[\1\]\}\])re");
    for (std::sregex_iterator at(logprobs.begin(), logprobs.end(), token), last; at != last; ++at) {
      bytes += (bytes.empty() ? "" : " ") + (*at)[1].str();
    }
    frames.push_back((*it)[1].str() + ": " + bytes);
  }
  EXPECT_THAT(frames, testing::ElementsAre("\xf0\x9f\x98\x80: 240 159 152 128", "xya: 120 121 97", "b: 98"));
  EXPECT_THAT(body, HasSubstr(R"("delta":{},"logprobs":null,"finish_reason":"stop")"));
}

TEST(Server, LogprobsOfSeveralChoicesStayApart) {
  TestServer server(saying("ab", 4));
  Client client(server.port());
  client.post(kCompletions, R"({"prompt":"hi","logprobs":1,"n":3})");
  const auto body = client.reply().body;
  const std::string one =
      R"("text":"abab","logprobs":{"tokens":["a","b","a","b"],"token_logprobs":[0,0,0,0],)"
      R"("top_logprobs":[{"a":0},{"b":0},{"a":0},{"b":0}],"text_offset":[0,1,2,3]},"finish_reason":"stop"})";
  EXPECT_THAT(body,
              HasSubstr(R"("choices":[{"index":0,)" + one + R"(,{"index":1,)" + one + R"(,{"index":2,)" + one + "],"));
  // Of what a stop string has cut off nothing is said.
  client.post(kCompletions, R"({"prompt":"hi","logprobs":0,"stop":"ba"})");
  EXPECT_THAT(client.reply().body, HasSubstr(R"("text":"a","logprobs":{"tokens":["a"],"token_logprobs":[0],)"
                                             R"("top_logprobs":[{"a":0}],"text_offset":[0]},"finish_reason":"stop")"));
}

TEST(Server, ErrorsHaveOpenAiShapeAndTheConnectionGoesOn) {
  TestServerOptions options;
  options.context = 100;
  options.server.body_bytes_max = 100'000;
  TestServer server(std::move(options));
  struct Case {
    const char* path;
    std::string body;
    unsigned status;
    const char* param;
    const char* code;
  };
  const std::string long_text(200, 'x');
  const Case cases[] = {
      {kChat, "{", 400, "null", "null"},
      {kChat, R"({"messages":[]})", 400, "\"messages\"", "null"},
      {kChat, R"({"model":"other","messages":[{"role":"user","content":"a"}]})", 404, "\"model\"",
       "\"model_not_found\""},
      {kChat, R"({"messages":[{"role":"user","content":"a"}],"temperature":9})", 400, "\"temperature\"", "null"},
      {kChat, R"({"messages":[{"role":"user","content":")" + long_text + "\"}]}", 400, "\"messages\"",
       "\"context_length_exceeded\""},
      {kCompletions, R"({"prompt":"a","max_tokens":100})", 400, "\"prompt\"", "\"context_length_exceeded\""},
      {kCompletions, R"({"prompt":""})", 400, "\"prompt\"", "null"},
      {kCompletions, R"({"prompt":[100000]})", 400, "\"prompt\"", "null"},
      {kCompletions, R"({"prompt":"a","logit_bias":{"100000":1}})", 400, "\"logit_bias\"", "null"},
      {"/v1/nothing", "{}", 404, "null", "\"not_found\""},
      {"/v1/models", "{}", 405, "null", "\"method_not_allowed\""},
      {"nothing", "{}", 400, "null", "\"bad_target\""},
  };
  Client client(server.port());
  for (const auto& [path, body, status, param, code] : cases) {
    client.post(path, body);
    const Reply reply = client.reply();
    EXPECT_EQ(reply.status, status) << body;
    EXPECT_TRUE(std::regex_match(
        reply.body,
        std::regex(std::string(R"(\{"error":\{"message":"[^"].*","type":"invalid_request_error","param":)") + param +
                   ",\"code\":" + code + R"(\}\})")))
        << reply.body;
  }
  client.get(kChat);
  const Reply wrong_method = client.reply();
  EXPECT_EQ(wrong_method.status, 405u);
  EXPECT_EQ(wrong_method.field("allow"), "POST, OPTIONS");
}

TEST(Server, AnswersHeadAndOptions) {
  TestServer server;
  Client client(server.port());
  client.send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
  const Reply head = client.reply(true);
  EXPECT_EQ(head.status, 200u);
  EXPECT_EQ(head.field("content-length"), "15");
  client.send(std::string("OPTIONS ") + kChat + " HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
  const Reply options = client.reply();
  EXPECT_EQ(options.status, 204u);
  EXPECT_EQ(options.field("allow"), "POST, OPTIONS");
  EXPECT_EQ(client.reply().status, 204u);
  client.get("/v1/models/scripted");
  EXPECT_THAT(client.reply().body,
              HasSubstr(R"({"id":"scripted","object":"model","created":1700000000,"owned_by":"sluice")"));
  client.get("/v1/models/x");
  EXPECT_EQ(client.reply().status, 404u);
  client.get("/v1/models");
  EXPECT_THAT(client.reply().body, HasSubstr(R"({"object":"list","data":[{"id":"scripted")"));
}

TEST(Server, ReadsARequestHoweverItIsSplitAndSeveralInOneGo) {
  TestServer server(saying("ab", 3));
  const std::string body = R"({"prompt":"hi"})";
  const std::string request = std::string("POST ") + kCompletions +
                              " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                              body;
  const std::string chunked = std::string("POST ") + kCompletions +
                              " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + body.substr(0, 5) +
                              "\r\na\r\n" + body.substr(5) + "\r\n0\r\n\r\n";
  Client client(server.port());
  for (const auto& bytes : {request, chunked}) {
    for (const char byte : bytes) client.send({&byte, 1});
    EXPECT_THAT(client.reply().body, HasSubstr(R"("text":"aba")"));
  }
  std::string many;
  for (int i = 0; i < 20; ++i) many += i % 2 == 0 ? request : chunked;
  client.send(many);
  for (int i = 0; i < 20; ++i) EXPECT_THAT(client.reply().body, HasSubstr(R"("text":"aba")")) << i;
}

TEST(Server, RefusesGarbageAndWhatIsTooLarge) {
  TestServerOptions options;
  options.server.body_bytes_max = 1000;
  TestServer server(std::move(options));
  struct Case {
    std::string bytes;
    unsigned status;
  };
  const Case cases[] = {
      {"\x16\x03\x01\x02\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"GET / HTTP/9.9\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413},
      {"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') +
           "\r\n0\r\n\r\n",
       413},
      {"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"GET / HTTP/1.1\r\nX: " + std::string(20'000, 'y') + "\r\n\r\n", 431},
  };
  for (const auto& [bytes, status] : cases) {
    Client client(server.port());
    client.send(bytes);
    const Reply reply = client.reply();
    EXPECT_EQ(reply.status, status) << bytes.substr(0, 60);
    EXPECT_THAT(reply.body, HasSubstr(R"({"error":{"message":)"));
    EXPECT_EQ(reply.field("connection"), "close");
    EXPECT_TRUE(client.closed());
  }
  Client well(server.port());
  well.get("/health");
  EXPECT_EQ(well.reply().status, 200u);
}

TEST(Server, SaysContinueBeforeTheBodyAndNotWhenItIsTooLarge) {
  TestServerOptions options = saying("a", 1);
  options.server.body_bytes_max = 1000;
  TestServer server(std::move(options));
  Client client(server.port());
  client.send("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n");
  EXPECT_EQ(client.reply().status, 100u);
  client.send(R"({"prompt":"hi"})");
  EXPECT_EQ(client.reply().status, 200u);
  client.send("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1500\r\n\r\n");
  EXPECT_EQ(client.reply().status, 413u);
}

TEST(Server, EchoesARequestIdThatCannotBreakOut) {
  TestServer server(saying("a", 1));
  Client client(server.port());
  client.post(kCompletions, R"({"prompt":"hi"})", "X-Request-Id: abc-123\r\n");
  EXPECT_EQ(client.reply().field("x-request-id"), "abc-123");
  client.post(kCompletions, R"({"prompt":"hi"})", "X-Request-Id: a b\r\n");
  EXPECT_THAT(client.reply().field("x-request-id"), testing::StartsWith("cmpl-"));
  client.post(kCompletions, R"({"prompt":)", "X-Request-Id: e1\r\n");
  EXPECT_EQ(client.reply().field("x-request-id"), "e1");
}

/// A number in JSON text, by its key.
double number(const std::string& json, const std::string& key) {
  const auto at = json.find('"' + key + "\":");
  EXPECT_NE(at, std::string::npos) << key << " in " << json;
  return at == std::string::npos ? 0 : std::strtod(json.c_str() + at + key.size() + 3, nullptr);
}

TEST(Server, TheUsageSaysWhereTheTimeToTheFirstTokenWent) {
  TestServerOptions options = saying("ab", 4);
  options.script.ttft = 30ms;
  options.script.gap = 10ms;
  TestServer server(std::move(options));
  Client client(server.port());
  for (const bool stream : {true, false}) {
    client.post(kCompletions, stream ? R"({"prompt":"hi","stream":true,"stream_options":{"include_usage":true}})"
                                     : R"({"prompt":"hi"})");
    const auto body = client.reply().body;
    const auto at = body.find("\"metrics\":{");
    ASSERT_NE(at, std::string::npos) << body;
    const auto metrics = body.substr(at);
    const double queue = number(metrics, "queue_time_ms"), prefill = number(metrics, "prefill_time_ms"),
                 output = number(metrics, "output_time_ms"), ttft = number(metrics, "server_ttft_ms"),
                 first = number(metrics, "time_to_first_token_ms"), generation = number(metrics, "generation_time_ms");
    EXPECT_NEAR(queue + prefill + output, ttft, 0.002);
    EXPECT_NEAR(prefill, first, 0.002);  // vLLM's name, counted as vLLM does
    EXPECT_GE(prefill, 29.9);
    EXPECT_GE(first + generation, 59.9);  // and three gaps
    EXPECT_GE(output, stream ? 0 : generation - 0.002);
    const double rate = number(metrics, "tokens_per_second"), from_admission = first + generation;
    EXPECT_NEAR(rate * from_admission, 4000, (rate + from_admission) * 0.002);  // all are rounded
    EXPECT_NEAR(number(metrics, "mean_itl_ms"), generation / 4, 0.002);         // the end token is the fifth
    EXPECT_EQ(number(metrics, "chunks"), stream ? 4 : 0);
    EXPECT_EQ(number(metrics, "pieces"), 4);
  }
  EXPECT_EQ(metric(server, "sluice_content_pieces_total"), "4");
  EXPECT_EQ(metric(server, "sluice_content_frames_total"), "4");
}

TEST(Server, ATimelineIsFoundByEitherIdWhileItRunsAndAfterwards) {
  TestServerOptions options = saying("ab", 4);
  options.script.gap = 20ms;
  TestServer server(std::move(options));
  Client client(server.port()), other(server.port());
  const auto timeline = [&](const std::string& id) {
    other.get("/v1/requests/" + id + "/timeline");
    return other.reply();
  };
  client.post(kChat, kAsk, "X-Request-Id: mine/1\r\n");
  ASSERT_TRUE(client.read_until("\"content\":\"a\""));
  const Reply running = timeline("mine/1");
  EXPECT_EQ(running.status, 200u);
  EXPECT_EQ(running.field("content-type"), "application/json");
  EXPECT_THAT(running.body, HasSubstr(R"("finished_ns":null,)"));
  EXPECT_THAT(running.body, HasSubstr(R"("finish_reason":null,)"));
  EXPECT_GT(number(running.body, "first_token_ns"), 0);
  const Reply streamed = client.reply();
  const auto response_id = streamed.body.substr(std::string(R"(data: {"id":")").size(), 33);
  const Reply ended = timeline(response_id);
  EXPECT_EQ(replaced(ended.body, "[0-9]{6,}", "N"), replaced(timeline("mine%2F1").body, "[0-9]{6,}", "N"));
  EXPECT_EQ(replaced(replaced(replaced(ended.body, "_ns\":[0-9]+", "_ns\":N"), "chatcmpl-[0-9a-f]{24}", "ID"),
                     "\"writes\":.*", "W"),
            R"({"id":"mine/1","response_id":"ID","clock":"CLOCK_MONOTONIC","now_ns":N,"received_ns":N,"queued_ns":N,)"
            R"("prefill_start_ns":N,"prefill_end_ns":N,"first_token_ns":N,"finished_ns":N,"prompt_tokens":9,)"
            R"("cached_tokens":0,"completion_tokens":4,"finish_reason":"stop","steps":[)"
            R"({"start_ns":N,"end_ns":N,"kind":"prefill","rows":9},{"start_ns":N,"end_ns":N,"kind":"decode","rows":1},)"
            R"({"start_ns":N,"end_ns":N,"kind":"decode","rows":1},{"start_ns":N,"end_ns":N,"kind":"decode","rows":1},)"
            R"({"start_ns":N,"end_ns":N,"kind":"decode","rows":1}],"steps_dropped":0,W)");
  double last = 0;
  for (const char* key : {"received_ns", "queued_ns", "prefill_start_ns", "prefill_end_ns", "finished_ns", "now_ns"}) {
    EXPECT_LE(last, number(ended.body, key)) << key;
    last = number(ended.body, key);
  }
  // From the head with the role frame to [DONE], the seventh event.
  std::vector<int> events;
  std::size_t bytes = 0;
  const std::regex write(R"re(\{"before_ns":[0-9]+,"after_ns":[0-9]+,"bytes":([0-9]+),"event":([0-9]+)\})re");
  for (std::sregex_iterator it(ended.body.begin(), ended.body.end(), write), end; it != end; ++it) {
    bytes += std::stoul((*it)[1]);
    events.push_back(std::stoi((*it)[2]));
  }
  ASSERT_GE(events.size(), 2u);
  EXPECT_TRUE(std::ranges::is_sorted(events));
  EXPECT_EQ(events.front(), 0);
  EXPECT_EQ(events.back(), 6);
  EXPECT_GT(bytes, streamed.head.size() + streamed.body.size());
  EXPECT_EQ(timeline("nobody").status, 404u);
  EXPECT_THAT(timeline("nobody").body, HasSubstr(R"("code":"request_not_found")"));
}

TEST(Server, ATimelineOfACancelledRequestSaysSo) {
  TestServer server(silent());
  {
    Client client(server.port());
    client.post(kChat, kAsk, "X-Request-Id: gone\r\n");
    ASSERT_TRUE(client.read_until("assistant"));
  }
  ASSERT_TRUE(server.idle());
  Client other(server.port());
  other.get("/v1/requests/gone/timeline");
  const auto body = other.reply().body;
  EXPECT_THAT(body, HasSubstr(R"("finish_reason":"cancelled")"));
  EXPECT_THAT(body, HasSubstr(R"("first_token_ns":null)"));
}

/// The texts of a stream's content frames.
std::vector<std::string> contents(const std::string& body) {
  std::vector<std::string> out;
  const std::regex pattern(R"re("delta":\{"content":"([^"]*)"\}|"text":"([^"]+)")re");
  for (std::sregex_iterator it(body.begin(), body.end(), pattern), end; it != end; ++it) {
    out.push_back((*it)[1].str() + (*it)[2].str());
  }
  return out;
}

TEST(Server, AChunkPolicyMergesPiecesIntoFewerFrames) {
  using testing::ElementsAre;
  TestServerOptions options = saying("abcdefghij", 10);
  options.server.chunking.min_chars = 5;
  TestServer server(std::move(options));
  Client client(server.port());
  const auto ask = [&](const std::string& path, const std::string& more) {
    client.post(path, (path == kChat ? R"({"messages":[{"role":"user","content":"hi"}],"stream":true)"
                                     : R"({"prompt":"hi","stream":true)") +
                          more + R"(,"stream_options":{"include_usage":true}})");
    return client.reply().body;
  };
  const auto merged = ask(kChat, R"(,"chunking":{"min_chars":4,"max_chars":4})");
  EXPECT_THAT(contents(merged), ElementsAre("abcd", "efgh", "ij"));
  EXPECT_EQ(number(merged, "chunks"), 3);
  EXPECT_EQ(number(merged, "pieces"), 10);
  EXPECT_THAT(merged, HasSubstr(R"("completion_tokens":10)"));
  EXPECT_THAT(contents(ask(kCompletions, "")), ElementsAre("abcde", "fghij"));  // the server's
  EXPECT_THAT(contents(ask(kChat, R"(,"chunking":{})")), testing::SizeIs(10));  // as they come
  // A token's log probability stays with its text.
  const auto with_logprobs = ask(kChat, R"(,"logprobs":true,"chunking":{"min_chars":9})");
  const auto first = with_logprobs.substr(0, with_logprobs.find("\"content\":\"j\""));
  EXPECT_THAT(first, HasSubstr(R"("token":"i")"));
  EXPECT_THAT(first, testing::Not(HasSubstr(R"("token":"j")")));
  EXPECT_EQ(metric(server, "sluice_content_pieces_total"), "40");
  EXPECT_EQ(metric(server, "sluice_content_frames_total"), "17");
}

TEST(Server, HeldTextLeavesWhenItsTimeHasCome) {
  TestServerOptions options = saying("ab", 3);
  options.script.gap = 1h;
  TestServer server(std::move(options));
  Client client(server.port()), patient(server.port());
  patient.post(kCompletions, R"({"prompt":"hi","stream":true,"chunking":{"min_chars":100,"max_delay_ms":60000}})");
  const auto asked_at = Clock::now();
  // Of two choices each has its own text to hold.
  client.post(kCompletions, R"({"prompt":"hi","stream":true,"n":2,"chunking":{"min_chars":100,"max_delay_ms":50}})");
  ASSERT_TRUE(client.read_until("\"index\":0,\"text\":\"a\""));
  ASSERT_TRUE(client.read_until("\"index\":1,\"text\":\"a\""));
  EXPECT_GE(Clock::now() - asked_at, 50ms);
  EXPECT_LT(Clock::now() - asked_at, 10s);  // generous: other work may share the machine
}

TEST(Server, HealthNamesTheBackendAndTheModels) {
  TestServerOptions options;
  options.publish = false;
  TestServer server(std::move(options));
  Client client(server.port());
  client.get("/api/v1/health");
  const Reply loading = client.reply();
  EXPECT_EQ(loading.status, 503u);
  EXPECT_EQ(loading.body, R"({"status":"loading","backend":null,"models":[]})");
  server.publish();
  client.get("/api/v1/health");
  const Reply ready = client.reply();
  EXPECT_EQ(ready.status, 200u);
  EXPECT_EQ(ready.body, R"({"status":"ok","backend":"scripted","models":["scripted"]})");
}

TEST(Server, SpeaksHttp10) {
  TestServer server(saying("ab", 2));
  Client client(server.port());
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Length: 29\r\n\r\n{\"prompt\":\"hi\",\"stream\":true}");
  const Reply reply = client.reply();
  EXPECT_EQ(reply.field("transfer-encoding"), "");
  EXPECT_EQ(reply.field("connection"), "close");
  EXPECT_THAT(reply.body, testing::StartsWith("data: {"));
  EXPECT_THAT(reply.body, testing::EndsWith("data: [DONE]\n\n"));
}

TEST(Server, AFullQueueIsA429WithRetryAfter) {
  TestServerOptions options = silent();
  options.slots = 1;
  options.engine.queued_max = 1;
  TestServer server(std::move(options));
  Client running(server.port()), queued(server.port()), refused(server.port());
  running.post(kChat, kAsk);
  ASSERT_TRUE(running.read_until("assistant"));
  while (server.engine().stats().running == 0) std::this_thread::yield();
  queued.post(kChat, kAsk);
  ASSERT_TRUE(queued.read_until("assistant"));
  refused.post(kChat, kAsk);
  const Reply reply = refused.reply();
  EXPECT_EQ(reply.status, 429u);
  EXPECT_EQ(reply.field("retry-after"), "1");
  EXPECT_THAT(reply.body, HasSubstr(R"("type":"rate_limit_error","param":null,"code":"queue_full")"));
  // Several choices are all or none.
  running.close();
  queued.close();
  ASSERT_TRUE(server.idle());
  refused.post(kChat, R"({"messages":[{"role":"user","content":"hi"}],"n":5})");
  EXPECT_EQ(refused.reply().status, 429u);
  EXPECT_TRUE(server.idle());
}

TEST(Server, AClientThatGoesAwayCancelsItsRequestInEveryPhase) {
  struct Case {
    const char* phase;
    bool stream, queued, started, reset;
  };
  const Case cases[] = {
      {"queued, streaming", true, true, false, false},       {"queued, whole", false, true, false, false},
      {"before the first token", true, false, false, false}, {"whole", false, false, false, true},
      {"between tokens", true, false, true, false},          {"between tokens, reset", true, false, true, true},
  };
  for (const auto& [phase, stream, queued, started, reset] : cases) {
    TestServerOptions options = silent();
    options.slots = 1;
    if (started) {
      options.script.ttft = 0ms;
      options.script.gap = 1h;
    }
    TestServer server(std::move(options));
    std::optional<Client> occupant;
    if (queued) {
      occupant.emplace(server.port());
      occupant->post(kChat, kAsk);
      while (server.engine().stats().running == 0) std::this_thread::yield();
    }
    Client client(server.port());
    client.post(kChat, stream ? kAsk : R"({"messages":[{"role":"user","content":"hi"}]})");
    const std::uint64_t expected = queued ? 2 : 1;
    while (server.engine().stats().accepted < expected) std::this_thread::yield();
    if (started) {
      ASSERT_TRUE(client.read_until("\"content\":\" ")) << phase;
    }
    if (reset) {
      client.reset();
    } else {
      client.close();
    }
    const auto deadline = Clock::now() + 20s;
    while (server.engine().active() > expected - 1 && Clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(server.engine().active(), expected - 1) << phase;
    EXPECT_EQ(server.engine().stats().finished[static_cast<std::size_t>(FinishReason::cancelled)], 1u) << phase;
  }
}

TEST(Server, AClientThatDoesNotReadIsDropped) {
  TestServerOptions options = saying("some text that goes on and on ", 1'000'000);
  options.context = 200'000;
  options.server.send_buffer_bytes = 4096;
  options.server.backlog_bytes_max = 20'000;
  TestServer server(std::move(options));
  Client client(server.port(), 4096);
  client.post(kChat, kAsk);
  ASSERT_TRUE(client.read_until("assistant"));
  EXPECT_TRUE(server.idle());
  EXPECT_EQ(server.engine().stats().finished[static_cast<std::size_t>(FinishReason::cancelled)], 1u);
  EXPECT_EQ(metric(server, "sluice_slow_readers_dropped_total"), "1");
}

TEST(Server, ASlowReaderWithinTheLimitGetsEveryByte) {
  TestServerOptions options = saying("0123456789", 3000);
  options.server.send_buffer_bytes = 4096;
  options.server.backlog_bytes_max = 16u << 20;
  TestServer server(std::move(options));
  Client client(server.port(), 4096);
  client.post(kCompletions, R"({"prompt":"hi","stream":true,"max_tokens":3000})");
  ASSERT_TRUE(server.idle());  // all of it waits for us now
  const auto body = client.reply().body;
  std::string text;
  const std::regex piece("\"text\":\"([^\"]*)\"");
  for (std::sregex_iterator at(body.begin(), body.end(), piece), end; at != end; ++at) text += (*at)[1];
  std::string expected;
  for (int i = 0; i < 300; ++i) expected += "0123456789";
  EXPECT_EQ(text, expected);
}

TEST(Server, WhatAChunkPolicyGatheredDropsNobody) {
  TestServerOptions options;
  options.script.tokens = 8'000;
  options.script.gap = 50us;
  options.context = 10'000;
  options.server.send_buffer_bytes = 4096;
  options.server.backlog_bytes_max = 4096;
  TestServer server(std::move(options));
  Client client(server.port(), 4096);
  client.post(kCompletions, R"({"prompt":"hi","stream":true,"max_tokens":8000,"chunking":{"min_chars":43000}})");
  ASSERT_TRUE(server.idle());
  const Reply reply = client.reply();
  EXPECT_TRUE(reply.whole);
  EXPECT_THAT(reply.body, testing::EndsWith("data: [DONE]\n\n"));
  EXPECT_EQ(metric(server, "sluice_slow_readers_dropped_total"), "0");
}

TEST(Server, UnfinishedRequestsTimeOut) {
  TestServerOptions options;
  options.server.header_limit = 50ms;
  options.server.body_limit = 50ms;
  options.server.idle_limit = 300ms;
  TestServer server(std::move(options));
  Client header(server.port()), body(server.port()), idle(server.port());
  header.send("GET / HT");
  body.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_EQ(header.reply().status, 408u);
  EXPECT_EQ(body.reply().status, 408u);
  EXPECT_TRUE(idle.closed());
}

TEST(Server, IsReadyOnlyWithAModel) {
  TestServerOptions options = saying("a", 1);
  options.publish = false;
  TestServer server(std::move(options));
  Client client(server.port());
  client.get("/ready");
  const Reply loading = client.reply();
  EXPECT_EQ(loading.status, 503u);
  EXPECT_EQ(loading.body, R"({"status":"loading"})");
  client.get("/health");
  EXPECT_EQ(client.reply().status, 200u);
  client.post(kChat, kAsk);
  EXPECT_EQ(client.reply().status, 503u);
  client.get("/metrics");
  EXPECT_EQ(client.reply().status, 200u);
  client.get("/v1/models");
  EXPECT_EQ(client.reply().body, R"({"object":"list","data":[]})");
  server.publish();
  client.get("/ready");
  EXPECT_EQ(client.reply().status, 200u);
}

/// Stands still in its first step until it is let go.
class StuckExecutor final : public Executor {
 public:
  explicit StuckExecutor(std::shared_future<void> let_go) : let_go_(std::move(let_go)) {
    info_.vocab_size = 300;
    info_.context_max = 1000;
    info_.slots_max = info_.rows_max = 8;
    info_.blocks = 100;
  }
  const ExecutorInfo& info() const override { return info_; }
  void bind(SlotId, const SamplingParams&, std::span<const TokenId>, std::uint64_t) override {}
  void resume(SlotId, std::span<const TokenId>) override {}
  void release(SlotId) override {}
  void submit(const StepPlan&) override { let_go_.wait(); }
  bool busy() const override { return false; }
  std::size_t poll(std::vector<Sampled>&) override { return 0; }

 private:
  ExecutorInfo info_;
  std::shared_future<void> let_go_;
};

TEST(Server, AStuckEngineIsNotReadyThoughItLives) {
  std::promise<void> let_go;
  TestServerOptions options;
  options.engine.stall_limit = 20ms;
  TestServer server(std::make_unique<StuckExecutor>(let_go.get_future().share()), std::move(options));
  Client asking(server.port()), client(server.port());
  asking.post(kChat, kAsk);
  ASSERT_TRUE(asking.read_until("assistant"));
  unsigned status = 200;
  const auto deadline = Clock::now() + 20s;
  while (status == 200 && Clock::now() < deadline) {
    client.get("/ready");
    status = client.reply().status;
  }
  EXPECT_EQ(status, 503u);
  client.get("/health");
  EXPECT_EQ(client.reply().status, 200u);
  // What is shown is not older than the step that lasts so long.
  std::string running;
  while (running != "1" && Clock::now() < deadline)
    running = metric(server, "sluice_requests_running{model_name=\"scripted\"}");
  EXPECT_EQ(running, "1");
  let_go.set_value();
  asking.close();
}

TEST(Server, WhenTheDeviceFailsEachClientIsToldAndTheServerEndsWithAnError) {
  auto owned = std::make_unique<PipelinedExecutor>(pipelined_info(2, 64, 2, 100));
  PipelinedExecutor& device = *owned;
  std::mutex mutex;
  std::string log;
  TestServerOptions options;
  options.server.log = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    log += line + "\n";
  };
  TestServer server(std::move(owned), std::move(options));
  Client stream(server.port()), whole(server.port()), queued(server.port()), idle(server.port());
  stream.post(kChat, kAsk);
  ASSERT_TRUE(stream.read_until("assistant"));
  whole.post(kCompletions, R"({"prompt":"hi"})");
  queued.post(kCompletions, R"({"prompt":"hi","stream":true})");
  device.allow(2);
  while (server.engine().active() < 3) std::this_thread::yield();
  device.fail("the GPU has fallen off the bus");
  const Reply streamed = stream.reply();
  EXPECT_TRUE(streamed.whole);
  EXPECT_THAT(streamed.body, testing::EndsWith("data: {\"error\":{\"message\":\"the GPU has fallen off the bus\","
                                               "\"type\":\"server_error\",\"param\":null,"
                                               "\"code\":\"engine_error\"}}\n\n"));
  const Reply answered = whole.reply();
  EXPECT_EQ(answered.status, 500u);
  EXPECT_THAT(answered.body, HasSubstr("fallen off the bus"));
  EXPECT_THAT(queued.reply().body, HasSubstr("fallen off the bus"));
  EXPECT_EQ(server.join(), 1);
  const std::lock_guard lock(mutex);
  EXPECT_THAT(log, HasSubstr("the GPU has fallen off the bus"));
}

TEST(Server, WhenTheDeviceFailsAClientThatDoesNotReadIsNotWaitedFor) {
  auto owned = std::make_unique<PipelinedExecutor>(pipelined_info(2, 64, 2, 100, 100'000));
  PipelinedExecutor& device = *owned;
  TestServerOptions options;
  options.server.send_buffer_bytes = 4096;
  TestServer server(std::move(owned), std::move(options));
  Client client(server.port(), 4096);
  client.post(kChat, kAsk);  // and never reads
  device.allow(1000);
  while (device.count_steps() < 1000) std::this_thread::yield();
  device.fail("gone");
  EXPECT_EQ(server.join(), 1);
}

TEST(Server, DrainingFinishesWhatRunsAndTakesNothingNew) {
  TestServerOptions options = saying("ab", 3);
  options.script.gap = 100ms;
  TestServer server(std::move(options));
  Client running(server.port()), idle(server.port());
  idle.get("/health");
  EXPECT_EQ(idle.reply().status, 200u);
  running.post(kChat, kAsk);
  ASSERT_TRUE(running.read_until("\"content\":\"a\""));
  server.server().drain();
  EXPECT_TRUE(idle.closed());
  EXPECT_FALSE(Client(server.port()).connected());
  const Reply reply = running.reply();
  EXPECT_TRUE(reply.whole);
  EXPECT_THAT(reply.body, testing::EndsWith("data: [DONE]\n\n"));
  EXPECT_TRUE(running.closed());
  EXPECT_EQ(server.join(), 0);
}

TEST(Server, ARequestPipelinedIntoADrainIsRefused) {
  TestServerOptions options = saying("ab", 3);
  options.script.gap = 100ms;
  TestServer server(std::move(options));
  Client client(server.port());
  client.post(kChat, kAsk);
  ASSERT_TRUE(client.read_until("\"content\":\"a\""));
  server.server().drain();
  const Reply first = client.reply();
  EXPECT_TRUE(first.whole);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server.join(), 0);
}

TEST(Server, WhatOutlastsTheDrainLimitEndsWithAnErrorEvent) {
  TestServerOptions options = silent();
  options.server.drain_limit = 50ms;
  TestServer server(std::move(options));
  Client stream(server.port()), whole(server.port());
  stream.post(kChat, kAsk);
  ASSERT_TRUE(stream.read_until("assistant"));
  whole.post(kChat, R"({"messages":[{"role":"user","content":"hi"}]})");
  while (server.engine().stats().accepted < 2) std::this_thread::yield();
  server.server().drain();
  const Reply streamed = stream.reply();
  EXPECT_THAT(streamed.body,
              HasSubstr(R"(data: {"error":{"message":"the server is shutting down","type":"server_error")"));
  EXPECT_THAT(streamed.body, testing::Not(HasSubstr("[DONE]")));
  EXPECT_EQ(whole.reply().status, 503u);
  EXPECT_EQ(server.join(), 0);
}

TEST(Server, TheEmissionLogHasEveryEventAndItsInstants) {
  const auto path = std::filesystem::temp_directory_path() / ("emit-" + std::to_string(::getpid()));
  {
    TestServerOptions options = saying("ab", 5);
    options.script.gap = 1ms;
    options.server.emit_log = path;
    options.server.emit_log_records = 12;
    TestServer server(std::move(options));
    Client client(server.port());
    std::vector<std::string> ids;
    const auto before = Clock::now();
    for (int i = 0; i < 2; ++i) {
      client.post(
          kChat,
          R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true}})");
      ids.push_back(client.reply().field("x-request-id"));
    }
    // Role, five contents, finish, usage, done: nine events each; the ring keeps the last twelve. The last record is
    // written when its bytes are with us already.
    std::string bytes;
    std::uint64_t capacity = 0, written = 0;
    while (written < 18 && Clock::now() < before + 20s) {
      std::ifstream file(path, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(file), {});
      ASSERT_EQ(bytes.size(), 64u * 13);
      std::memcpy(&capacity, bytes.data() + 24, 8);
      std::memcpy(&written, bytes.data() + 32, 8);
    }
    const auto after = Clock::now();
    EXPECT_EQ(std::string(bytes.c_str()), "SLUICE-EMIT-1");
    EXPECT_EQ(capacity, 12u);
    ASSERT_EQ(written, 18u);
    std::int64_t last_ns = std::chrono::nanoseconds(before.time_since_epoch()).count();
    for (std::uint64_t n = written - capacity; n < written; ++n) {
      EmitRecord record{};
      std::memcpy(&record, bytes.data() + 64 * (1 + n % capacity), 64);
      EXPECT_EQ(std::string(record.id), ids[n / 9]);
      const auto event = static_cast<std::uint32_t>(n % 9);
      EXPECT_EQ(record.event, event);
      EXPECT_EQ(record.content, event >= 1 && event <= 5 ? event - 1 : EmitRecord::kNoContent);
      EXPECT_GE(record.before_ns, last_ns);
      EXPECT_GE(record.after_ns, record.before_ns);
      last_ns = record.after_ns;
    }
    EXPECT_LE(last_ns, std::chrono::nanoseconds(after.time_since_epoch()).count());
  }
  std::filesystem::remove(path);
}

TEST(Server, MetricsCountUnderBothNames) {
  TestServer server(saying("ab", 4));
  Client client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.post(kChat, kAsk);
    EXPECT_TRUE(client.reply().whole);
  }
  EXPECT_EQ(metric(server, R"(sluice_engine_info{backend="scripted",device="a clock",model="scripted"})"), "1");
  EXPECT_EQ(metric(server, "vllm:generation_tokens_total{model_name=\"scripted\"}"), "12");
  EXPECT_EQ(metric(server, "vllm:request_success_total{model_name=\"scripted\",finished_reason=\"stop\"}"), "3");
  EXPECT_EQ(metric(server, "sluice_requests_finished_total{model_name=\"scripted\",reason=\"stop\"}"), "3");
  EXPECT_EQ(metric(server, "vllm:time_to_first_token_seconds_count{model_name=\"scripted\"}"), "3");
  EXPECT_EQ(metric(server, "vllm:time_to_first_token_seconds_bucket{model_name=\"scripted\",le=\"+Inf\"}"), "3");
  EXPECT_EQ(metric(server, "vllm:inter_token_latency_seconds_count{model_name=\"scripted\"}"),
            "12");  // the end token's too
  EXPECT_EQ(metric(server, "vllm:num_requests_running{model_name=\"scripted\"}"), "0");
  for (const char* name :
       {"vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:prompt_tokens_total",
        "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total", "vllm:num_preemptions_total",
        "vllm:e2e_request_latency_seconds_sum", "vllm:request_queue_time_seconds_sum",
        "vllm:request_prefill_time_seconds_sum", "vllm:request_decode_time_seconds_sum"}) {
    EXPECT_NE(metric(server, std::string(name) + "{model_name=\"scripted\"}"), "") << name;
  }
}

TEST(MetricsText, SaysWhatRunsWithItsLabelsEscaped) {
  const EngineFigures figures{"a \"model\"", "cuda", "NVIDIA\\H100,\n132 multiprocessors", {}};
  EXPECT_THAT(
      metrics_text({}, &figures),
      HasSubstr(
          "\n# TYPE sluice_engine_info gauge\n"
          R"(sluice_engine_info{backend="cuda",device="NVIDIA\\H100,\n132 multiprocessors",model="a \"model\""} 1)"
          "\n"));
  EXPECT_EQ(metrics_text({}, nullptr).find("sluice_engine_info"), std::string::npos);
}

TEST(Server, AnOccupiedPortIsAClearError) {
  TestServer server;
  ServerOptions options;
  options.port = server.port();
  const auto second = Server::bind(options);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("cannot listen on 127.0.0.1:" + std::to_string(server.port())));
  options.host = "not an address";
  EXPECT_THAT(Server::bind(options).error().message, HasSubstr("not an address"));
}

TEST(Server, AStormOfVanishingClientsLeavesNothingBehind) {
  TestServerOptions options;
  options.script.gap = 200us;
  options.script.tokens = 1000;
  options.slots = 16;
  options.engine.queued_max = 100;
  TestServer server(std::move(options));
  for (int round = 0; round < 4; ++round) {
    std::vector<Client> clients;
    for (int i = 0; i < 60; ++i) {
      clients.emplace_back(server.port());
      clients.back().post(kChat, kAsk);
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (i % 3 == 0) clients[i].read_some();
      if (i % 2 == 0) clients[i].reset();
    }
  }
  EXPECT_TRUE(server.idle());
  EXPECT_EQ(server.engine().stats().blocks_held, 0u);
  const auto stats = server.engine().stats();
  std::uint64_t finished = 0;
  for (const auto count : stats.finished) finished += count;
  EXPECT_EQ(finished, stats.accepted);
}

}  // namespace
}  // namespace sluice::engine::test
