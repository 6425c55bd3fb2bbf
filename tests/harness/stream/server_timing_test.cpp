#include "harness/stream/server_timing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "harness/stream/chat_event.h"

namespace sluice {
namespace {

using Source = ServerTimes::Source;

std::string told(const ServerTimes& times) {
  std::string text(source_name(times.source));
  const auto add = [&](const char* name, Nanoseconds time) {
    if (time.count() >= 0) text += std::string(" ") + name + "=" + std::to_string(time.count() / 1000) + "us";
  };
  add("queue", times.queue);
  add("prefill", times.prefill);
  add("output", times.output);
  return text;
}

struct Row {
  const char* name;
  std::string text, told;
};

TEST(ServerTiming, IsReadAsTheHeaderSaysIt) {
  const std::vector<Row> rows{
      {"both", "queue;dur=1.2, prefill;dur=30", "Server-Timing queue=1200us prefill=30000us"},
      {"other names, other case", "Queued; DUR=2 ,PROMPT;dur=3.5", "Server-Timing queue=2000us prefill=3500us"},
      {"total and app are no part of it", "total;dur=99, app;dur=7", ""},
      {"one of them", "db;dur=1,prefill;dur=4", "Server-Timing prefill=4000us"},
      {"other parameters", R"(queue;desc="a, b; dur=9";dur=1)", "Server-Timing queue=1000us"},
      {"a quoted number", R"(queue;dur="1.5")", "Server-Timing queue=1500us"},
      {"an escaped quote", R"(queue;desc="a\", prefill;dur=9";dur=2)", "Server-Timing queue=2000us"},
      {"the first counts", "queue;dur=1, queued;dur=2", "Server-Timing queue=1000us"},
      {"no duration", "queue, prefill;desc=x", ""},
      {"below zero", "queue;dur=-1", ""},
      {"no number", "queue;dur=1ms, prefill;dur=", ""},
      {"not finite", "queue;dur=inf, prefill;dur=nan", ""},
      {"longer than can be", "queue;dur=1e300, prefill;dur=86400001", ""},
      {"nothing", "", ""},
      {"separators only", ",;=,\",;", ""},
  };
  for (const Row& row : rows) {
    ServerTimes times;
    take_server_timing(row.text, times);
    EXPECT_EQ(told(times), row.told) << row.name;
  }
}

TEST(ServerTiming, SeveralHeadersAreOne) {
  ServerTimes times;
  take_server_timing("queue;dur=1", times);
  take_server_timing("queue;dur=5, prefill;dur=2", times);
  EXPECT_EQ(told(times), "Server-Timing queue=1000us prefill=2000us");
}

TEST(ChatEventParser, TakesWhatServersSayOfTheirTimes) {
  const std::string usage = R"("choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5})";
  const std::vector<Row> rows{
      {"vLLM",
       "{" + usage +
           R"(,"metrics":{"time_to_first_token_ms":31.5,"generation_time_ms":80,"queue_time_ms":1.5,"mean_itl_ms":2,"tokens_per_second":9}})",
       "vllm metrics queue=1500us prefill=31500us"},
      {"vLLM without a queue", "{" + usage + R"(,"metrics":{"time_to_first_token_ms":31.5,"queue_time_ms":null}})",
       "vllm metrics prefill=31500us"},
      {"sluice-engine",
       "{" + usage +
           R"(,"metrics":{"queue_time_ms":1,"prefill_time_ms":20,"output_time_ms":0.25,"server_ttft_ms":21.25,"time_to_first_token_ms":21}})",
       "engine queue=1000us prefill=20000us output=250us"},
      {"llama.cpp",
       R"({"choices":[{"delta":{},"finish_reason":"stop"}],"timings":{"prompt_n":9,"prompt_ms":12,"predicted_ms":50}})",
       "llama.cpp timings prefill=12000us"},
      {"whole numbers", "{" + usage + R"(,"metrics":{"queue_time_ms":0,"prefill_time_ms":7}})",
       "engine queue=0us prefill=7000us"},
      {"null", "{" + usage + R"(,"metrics":null,"timings":null})", ""},
      {"other shapes", "{" + usage + R"(,"metrics":[1],"timings":7})", ""},
      {"no times",
       "{" + usage +
           R"(,"metrics":{"queue_time_ms":-1,"prefill_time_ms":"7","output_time_ms":1e99},"timings":{"prompt_ms":true}})",
       ""},
      {"content beside it", R"({"choices":[{"delta":{"content":"a"}}],"timings":{"prompt_ms":1}})",
       "llama.cpp timings prefill=1000us"},
      {"an unstreamed answer",
       R"({"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"metrics":{"queue_time_ms":1,"time_to_first_token_ms":3}})",
       "vllm metrics queue=1000us prefill=3000us"},
      {"none", "{" + usage + "}", ""},
  };
  ChatEventParser parser;
  const std::string completed =
      R"({"type":"response.completed","response":{"id":"r","status":"completed","metrics":{"queue_time_ms":4}}})";
  EXPECT_EQ(told(parser.parse(completed, StreamApi::responses).times), "vllm metrics queue=4000us");
  for (const Row& row : rows) EXPECT_EQ(told(parser.parse(row.text).times), row.told) << row.name;
}

}  // namespace
}  // namespace sluice
