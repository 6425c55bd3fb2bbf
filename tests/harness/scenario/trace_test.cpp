#include "harness/scenario/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "harness/scenario/trace_file.h"

namespace sluice {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::StartsWith;
using testing::UnorderedElementsAre;

struct Read {
  TraceFile file;
  std::string problems;
};

Read read(std::string_view bytes, std::optional<TraceFormat> format = {}, std::size_t block = 1'000'000,
          std::uint32_t block_tokens = 512) {
  ProblemList list("s.yaml");
  Read out;
  const auto next_block = [&] {
    const auto piece = bytes.substr(0, block);
    bytes.remove_prefix(piece.size());
    return piece;
  };
  out.file = read_trace(next_block, format, block_tokens, "trace", list);
  out.problems = list.take().text();
  return out;
}

/// "at:input>output", in milliseconds.
std::string text(const Trace& trace) {
  std::string all;
  for (const TraceRow& row : trace.rows)
    all += std::to_string(row.at / 1ms) + ":" + std::to_string(row.input_tokens) + ">" +
           std::to_string(row.output_tokens) + " ";
  return all;
}

std::string prompt(const Trace& trace, std::size_t row, std::uint64_t seed = 1) {
  std::string out;
  write_prompt(trace, trace.rows.at(row), seed, out);
  return out;
}

std::uint64_t tokens_in(const std::string& prompt_text) {
  if (prompt_text.empty()) return 0;
  return static_cast<std::uint64_t>(std::count(prompt_text.begin(), prompt_text.end(), ' ') + 1 +
                                    std::count(prompt_text.begin(), prompt_text.end(), '.'));
}

TEST(TraceFile, EachFormatIsRecognisedAndReadHoweverItsBytesAreSplit) {
  struct Row {
    const char *name, *bytes, *rows;
  };
  const Row rows[] = {
      {"mooncake",
       "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 1]}\n"
       "{\"timestamp\": 1500, \"input_length\": 512, \"output_length\": 7, \"hash_ids\": [0]}\n",
       "0:600>5 1500:512>7 "},
      {"mooncake without ids", "{\"timestamp\":27.5,\"input_length\":6,\"output_length\":0}", "27:6>0 "},
      {"azure",
       "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
       "2023-11-16 18:15:50.9951690,396,109\r\n",
       "0:374>44 4314:396>109 "},
      {"azure of 2024",
       "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,10,2\n2024-05-10T02:00:01Z,11,3\n"
       "2024-05-10 04:00:02+0200,12,4\n",
       "0:10>2 7200990:11>3 7201990:12>4 "},
      {"burstgpt",
       "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
       "45,ChatGPT,1087,0,1087,Conversation log\n118,GPT-4,417,276,693,API log\n",
       "5000:472>18 118000:417>276 "},
      {"burstgpt with sessions",
       "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
       "1.5,1,0.2,GPT-4,3,4,7,API log",
       "1500:3>4 "},
      {"sluice",
       "\n{\"at\": 1.5, \"input_tokens\": 10, \"output_tokens\": 3, \"user\": \"ann\"}\n\n"
       "{\"at\": \"2s500ms\", \"prompt\": \"Say hello.\", \"user\": \"bob\"}\n",
       "1500:10>3 2500:-1>-1 "},
  };
  for (const auto& [name, bytes, expected] : rows) {
    for (const std::size_t block : {1'000'000u, 1u, 7u}) {
      const auto got = read(bytes, {}, block);
      EXPECT_EQ(got.problems, "") << name;
      EXPECT_EQ(text(got.file.trace), expected) << name << " in blocks of " << block;
    }
  }
}

TEST(TraceFile, ProblemsNameTheLineAndTheWayOut) {
  struct Row {
    const char *bytes, *problem;
  };
  const Row rows[] = {
      {"", "trace: has no requests"},
      {"\n \n", "trace: has no requests"},
      {"hello\n", "trace:1:1: not recognised as a trace: JSON lines with timestamp (mooncake)"},
      {"{\"time\":1}\n", "trace:1:1: not recognised as a trace"},
      {"TIMESTAMP,ContextTokens,GeneratedTokens\n", "trace: has no requests"},
      {"TIMESTAMP,ContextTokens\n", "trace:1:1: the first row names no GeneratedTokens"},
      {"TIMESTAMP,ContextTokens,GeneratedTokens\n\n5,1,1\n", "trace:3:1: TIMESTAMP: '5' is no time as in 2023-11-16"},
      {"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-30 00:00:00,1,1\n", "'2023-02-30 00:00:00' is no time"},
      {"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-03 00:00:00,1\n", "trace:2:1: 2 cells are too few"},
      {"Timestamp,Request tokens,Response tokens\n1,-2,3\n", "trace:2:1: Request tokens: '-2' is no number of tokens"},
      {"Timestamp,Request tokens,Response tokens\nsoon,2,3\n", "trace:2:1: Timestamp: 'soon' is no number of seconds"},
      {"Timestamp,Request tokens,Response tokens\n1,2,0\n", "trace: has no requests"},
      {"{\"timestamp\":0,\"input_length\":1}\n", "trace:1:1: output_length: '' is no number of tokens"},
      {"{\"timestamp\":-1,\"input_length\":1,\"output_length\":1}\n", "timestamp: '-1' is no number of milliseconds"},
      {"{\"timestamp\":0,\"input_length\":1,\"output_length\":1}\n{}[\n", "trace:2:1: each line must be a JSON object"},
      {"{\"timestamp\":0,\"input_length\":99999999,\"output_length\":1}",
       "'99999999' is no number of tokens: 0 to 4194304"},
      {"{\"timestamp\":0,\"input_length\":600,\"output_length\":1,\"hash_ids\":[1]}",
       "hash_ids: 1 of them, and 600 tokens are 2 blocks of 512: block_tokens: says how long a block is"},
      {"{\"timestamp\":0,\"input_length\":6,\"output_length\":1,\"hash_ids\":[1.5]}",
       "hash_ids: whole numbers are wanted"},
      {"{\"at\":0,\"input_tokens\":3}\n\n{\"at\":\"soon\",\"input_tokens\":3}\n",
       "trace:3:1: at: 'soon' is neither a number of seconds nor a duration"},
      {"{\"at\":0}\n", "trace:1:1: neither prompt nor input_tokens"},
      {"{\"at\":0,\"prompt\":\"x\",\"output_tokens\":\"many\"}", "output_tokens: 'many' is no number of tokens"},
      {"\n{\"at\":0,\"prompt\":\"x\"}\nnonsense\n", "trace:3:1: not JSON"},
  };
  for (const auto& [bytes, problem] : rows) EXPECT_THAT(read(bytes).problems, HasSubstr(problem)) << bytes;
  EXPECT_THAT(read("{\"at\":0,\"prompt\":\"x\"}", TraceFormat::azure).problems, HasSubstr("names no TIMESTAMP"));
  std::string wrong = "Timestamp,Request tokens,Response tokens\n";
  for (int i = 0; i < 1000; ++i) wrong += "nonsense,1,1\n";
  const auto many = read(wrong).problems;
  EXPECT_EQ(std::count(many.begin(), many.end(), '\n'), 5)
      << "a file in the wrong format is not named a thousand times";
}

TEST(TraceFile, RowsOutOfOrderAreSortedAndThoseOfOneInstantStayAsTheyAre) {
  const auto got = read("Timestamp,Request tokens,Response tokens\n3,1,1\n1,2,1\n3,3,1\n2,4,1\n1,5,1\n");
  EXPECT_EQ(text(got.file.trace), "1000:2>1 1000:5>1 2000:4>1 3000:1>1 3000:3>1 ");
}

TEST(TraceFile, FieldsOfTheOwnFormatAreKeptAndWhatIsLackingIsKnown) {
  const auto got =
      read("{\"at\":1,\"prompt\":\"b\",\"user\":{\"id\":7}}\n{\"at\":0,\"input_tokens\":4,\"output_tokens\":2}\n");
  EXPECT_EQ(got.problems, "");
  const Trace& trace = got.file.trace;
  const auto field = [&](std::size_t row, std::string_view name) {
    std::string out;
    append_value(trace_field(trace, trace.rows[row], name), out);
    return out;
  };
  EXPECT_EQ(field(1, "user.id"), "7");
  EXPECT_EQ(field(0, "user.id"), "");
  EXPECT_EQ(field(0, "input_tokens"), "4");
  EXPECT_EQ(field(1, "input_tokens"), "");
  EXPECT_EQ(field(0, "nothing"), "");
  EXPECT_EQ(prompt(trace, 1), "b");
  EXPECT_EQ(tokens_in(prompt(trace, 0)), 4u);
  EXPECT_THAT(got.file.fields, UnorderedElementsAre(Pair("prompt", 0), Pair("user", 2), Pair("user.id", 2),
                                                    Pair("input_tokens", 1), Pair("output_tokens", 1)));
}

Trace burst(std::vector<int> seconds) {
  Trace trace;
  for (const int at : seconds) {
    TraceRow row;
    row.at = std::chrono::seconds(at);
    row.number = static_cast<std::uint32_t>(trace.rows.size());
    trace.rows.push_back(row);
  }
  return trace;
}

TEST(Trace, AWindowIsShiftedToBeginAtNought) {
  struct Row {
    std::optional<Nanoseconds> from, to;
    std::size_t rows_max;
    std::vector<int> seconds;
    Nanoseconds length;
  };
  const Row rows[] = {
      {{}, {}, 99, {0, 10, 20, 30}, 40s},  // from its first request
      {5s, {}, 99, {0, 10, 20, 30}, 40s},  // the start is in the window
      {3s, {}, 99, {2, 12, 22, 32}, 42s},  // and what passes before the first request is kept
      {0s, {}, 99, {5, 15, 25, 35}, 45s},
      {6s, {}, 99, {9, 19, 29}, 39s},
      {{}, 25s, 99, {0, 10}, 20s},  // the end is not
      {15s, 26s, 99, {0, 10}, 20s},
      {{}, {}, 3, {0, 10, 20}, 30s},
      {6s, {}, 1, {9}, 10s},  // one request: a second more
      {36s, {}, 99, {}, 0s},
      {{}, 5s, 99, {}, 0s},
  };
  for (const auto& [from, to, rows_max, seconds, length] : rows) {
    Trace trace = burst({5, 15, 25, 35});
    cut_trace(trace, from, to, rows_max);
    std::vector<int> got;
    for (const TraceRow& row : trace.rows) got.push_back(static_cast<int>(row.at / 1s));
    EXPECT_EQ(got, seconds);
    EXPECT_EQ(trace.rows.empty() ? 0s : length_of(trace), length);
  }
  EXPECT_EQ(length_of(burst({0, 0, 0})), 1s) << "all at once";
}

TEST(Trace, NothingDriftsAtAnySpeed) {
  Trace trace;
  constexpr std::int64_t kGap = 123'456'789;
  for (std::int64_t i = 0; i < 100'000; ++i) trace.rows.push_back({.at = Nanoseconds(i * kGap)});
  for (const double speed : {0.001, 1.0, 2.0, 3.0, 1000.0}) {
    Nanoseconds before{};
    for (std::size_t i = 0; i < trace.rows.size(); ++i) {
      const Nanoseconds due = due_at(trace.rows[i], speed);
      const long double exact = static_cast<long double>(kGap) * static_cast<long double>(i) / speed;
      ASSERT_LE(std::abs(static_cast<long double>(due.count()) - exact), 1.0L) << i << " at " << speed;
      ASSERT_GE(due, before);
      before = due;
    }
  }
}

TEST(Trace, PromptsShareTheirBlocksExactlyWhereTheirIdsAgree) {
  const auto got = read(
      "{\"timestamp\":0,\"input_length\":40,\"output_length\":1,\"hash_ids\":[1,2,3]}\n"
      "{\"timestamp\":1,\"input_length\":48,\"output_length\":1,\"hash_ids\":[1,2,4]}\n"
      "{\"timestamp\":2,\"input_length\":48,\"output_length\":1,\"hash_ids\":[5,2,3]}\n"
      "{\"timestamp\":3,\"input_length\":48,\"output_length\":1,\"hash_ids\":[1,2,3]}\n"
      "{\"timestamp\":4,\"input_length\":20,\"output_length\":1}\n{\"timestamp\":5,\"input_length\":20,\"output_"
      "length\":1}",
      {}, 1'000'000, 16);
  EXPECT_EQ(got.problems, "");
  const Trace& trace = got.file.trace;
  for (std::size_t i = 0; i < trace.rows.size(); ++i)
    EXPECT_EQ(tokens_in(prompt(trace, i)), static_cast<std::uint64_t>(trace.rows[i].input_tokens)) << i;
  const auto shared = [&](std::size_t a, std::size_t b) {  // whole tokens in which they agree
    const std::string one = prompt(trace, a), other = prompt(trace, b);
    std::size_t at = 0;
    while (at < std::min(one.size(), other.size()) && one[at] == other[at]) ++at;
    return tokens_in(one.substr(0, at));
  };
  EXPECT_GE(shared(0, 1), 32u);
  EXPECT_LT(shared(0, 1), 36u) << "a word may begin alike";
  EXPECT_LT(shared(0, 2), 4u);
  EXPECT_LT(shared(4, 5), 4u) << "without ids";
  EXPECT_THAT(prompt(trace, 3), StartsWith(prompt(trace, 0))) << "the last block is cut to the length";
  EXPECT_NE(prompt(trace, 0, 1), prompt(trace, 0, 2)) << "another seed";
  // Of different first blocks the second is still the same text.
  const std::string tail = prompt(trace, 0).substr(prompt(trace, 0).size() - 80);
  EXPECT_THAT(prompt(trace, 2), HasSubstr(tail));
}

TEST(Trace, AWindowLeavesThePromptsAsTheyAre) {
  Trace whole = burst({5, 15, 25, 35});
  for (TraceRow& row : whole.rows) row.input_tokens = 20;
  Trace part = whole;
  cut_trace(part, 20s, {}, 99);
  EXPECT_EQ(prompt(part, 0), prompt(whole, 2));
}

}  // namespace
}  // namespace sluice
