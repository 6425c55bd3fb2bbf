#include "engine/serve/timelines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/core/limits.h"

namespace sluice::engine {
namespace {

using namespace std::chrono_literals;

Clock::time_point at(std::chrono::microseconds time) { return Clock::time_point(time); }

std::shared_ptr<ServedRequest> request_of(std::string id, std::string response_id) {
  auto request = std::make_shared<ServedRequest>();
  request->id = std::move(id);
  request->response_id = std::move(response_id);
  request->engine = std::make_shared<RequestTimeline>(1);
  return request;
}

TEST(RequestMetrics, AddUpToTheServersTimeToTheFirstToken) {
  const auto request = request_of("a", "b");
  EXPECT_EQ(metrics_of(*request).queue_time_ns, std::nullopt);
  request->received_ns = 1'000'000;
  request->engine->queued(at(1010us), {});
  request->engine->admitted(at(1250us));
  std::string before;
  append_metrics(before, metrics_of(*request));
  EXPECT_EQ(before,
            R"({"time_to_first_token_ms":null,"generation_time_ms":null,"queue_time_ms":0.250,"mean_itl_ms":null,)"
            R"("tokens_per_second":null,"prefill_time_ms":null,"output_time_ms":null,"server_ttft_ms":null,)"
            R"("chunks":0,"pieces":0})");
  for (const auto time : {2000us, 4000us, 12000us}) {
    request->engine->drew({.start = {}, .end = at(time), .rows = 1}, {.prompt_tokens = 5, .completion_tokens = 3});
  }
  request->first_content_ns = 2'001'000;
  request->frames = 2;
  request->pieces = 3;
  std::string out;
  append_metrics(out, metrics_of(*request));
  EXPECT_EQ(out,
            R"({"time_to_first_token_ms":0.750,"generation_time_ms":10.000,"queue_time_ms":0.250,"mean_itl_ms":5.000,)"
            R"("tokens_per_second":279.070,"prefill_time_ms":0.750,"output_time_ms":0.001,"server_ttft_ms":1.001,)"
            R"("chunks":2,"pieces":3})");
}

TEST(RequestMetrics, OfASingleTokenHaveNoRate) {
  const auto request = request_of("a", "b");
  request->engine->drew({.start = {}, .end = at(5us), .rows = 1}, {.prompt_tokens = 5, .completion_tokens = 1});
  EXPECT_EQ(metrics_of(*request).generation_time_ns, 0);
  EXPECT_EQ(metrics_of(*request).tokens_per_second, std::nullopt);
  EXPECT_EQ(metrics_of(*request).mean_itl_ns, std::nullopt);
}

TEST(Timelines, KeepWhatRunsAndTheLastThatFinished) {
  Timelines timelines;
  const auto running = request_of("running", "r");
  timelines.add(running);
  for (std::size_t i = 0; i < limits::timelines_finished_max + 10; ++i) {
    const auto request = request_of("x" + std::to_string(i), "y" + std::to_string(i));
    timelines.add(request);
    timelines.finish(request);
  }
  EXPECT_EQ(timelines.find("running"), running);
  for (const char* gone : {"x0", "y0", "x9", "y9"}) EXPECT_EQ(timelines.find(gone), nullptr) << gone;
  for (const char* kept : {"x10", "y10", "x4105", "y4105"}) EXPECT_NE(timelines.find(kept), nullptr) << kept;
}

TEST(Timelines, TogetherStayWithinTheirBytes) {
  Timelines timelines;
  std::size_t kept = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto request = request_of(std::to_string(i), "r" + std::to_string(i));
    for (std::size_t step = 0; step < 5000; ++step) {
      request->engine->step({.start = {}, .end = {}, .rows = 1});
      request->add({.before_ns = 1, .after_ns = 2, .bytes = 3, .event = 4});
    }
    EXPECT_EQ(request->writes_dropped, 5000 - limits::timeline_writes_max);
    timelines.add(request);
    timelines.finish(request);
  }
  for (int i = 0; i < 1000; ++i) kept += timelines.find(std::to_string(i)) != nullptr ? 1 : 0;
  const std::size_t each = limits::timeline_steps_max * (sizeof(TimelineStep) + sizeof(TimelineWrite));
  EXPECT_LE(kept * each, limits::timelines_bytes_max);
  EXPECT_GE((kept + 3) * each, limits::timelines_bytes_max);
  EXPECT_NE(timelines.find("999"), nullptr);
}

TEST(Timelines, AnIdThatIsUsedAgainMeansTheLastOne) {
  Timelines timelines;
  const auto first = request_of("same", "r1"), second = request_of("same", "r2");
  for (const auto& request : {first, second}) {
    timelines.add(request);
    timelines.finish(request);
  }
  EXPECT_EQ(timelines.find("same"), second);
  EXPECT_EQ(timelines.find("r1"), first);
}

}  // namespace
}  // namespace sluice::engine
