// Faults on cue: what their texts say, what becomes of events, and what a client of a real server sees.
#include "engine/serve/fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/serve/emit_log.h"
#include "engine/serve/frames.h"
#include "tests/engine/serve/http_client.h"
#include "tests/engine/serve/test_server.h"

namespace sluice::engine::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using Kind = Fault::Kind;

TEST(Fault, ReadsEveryKindWithItsPlaceAndItsTime) {
  struct Case {
    const char* text;
    Kind kind;
    std::uint32_t after;
    std::chrono::nanoseconds time;
    unsigned status;
  };
  const Case cases[] = {
      {"reset", Kind::reset, 1, 0ns, 0},
      {"reset@5", Kind::reset, 5, 0ns, 0},
      {"close@0", Kind::close, 0, 0ns, 0},
      {"stall:10s", Kind::stall, 1, 10s, 0},
      {"stall@5:1.5ms", Kind::stall, 5, 1500us, 0},
      {"malformed@1000000", Kind::malformed, 1'000'000, 0ns, 0},
      {"half-codepoint", Kind::half_codepoint, 1, 0ns, 0},
      {"error-event@2", Kind::error_event, 2, 0ns, 0},
      {"truncated@3", Kind::truncated, 3, 0ns, 0},
      {"crosstalk@4", Kind::crosstalk, 4, 0ns, 0},
      {"no-done", Kind::no_done, 1, 0ns, 0},
      {"no-finish", Kind::no_finish, 1, 0ns, 0},
      {"one-chunk", Kind::one_chunk, 1, 0ns, 0},
      {"role-missing", Kind::role_missing, 1, 0ns, 0},
      {"done-twice", Kind::done_twice, 1, 0ns, 0},
      {"slow-headers:250us", Kind::slow_headers, 1, 250us, 0},
      {"http-400", Kind::http_status, 1, 0ns, 400},
      {"http-503", Kind::http_status, 1, 0ns, 503},
  };
  for (const auto& [text, kind, after, time, status] : cases) {
    const auto fault = parse_fault(text);
    ASSERT_TRUE(fault) << text << ": " << fault.error().message;
    EXPECT_EQ(fault->kind, kind) << text;
    EXPECT_EQ(fault->after, after) << text;
    EXPECT_EQ(fault->time, time) << text;
    EXPECT_EQ(fault->status, status) << text;
  }
}

TEST(Fault, RefusesAllElseAndListsTheKinds) {
  for (const char* text : {"",
                           "@",
                           "resets",
                           "reset@",
                           "reset@-1",
                           "reset@x",
                           "reset@1000001",
                           "reset@5:1s",
                           "reset:1s",
                           "reset@5 ",
                           "stall",
                           "stall@5",
                           "stall@5:",
                           "stall@5:10",
                           "stall@5:-1s",
                           "stall@5:2h",
                           "stall@5:7200s",
                           "stall@5:nans",
                           "no-done@3",
                           "slow-headers",
                           "slow-headers@1:1s",
                           "http-",
                           "http-200",
                           "http-399",
                           "http-600",
                           "http-5000",
                           "http-503x"}) {
    const auto fault = parse_fault(text);
    ASSERT_FALSE(fault) << text;
    EXPECT_THAT(fault.error().message, AllOf(HasSubstr("there is no fault '" + std::string(text)),
                                             HasSubstr("reset@N, "), HasSubstr("stall@N:TIME"), HasSubstr("http-NNN")));
  }
  EXPECT_THAT(parse_fault("\xff" + std::string(1000, 'x')).error().message, Not(HasSubstr(std::string(70, 'x'))));
}

/// The events of a chat of three content frames, as they pass.
std::vector<std::string> passed(const char* text) {
  const AnswerHead head{.api = Api::chat, .id = "chatcmpl-00", .model = "m", .created_s = 1};
  const Frames frames(head, false, false);
  FaultyStream faulty(parse_fault(text).value(), head.id);
  std::vector<std::string> out;
  const auto pass = [&](std::string event) {
    const std::string before = event;
    std::string what;
    switch (faulty.pass(event)) {
      case FaultyStream::Then::go_on:
        what = event == before ? "as it is" : event;
        break;
      case FaultyStream::Then::drop:
        what = "drop";
        break;
      case FaultyStream::Then::hold:
        what = "hold";
        break;
      case FaultyStream::Then::end:
        what = "end " + event;
        break;
      case FaultyStream::Then::close:
        what = "close " + event;
        break;
      case FaultyStream::Then::reset:
        what = "reset " + event;
        break;
    }
    out.push_back(what);
  };
  std::string event;
  frames.role(event, 0);
  pass(event);
  for (const char* said : {"a", "say \"content\":\"b\\", "c"}) {
    event.clear();
    frames.content(event, 0, said, {}, {});
    pass(event);
  }
  event.clear();
  frames.finish(event, 0, FinishReason::stop, {});
  pass(event);
  event.clear();
  Frames::done(event);
  pass(event);
  return out;
}

TEST(Fault, StrikesWhatFollowsSoManyContentFrames) {
  const std::string is = "as it is";
  using Events = std::vector<std::string>;
  EXPECT_EQ(passed("reset@2"), (Events{is, is, is, "reset ", "drop", "drop"}));
  EXPECT_EQ(passed("reset@0"), (Events{is, "reset ", "drop", "drop", "drop", "drop"}));
  EXPECT_EQ(passed("close@3"), (Events{is, is, is, is, "close ", "drop"}));
  EXPECT_EQ(passed("close@4"), (Events{is, is, is, is, is, is})) << "there are no four";
  EXPECT_EQ(passed("stall@2:1s"), (Events{is, is, is, "hold", is, is}));
  EXPECT_EQ(passed("no-finish"), (Events{is, is, is, is, "drop", is}));
  EXPECT_EQ(passed("no-done"), (Events{is, is, is, is, is, "end "}));
  EXPECT_EQ(passed("role-missing"), (Events{"drop", is, is, is, is, is}));
  EXPECT_EQ(passed("done-twice"), (Events{is, is, is, is, is, "data: [DONE]\n\ndata: [DONE]\n\n"}));
  const auto error = passed("error-event@1");
  EXPECT_THAT(error[2], testing::StartsWith("end data: {\"error\":{\"message\":"));
  EXPECT_EQ(error[3], "drop");
  const auto cut = passed("truncated@1");
  EXPECT_THAT(cut[2], AllOf(testing::StartsWith("close data: {\"id\":"), Not(HasSubstr("\n"))));
  const auto half = passed("half-codepoint@1");
  EXPECT_THAT(half[2], HasSubstr(R"("content":"say \"content\":\"b\\)"
                                 "\xe2\x82\"}"));
  EXPECT_EQ(half[3], is);
  const auto other = passed("crosstalk@1");
  EXPECT_THAT(other[2], HasSubstr("\"id\":\"chatcmpl-01\""));
  EXPECT_EQ(other[3], is);
  const auto malformed = passed("malformed@3");
  EXPECT_THAT(malformed[4],
              AllOf(testing::StartsWith("data: {\"choices\":[{\"index\":0,\"delta\":{\n\ndata: {"), EndsWith("\n\n")));
}

// ---- at a server --------------------------------------------------------------------------------------------------

std::string asking(const std::string& fault, const std::string& more = "\"stream\":true") {
  return R"({"messages":[{"role":"user","content":"hi"}],"sluice_fault":")" + fault + "\"," + more + "}";
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TestServerOptions five_tokens() {
  TestServerOptions options;
  options.text = "ab";
  options.script.tokens = 5;
  return options;
}

struct Seen {
  Reply reply;
  std::size_t contents = 0, dones = 0;
};

Seen ask(TestServer& server, const std::string& body) {
  Client client(server.port());
  client.post("/v1/chat/completions", body);
  Seen seen;
  seen.reply = client.reply();
  seen.contents = count(seen.reply.body, "\"delta\":{\"content\":");
  seen.dones = count(seen.reply.body, "data: [DONE]\n\n");
  if (seen.reply.whole) {  // then the connection goes on
    client.get("/health");
    EXPECT_EQ(client.reply().status, 200u) << body;
  }
  return seen;
}

TEST(FaultServer, EachKindIsWhatItSays) {
  TestServer server(five_tokens());
  struct Case {
    const char* fault;
    bool whole;
    std::size_t contents, dones;
    const char* has;
    const char* lacks;
  };
  const Case cases[] = {
      {"close@3", false, 3, 0, "", "\"finish_reason\":\"stop\""},
      {"truncated@3", false, 3, 0, "", "[DONE]"},
      {"stall@2:1ms", true, 5, 1, "\"finish_reason\":\"stop\"", "\"error\""},
      {"malformed@2", true, 5, 1, "\"delta\":{\n\ndata: ", "\"error\""},
      {"half-codepoint@2", true, 5, 1, "\xe2\x82\"", "\xe2\x82\xac"},
      {"error-event@2", true, 2, 0, "data: {\"error\":{", "\"finish_reason\":\"stop\""},
      {"no-done", true, 5, 0, "\"finish_reason\":\"stop\"", "\"error\""},
      {"no-finish", true, 5, 1, "\"finish_reason\":null", "\"finish_reason\":\"stop\""},
      {"one-chunk", true, 1, 1, "{\"content\":\"ababa\"}", "\"error\""},
      {"one-chunk\",\"chunking\":{\"max_chars\":2},\"user\":\"", true, 1, 1, "{\"content\":\"ababa\"}", "\"error\""},
      {"role-missing", true, 5, 1, "\"finish_reason\":\"stop\"", "\"role\""},
      {"done-twice", true, 5, 2, "\"finish_reason\":\"stop\"", "\"error\""},
      {"slow-headers:1ms", true, 5, 1, "\"role\"", "\"error\""},
  };
  for (const auto& [fault, whole, contents, dones, has, lacks] : cases) {
    const Seen seen = ask(server, asking(fault));
    EXPECT_EQ(seen.reply.status, 200u) << fault;
    EXPECT_EQ(seen.reply.whole, whole) << fault;
    EXPECT_EQ(seen.contents, contents) << fault << "\n" << seen.reply.body;
    EXPECT_EQ(seen.dones, dones) << fault;
    EXPECT_THAT(seen.reply.body, HasSubstr(has)) << fault;
    EXPECT_THAT(seen.reply.body, Not(HasSubstr(lacks))) << fault;
  }
  EXPECT_TRUE(server.idle()) << "what was cut off is cancelled";
}

TEST(FaultServer, EachEndsWhateverTheChunkPolicyHolds) {
  TestServerOptions options = five_tokens();
  options.script.tokens = 8;
  options.script.gap = 10ms;
  TestServer server(std::move(options));
  struct Asked {
    std::string what;
    bool cut;
    Client client;
  };
  std::vector<Asked> all;
  const std::string faults[] = {"close@1",       "truncated@1",      "reset@1",     "stall@1:1ms",     "malformed@1",
                                "error-event@1", "half-codepoint@1", "crosstalk@1", "no-done",         "no-finish",
                                "one-chunk",     "role-missing",     "done-twice",  "slow-headers:1ms"};
  for (const std::string& fault : faults) {
    const bool cut = fault == "close@1" || fault == "truncated@1" || fault == "reset@1";
    for (const char* policy : {R"({"min_chars":1000,"max_delay_ms":25})", R"({"min_chars":3})", R"({"max_chars":1})"}) {
      const std::string body = asking(fault, "\"stream\":true,\"chunking\":" + std::string(policy));
      for (const char* version : {"1.0", "1.1"}) {
        Asked& asked = all.emplace_back(Asked{version + (' ' + body), cut, Client(server.port())});
        asked.client.send("POST /v1/chat/completions HTTP/" + std::string(version) +
                          "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
      }
    }
  }
  for (auto& [what, cut, client] : all) {
    if (what.starts_with("1.1") && !cut) {
      EXPECT_TRUE(client.reply().whole) << what;
      client.get("/health");
      EXPECT_EQ(client.reply().status, 200u) << what;
      continue;
    }
    while (client.read_some()) {
    }
    char byte = 0;
    EXPECT_EQ(::recv(client.socket(), &byte, 1, MSG_DONTWAIT), 0) << what << "\nhas not been closed";
  }
  EXPECT_TRUE(server.idle());
}

TEST(FaultServer, AResetIsAReset) {
  TestServer server(five_tokens());
  Client client(server.port());
  client.post("/v1/chat/completions", asking("reset@3"));
  ssize_t got = 1;
  int error = 0;
  std::string all;
  while (got > 0) {
    char buffer[4096];
    got = ::recv(client.socket(), buffer, sizeof buffer, 0);
    error = errno;
    if (got > 0) all.append(buffer, static_cast<std::size_t>(got));
  }
  EXPECT_EQ(got, -1);
  EXPECT_EQ(error, ECONNRESET);
  EXPECT_LE(count(all, "\"delta\":{\"content\":"), 3u);
  EXPECT_TRUE(server.idle());
}

TEST(FaultServer, EventsHaveTheirNumbersWhateverAFaultAdds) {
  const std::string path = (std::filesystem::temp_directory_path() / ("emit_" + std::to_string(::getpid()))).string();
  struct Case {
    const char* fault;
    std::vector<std::uint32_t> contents;  // of the events, by their number; kNo: no content
  };
  constexpr std::uint32_t kNo = EmitRecord::kNoContent;
  const Case cases[] = {{"malformed@2", {kNo, 0, 1, kNo, 2, 3, 4, kNo, kNo}},
                        {"malformed@5", {kNo, 0, 1, 2, 3, 4, kNo, kNo, kNo}},
                        {"done-twice", {kNo, 0, 1, 2, 3, 4, kNo, kNo, kNo}}};
  for (const auto& [fault, contents] : cases) {
    TestServerOptions options = five_tokens();
    options.server.emit_log = path;
    options.server.emit_log_records = 64;
    TestServer server(std::move(options));
    EXPECT_TRUE(ask(server, asking(fault)).reply.whole);  // and another: then the first has been noted
    std::ifstream file(path, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    std::uint64_t written = 0;
    std::memcpy(&written, bytes.data() + 32, 8);
    ASSERT_EQ(written, contents.size()) << fault;
    for (std::size_t i = 0; i < contents.size(); ++i) {
      EmitRecord record{};
      std::memcpy(&record, bytes.data() + 64 * (1 + i), 64);
      EXPECT_EQ(record.event, i) << fault;
      EXPECT_EQ(record.content, contents[i]) << fault;
    }
  }
  std::filesystem::remove(path);
}

TEST(FaultServer, AStatusComesInsteadOfTheAnswer) {
  TestServer server(five_tokens());
  const Seen busy = ask(server, asking("http-503"));
  EXPECT_EQ(busy.reply.status, 503u);
  EXPECT_THAT(busy.reply.body, HasSubstr("\"type\":\"server_error\""));
  const Seen refused = ask(server, asking("http-418", "\"stream\":false"));
  EXPECT_EQ(refused.reply.status, 418u);
  EXPECT_THAT(refused.reply.body, HasSubstr("\"type\":\"invalid_request_error\""));
}

TEST(FaultServer, StallsHoldBackWhatFollows) {
  TestServer server(five_tokens());
  Client client(server.port());
  client.post("/v1/chat/completions", asking("stall@2:300ms"));
  ASSERT_TRUE(client.read_until("\"content\":\"b\""));
  const auto before = Clock::now();
  ASSERT_TRUE(client.read_until("[DONE]"));
  EXPECT_GE(Clock::now() - before, 200ms);
}

TEST(FaultServer, NothingFollowsTheEndOfAStreamThatHeldText) {
  TestServerOptions options = five_tokens();
  options.script.gap = 1h;
  TestServer server(std::move(options));
  Client client(server.port());
  client.post("/v1/chat/completions",
              asking("stall@0:600ms", R"("stream":true,"n":2,"chunking":{"min_chars":1000,"max_delay_ms":300})"));
  Client metrics(server.port());
  for (std::string text;
       text.find("\nsluice_content_pieces_total 2\n") == std::string::npos;) {  // each choice holds its first
    metrics.get("/metrics");
    text = metrics.reply().body;
  }
  server.engine().cancel_all();  // while the stall lasts, the other choice's time comes
  const Reply reply = client.reply();
  EXPECT_TRUE(reply.whole);
  EXPECT_THAT(reply.body, HasSubstr("data: {\"error\":{"));
  client.get("/health");
  EXPECT_EQ(client.reply().status, 200u);
}

TEST(FaultServer, AStallEndsWhenItHasGatheredTooMuch) {
  TestServerOptions options = five_tokens();
  options.script.tokens = 400;  // of some 200 bytes each
  options.server.send_buffer_bytes = 4096;
  options.server.hold_bytes_max = 64u << 10;
  options.server.backlog_bytes_max = 40u << 10;
  TestServer server(std::move(options));
  Client client(server.port(), 4096);
  client.post("/v1/chat/completions", asking("stall@1:3600s"));
  ASSERT_TRUE(server.idle());  // what has been gathered does not count against a client that is slow from then on
  const Reply reply = client.reply();
  EXPECT_TRUE(reply.whole);
  EXPECT_EQ(count(reply.body, "\"delta\":{\"content\":"), 400u);
}

TEST(FaultServer, HeadsComeLateAndWhoLeavesMeanwhileIsForgotten) {
  TestServerOptions options = five_tokens();
  options.server.drain_limit = 1h;
  TestServer server(std::move(options));
  Client client(server.port());
  const auto before = Clock::now();
  client.post("/v1/chat/completions", asking("slow-headers:200ms", "\"stream\":false"));
  EXPECT_EQ(client.reply().status, 200u);
  EXPECT_GE(Clock::now() - before, 200ms);
  for (const char* fault : {"slow-headers:3600s", "stall@1:3600s"}) {
    Client leaving(server.port());
    leaving.post("/v1/chat/completions", asking(fault));
    if (std::string(fault).starts_with("stall")) {
      ASSERT_TRUE(leaving.read_until("\"content\":\"a\""));
    }
  }
  // Ends at once: nothing is waited for, though both would have lasted an hour.
  server.server().drain();
  client.close();
  EXPECT_EQ(server.join(), 0);
}

TEST(FaultServer, RefusesWhatItDoesNotKnowOrCannotDo) {
  TestServer server(five_tokens());
  struct Case {
    std::string path, body, message;
  };
  const std::string chat = "/v1/chat/completions";
  const Case cases[] = {
      {chat, asking("explode"), "there is no fault 'explode': write reset@N"},
      {chat, asking("reset@3", "\"stream\":false"), "this one is for streams"},
      {chat, R"({"messages":[{"role":"user","content":"hi"}],"sluice_fault":5})", "must be a string"},
      {"/v1/completions", R"({"prompt":"a","stream":true,"sluice_fault":"role-missing"})", "only the streams of chats"},
  };
  for (const auto& [path, body, message] : cases) {
    Client client(server.port());
    client.post(path, body);
    const Reply reply = client.reply();
    EXPECT_EQ(reply.status, 400u) << body;
    EXPECT_THAT(reply.body, AllOf(HasSubstr("'sluice_fault'"), HasSubstr(message)));
  }
}

TEST(FaultServer, OtherBackEndsRefuseAll) {
  TestServerOptions options = five_tokens();
  options.faults = false;
  TestServer server(std::move(options));
  const Seen seen = ask(server, asking("no-done"));
  EXPECT_EQ(seen.reply.status, 400u);
  EXPECT_THAT(seen.reply.body, HasSubstr("'sluice_fault' is for --backend scripted"));
}

}  // namespace
}  // namespace sluice::engine::test
