#include "harness/stream/recorded_stream.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice {
namespace {

struct Row {
  const char* name;
  std::string bytes;
  unsigned status;
  std::string content_type, body, problem;
};

TEST(RecordedStream, IsReadWithAndWithoutItsHead) {
  const std::string ok = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
  const std::string chunked = ok + "Transfer-Encoding: chunked\r\n\r\n";
  const std::string type = "text/event-stream";
  const std::vector<Row> rows{
      {"nothing", "", 200, type, "", ""},
      {"a body alone", "data: x\n\n", 200, type, "data: x\n\n", ""},
      {"until the end", ok + "\r\ndata: x\n\n", 200, type, "data: x\n\n", ""},
      {"chunks", chunked + "5\r\ndata:\r\n4;e=1\r\n x\n\n\r\n0\r\n\r\n", 200, type, "data: x\n\n", ""},
      {"chunks that curl took off", chunked + "data: x\n\n", 200, type, "data: x\n\n", ""},
      {"cut between chunks", chunked + "5\r\ndata:\r\n", 200, type, "data:", "it ends before its last chunk"},
      {"cut within a chunk", chunked + "5\r\nda", 200, type, "da", "it ends within a chunk"},
      {"no size", chunked + "2\r\nda\r\nta: x\r\n", 200, type, "da", "not a chunk's size where one is due"},
      {"a chunk too long", chunked + "2\r\ndata\r\n", 200, type, "da", "a chunk is longer than it says"},
      {"a size that no chunk has", chunked + "ffffffffffffffff\r\nda", 200, type, "da", "it ends within a chunk"},
      {"a length", ok + "Content-Length: 9\r\n\r\ndata: x\n\nmore", 200, type, "data: x\n\n", ""},
      {"too short", ok + "Content-Length: 99\r\n\r\ndata: x\n\n", 200, type, "data: x\n\n",
       "it is shorter than its Content-Length"},
      {"HTTP/2 by curl", "HTTP/2 200 \ncontent-type: text/event-stream; charset=utf-8\n\ndata: x\n\n", 200,
       "text/event-stream; charset=utf-8", "data: x\n\n", ""},
      {"an error", "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\nbusy", 503, "", "busy", ""},
      {"after 100", "HTTP/1.1 100 Continue\r\n\r\n" + ok + "\r\ndata: x\n\n", 200, type, "data: x\n\n", ""},
  };
  for (const Row& row : rows) {
    const auto read = read_recording(row.bytes);
    ASSERT_TRUE(read) << row.name << ": " << read.error().message;
    EXPECT_EQ(read->status, row.status) << row.name;
    EXPECT_EQ(read->content_type, row.content_type) << row.name;
    EXPECT_EQ(read->body, row.body) << row.name;
    EXPECT_EQ(read->problem, row.problem) << row.name;
  }
}

TEST(RecordedStream, IsRefusedWhenItsHeadIsNoHttp) {
  for (const char* bytes : {"HTTP/", "HTTP/1.1\r\n\r\n", "HTTP/1.1 ok\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"}) {
    EXPECT_FALSE(read_recording(bytes)) << bytes;
  }
}

}  // namespace
}  // namespace sluice
