#include "harness/output/chrome_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

std::string written(const RequestTrace& trace) {
  std::string text;
  write_chrome_trace(trace, *TallyLayout::from(small_plan()), "small \"run\"",
                     [&](std::string_view bytes) { text += bytes; });
  return text;
}

std::string golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(SLUICE_SOURCE_DIR "/tests/harness/output/golden/") + name;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A stream on a new connection, 2 ms late, with an engine on the same clock that works a step ahead.
RequestRecord first_record() {
  RequestRecord r = stream_record(12, 30, {{30, 4, 1}, {35, 4, 1, true}, {35, 4, 1}, {50, 4, 1}}, 4);
  r.scheduled_at = at_ms(10);
  r.new_connection = true;
  r.looked_up_at = at_ms(12.1);
  r.connected_at = at_ms(12.5);
  r.tls_at = at_ms(13.5);
  r.send_began_at = at_ms(13.6);
  r.sent_at = at_ms(13.7);
  r.request_id = "0123456789abcdef0000000000000001";
  r.id = "chatcmpl-\"1";
  r.content[1].seen_at += 5'000;
  r.content[3].seen_at = at_ms(51.5);  // parsed after the last byte was received
  return r;
}

EngineTimeline first_timeline() {
  EngineTimeline engine;
  engine.clock = "CLOCK_MONOTONIC";
  engine.received_at = at_ms(13.9);
  engine.queued_at = at_ms(14);
  engine.prefill_began_at = at_ms(16);
  engine.prefill_ended_at = at_ms(28);
  engine.first_token_at = at_ms(28.1);
  engine.finished_at = at_ms(49);
  engine.prompt_tokens = 11;
  engine.cached_tokens = 0;
  engine.completion_tokens = 4;
  engine.finish_reason = "stop";
  engine.steps = {{at_ms(16), at_ms(28), true, 11}, {at_ms(27), at_ms(34), false, 3}, {at_ms(33), at_ms(49), false, 2}};
  engine.writes = {{at_ms(15), at_ms(15.1), 200, "role"},
                   {at_ms(29), at_ms(29.9), 180, "content"},
                   {at_ms(49), at_ms(52), 300, "finish"}};
  engine.writes_left_out = 2;
  return engine;
}

RequestTrace story() {
  RequestTracer tracer(3);
  tracer.add(first_record(), 0);
  tracer.add(plain_record(20, 24), 2);  // beside it: on a row of its own
  RequestRecord refused = plain_record(60, 61, 200);
  refused.status = 0;
  refused.outcome = Outcome::connect_failed;
  refused.error = "never shown: it may name what nobody asked to be shown";
  refused.send_began_at = refused.sent_at = refused.first_byte_at = refused.first_body_at = kNever;
  tracer.add(refused, 2);
  tracer.add(plain_record(70, 71), 2);
  RequestTrace trace = tracer.take();
  trace.requests[0].engine = first_timeline();
  trace.requests[0].same_clock = true;
  trace.no_engine = "the engine tells nothing of 2 of 3: it answered 404";
  return trace;
}

/// Every slice lies inside those that have begun before it on its row and not ended, or after them.
void expect_nested(const json::value& file) {
  struct Slice {
    std::int64_t from, to;
    std::string name;
  };
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Slice>> rows;
  const auto ns = [](const json::value& us) { return std::llround(us.to_number<double>() * 1000); };
  for (const json::value& event : file.at("traceEvents").as_array()) {
    const std::string phase(event.at("ph").as_string());
    const auto row = std::pair(event.at("pid").to_number<std::int64_t>(), event.at("tid").to_number<std::int64_t>());
    if (phase == "M") continue;
    ASSERT_GE(ns(event.at("ts")), 0) << event;
    if (phase != "X") continue;
    ASSERT_GE(ns(event.at("dur")), 0) << event;
    const Slice slice{ns(event.at("ts")), ns(event.at("ts")) + ns(event.at("dur")),
                      std::string(event.at("name").as_string())};
    std::vector<Slice>& open = rows[row];
    while (!open.empty() && open.back().to <= slice.from) open.pop_back();
    if (!open.empty()) {
      EXPECT_GE(slice.from, open.back().from) << slice.name << " in " << open.back().name;
      EXPECT_LE(slice.to, open.back().to) << slice.name << " in " << open.back().name;
    }
    open.push_back(slice);
  }
}

TEST(ChromeTrace, ShowsClientAndEngine) {
  const std::string text = written(story());
  EXPECT_EQ(text, golden("trace.json", text));
  EXPECT_THAT(text, testing::Not(HasSubstr("never shown")));
  const json::value file = json::parse(text);
  expect_nested(file);
  EXPECT_EQ(file.at("otherData").at("requests"), 3);
  EXPECT_EQ(file.at("otherData").at("requests_left_out"), 1);
  EXPECT_EQ(file.at("otherData").at("requests_with_engine"), 1);
}

TEST(ChromeTrace, OfAnotherClockIsPlacedByItsDurations) {
  RequestTrace trace = story();
  TracedRequest& request = trace.requests[0];
  request.same_clock = false;
  const Instant shift = 1'000'000'000'000;
  EngineTimeline& engine = *request.engine;
  for (Instant* at : {&engine.received_at, &engine.queued_at, &engine.prefill_began_at, &engine.prefill_ended_at,
                      &engine.first_token_at, &engine.finished_at})
    *at += shift;
  for (auto& step : engine.steps) step.began_at += shift, step.ended_at += shift;
  for (auto& write : engine.writes) write.began_at += shift, write.ended_at += shift;
  // Sent at 13.7, answered at 30: 16.3 ms, of which the engine had it for 15.1: 0.6 ms each way.
  EXPECT_EQ(engine.received_at + engine_offset(request).count(), at_ms(14.3));
  const std::string text = written(trace);
  expect_nested(json::parse(text));
  EXPECT_THAT(text, HasSubstr("placed by durations"));
}

TEST(ChromeTrace, OfNothingIsAFileToo) {
  const json::value file = json::parse(written({}));
  EXPECT_EQ(file.at("otherData").at("requests"), 0);
}

TEST(ChromeTrace, NestsWhateverAnEngineSays) {
  std::mt19937_64 random(7);
  const auto any = [&] { return random() % 8 == 0 ? kNever : at_ms(static_cast<double>(random() % 60'000) / 1000); };
  for (int round = 0; round < 300; ++round) {
    RequestTrace trace = story();
    trace.no_engine.clear();
    for (TracedRequest& request : trace.requests) {
      EngineTimeline engine;
      engine.received_at = at_ms(static_cast<double>(random() % 60));
      for (Instant* at : {&engine.queued_at, &engine.prefill_began_at, &engine.prefill_ended_at, &engine.first_token_at,
                          &engine.finished_at})
        *at = any();
      for (int i = 0; i < 5; ++i) engine.steps.push_back({any(), any(), random() % 2 == 0, 1});
      for (int i = 0; i < 5; ++i) engine.writes.push_back({any(), any(), 1, "content"});
      request.engine = std::move(engine);
      request.same_clock = random() % 2 == 0;
      request.content.push_back({.received_at = any(), .seen_at = any()});
      for (Instant* at : {&request.connected_at, &request.sent_at, &request.first_byte_at, &request.ended_at})
        *at = any();
    }
    expect_nested(json::parse(written(trace)));
    if (HasFailure()) FAIL() << "round " << round;
  }
}

TEST(RequestTracer, KeepsTheFirstOfAllThreadsAndCountsTheOthers) {
  RequestTracer tracer(100);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&tracer] {
        for (int k = 0; k < 50; ++k) tracer.add(stream_record(10, 20, {{20}}), 0);
      });
  }
  const RequestTrace trace = tracer.take();
  ASSERT_EQ(trace.requests.size(), 100u);
  EXPECT_EQ(trace.left_out, 100u);
  for (const TracedRequest& request : trace.requests) EXPECT_EQ(request.content.size(), 1u);
}

TEST(RequestTracer, BoundsTheEventsOfARequest) {
  RequestTracer tracer;
  tracer.add(stream_record(0, 1, std::vector<EventAt>(limits::trace_marks_max + 7, EventAt{2})), 0);
  const RequestTrace trace = tracer.take();
  EXPECT_EQ(trace.requests[0].content.size(), limits::trace_marks_max);
  EXPECT_EQ(trace.requests[0].content_left_out, 7u);
}

}  // namespace
}  // namespace sluice
