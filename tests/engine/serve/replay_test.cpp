// Recordings as the engine reads them, and what a client of a replay sees.
#include "engine/serve/replay.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/serve/emit_log.h"
#include "engine/serve/recording.h"
#include "engine/serve/server.h"
#include "tests/engine/serve/http_client.h"

namespace sluice::engine::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

const std::string kHeader = "{\"sluice_recording\":1,\"by\":\"test\",\"model\":\"of-the-header\"}\n";
constexpr const char* kChat = "/v1/chat/completions";

std::string begins(int stream, const std::string& path = kChat, const std::string& more = "\"status\":200") {
  return fmt::format("{{\"stream\":{},\"path\":\"{}\",\"content_type\":\"text/event-stream\",{}}}\n", stream, path,
                     more);
}
std::string piece(int stream, int us, const std::string& text) {
  return fmt::format("{{\"stream\":{},\"us\":{},\"text\":\"{}\"}}\n", stream, us, text);
}
std::string ends(int stream, int us, const std::string& how = "complete") {
  return fmt::format("{{\"stream\":{},\"us\":{},\"end\":\"{}\"}}\n", stream, us, how);
}

TEST(ReplayRecording, GivesEachStreamItsBytesAndTimes) {
  const auto recording = parse_recording(
      kHeader +
          begins(1, "/v1/chat/completions?x=1",
                 R"("status":429,"head_us":10,"headers":{"retry-after":"3","server":"theirs","connection":"close"})") +
          begins(2) + piece(1, 20, "data: {\\\"model\\\" : \\\"m-1\\\"}\\n") +
          R"({"later":true})"
          "\n" +
          R"({"stream":1,"us":5,"note":"later still"})"
          "\n"
          R"({"stream":9,"note":{"of":"no stream"}})"
          "\n"
          "{\"stream\":1,\"us\":20,\"base64\":\"4oI=\"}\n" +
          piece(1, 25, "") + "{\"stream\":1,\"us\":30,\"base64\":\"rAo=\"}\n" + ends(1, 31, "reset") + begins(3, "/x"),
      "r");
  ASSERT_TRUE(recording) << recording.error().message;
  ASSERT_EQ(recording->streams.size(), 1u);
  EXPECT_EQ(recording->unfinished, 2u);
  EXPECT_THAT(recording->models, ElementsAre("m-1"));
  const RecordedStream& stream = recording->streams[0];
  EXPECT_EQ(stream.path, kChat);
  EXPECT_EQ(stream.method, "POST");
  EXPECT_EQ(stream.status, 429u);
  EXPECT_THAT(stream.headers, ElementsAre(Pair("content-type", "text/event-stream"), Pair("retry-after", "3")));
  EXPECT_EQ(stream.body, "data: {\"model\" : \"m-1\"}\n\xe2\x82\xac\n");
  EXPECT_EQ(stream.pieces.size(), 3u) << "the empty one is none";
  EXPECT_EQ(stream.head_us, 10);
  EXPECT_EQ(stream.end_us, 31);
  EXPECT_EQ(stream.end, RecordedStream::End::reset);
  EXPECT_THAT(parse_recording(kHeader + begins(1) + ends(1, 1), "r")->models, ElementsAre("of-the-header"));
}

TEST(ReplayRecording, LeavesOutWhatNoServerCanAnswerWith) {
  const auto recording = parse_recording(
      kHeader + begins(1, "/a", "\"status\":103") + begins(2, "/b", "\"status\":999") + begins(3, "/c") +
          begins(4, "/d", "\"status\":600") + piece(1, 1, "a") + ends(1, 1) + ends(2, 1) + ends(3, 1),
      "r");
  ASSERT_TRUE(recording) << recording.error().message;
  ASSERT_EQ(recording->streams.size(), 1u);
  EXPECT_EQ(recording->streams[0].path, "/c");
  EXPECT_EQ(recording->unservable, 2u);
  EXPECT_EQ(recording->unfinished, 1u);
}

TEST(ReplayRecording, SaysInWhichLineWhatIsWrong) {
  struct Case {
    std::string bytes, problem;
  };
  const std::string begun = kHeader + begins(7, kChat, "\"status\":200,\"head_us\":10");
  const Case cases[] = {
      {"", "r: there is no whole stream"},
      {kHeader, "r: there is no whole stream"},
      {"data: {}\n\n", "r:1: not valid JSON"},
      {"[]\n", "r:1: not a JSON object"},
      {"{\"sluice_recording\":2}\n", "r:1: recordings of version 2 are not known"},
      {begins(1), "r:1: no recording"},
      {kHeader + "{\"stream\":-1}\n", "r:2: 'stream' must be"},
      {kHeader + "{\"stream\":1,\"stream\":1}\n", "r:2: the key 'stream' stands twice"},
      {kHeader + piece(1, 1, "a"), "r:2: stream 1 has not begun"},
      {begun + "{\"stream\":7,\"us\":10,\"text\":5}\n", "r:3: its 'text', 'base64' or 'end' cannot be read"},
      {kHeader + begins(1, "no-path"), "r:2: 'path' must be"},
      {kHeader + begins(1, "/", R"("status":200,"method":"GET\r\nx: y")"), "r:2: 'method' must be"},
      {kHeader + begins(1, "/", R"("status":200,"method":"")"), "r:2: 'method' must be"},
      {kHeader + begins(1, "/", "\"status\":99"), "r:2: 'status' must be"},
      {kHeader + begins(1, "/", "\"status\":1000"), "r:2: 'status' must be"},
      {kHeader + begins(1, "/", "\"status\":101") + ends(1, 1), "r: there is no whole stream"},
      {kHeader + begins(1, "/", "\"status\":200,\"head_us\":2592000000001"), "r:2: 'head_us' must be"},
      {kHeader + R"({"stream":1,"path":"/","status":200,"content_type":"a\r\nb: c"})"
                 "\n",
       "r:2: 'content_type' cannot"},
      {kHeader + begins(1, "/", R"("status":200,"headers":{"retry-after":"1\nx: y"})"), "r:2: 'retry-after' cannot"},
      {begun + begins(7), "r:3: stream 7 begins twice"},
      {begun + piece(7, 9, "a"), "r:3: 'us' is 9, before"},
      {begun + "{\"stream\":7,\"us\":10,\"base64\":\"abc\"}\n", "r:3: its 'text', 'base64' or 'end' cannot be read"},
      {begun + "{\"stream\":7,\"us\":10,\"base64\":\"a=bc\"}\n", "r:3: its 'text', 'base64' or 'end' cannot be read"},
      {begun + ends(7, 10, "well"), "r:3: 'end' must be one of complete, closed, reset"},
      {begun + ends(7, 10) + piece(7, 11, "a"), "r:4: stream 7 has not begun, or has ended"},
  };
  for (const auto& [bytes, problem] : cases) {
    const auto recording = parse_recording(bytes, "r");
    ASSERT_FALSE(recording) << bytes;
    EXPECT_THAT(recording.error().message, HasSubstr(problem));
  }
}

/// A server that replays, on a free loopback port.
class Replaying {
 public:
  explicit Replaying(const std::string& recording, double speed = 1, bool logged = false, ServerOptions options = {}) {
    std::string pattern = (fs::temp_directory_path() / "replay_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(folder_ / "recording.jsonl") << recording;
    options.replay = folder_ / "recording.jsonl";
    options.replay_speed = speed;
    if (logged) options.emit_log = folder_ / "emit";
    options.emit_log_records = 4096;
    auto bound = Server::bind(options);
    if (!bound) throw std::runtime_error(bound.error().message);
    server_ = std::move(*bound);
    port_ = server_->port();
    thread_ = std::thread([this] { server_->run(); });
  }
  ~Replaying() {
    server_->stop(0);
    thread_.join();
    fs::remove_all(folder_);
  }
  std::uint16_t port() const { return port_; }
  Server& server() { return *server_; }
  std::vector<EmitRecord> log() const {
    std::ifstream file(folder_ / "emit", std::ios::binary);
    char header[sizeof(EmitHeader)];
    file.read(header, sizeof header);
    std::uint64_t written = 0;
    std::memcpy(&written, header + 32, sizeof written);
    std::vector<EmitRecord> records(written);
    file.read(reinterpret_cast<char*>(records.data()), static_cast<std::streamsize>(written * sizeof(EmitRecord)));
    return records;
  }

 private:
  fs::path folder_;
  std::unique_ptr<Server> server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST(Replay, TheKthRequestGetsStreamKOfItsPath) {
  Replaying replaying(kHeader + begins(1) + begins(2, "/v1/completions") +
                      begins(3, kChat, "\"status\":503,\"headers\":{\"retry-after\":\"7\"}") +
                      piece(1, 0, "data: one\\n\\n") + piece(2, 0, "data: other\\n\\n") + piece(3, 0, "busy") +
                      ends(1, 1) + ends(2, 1) + ends(3, 1));
  Client client(replaying.port());
  const auto ask = [&](const std::string& path) {
    client.post(path, "{}");
    return client.reply();
  };
  for (int round = 0; round < 2; ++round) {
    const Reply first = ask("/v1/chat/completions?any=1"), other = ask("/v1/completions"), third = ask(kChat);
    EXPECT_TRUE(first.whole);
    EXPECT_EQ(first.body, "data: one\n\n");
    EXPECT_EQ(first.field("content-type"), "text/event-stream");
    EXPECT_EQ(other.body, "data: other\n\n");
    EXPECT_EQ(third.status, 503u);
    EXPECT_EQ(third.field("retry-after"), "7");
    EXPECT_EQ(third.body, "busy");
  }
  client.get("/ready");
  EXPECT_EQ(client.reply().status, 200u);
  client.get("/health");
  EXPECT_EQ(client.reply().status, 200u);
  client.get("/v1/models");
  EXPECT_THAT(client.reply().body, HasSubstr("\"id\":\"of-the-header\""));
  client.get(kChat);
  EXPECT_EQ(client.reply().status, 405u);
  EXPECT_EQ(ask("/v1/embeddings").status, 404u);
}

TEST(Replay, MethodsOfOnePathHaveTheirOwnStreams) {
  Replaying replaying(kHeader + begins(1) + begins(2, kChat, R"("method":"GET","status":200)") +
                      begins(3, kChat, R"("method":"GET","status":404)") + piece(1, 0, "posted") + piece(2, 0, "got") +
                      ends(1, 0) + ends(2, 0) + ends(3, 0));
  Client client(replaying.port());
  client.get(kChat);
  EXPECT_EQ(client.reply().body, "got");
  client.post(kChat, "{}");
  EXPECT_EQ(client.reply().body, "posted");
  client.get(kChat);
  EXPECT_EQ(client.reply().status, 404u);
  client.send("DELETE /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n");
  const Reply refused = client.reply();
  EXPECT_EQ(refused.status, 405u);
  EXPECT_EQ(refused.field("allow"), "GET, POST");
  EXPECT_THAT(refused.body, HasSubstr("was recorded with GET, POST"));
}

TEST(Replay, EachPieceIsAChunkOfItsOwn) {
  Replaying replaying(kHeader + begins(1) + piece(1, 0, "data: a\\n") +
                      "{\"stream\":1,\"us\":0,\"base64\":\"CuKC\"}\n" + ends(1, 0));
  Client client(replaying.port());
  client.post(kChat, "{}");
  ASSERT_TRUE(client.read_until("\r\n\r\n8\r\ndata: a\n\r\n3\r\n\n\xe2\x82\r\n0\r\n\r\n"));
  Client old(replaying.port());  // to whom chunks mean nothing
  old.send("POST /v1/chat/completions HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(old.reply().body, "data: a\n\n\xe2\x82");
}

TEST(Replay, AnAnswerThatHasNoBodyEndsWithItsHead) {
  Replaying replaying(kHeader + begins(1, "/a", "\"status\":204") + begins(2, "/b", "\"status\":304") +
                      begins(3, "/c", R"("method":"HEAD","status":200)") + begins(4, "/d") + piece(1, 0, "none") +
                      piece(2, 0, "none") + piece(3, 0, "none") + piece(4, 0, "some") + ends(1, 0) + ends(2, 0) +
                      ends(3, 0) + ends(4, 0));
  Client client(replaying.port());
  client.post("/a", "{}");
  const Reply no_content = client.reply();
  EXPECT_EQ(no_content.status, 204u);
  EXPECT_EQ(no_content.field("transfer-encoding"), "");
  client.post("/b", "{}");
  const Reply not_modified = client.reply();
  EXPECT_EQ(not_modified.status, 304u);
  EXPECT_EQ(not_modified.field("transfer-encoding"), "");
  client.send("HEAD /c HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.reply(true).status, 200u);
  client.post("/d", "{}");
  EXPECT_EQ(client.reply().body, "some");
}

TEST(Replay, StreamsEndAsTheyEnded) {
  struct Case {
    const char* end;
    int error;  // that ends the connection; 0: it is closed
  };
  for (const auto& [end, error] :
       {Case{"closed", 0}, Case{"cut", 0}, Case{"malformed", 0}, Case{"reset", ECONNRESET}}) {
    Replaying replaying(kHeader + begins(1) + piece(1, 0, "data: a\\n\\n") + ends(1, 1000, end));
    Client client(replaying.port());
    client.post(kChat, "{}");
    std::string all;
    ssize_t got = 1;
    int last_error = 0;
    while (got > 0) {
      char buffer[4096];
      got = ::recv(client.socket(), buffer, sizeof buffer, 0);
      last_error = got < 0 ? errno : 0;
      if (got > 0) all.append(buffer, static_cast<std::size_t>(got));
    }
    EXPECT_EQ(last_error, error) << end;
    EXPECT_THAT(all, testing::EndsWith("\r\n\r\n9\r\ndata: a\n\n\r\n")) << end;
  }
}

TEST(Replay, AfterATimeOutNothingFollowsUntilTheClientLeaves) {
  Replaying replaying(kHeader + begins(1) + piece(1, 0, "data: a\\n\\n") + ends(1, 1000, "timeout"));
  {
    Client client(replaying.port());
    client.post(kChat, "{}");
    ASSERT_TRUE(client.read_until("data: a"));
    Client other(replaying.port());
    other.post(kChat, "{}");
    ASSERT_TRUE(other.read_until("data: a")) << "another's replay goes on beside it";
  }
  Client metrics(replaying.port());
  for (;;) {  // until both have been forgotten
    metrics.get("/metrics");
    if (metrics.reply().body.find("\nsluice_connections 1\n") != std::string::npos) break;
  }
}

TEST(Replay, WhatIsDueAtOnceWaitsForTheClientToReadIt) {
  std::string recording = kHeader + begins(1), body;
  for (int i = 0; i < 200; ++i) {
    const std::string text = fmt::format("data: {:0>1000}", i);
    recording += piece(1, i < 190 ? 0 : 20'000, text);
    body += text;
  }
  ServerOptions options;
  options.send_buffer_bytes = 4096;
  options.backlog_bytes_max = 16u << 10;
  Replaying replaying(recording + ends(1, 20'000), 1, false, options);
  Client client(replaying.port(), 4096);
  client.post(kChat, "{}");
  const Reply reply = client.reply();
  EXPECT_TRUE(reply.whole);
  EXPECT_TRUE(reply.body == body);
}

/// How far in ms nine of ten pieces leave from their recorded times at most, over `streams` replays at a time.
double error_ms(int streams, double speed) {
  constexpr int kPieces = 40, kGap = 5000;
  std::string recording = kHeader + begins(1, kChat, "\"status\":200,\"head_us\":1000");
  for (int i = 0; i < kPieces; ++i) recording += piece(1, 10'000 + i * kGap, "data: a\\n\\n");
  recording += ends(1, 10'000 + kPieces * kGap);
  Replaying replaying(recording, speed, true);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < streams; ++i) {
    clients.push_back(std::make_unique<Client>(replaying.port()));
    clients.back()->post(kChat, "{}");
  }
  for (auto& client : clients) EXPECT_TRUE(client->reply().whole);
  std::map<std::string, std::int64_t> first;  // of each replay
  std::vector<double> errors;
  const auto records = replaying.log();
  EXPECT_EQ(records.size(), static_cast<std::size_t>(streams) * kPieces);
  for (const EmitRecord& record : records) {
    if (record.event == 0) first[record.id] = record.before_ns;
    const double due = static_cast<double>(record.event) * kGap * 1000 / speed;
    errors.push_back(std::abs(static_cast<double>(record.before_ns - first[record.id]) - due) / 1e6);
  }
  EXPECT_EQ(first.size(), static_cast<std::size_t>(streams));
  std::ranges::sort(errors);
  return errors.empty() ? 1e9 : errors[errors.size() * 9 / 10];
}

TEST(Replay, PiecesLeaveAtTheirTimes) {
  // A machine that is busy with other things wakes us late now and then: the best of a few tries is ours.
  const auto best = [](int streams, double speed) {
    double least = 1e9;
    for (int attempt = 0; attempt < 10 && least > 1; ++attempt) least = std::min(least, error_ms(streams, speed));
    return least;
  };
  EXPECT_LT(best(1, 1), 1.0);
  EXPECT_LT(best(20, 2), 1.0);
}

TEST(Replay, ARecordingThatCannotBeReadIsSaidBeforeAnythingIsServed) {
  ServerOptions options;
  options.replay = "/nowhere/recording.jsonl";
  EXPECT_THAT(Server::bind(options).error().message, HasSubstr("/nowhere/recording.jsonl: no such file"));
}

}  // namespace
}  // namespace sluice::engine::test
