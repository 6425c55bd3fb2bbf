// The engine's side of a run's requests, from a server that tells it, and from servers that do not.
#include "harness/load/timelines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/scripted_server.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr std::string_view kTimeline = R"({"id":"x","clock":"CLOCK_MONOTONIC","now_ns":7,"received_ns":1,"steps":[]})";

RequestTrace trace_of(std::size_t requests) {
  RequestTrace trace;
  trace.requests.resize(requests);
  for (std::size_t i = 0; i < requests; ++i) trace.requests[i].request_id = "id-" + std::to_string(i);
  return trace;
}

Script answers(const std::vector<std::string>& all) {
  Script script;
  for (const std::string& bytes : all) {
    script.push_back(await_request());
    script.push_back(send(bytes));
  }
  return script;
}

Plan plan_for(const ScriptedServer& server) {
  Plan plan;
  plan.target.url = server.url();
  plan.target.headers.emplace_back("Authorization", Template("Bearer secret"));
  return plan;
}

TEST(Timelines, AreAskedForTheLatestFirstOnOneConnection) {
  ScriptedServer server({answers({answer(kTimeline), answer("{}", "application/json", 404), answer(kTimeline)})});
  RequestTrace trace = trace_of(3);
  fetch_timelines(plan_for(server), {}, trace);
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(server.connections(), 1);
  EXPECT_THAT(requests[0], StartsWith("GET /v1/requests/id-2/timeline HTTP/1.1\r\n"));
  EXPECT_THAT(requests[0], HasSubstr("Authorization: Bearer secret"));
  EXPECT_TRUE(trace.requests[2].engine);
  EXPECT_FALSE(trace.requests[1].engine);
  EXPECT_TRUE(trace.requests[0].engine);
  EXPECT_FALSE(trace.requests[0].same_clock) << "its clock reads 7 ns";
  EXPECT_EQ(trace.no_engine, "the engine tells nothing of 1 of 3: it answered 404 to GET /v1/requests/id-1/timeline");
}

TEST(Timelines, AServerThatKnowsNoneIsNotAskedForEach) {
  ScriptedServer server({answers(std::vector<std::string>(100, answer("no", "text/plain", 404)))});
  RequestTrace trace = trace_of(100);
  fetch_timelines(plan_for(server), {}, trace);
  EXPECT_EQ(server.requests().size(), 20u);
  EXPECT_THAT(trace.no_engine, StartsWith("the engine tells nothing of 100 of 100: it answered 404"));
}

TEST(Timelines, OddAnswersAreSaidAndNothingMore) {
  const std::vector<std::pair<std::string, std::string>> rows{
      {answer("[1]"), "the timeline is not an object of JSON"},
      {answer("{}"), "the timeline does not say when the request was received"},
      {"nonsense\r\n\r\n", "not HTTP"},
      {answer("", "text/plain", 302), "the timeline is not an object of JSON"}};
  for (const auto& [bytes, reason] : rows) {
    ScriptedServer server({answers({bytes})});
    RequestTrace trace = trace_of(1);
    fetch_timelines(plan_for(server), {}, trace);
    EXPECT_FALSE(trace.requests[0].engine);
    EXPECT_THAT(trace.no_engine, HasSubstr(reason));
  }
}

TEST(Timelines, OfRequestsWithoutAnIdNobodyIsAsked) {
  ScriptedServer server({answers({})});
  RequestTrace trace;
  trace.requests.emplace_back();
  fetch_timelines(plan_for(server), {}, trace);
  EXPECT_THAT(server.requests(), IsEmpty());
  EXPECT_THAT(trace.no_engine, HasSubstr("no request had an x-request-id"));
}

TEST(Timelines, NamesAreEscapedInThePath) {
  EXPECT_EQ(timeline_path("00ff-A_b.c"), "/v1/requests/00ff-A_b.c/timeline");
  EXPECT_EQ(timeline_path("a/../b?c d"), "/v1/requests/a%2F..%2Fb%3Fc%20d/timeline");
}

}  // namespace
}  // namespace sluice
