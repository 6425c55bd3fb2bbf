#include "harness/stream/recording.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

using testing::HasSubstr;

const std::string kHeader = "{\"sluice_recording\":1,\"by\":\"sluice 1\",\"at\":\"now\"}\n";
const std::string kBegun =
    kHeader +
    "{\"stream\":7,\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"sent_us\":5,\"head_us\":10,"
    "\"status\":200,\"content_type\":\"text/event-stream\",\"headers\":{\"server\":\"s\"}}\n";

TEST(Recording, GivesEachStreamItsBytesAndTimes) {
  const auto recording =
      read_recording_file(kBegun +
                          "{\"stream\":8,\"path\":\"/v1/completions\",\"status\":503,\"later\":\"unknown\"}\n"
                          "{\"stream\":7,\"us\":20,\"text\":\"data: \\u00e9\\n\"}\n"
                          "{\"note\":\"a line of a later version\"}\n"
                          "{\"stream\":7,\"us\":5,\"later\":true}\n"
                          "{\"stream\":8,\"us\":1,\"end\":\"complete\"}\n"
                          "{\"stream\":7,\"us\":20,\"base64\":\"4oI=\"}\n"
                          "{\"stream\":7,\"us\":31,\"base64\":\"rAo=\"}\n"
                          "{\"stream\":7,\"us\":40,\"end\":\"reset\"}\n"
                          "{\"stream\":9,\"path\":\"/x\",\"status\":200}\n"
                          "{\"stream\":9,\"us\":1,\"text\":\"cut off");
  ASSERT_TRUE(recording) << recording.error().message;
  ASSERT_EQ(recording->streams.size(), 2u);
  EXPECT_EQ(recording->unfinished, 1u);
  const TimedStream& first = recording->streams[0];
  EXPECT_EQ(first.number, 7u);
  EXPECT_EQ(first.method, "POST");
  EXPECT_EQ(first.path, "/v1/chat/completions");
  EXPECT_EQ(first.answer.status, 200u);
  EXPECT_EQ(first.answer.content_type, "text/event-stream");
  EXPECT_EQ(first.answer.body, "data: \xc3\xa9\n\xe2\x82\xac\n");
  EXPECT_EQ(first.head_us, 10);
  ASSERT_EQ(first.pieces.size(), 3u);
  EXPECT_EQ(first.pieces[1].us, 20);
  EXPECT_EQ(first.pieces[1].end, 11u);
  EXPECT_EQ(first.pieces[2].end, 13u);
  EXPECT_EQ(first.end_us, 40);
  EXPECT_EQ(first.end, TimedStream::End::reset);
  EXPECT_EQ(recording->streams[1].answer.status, 503u);
  EXPECT_EQ(recording->streams[1].end, TimedStream::End::complete);
}

TEST(Recording, SaysInWhichLineWhatIsWrong) {
  struct Case {
    std::string bytes, problem;
  };
  const Case cases[] = {
      {"", ""},
      {"data: {}\n\n", "line 1: not a JSON object"},
      {"[1]\n", "line 1: not a JSON object"},
      {"{\"a\":1}\n", "line 1: no recording"},
      {"{\"sluice_recording\":2}\n", "line 1: recordings of version 2 are not known"},
      {kHeader + "{\"stream\":-1}\n", "line 2: 'stream' is no number"},
      {kHeader + "{\"stream\":1,\"us\":1,\"text\":\"\"}\n", "line 2: stream 1 has not begun"},
      {kHeader + "{\"stream\":1,\"path\":\"x\",\"status\":200}\n", "line 2: 'path' is no path"},
      {kHeader + "{\"stream\":1,\"path\":\"/\",\"status\":99}\n", "line 2: 'status' is no HTTP status"},
      {kHeader + "{\"stream\":1,\"path\":\"/\",\"status\":200,\"head_us\":-1}\n", "line 2: 'head_us' is no time"},
      {kBegun + kBegun.substr(kHeader.size()), "line 3: stream 7 begins twice"},
      {kBegun + "{\"stream\":7,\"us\":9,\"text\":\"\"}\n", "line 3: 'us' is before"},
      {kBegun + "{\"stream\":7,\"us\":2592000000001,\"text\":\"\"}\n", "line 3: 'us' is no time"},
      {kBegun + "{\"stream\":7,\"us\":10,\"base64\":\"abc\"}\n", "line 3: neither a 'text'"},
      {kBegun + "{\"stream\":7,\"us\":10,\"base64\":\"ab-=\"}\n", "line 3: neither a 'text'"},
      {kBegun + "{\"stream\":7,\"us\":10,\"end\":\"well\"}\n", "line 3: 'end' is none of complete, closed, reset"},
      {kBegun + "{\"stream\":7,\"us\":10,\"end\":\"cut\"}\n{\"stream\":7,\"us\":10,\"text\":\"\"}\n",
       "line 4: stream 7 has not begun, or has ended"},
  };
  for (const auto& [bytes, problem] : cases) {
    const auto recording = read_recording_file(bytes);
    if (problem.empty()) {
      EXPECT_TRUE(recording);
      continue;
    }
    ASSERT_FALSE(recording) << bytes;
    EXPECT_THAT(recording.error().message, HasSubstr(problem));
  }
}

TEST(Recording, IsTakenForOneByItsFirstBytesAlone) {
  EXPECT_TRUE(is_recording(kHeader));
  EXPECT_FALSE(is_recording("data: {\"sluice_recording\":1}\n\n"));
  EXPECT_FALSE(is_recording("HTTP/1.1 200 OK\r\n\r\n"));
}

}  // namespace
}  // namespace sluice
