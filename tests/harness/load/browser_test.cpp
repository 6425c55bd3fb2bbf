// What surrounds a request: queries, forms, cookies, redirects, compression, WebSocket, slow networks; over real
// sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "harness/load/http_body.h"
#include "harness/load/run.h"
#include "harness/net/compression.h"
#include "tests/support/scripted_server.h"
#include "tests/support/tls_server.h"
#include "tests/support/websocket_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

HttpStep http(std::string_view url, std::string method = "GET") {
  HttpStep made;
  made.method = std::move(method);
  made.url = Template(url);
  return made;
}

Step step_of(HttpStep verb) {
  Step step;
  step.name = "http";
  step.verb = std::move(verb);
  return step;
}

Step checked(Step step, std::string_view condition) {
  Check check;
  check.text = condition;
  check.condition = *Expression::parse(condition, kResponseNames);
  step.checks.push_back(std::move(check));
  return step;
}

/// One VU; as many iterations as asked for, since each ends with a sleep that fills its share of the time.
Plan plan_of(const std::string& url, std::vector<Step> flow, int iterations = 1) {
  Plan plan;
  plan.name = "test";
  plan.file = "test.yaml";
  plan.target.url = url;
  plan.target.model = "m";
  plan.target.request_timeout = 5s;
  plan.target.headers.emplace_back("Authorization", Template("Bearer secret"));
  plan.target.headers.emplace_back("X-Team", Template("t"));
  ScenarioPlan scenario;
  scenario.name = "main";
  scenario.shape = ConstantVus{1, iterations * 200ms - 100ms};
  scenario.graceful_stop = 3s;
  scenario.flow = std::move(flow);
  Step sleep;
  sleep.name = "sleep";
  sleep.verb = SleepStep{200ms, 200ms};
  scenario.flow.push_back(std::move(sleep));
  plan.scenarios.push_back(std::move(scenario));
  return plan;
}

Tally ran(const Plan& plan) {
  RunControl control;
  auto result = run(plan, {}, control, {});
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(result->tally);
}

Script answers(const std::vector<std::string>& all) {
  Script script;
  for (const std::string& bytes : all) {
    script.push_back(await_request());
    script.push_back(send(bytes));
  }
  return script;
}

std::string with_headers(int status, std::string_view headers, std::string_view body = "") {
  return "HTTP/1.1 " + std::to_string(status) + " Said\r\n" + std::string(headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

std::string body_of(const std::string& request) { return request.substr(request.find("\r\n\r\n") + 4); }

std::uint64_t requests(const Tally& tally) { return tally.figure(Metric::http_reqs).sum; }
std::uint64_t failures(const Tally& tally) { return tally.figure(Metric::http_req_failed).passes; }

// ---- what is sent -------------------------------------------------------------------------------------------------

TEST(HttpBody, EncodesWhatAQueryAndAFormCannotHold) {
  std::string out;
  append_percent_encoded("aZ09-._~ &=+/?#%\n\xc3\xa4", "%20", out);
  EXPECT_EQ(out, "aZ09-._~%20%26%3D%2B%2F%3F%23%25%0A%C3%A4");
}

TEST(Browser, SendsQueryFormPartsAndAnyMethod) {
  const std::vector<std::string_view> names{"vu"};
  HttpStep query = http("/search?x=1", "OPTIONS");
  query.query = {{"q", Template("a b")}, {"vu", *Template::parse("n${vu}", names)}};
  HttpStep form = http("/form", "POST");
  form.form = {{"name", Template("J & K")}, {"x", Template("")}};
  form.content_type = "application/x-www-form-urlencoded";
  HttpStep parts = http("/parts", "POST");
  parts.boundary = "B";
  parts.parts = {{"text", Template("hello"), "", ""},
                 {"file", Template(std::string_view("\0\xff", 2)), "a\".bin", "x/y"}};
  parts.content_type = "multipart/form-data; boundary=B";
  HttpStep packed = http("/packed", "PUT");
  packed.body = Template(std::string(1000, 'x'));
  packed.compress = true;
  ScriptedServer server({answers({answer(""), answer(""), answer(""), answer("")})});
  const Tally tally = ran(plan_of(server.url(), {step_of(query), step_of(form), step_of(parts), step_of(packed)}));
  EXPECT_EQ(requests(tally), 4u);
  EXPECT_EQ(failures(tally), 0u);
  const auto got = server.requests();
  ASSERT_EQ(got.size(), 4u);
  EXPECT_THAT(got[0], StartsWith("OPTIONS /search?x=1&q=a%20b&vu=n1 HTTP/1.1\r\n"));
  EXPECT_THAT(got[1], AllOf(HasSubstr("Content-Type: application/x-www-form-urlencoded\r\n"),
                            EndsWith("\r\n\r\nname=J+%26+K&x=")));
  EXPECT_EQ(body_of(got[2]),
            std::string("--B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nhello\r\n"
                        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22.bin\"\r\n"
                        "Content-Type: x/y\r\n\r\n") +
                std::string("\0\xff", 2) + "\r\n--B--\r\n");
  EXPECT_THAT(got[3], HasSubstr("Content-Encoding: gzip\r\n"));
  std::string plain;
  EXPECT_TRUE(decompress(Encoding::gzip, body_of(got[3]), 10'000, plain));
  EXPECT_EQ(plain, std::string(1000, 'x'));
}

TEST(Browser, DecodesACompressedAnswerWhereACheckLooksAtIt) {
  std::string packed;
  compress_gzip("hello from inside", packed);
  HttpStep get = http("/");
  get.compression = true;
  ScriptedServer server({answers({with_headers(200, "Content-Encoding: gzip\r\n", packed),
                                  with_headers(200, "Content-Encoding: gzip\r\n", "this is no gzip")})});
  const Tally tally = ran(plan_of(
      server.url(), {checked(step_of(get), "body contains inside"), checked(step_of(get), "body contains inside")}));
  EXPECT_THAT(server.requests()[0], HasSubstr("Accept-Encoding: gzip, deflate\r\n"));
  EXPECT_EQ(tally.checks().at(0).passes, 1u);
  EXPECT_EQ(tally.checks().at(1).passes, 0u);
  EXPECT_EQ(failures(tally), 1u);
}

// ---- cookies ------------------------------------------------------------------------------------------------------

std::vector<std::string> cookies_sent(CookieKeeping keeping) {
  const std::string sets = with_headers(200, "Set-Cookie: a=1\r\nSet-Cookie: b=2; Path=/deep\r\n");
  ScriptedServer server({answers({sets, answer(""), answer(""), answer("")})});
  Plan plan = plan_of(server.url(), {step_of(http("/")), step_of(http("/deep/x"))}, 2);
  plan.scenarios[0].cookies = keeping;
  ran(plan);
  std::vector<std::string> cookies;
  for (const std::string& request : server.requests()) {
    const std::size_t at = request.find("\r\nCookie: ");
    cookies.push_back(at == std::string::npos ? "" : request.substr(at + 10, request.find("\r\n", at + 2) - at - 10));
  }
  return cookies;
}

TEST(Browser, KeepsCookiesForAnIterationOrTheRunOrNotAtAll) {
  EXPECT_THAT(cookies_sent(CookieKeeping::reset), ElementsAre("", "b=2; a=1", "", ""));
  EXPECT_THAT(cookies_sent(CookieKeeping::keep), ElementsAre("", "b=2; a=1", "a=1", "b=2; a=1"));
  EXPECT_THAT(cookies_sent(CookieKeeping::off), ElementsAre("", "", "", ""));
}

// ---- redirects ----------------------------------------------------------------------------------------------------

std::string redirect(int status, const std::string& to, std::string_view more = "") {
  return with_headers(status, "Location: " + to + "\r\n" + std::string(more), "moved");
}

TEST(Browser, FollowsRedirectsEachARequestOfItsOwn) {
  ScriptedServer server(
      {answers({redirect(302, "/second", "Set-Cookie: a=1\r\n"), redirect(307, "third?x=1"), answer("there")})});
  HttpStep post = http("/first", "POST");
  post.body = Template("hi");
  post.content_type = "text/plain";
  const Tally tally = ran(plan_of(server.url(), {checked(checked(step_of(post), "status == 200"), "body == there")}));
  EXPECT_EQ(requests(tally), 3u);
  EXPECT_EQ(failures(tally), 0u);
  EXPECT_EQ(tally.checks().at(0).passes, 1u);
  EXPECT_EQ(tally.checks().at(1).passes, 1u);
  const auto got = server.requests();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_THAT(got[1], AllOf(StartsWith("GET /second HTTP/1.1\r\n"), HasSubstr("Cookie: a=1\r\n"),
                            HasSubstr("Authorization: Bearer secret\r\n"), Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(got[2], AllOf(StartsWith("GET /third?x=1 HTTP/1.1\r\n"), HasSubstr("Cookie: a=1\r\n")));
}

TEST(Browser, StopsWhereItIsToldTo) {
  for (const std::uint32_t allowed : {0U, 1U, 2U}) {
    ScriptedServer server({answers(std::vector<std::string>(10, redirect(301, "/again")))});
    HttpStep get = http("/");
    get.redirects = allowed;
    const Tally tally = ran(plan_of(server.url(), {checked(step_of(get), "status == 301")}));
    EXPECT_EQ(requests(tally), allowed + 1) << allowed;
    EXPECT_EQ(tally.checks().at(0).passes, 1u);
    EXPECT_EQ(failures(tally), 0u);
  }
}

TEST(Browser, TellsAnotherServerNoSecrets) {
  ScriptedServer other({answers({answer("other")})});
  ScriptedServer server(
      {answers({redirect(307, "http://127.0.0.1:" + std::to_string(other.port()) + "/x"), answer("own")})});
  Plan plan = plan_of(server.url(), {checked(step_of(http("/")), "body == other"), step_of(http("/y"))});
  plan.scenarios[0].headers.emplace_back("X-Own", Template("secret of the scenario"));
  const Tally tally = ran(plan);
  EXPECT_EQ(tally.checks().at(0).passes, 1u);
  EXPECT_EQ(requests(tally), 3u);
  ASSERT_EQ(other.requests().size(), 1u);
  EXPECT_THAT(other.requests()[0], AllOf(HasSubstr("Host: 127.0.0.1:" + std::to_string(other.port())),
                                         Not(HasSubstr("secret")), Not(HasSubstr("X-Team"))));
  EXPECT_THAT(server.requests()[1],
              AllOf(HasSubstr("Authorization: Bearer secret"), HasSubstr("X-Own: secret of the scenario")));
}

TEST(Browser, CountsARedirectToNowhereAsAFailure) {
  struct Case {
    std::string to;
    std::uint64_t requests;
    Outcome outcome;
  };
  const std::vector<Case> cases{{"ftp://h/", 1, Outcome::malformed},
                                {"http://127.0.0.1:9/", 2, Outcome::connect_failed},
                                {"http://no-such-host.invalid/", 2, Outcome::connect_failed}};
  for (const Case& one : cases) {
    ScriptedServer server({answers({redirect(302, one.to)})});
    const Tally tally = ran(plan_of(server.url(), {step_of(http("/"))}));
    EXPECT_EQ(requests(tally), one.requests) << one.to;
    EXPECT_EQ(failures(tally), 1u) << one.to;
    ASSERT_EQ(tally.errors().size(), 1u);
    EXPECT_EQ(tally.errors().begin()->first.first, one.outcome) << one.to;
  }
}

// ---- websocket ----------------------------------------------------------------------------------------------------

TEST(Browser, HoldsWebSocketSessionsAndMeasuresThem) {
  WebSocketServer server;
  WebSocketStep socket;
  const std::vector<std::string_view> names{"vu"};
  socket.url = Template("/talk");
  socket.texts = {*Template::parse("I am ${vu}", names), Template("two")};
  socket.receive = 3;
  socket.ping = true;
  Step step;
  step.name = "talk";
  step.verb = std::move(socket);
  const Tally tally = ran(plan_of(
      server.url(), {checked(checked(checked(step, "status == 101"), "events == 3"), "body contains \"I am 1\"")}));
  for (const auto& check : tally.checks()) EXPECT_EQ(check.passes, 1u);
  EXPECT_EQ(tally.figure(Metric::ws_sessions).sum, 1u);
  EXPECT_EQ(tally.figure(Metric::ws_msgs_sent).sum, 2u);
  EXPECT_EQ(tally.figure(Metric::ws_msgs_received).sum, 3u);
  EXPECT_EQ(tally.figure(Metric::ws_connecting).histogram.count(), 1u);
  EXPECT_EQ(tally.figure(Metric::ws_session_duration).histogram.count(), 1u);
  EXPECT_EQ(tally.figure(Metric::ws_ping).histogram.count(), 1u);
  EXPECT_EQ(tally.figure(Metric::availability).passes, 1u);
  EXPECT_EQ(requests(tally), 0u) << "as in k6, a session is no request";
  EXPECT_EQ(tally.steps().at(0).requests, 1u);
  ASSERT_EQ(server.heads().size(), 1u);
  EXPECT_THAT(server.heads()[0], AllOf(StartsWith("GET /talk HTTP/1.1\r\n"), HasSubstr("Authorization: Bearer secret"),
                                       HasSubstr("Sec-WebSocket-Version: 13\r\n")));
}

TEST(Browser, AWebSocketsAddressMayBeAHoleAndItsHandshakesHeadersAreThere) {
  WebSocketServer server;
  const std::string address = "ws" + server.url().substr(4);
  for (const auto& [url, good] : {std::pair<std::string, bool>{address + "/talk?x=1", true},
                                  {address, true},
                                  {"/talk", true},
                                  {"ws://127.0.0.1:1/talk", false},
                                  {"wss" + server.url().substr(4), false}}) {
    const std::vector<std::string_view> names{"where"};
    WebSocketStep socket;
    socket.url = *Template::parse("${where}", names);
    socket.texts = {Template("hello")};
    Step set, step;
    set.verb = SetStep{{{"where", Template(url)}}};
    step.name = "talk";
    step.verb = std::move(socket);
    step.captures.push_back({"upgrade", Capture::Header{"UPGRADE"}, "header UPGRADE"});
    step = checked(step, "header.connection == \"Upgrade\"");
    const Tally tally = ran(plan_of(server.url(), {set, step}));
    EXPECT_EQ(tally.figure(Metric::iterations_failed).sum == 0, good) << url;
    EXPECT_EQ(tally.checks().at(0).passes, good ? 1u : 0u) << url;
  }
  ASSERT_EQ(server.heads().size(), 3u);
  EXPECT_THAT(server.heads()[0], StartsWith("GET /talk?x=1 HTTP/1.1\r\n"));
  EXPECT_THAT(server.heads()[1], StartsWith("GET / HTTP/1.1\r\n"));
}

TEST(Browser, CountsAFailedSession) {
  ScriptedServer server({answers({answer("no", "text/plain", 403)})});
  WebSocketStep socket;
  socket.url = Template("ws" + server.url().substr(4) + "/x");
  Step step;
  step.name = "talk";
  step.verb = std::move(socket);
  const Tally tally = ran(plan_of(server.url(), {step}));
  EXPECT_EQ(tally.figure(Metric::availability).fails, 1u);
  ASSERT_EQ(tally.errors().size(), 1u);
  EXPECT_EQ(tally.errors().begin()->first.first, Outcome::http_error);
}

// ---- TLS ----------------------------------------------------------------------------------------------------------

TEST(Browser, SpeaksTlsAsTheTargetAsks) {
  TlsServerOptions options;
  options.names = "DNS:inside.example";
  options.wants_client_certificate = true;
  TlsServer server({{await_request(), send(answer("hello"))}}, options);
  Plan plan = plan_of(server.url(), {step_of(http("/"))});
  TlsSettings& tls = plan.target.tls;
  const auto write = [](const char* name, const std::string& pem) {
    std::string path = testing::TempDir() + "sluice_browser_" + std::to_string(::getpid()) + "_" + name;
    std::ofstream(path) << pem;
    return path;
  };
  tls.ca = write("ca", server.certificate());
  tls.certificate = write("certificate", server.client_certificate());
  tls.key = write("key", server.client_key());
  tls.server_name = "inside.example";
  const Tally tally = ran(plan);
  EXPECT_EQ(requests(tally), 1u);
  EXPECT_EQ(failures(tally), 0u) << (tally.errors().empty() ? "" : tally.errors().begin()->first.second);
  for (const std::string& path : {tls.ca, tls.certificate, tls.key}) ::unlink(path.c_str());
}

// ---- slow networks ------------------------------------------------------------------------------------------------

TEST(Browser, MakesTheNetworkOfAScenarioSlow) {
  const std::string body(50'000, 'x');
  ScriptedServer server({answers({answer(body)}), answers({answer(body)})});
  Plan plan = plan_of(server.url(), {step_of(http("/"))});
  ScenarioPlan slow = plan.scenarios[0];
  slow.name = "slow";
  slow.network.download_kbps = 2000;  // 250,000 bytes a second
  slow.network.latency = 20ms;
  plan.scenarios.push_back(slow);
  const Tally tally = ran(plan);
  const auto duration = [&](std::size_t step) { return tally.steps().at(step).duration.max(); };
  EXPECT_LT(duration(0), 100'000'000u);
  EXPECT_GE(duration(2), 200'000'000u);
}

}  // namespace
}  // namespace sluice
