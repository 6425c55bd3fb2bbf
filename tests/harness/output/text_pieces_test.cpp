#include "harness/output/text_pieces.h"

#include <gtest/gtest.h>

namespace sluice::samples {
namespace {

std::string json(std::string_view text) {
  std::string out;
  append_json_string(text, out);
  return out;
}
std::string csv(std::string_view text) {
  std::string out;
  append_csv_cell(text, out);
  return out;
}
std::string time(std::int64_t wall_ns) {
  std::string out;
  append_rfc3339(wall_ns, out);
  return out;
}

TEST(TextPieces, JsonStrings) {
  EXPECT_EQ(json("a \"b\" \\ \n\x01"), "\"a \\\"b\\\" \\\\ \\u000a\\u0001\"");
  EXPECT_EQ(json("é€😀"), "\"é€😀\"");
  EXPECT_EQ(json("a\xff"), "\"a\\ufffd\"");
  EXPECT_EQ(json("\xe2\x82"), "\"\\ufffd\\ufffd\"") << "cut off in mid code point";
  EXPECT_EQ(json("\xc0\x80\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"") << "overlong, and a surrogate";
}

TEST(TextPieces, CsvCells) {
  EXPECT_EQ(csv("plain"), "plain");
  EXPECT_EQ(csv(""), "");
  EXPECT_EQ(csv("a,b"), "\"a,b\"");
  EXPECT_EQ(csv("say \"hi\""), "\"say \"\"hi\"\"\"");
  EXPECT_EQ(csv("two\nlines"), "\"two\nlines\"");
}

TEST(TextPieces, Times) {
  EXPECT_EQ(time(0), "1970-01-01T00:00:00.000000000Z");
  EXPECT_EQ(time(1'763'780'395'000'000'001), "2025-11-22T02:59:55.000000001Z");
  EXPECT_EQ(time(951'782'400'999'999'999), "2000-02-29T00:00:00.999999999Z");
}

}  // namespace
}  // namespace sluice::samples
