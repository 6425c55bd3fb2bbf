#include "harness/load/control_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "harness/net/endpoint.h"
#include "harness/net/exchange.h"
#include "harness/net/kernel_clock.h"
#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

struct Answer {
  unsigned status;
  std::string body;
};

Answer ask(const std::string& url, const std::string& method, const std::string& body = "",
           const std::string& path = "/v1/status") {
  Endpoint endpoint = *parse_endpoint(url.substr(0, url.find("/v1")));
  EXPECT_TRUE(resolve(endpoint));
  EventLoop loop;
  ExchangeBuffers buffers;
  Exchange exchange(loop, buffers);
  Waiter waiter(loop);
  Connection connection(loop, endpoint, {});
  RequestRecord record;
  record.started_at = record.scheduled_at = now();
  const std::string bytes = method + " " + path +
                            " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                            body;
  ExchangeRequest request;
  request.bytes = bytes;
  request.keep_body = true;
  request.timeout = 5s;
  exchange.run_alone(waiter, connection, request, record);
  return {record.status, record.body};
}

TEST(ControlServer, TellsAndChangesHowTheRunStands) {
  RunControl control;
  auto server = ControlServer::start("127.0.0.1:0", false, control, 20, [] { return 3u; });
  ASSERT_TRUE(server) << server.error().message;
  const std::string url = (*server)->url();
  EXPECT_THAT(ask(url, "GET").body, HasSubstr(R"("paused":false,"vus":3,"vus-max":20,"stopped":false)"));
  EXPECT_EQ(control.vus_wanted(), std::nullopt);
  EXPECT_EQ(ask(url, "PATCH", R"({"vus": 12})").status, 200u);
  EXPECT_EQ(control.vus_wanted(), 12u);
  EXPECT_FALSE(control.paused());
  EXPECT_THAT(ask(url, "PATCH", R"({"data":{"type":"status","id":"default","attributes":{"paused":true}}})").body,
              HasSubstr(R"("attributes":{"paused":true)"))
      << "k6's document";
  EXPECT_TRUE(control.paused());
  EXPECT_EQ(control.vus_wanted(), 12u) << "what is not named stays";
  EXPECT_EQ(control.state(), RunControl::State::running);
  EXPECT_EQ(ask(url, "PATCH", R"({"stopped": true})").status, 200u);
  EXPECT_EQ(control.state(), RunControl::State::stopping_gracefully);
}

TEST(ControlServer, SaysWhatItDoesNotTake) {
  RunControl control;
  auto server = ControlServer::start("127.0.0.1:0", false, control, 20, [] { return 0u; });
  ASSERT_TRUE(server);
  const std::string url = (*server)->url();
  struct Row {
    const char *method, *path, *body;
    unsigned status;
    const char* says;
  };
  const Row rows[] = {
      {"GET", "/v1/metrics", "", 404, "there is /v1/status"},
      {"DELETE", "/v1/status", "", 405, "there is GET and PATCH"},
      {"PATCH", "/v1/status", "", 400, "a JSON object is wanted"},
      {"PATCH", "/v1/status", "[1]", 400, "a JSON object is wanted"},
      {"PATCH", "/v1/status", R"({"vus": -1})", 400, "a whole number"},
      {"PATCH", "/v1/status", R"({"vus": 21})", 400, "max_vus is 20"},
      {"PATCH", "/v1/status", R"({"paused": "yes"})", 400, "paused: true or false"},
      {"PATCH", "/v1/status", R"({"vsu": 1})", 400, "there is vus, paused and stopped"},
  };
  for (const Row& row : rows) {
    const Answer answer = ask(url, row.method, row.body, row.path);
    EXPECT_EQ(answer.status, row.status) << row.body;
    EXPECT_THAT(answer.body, HasSubstr(row.says)) << row.body;
  }
  EXPECT_EQ(control.vus_wanted(), std::nullopt);
}

TEST(ControlServer, ListensOnlyWhereItMay) {
  RunControl control;
  const auto message = [&](const std::string& address) {
    auto server = ControlServer::start(address, false, control, 1, [] { return 0u; });
    return server ? std::string("it listens") : server.error().message;
  };
  EXPECT_THAT(message("0.0.0.0:0"), HasSubstr("--control-remote"));
  for (const char* address : {"6565", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "somewhere:1", ""})
    EXPECT_THAT(message(address), HasSubstr("write one such as 127.0.0.1:6565")) << address;
  auto first = ControlServer::start("127.0.0.1:0", false, control, 1, [] { return 0u; });
  ASSERT_TRUE(first);
  const std::string url = (*first)->url();
  EXPECT_THAT(message(url.substr(7, url.find("/v1") - 7)), HasSubstr("cannot listen on"));
}

}  // namespace
}  // namespace sluice
