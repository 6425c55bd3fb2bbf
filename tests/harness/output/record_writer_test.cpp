#include "harness/output/record_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace sluice {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class RecordWriting : public testing::Test {
 protected:
  RecordWriting() {
    std::string pattern = (fs::temp_directory_path() / "recording_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ / "streams.jsonl";
  }
  ~RecordWriting() override { fs::remove_all(folder_); }

  std::vector<std::string> lines() const {
    std::ifstream file(path_);
    std::vector<std::string> all;
    for (std::string line; std::getline(file, line);) all.push_back(line);
    return all;
  }
  std::unique_ptr<RecordWriter> writer(std::size_t sinks, const RecordWriter::Options& options) {
    return *RecordWriter::open(path_.string(), sinks, options);
  }

  fs::path folder_, path_;
};

constexpr std::string_view kRequest =
    "POST /v1/chat/completions?key=s3cret HTTP/1.1\r\nAuthorization: Bearer s3cret\r\nCookie: s3cret\r\n\r\n{\"a\":1}";

RecordedHead head(Instant sent_at) {
  return {.request = kRequest,
          .status = 200,
          .content_type = "text/event-stream",
          .headers = "Server: a\"b\nserver: second\nX-Request-Id: r1\n",
          .sent_at = sent_at,
          .head_at = sent_at + 2'500'999};
}

Nanoseconds us(std::int64_t count) { return std::chrono::microseconds(count); }

TEST_F(RecordWriting, WritesEachStreamByteForByte) {
  const auto recording = writer(2, {.by = "sluice test"});
  const Instant at = now();
  RecordSink& sink = recording->sink(0);
  const std::uint64_t first = sink.begin(head(at)), other = recording->sink(1).begin(head(at)),
                      second = sink.begin(head(at));
  EXPECT_THAT((std::vector{first, other, second}), ElementsAre(1, 2, 3));
  EXPECT_TRUE(sink.add(first, us(3000), "data: \"\xc3\xa9\"\n\n"));
  EXPECT_TRUE(sink.add(second, us(3100), "\xe2\x82"));
  EXPECT_TRUE(sink.add(second, us(3200), std::string_view("\xac\0\x01", 3)));
  EXPECT_TRUE(sink.add(first, us(4000), std::string_view("a\0b", 3)));
  sink.end(first, us(4001), RecordedEnd::complete);
  sink.end(second, us(5000), RecordedEnd::reset);
  const RecordCounts counts = recording->finish();
  EXPECT_EQ(counts.streams, 2u);
  EXPECT_EQ(counts.missing, 1u) << "the other thread's has not ended";
  EXPECT_EQ(counts.pieces, 4u);
  EXPECT_EQ(counts.problem, "");
  std::vector<std::string> of_first;
  for (const std::string& line : lines())
    if (!line.starts_with("{\"stream\":2,")) of_first.push_back(line);
  ASSERT_EQ(of_first.size(), 9u);
  EXPECT_THAT(of_first[0], testing::StartsWith("{\"sluice_recording\":1,\"by\":\"sluice test\",\"at\":\"20"));
  EXPECT_THAT(
      of_first[1],
      testing::MatchesRegex(
          R"(\{"stream":1,"method":"POST","path":"/v1/chat/completions","sent_us":[0-9]+,"head_us":2500,)"
          R"("status":200,"content_type":"text/event-stream","headers":\{"server":"a\\"b","x-request-id":"r1"\}\})"));
  EXPECT_EQ(of_first[3], "{\"stream\":1,\"us\":3000,\"text\":\"data: \\\"\xc3\xa9\\\"\\u000a\\u000a\"}");
  EXPECT_EQ(of_first[4], R"({"stream":3,"us":3100,"base64":"4oI="})");
  EXPECT_EQ(of_first[5], R"({"stream":3,"us":3200,"base64":"rAAB"})");
  EXPECT_EQ(of_first[6], R"({"stream":1,"us":4000,"text":"a\u0000b"})");
  EXPECT_EQ(of_first[7], R"({"stream":1,"us":4001,"end":"complete"})");
  EXPECT_EQ(of_first[8], R"({"stream":3,"us":5000,"end":"reset"})");
  for (const std::string& line : lines()) EXPECT_THAT(line, Not(HasSubstr("s3cret")));
}

TEST_F(RecordWriting, KeepsTheRequestsBodyOnlyWhenAsked) {
  for (const bool asked : {false, true}) {
    const auto recording = writer(1, {.by = "t", .with_request = asked});
    recording->sink(0).begin(head(now()));
    recording->finish();
    EXPECT_EQ(lines()[1].find(R"("request":"{\"a\":1}")") != std::string::npos, asked) << lines()[1];
    EXPECT_THAT(lines()[1], Not(HasSubstr("s3cret")));
  }
}

TEST_F(RecordWriting, WhatIsWrittenCanBeReadBeforeTheEnd) {
  const auto recording = writer(1, {.by = "t"});
  recording->sink(0).begin(head(now()));
  recording->sink(0).end(1, us(3000), RecordedEnd::cut);
  while (lines().size() < 3) ::usleep(1000);  // without finish()
  EXPECT_THAT(lines()[2], HasSubstr("\"end\":\"cut\""));
}

TEST_F(RecordWriting, AStreamWithoutRoomIsGivenUpAndCounted) {
  const auto recording = writer(1, {.by = "t", .ring_bytes = 4096});
  RecordSink& sink = recording->sink(0);
  const std::uint64_t stream = sink.begin(head(now()));
  EXPECT_FALSE(sink.add(stream, us(3000), std::string(5000, 'x')));
  const RecordCounts counts = recording->finish();
  EXPECT_EQ(counts.streams, 0u);
  EXPECT_EQ(counts.missing, 1u);
  EXPECT_THAT(counts.problem, HasSubstr("faster than they could be written"));
}

TEST_F(RecordWriting, TheBoundOfTheFileIsKeptAndSaid) {
  const auto recording = writer(1, {.by = "t", .bytes_max = 2000});
  RecordSink& sink = recording->sink(0);
  for (int i = 0; i < 20; ++i) sink.end(sink.begin(head(now())), us(3000), RecordedEnd::complete);
  const RecordCounts counts = recording->finish();
  EXPECT_LE(fs::file_size(path_), 2000u);
  EXPECT_GT(counts.streams, 2u);
  EXPECT_EQ(counts.streams + counts.missing, 20u);
  EXPECT_THAT(counts.problem, HasSubstr("has reached 2000 bytes"));
}

TEST_F(RecordWriting, RefusesFilesThatItCannotWrite) {
  EXPECT_THAT(RecordWriter::open((folder_ / "a.gz").string(), 1, {.by = "t"}).error().message,
              HasSubstr("recordings are not compressed"));
  EXPECT_THAT(RecordWriter::open((folder_ / "no" / "a").string(), 1, {.by = "t"}).error().message,
              HasSubstr("cannot write"));
}

}  // namespace
}  // namespace sluice
