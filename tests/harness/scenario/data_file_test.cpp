#include "harness/scenario/data_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

struct Read {
  DataRows data;
  std::string problems;
};

Read read(std::string_view bytes, DataFormat format, std::size_t rows_max = limits::data_rows_max) {
  ProblemList list("s.yaml");
  Read out;
  out.data = read_data(bytes, format, "data", list, rows_max);
  out.problems = list.take().text();
  return out;
}

TEST(DataFile, Jsonl) {
  const auto got = read(
      "\xef\xbb\xbf{\"text\":\"a\\n\\u00e9\",\"n\":5}\r\n\n  \n{\"n\":1.5,\"list\":[1,{\"x\":null}],\"text\":null}\n",
      DataFormat::jsonl);
  EXPECT_EQ(got.problems, "");
  EXPECT_THAT(got.data.fields, ElementsAre("text", "n", "list"));
  EXPECT_THAT(got.data.rows,
              ElementsAre(ElementsAre("a\n\xc3\xa9", "5", ""), ElementsAre("", "1.5E0", "[1,{\"x\":null}]")));
  EXPECT_THAT(got.data.lacking, ElementsAre(Pair("list", 1)));
}

TEST(DataFile, JsonlProblemsHaveTheirLines) {
  const auto got = read("{\"a\":1}\n[1]\n{\"a\":\n{\"b\":2}\n", DataFormat::jsonl);
  EXPECT_THAT(got.problems, HasSubstr("data:2:1: each line must be a JSON object"));
  EXPECT_THAT(got.problems, HasSubstr("data:3:1: not JSON"));
  EXPECT_THAT(got.data.lacking, ElementsAre(Pair("a", 4), Pair("b", 1)));
  std::string wrong;
  for (int i = 0; i < 1000; ++i) wrong += "nonsense\n";
  const auto many = read(wrong, DataFormat::jsonl).problems;
  EXPECT_EQ(std::count(many.begin(), many.end(), '\n'), 5)
      << "a file in the wrong format is not named a thousand times";
}

TEST(DataFile, Csv) {
  const auto got = read("a,\"b b\",c\r\n1,\"x, \"\"y\"\"\nz\",3\n\n4,5\"6,\n7,8,9", DataFormat::csv);
  EXPECT_EQ(got.problems, "");
  EXPECT_THAT(got.data.fields, ElementsAre("a", "b b", "c"));
  EXPECT_THAT(got.data.rows, ElementsAre(ElementsAre("1", "x, \"y\"\nz", "3"), ElementsAre("4", "5\"6", ""),
                                         ElementsAre("7", "8", "9")));
}

TEST(DataFile, CsvProblems) {
  EXPECT_THAT(read("a,b\n1\n", DataFormat::csv).problems,
              HasSubstr("data:2:1: 1 cells, and the first row names 2 fields"));
  EXPECT_THAT(read("a,a\n1,2\n", DataFormat::csv).problems, HasSubstr("the field 'a' stands twice"));
  EXPECT_THAT(read("a\n\"x\ny", DataFormat::csv).problems,
              HasSubstr("data:2:1: a quoted cell that starts in this row is never closed"));
  EXPECT_THAT(read(std::string(1000, ','), DataFormat::csv).problems, HasSubstr("more than 256 fields"));
}

TEST(DataFile, TextIsARowALine) {
  const auto got = read("one\r\n\n two \nthree", DataFormat::text);
  EXPECT_THAT(got.data.fields, ElementsAre("text"));
  EXPECT_THAT(got.data.rows, ElementsAre(ElementsAre("one"), ElementsAre(" two "), ElementsAre("three")));
}

TEST(DataFile, MembersOfMembersAreFieldsToo) {
  const auto got = read(R"({"a":{"b":{"c":"deep"},"n":1},"t":"x"})"
                        "\n"
                        R"({"a":7,"t":"y"})",
                        DataFormat::jsonl);
  EXPECT_EQ(got.problems, "");
  EXPECT_THAT(got.data.fields, ElementsAre("a", "a.b", "a.b.c", "a.n", "t"));
  EXPECT_THAT(got.data.rows,
              ElementsAre(ElementsAre(R"({"b":{"c":"deep"},"n":1})", R"({"c":"deep"})", "deep", "1", "x"),
                          ElementsAre("7", "", "", "", "y")));
  EXPECT_THAT(got.data.lacking, ElementsAre(Pair("a.b", 2), Pair("a.b.c", 2), Pair("a.n", 2)));
  std::string wide = "{\"a\":{";
  for (int i = 0; i < 400; ++i) wide += (i > 0 ? ",\"m" : "\"m") + std::to_string(i) + "\":0";
  EXPECT_EQ(read(wide + "},\"b\":1}", DataFormat::jsonl).problems, "data:1:1: more than 256 fields\n")
      << "members of the row itself must have room";
  EXPECT_EQ(read("{\"b\":1,\"a\":" + wide.substr(5) + "}}", DataFormat::jsonl).problems, "");
}

TEST(DataFile, JsonIsAnArrayOfObjectsOrOfStrings) {
  const auto objects =
      read("\xef\xbb\xbf[\n {\"text\": \"a ]},\\\" b\", \"n\": 1},\n\n {\"text\": \"c\"}\n]\n", DataFormat::json);
  EXPECT_EQ(objects.problems, "");
  EXPECT_THAT(objects.data.fields, ElementsAre("text", "n"));
  EXPECT_THAT(objects.data.rows, ElementsAre(ElementsAre("a ]},\" b", "1"), ElementsAre("c", "")));
  EXPECT_THAT(objects.data.lacking, ElementsAre(Pair("n", 4)));
  const auto strings = read(R"(["one", "t\u0077o"])", DataFormat::json);
  EXPECT_EQ(strings.problems, "");
  EXPECT_THAT(strings.data.fields, ElementsAre("text"));
  EXPECT_THAT(strings.data.rows, ElementsAre(ElementsAre("one"), ElementsAre("two")));
}

TEST(DataFile, JsonProblems) {
  const auto problems = [](std::string_view text) { return read(text, DataFormat::json).problems; };
  EXPECT_THAT(problems("[1]"), HasSubstr("data:1:1: an array of objects or of strings is wanted"));
  EXPECT_THAT(problems("[\"a\",\n{\"b\":1"), HasSubstr("data:2:1: the file ends within this item"));
  EXPECT_THAT(problems("[\"a\","), HasSubstr("data:1:1: the file ends within the array"));
  EXPECT_THAT(problems("[\"a\" \"b\"]"), HasSubstr("a ',' or a ']' is wanted"));
  EXPECT_THAT(problems("[\"a\"]\nmore"), HasSubstr("data:2:1: more stands here"));
  EXPECT_THAT(problems("[{\"a\" 1}]"), HasSubstr("not JSON"));
  EXPECT_EQ(problems("[]"), "") << "that it has no rows is said by who wanted some";
}

TEST(DataFile, ShareGptKeepsTheFirstTurns) {
  const auto got = read(R"([
  {"id": "1", "conversations": [{"from": "system", "value": "be brief"}, {"from": "human", "value": "hi"},
                                {"from": "gpt", "value": "hello"}, {"from": "human", "value": "more"},
                                {"from": "gpt", "value": "no"}]},
  {"id": "2", "conversations": [{"from": "gpt", "value": "I begin"}]},
  {"id": "3", "conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "what?"}]},
  {"id": "4", "conversations": []},
  {"id": "5"},
  {"id": "6", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "tokens": 12}]}
])",
                        DataFormat::sharegpt);
  EXPECT_EQ(got.problems, "");
  EXPECT_THAT(got.data.fields, ElementsAre("prompt", "completion", "tokens"));
  EXPECT_THAT(got.data.rows, ElementsAre(ElementsAre("hi", "hello", ""), ElementsAre("q", "a", "12")));
  EXPECT_THAT(got.data.lacking, ElementsAre(Pair("tokens", 2)));
  EXPECT_THAT(read(R"([{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]}])",
                   DataFormat::sharegpt)
                  .data.fields,
              ElementsAre("prompt", "completion"));
}

TEST(DataFile, AStreamIsReadAlikeHoweverItIsSplit) {
  const std::string text =
      R"([{"conversations":[{"from":"human","value":"a \\ \" ] }"},{"from":"gpt","value":"[{"}]} ,
      {"conversations":[{"from":"human","value":"\u00e9"},{"from":"gpt","value":"z"}],"tokens":5}])";
  const auto whole = read(text, DataFormat::sharegpt);
  ASSERT_EQ(whole.data.rows.size(), 2u);
  for (std::size_t size = 1; size < text.size(); ++size) {
    std::size_t at = 0;
    const auto next = [&] {
      const auto block = std::string_view(text).substr(at, size);
      at += block.size();
      return block;
    };
    ProblemList list("s.yaml");
    const auto split = read_data_stream(next, DataFormat::sharegpt, "data", list);
    EXPECT_TRUE(list.empty());
    EXPECT_EQ(split.rows, whole.data.rows) << size;
  }
}

TEST(DataFile, OfAHugeFileOnlyTheRowsAreHeldAndOnlyWhatIsNeededIsRead) {
  // 2 GB of conversations, made as they are read: were they kept, this test would take minutes and memory.
  std::string item =
      R"({"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"},{"from":"human","value":")" +
      std::string(100'000, 'x') + "\"}]},";
  int items = 0;
  const auto next = [&]() -> std::string_view {
    if (items == 0) item.insert(0, 1, '[');
    if (++items == 2) item.erase(0, 1);
    return items > 20'000 ? std::string_view() : std::string_view(item);
  };
  ProblemList list("s.yaml");
  const auto data = read_data_stream(next, DataFormat::sharegpt, "data", list, 100);
  EXPECT_EQ(data.rows.size(), 100u);
  EXPECT_LE(items, 102);
  EXPECT_TRUE(list.empty());
}

TEST(DataFile, ALimitTakesTheFirstRowsOfEveryFormat) {
  EXPECT_EQ(read("{\"a\":1}\n{\"a\":2}\nnonsense", DataFormat::jsonl, 2).data.rows.size(), 2u);
  EXPECT_EQ(read("a\n1\n2\n3,4\n", DataFormat::csv, 2).data.rows.size(), 2u);
  EXPECT_EQ(read("1\n2\n3\n", DataFormat::text, 2).data.rows.size(), 2u);
  const auto json = read("[\"1\",\"2\",3]", DataFormat::json, 2);
  EXPECT_EQ(json.data.rows.size(), 2u);
  EXPECT_EQ(json.problems, "");
}

TEST(DataFile, FormatsByEnding) {
  EXPECT_EQ(data_format_of("a/b.json"), DataFormat::json);
  EXPECT_EQ(data_format_of("a/b.jsonl"), DataFormat::jsonl);
  EXPECT_EQ(data_format_of("b.ndjson"), DataFormat::jsonl);
  EXPECT_EQ(data_format_of("b.csv"), DataFormat::csv);
  EXPECT_EQ(data_format_of("b.txt"), DataFormat::text);
}

}  // namespace
}  // namespace sluice
