// Options of http steps, websocket steps, TLS, cookies and slow networks, as a scenario file says them.
#include "harness/scenario/http_reader.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "harness/scenario/load_plan.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

LoadOptions options_with(std::map<std::string, std::string> files = {}) {
  LoadOptions options;
  options.environment = [](const std::string&) { return std::nullopt; };
  options.read_file = [files = std::move(files)](const std::string& path) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return fail("there is no such file");
    return {boost::system::in_place_value, found->second};
  };
  return options;
}

std::string file_with(const std::string& step, const std::string& target = "", const std::string& scenario = "") {
  return fmt::format(
      "name: t\ntarget: {{url: 'http://h:1'{}}}\nscenarios:\n  a:\n    executor: constant-vus\n    duration: 1s\n{}"
      "    flow:\n      - {}\n",
      target.empty() ? "" : ", " + target, scenario.empty() ? "" : "    " + scenario + "\n", step);
}

Plan plan_of(const std::string& text, std::map<std::string, std::string> files = {}) {
  auto plan = read_plan(text, "dir/s.yaml", options_with(std::move(files)));
  if (!plan) {
    ADD_FAILURE() << plan.error().text();
    return {};
  }
  return std::move(*plan);
}
std::string problems_of(const std::string& text) {
  const auto plan = read_plan(text, "dir/s.yaml", options_with({{"dir/a.txt", "a"}}));
  return plan ? std::string() : plan.error().text();
}

HttpStep http_of(const std::string& step, std::map<std::string, std::string> files = {}) {
  const Plan plan = plan_of(file_with(step), std::move(files));
  return plan.scenarios.empty() ? HttpStep{} : std::get<HttpStep>(plan.scenarios[0].flow.at(0).verb);
}
WebSocketStep websocket_of(const std::string& step) {
  const Plan plan = plan_of(file_with(step));
  return plan.scenarios.empty() ? WebSocketStep{} : std::get<WebSocketStep>(plan.scenarios[0].flow.at(0).verb);
}

std::string written(const std::vector<std::pair<std::string, Template>>& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) out += name + "=" + value.text() + ";";
  return out;
}

TEST(HttpReader, TakesAnyMethodWithItsUrl) {
  const HttpStep http = http_of("http: {method: OPTIONS, url: /x}");
  EXPECT_EQ(http.method, "OPTIONS");
  EXPECT_EQ(http.url.text(), "/x");
}

TEST(HttpReader, TakesQueriesAndFormsWithNamesThatComeAgain) {
  const HttpStep http = http_of("http: {post: /x, query: {a: 1, b: [2, \"${vu}\"]}, form: {c: x y}}");
  EXPECT_EQ(written(http.query), "a=1;b=2;b=${vu};");
  EXPECT_EQ(written(http.form), "c=x y;");
  EXPECT_EQ(http.content_type, "application/x-www-form-urlencoded");
}

TEST(HttpReader, ReadsFilesOnceForBodiesAndParts) {
  const std::map<std::string, std::string> files{{"dir/data/a.json", "{}"}, {"dir/b.wav", "sound"}};
  const HttpStep whole = http_of("http: {post: /x, file: data/a.json, compress: gzip}", files);
  EXPECT_EQ(whole.body.text(), "{}");
  EXPECT_EQ(whole.content_type, "application/json");
  EXPECT_TRUE(whole.compress);
  const HttpStep parts = http_of(
      "http: {post: /x, multipart: {model: m, file: {file: b.wav}, other: {file: data/a.json, type: x/y, filename: "
      "n}}}",
      files);
  ASSERT_EQ(parts.parts.size(), 3u);
  EXPECT_EQ(parts.parts[0].value.text(), "m");
  EXPECT_EQ(parts.parts[1].value.text(), "sound");
  EXPECT_EQ(parts.parts[1].filename, "b.wav");
  EXPECT_EQ(parts.parts[1].type, "audio/wav");
  EXPECT_EQ(parts.parts[2].filename, "n");
  EXPECT_EQ(parts.parts[2].type, "x/y");
  EXPECT_EQ(parts.content_type, "multipart/form-data; boundary=" + parts.boundary);
}

TEST(HttpReader, ChoosesABoundaryThatNoPartHolds) {
  const HttpStep first = http_of("http: {post: /x, multipart: {a: b}}");
  const HttpStep second = http_of("http: {post: /x, multipart: {a: " + first.boundary + "}}");
  EXPECT_NE(first.boundary, second.boundary);
}

TEST(HttpReader, LeavesToTheTargetWhatTheStepDoesNotSay) {
  const HttpStep silent = http_of("http: {get: /}");
  EXPECT_FALSE(silent.redirects || silent.compression || silent.compress);
  const HttpStep said = http_of("http: {get: /, redirects: 0, compression: true}");
  EXPECT_EQ(said.redirects, 0u);
  EXPECT_EQ(said.compression, true);
  const Plan plan = plan_of(file_with("http: {get: /}", "redirects: 3, compression: true, cookies: off, http: h2",
                                      "cookies: keep\n    http: h1"));
  EXPECT_EQ(plan.target.redirects, 3u);
  EXPECT_TRUE(plan.target.compression);
  EXPECT_EQ(plan.target.cookies, CookieKeeping::off);
  EXPECT_EQ(plan.scenarios[0].cookies, CookieKeeping::keep);
  EXPECT_TRUE(plan.target.http2);
  EXPECT_EQ(plan.scenarios[0].http2, false);
  EXPECT_FALSE(plan_of(file_with("http: {get: /}")).target.http2);
  EXPECT_EQ(plan_of(file_with("http: {get: /}")).target.redirects, 10u);
}

TEST(HttpReader, ReadsWebSockets) {
  const WebSocketStep one = websocket_of("websocket: {url: /talk, send: hello}");
  EXPECT_EQ(one.url.text(), "/talk");
  EXPECT_EQ(one.texts.size(), 1u);
  EXPECT_EQ(one.receive, 1u);
  const WebSocketStep two =
      websocket_of("websocket: {url: 'wss://h/x', send: [a, \"${vu}\"], until: end, ping: true, headers: {a: b}}");
  EXPECT_EQ(two.texts.size(), 2u);
  EXPECT_EQ(two.until, "end");
  EXPECT_EQ(two.receive, 0u);
  EXPECT_TRUE(two.ping);
  EXPECT_EQ(written(two.headers), "a=b;");
}

TEST(HttpReader, ReadsTlsAndNetworks) {
  const Plan plan = plan_of(
      file_with("http: {get: /}",
                "tls: {ca: ca.pem, cert: c.pem, key: k.pem, server_name: n, min_version: tls1.3, verify: false}",
                "network: {download_kbps: 1000, upload_kbps: 500, latency: 50ms}"),
      {{"dir/ca.pem", ""}, {"dir/c.pem", ""}, {"dir/k.pem", ""}});
  const TlsSettings& tls = plan.target.tls;
  EXPECT_EQ(tls.ca, "dir/ca.pem");
  EXPECT_EQ(tls.certificate, "dir/c.pem");
  EXPECT_EQ(tls.key, "dir/k.pem");
  EXPECT_EQ(tls.server_name, "n");
  EXPECT_TRUE(tls.only_tls1_3);
  EXPECT_EQ(tls.verify, false);
  const NetworkSettings& network = plan.scenarios.at(0).network;
  EXPECT_EQ(network.download_kbps, 1000u);
  EXPECT_EQ(network.upload_kbps, 500u);
  EXPECT_EQ(network.latency, std::chrono::milliseconds(50));
}

TEST(HttpReader, RefusesWhatMakesNoSense) {
  struct Row {
    std::string step, target, scenario, problem;
  };
  const std::vector<Row> rows{
      {"http: {method: OPTIONS}", "", "", "method: and url: stand together"},
      {"http: {url: /x}", "", "", "method: and url: stand together"},
      {"http: {get: /, method: PUT}", "", "", "method: belongs to http with method: and url:"},
      {"http: {method: get it, url: /x}", "", "", "capital letters are wanted"},
      {"http: {method: HEAD, url: /x, body: a}", "", "", "HEAD sends no body"},
      {"http: {post: /, json: 1, form: {a: b}}", "", "", "http: has json and form"},
      {"http: {post: /, file: none.txt}", "", "", "dir/s.yaml:8:31: file: dir/none.txt: there is no such file"},
      {"http: {post: /, multipart: {a: {file: none.txt}}}", "", "", "file: dir/none.txt: there is no such file"},
      {"http: {post: /, multipart: {a: {text: b}}}", "", "", "part 'a' needs file:"},
      {"http: {post: /, multipart: {a: b}, headers: {content-type: x}}", "", "",
       "multipart: writes Content-Type itself"},
      {"http: {post: /, compress: br, body: a}", "", "", "compress: unknown 'br'"},
      {"http: {get: /, compress: gzip}", "", "", "there is no body to be compressed"},
      {"http: {get: /, redirects: 51}", "", "", "redirects: 51 is out of bounds: 0 to 50"},
      {"http: {get: /, query: x}", "", "", "query: must be a mapping"},
      {"http: {get: /, cookies: off}", "", "", "cookies: belongs to target: or to a scenario"},
      {"http: {get: 'ws://h/'}", "", "", "a path that starts with '/' is wanted, or a whole URL"},
      {"websocket: {url: 'http://h/'}", "", "", "a whole URL (ws:// or wss://)"},
      {"websocket: {url: /, receive: 1, until: x}", "", "", "websocket: has receive and until"},
      {"websocket: {url: /, until: ''}", "", "", "until: a text is wanted"},
      {"websocket: {url: /, timeout: 1s}", "", "", "timeout: stands beside websocket:"},
      {"http: {get: /}", "cookies: some", "", "cookies: unknown 'some'"},
      {"http: {get: /}", "http: h3", "", "http: unknown 'h3'"},
      {"http: {get: /}", "http: h2", "network: {latency: 1ms}", "leave one of them out"},
      {"http: {get: /}", "tls: {ca: none.pem}", "", "ca: dir/none.pem: there is no such file"},
      {"http: {get: /}", "tls: {cert: a.txt}", "", "tls: cert: and key: stand together"},
      {"http: {get: /}", "tls: {min_version: tls1.0}", "", "min_version: unknown 'tls1.0'"},
      {"http: {get: /}", "tls_verify: false, tls: {verify: false}", "", "tls_verify: stands under tls:"},
      {"http: {get: /}", "", "network: {download_kbps: 0}", "download_kbps: 0 is out of bounds"},
      {"http: {get: /}", "", "network: {latency: 2m}", "latency: at most 60s"},
      {"http: {get: /}", "", "network: {latency: 50}", "'50' is not a duration"},
  };
  for (const Row& row : rows)
    EXPECT_THAT(problems_of(file_with(row.step, row.target, row.scenario)), HasSubstr(row.problem)) << row.step;
}

}  // namespace
}  // namespace sluice
