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

Read read(std::string_view bytes, DataFormat format) {
  ProblemList list("s.yaml");
  Read out;
  out.data = read_data(bytes, format, "data", list);
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

TEST(DataFile, FormatsByEnding) {
  EXPECT_EQ(data_format_of("a/b.jsonl"), DataFormat::jsonl);
  EXPECT_EQ(data_format_of("b.ndjson"), DataFormat::jsonl);
  EXPECT_EQ(data_format_of("b.csv"), DataFormat::csv);
  EXPECT_EQ(data_format_of("b.txt"), DataFormat::text);
}

}  // namespace
}  // namespace sluice
