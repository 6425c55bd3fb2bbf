#include "harness/output/engine_timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/base/limits.h"

namespace sluice {
namespace {

TEST(EngineTimeline, IsReadWhole) {
  const auto read = read_engine_timeline(R"({"id":"a","response_id":"chatcmpl-1","clock":"CLOCK_MONOTONIC",
    "now_ns":900,"received_ns":100,"queued_ns":110,"prefill_start_ns":120,"prefill_end_ns":200,"first_token_ns":205,
    "finished_ns":300,"prompt_tokens":7,"cached_tokens":0,"completion_tokens":3,"finish_reason":"stop",
    "steps":[{"start_ns":120,"end_ns":200,"kind":"prefill","rows":7},{"start_ns":210,"end_ns":250,"kind":"decode","rows":4}],
    "steps_dropped":2,"writes":[{"before_ns":206,"after_ns":209,"bytes":180,"event":"content"},
    {"before_ns":301,"after_ns":310,"bytes":20,"event":4}],"writes_dropped":1})");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->clock, "CLOCK_MONOTONIC");
  EXPECT_EQ(read->said_at, 900);
  EXPECT_EQ(read->queued_at, 110);
  EXPECT_EQ(read->prefill_ended_at, 200);
  EXPECT_EQ(read->first_token_at, 205);
  EXPECT_EQ(read->finish_reason, "stop");
  EXPECT_EQ(read->completion_tokens, 3);
  ASSERT_EQ(read->steps.size(), 2u);
  EXPECT_TRUE(read->steps[0].prefill);
  EXPECT_FALSE(read->steps[1].prefill);
  EXPECT_EQ(read->steps[1].rows, 4u);
  ASSERT_EQ(read->writes.size(), 2u);
  EXPECT_EQ(read->writes[0].event, "content");
  EXPECT_EQ(read->writes[1].event, "4");
  EXPECT_EQ(read->steps_left_out, 2u);
  EXPECT_EQ(read->writes_left_out, 1u);
  EXPECT_EQ(read->ended_at(), 310) << "its last write comes after its last token";
}

TEST(EngineTimeline, WhatHasNotHappenedIsNever) {
  const auto read = read_engine_timeline(R"({"received_ns":100,"queued_ns":110,"prefill_start_ns":null,
    "first_token_ns":-3,"finished_ns":"soon","steps":null,"writes":[7,{"before_ns":9,"after_ns":3}]})");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->prefill_began_at, kNever);
  EXPECT_EQ(read->first_token_at, kNever);
  EXPECT_EQ(read->finished_at, kNever);
  EXPECT_EQ(read->prompt_tokens, -1);
  EXPECT_TRUE(read->writes.empty()) << "an end before its beginning is none";
  EXPECT_EQ(read->ended_at(), 110);
}

TEST(EngineTimeline, IsRefusedWithASentence) {
  for (const std::string text : {"", "[]", "null", "{", R"({"received_ns":null})", R"({"received_ns":9e300})",
                                 R"({"received_ns":9223372036854775807})", "{\"received_ns\":1,\"id\":\"\xff\"}"}) {
    const auto read = read_engine_timeline(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().message, testing::StartsWith("the timeline ")) << text;
  }
  EXPECT_FALSE(read_engine_timeline(std::string(limits::body_bytes_kept + 1, ' ')));
}

TEST(EngineTimeline, KeepsSoManyStepsAndCountsTheOthers) {
  std::string steps;
  for (std::size_t i = 0; i < limits::trace_marks_max + 5; ++i)
    steps += R"({"start_ns":1,"end_ns":2,"kind":"decode","rows":1},)";
  const auto read = read_engine_timeline(R"({"received_ns":1,"steps_dropped":10,"steps":[)" + steps + "0]}");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->steps.size(), limits::trace_marks_max);
  EXPECT_EQ(read->steps_left_out, 15u);
}

}  // namespace
}  // namespace sluice
