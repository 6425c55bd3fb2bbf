#include "harness/stream/sse_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/support/sse_reference.h"

namespace sluice {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing_support::reference_events;
using testing_support::ReferenceEvent;

void take(SseParser& parser, std::string_view bytes, std::vector<ReferenceEvent>& into) {
  parser.push(bytes);
  while (const auto event = parser.next()) {
    into.push_back({std::string(event->type), std::string(event->data), std::string(event->id)});
  }
}

/// Each piece in memory of its own that is gone with the next one: a view kept too long is found by ASan.
std::vector<ReferenceEvent> events_of(std::string_view stream, const std::vector<std::size_t>& cuts = {}) {
  SseParser parser;
  std::vector<ReferenceEvent> events;
  std::size_t from = 0;
  for (std::size_t i = 0; i <= cuts.size(); ++i) {
    const std::size_t to = i < cuts.size() ? cuts[i] : stream.size();
    const std::string piece(stream.substr(from, to - from));
    take(parser, piece, events);
    from = to;
  }
  return events;
}

/// "type=data;" for each event, for tables.
std::string told(std::string_view stream) {
  std::string out;
  for (const ReferenceEvent& event : events_of(stream)) {
    out += (event.type.empty() ? "message" : event.type) + "=" + event.data + ";";
  }
  return out;
}

struct Row {
  const char* name;
  std::string stream, want;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> table{
      {"lf", "data: a\n\n", "message=a;"},
      {"crlf", "data: a\r\n\r\n", "message=a;"},
      {"cr", "data: a\r\r", "message=a;"},
      {"mixed line ends", "data: a\r\ndata: b\rdata: c\n\r\n", "message=a\nb\nc;"},
      {"no space after the colon", "data:{\"a\":1}\n\n", "message={\"a\":1};"},
      {"only one space is taken", "data:  a\n\n", "message= a;"},
      {"several data lines", "data: a\ndata: b\n\n", "message=a\nb;"},
      {"an empty data line", "data\n\n", "message=;"},
      {"two empty data lines", "data\ndata\n\n", "message=\n;"},
      {"blank lines alone", "\n\n\n", ""},
      {"type", "event: ping\ndata: a\n\n", "ping=a;"},
      {"a type without data is forgotten", "event: ping\n\ndata: a\n\n", "message=a;"},
      {"fields in any order", "data: a\nid: 7\nevent: t\nretry: 10\n\n", "t=a;"},
      {"unknown field", "date: x\ndata: a\n\n", "message=a;"},
      {"field names are exact", "Data: x\n data: y\ndata: a\n\n", "message=a;"},
      {"comment", ": hello\ndata: a\n\n", "message=a;"},
      {"lone keep-alive comment", ":\n\ndata: a\n\ndata: b\n\n", "message=a;message=b;"},
      {"lone keep-alive comment without a blank line", ": keep-alive\ndata: a\n\ndata: b\n\n", "message=a;message=b;"},
      {"comment within an event", "data: a\n:\ndata: b\n\n", "message=a\nb;"},
      {"byte order mark",
       "\xEF\xBB\xBF"
       "data: a\n\n",
       "message=a;"},
      {"a second byte order mark is text",
       "\xEF\xBB\xBF\xEF\xBB\xBF"
       "data: a\n\ndata: b\n\n",
       "message=b;"},
      {"half a byte order mark is text",
       "\xEF\xBB"
       "data: a\n\ndata: b\n\n",
       "message=b;"},
      {"unfinished event is dropped", "data: a\n\ndata: b\n", "message=a;"},
      {"white space in data is kept", "data: a \n\ndata:   \n\n", "message=a ;message=  ;"},
      {"crlf batch", "data: a\r\n\r\ndata: b\r\n\r\ndata: [DONE]\r\n\r\n", "message=a;message=b;message=[DONE];"},
  };
  return table;
}

TEST(SseParser, ReadsEveryFormOfTheGrammar) {
  for (const Row& row : rows()) EXPECT_EQ(told(row.stream), row.want) << row.name;
}

TEST(SseParser, GivesTheSameEventsForEveryCutInTwo) {
  for (const Row& row : rows()) {
    const auto want = events_of(row.stream);
    EXPECT_EQ(want, reference_events(row.stream)) << row.name;
    for (std::size_t cut = 0; cut <= row.stream.size(); ++cut) {
      EXPECT_EQ(events_of(row.stream, {cut}), want) << row.name << " cut at " << cut;
    }
  }
}

TEST(SseParser, GivesTheSameEventsHoweverTheBytesAreSplit) {
  // Random streams from the pieces that matter, random cuts, the plain reference as judge.
  const std::vector<std::string> pieces{
      "data", ":",     " ", "\n",           "\r",       "\r\n",        "a",    "event",
      "id",   "retry", "7", "\xEF\xBB\xBF", "\xC3\xA4", "data: x\n\n", "\n\n", std::string(1, '\0')};
  std::mt19937 random(7);
  std::size_t events_seen = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string stream;
    for (int i = 0; i < 25; ++i) stream += pieces[random() % pieces.size()];
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < stream.size(); ++at) {
      if (random() % 3 == 0) cuts.push_back(at);
    }
    const auto want = reference_events(stream);
    events_seen += want.size();
    ASSERT_EQ(events_of(stream, cuts), want) << testing::PrintToString(stream);
  }
  EXPECT_GT(events_seen, 1000u);
}

TEST(SseParser, DeliversAnEventWithTheByteThatEndsIt) {
  for (const std::string end : {"\n", "\r"}) {
    SseParser parser;
    std::vector<ReferenceEvent> events;
    take(parser, "data: a" + end, events);
    EXPECT_THAT(events, IsEmpty());
    take(parser, end, events);
    EXPECT_THAT(events, ElementsAre(ReferenceEvent{"", "a", ""}));
  }
}

TEST(SseParser, KeepsTheLastIdAndRefusesOneWithNul) {
  const auto events = events_of("id: 1\ndata: a\n\ndata: b\n\nid: \0\ndata: c\n\nid\ndata: d\n\n"s);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[1].id, "1");
  EXPECT_EQ(events[2].id, "1");
  EXPECT_EQ(events[3].id, "");
}

TEST(SseParser, KnowsRetryOnlyAsDigits) {
  SseParser parser;
  std::vector<ReferenceEvent> events;
  take(parser, "retry: 1500\nretry: 2s\nretry:\n\n", events);
  EXPECT_EQ(parser.retry_ms(), 1500u);
}

TEST(SseParser, CopiesNothingOfAnEventThatLiesWholeInOnePush) {
  const std::string stream = ":\n\nevent: x\ndata: hello\n\n";
  SseParser parser;
  parser.push(stream);
  const auto event = parser.next();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->data.data(), stream.data() + stream.find("hello"));
  EXPECT_EQ(event->offset, stream.find("event"));
}

TEST(SseParser, SaysThatAnEventWasLeftUnfinished) {
  SseParser parser;
  std::vector<ReferenceEvent> events;
  take(parser, "data: a\n\n", events);
  EXPECT_FALSE(parser.has_partial());
  take(parser, "da", events);
  EXPECT_TRUE(parser.has_partial());
  take(parser, "ta: b\n", events);
  EXPECT_TRUE(parser.has_partial());
  take(parser, "\n", events);
  EXPECT_FALSE(parser.has_partial());
}

TEST(SseParser, HoldsNoMoreThanTheLimitOfAnUnfinishedEvent) {
  const auto overflows = [](const std::string& stream, std::size_t step) {
    SseParser parser(100);
    for (std::size_t at = 0; at < stream.size(); at += step) {
      parser.push(std::string_view(stream).substr(at, step));
      while (parser.next()) {
      }
    }
    return parser.overflowed();
  };
  const std::string fits = "data:" + std::string(95, 'x') + "\n\n", over = "data:" + std::string(96, 'x') + "\n\n";
  const std::string many = "data:" + std::string(90, 'x') + "\ndata:123456\n\n";
  const std::string comments = std::string(":0123456789\n") + std::string(":0123456789\n") + fits;
  for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
    EXPECT_FALSE(overflows(fits + fits + fits, step));
    EXPECT_TRUE(overflows(over, step));
    EXPECT_TRUE(overflows(many, step));
    EXPECT_FALSE(overflows(comments, step)) << "ended comments are no part of an event";
    EXPECT_TRUE(overflows(":" + std::string(200, 'x'), step));
  }
}

TEST(SseParser, SaysNothingAfterAnOverflow) {
  SseParser parser(10);
  std::vector<ReferenceEvent> events;
  take(parser, "data: 123456789\n\ndata: a\n\n", events);
  EXPECT_THAT(events, IsEmpty());
  EXPECT_TRUE(parser.overflowed());
  parser.reset();
  take(parser, "data: a\n\n", events);
  EXPECT_EQ(events.size(), 1u);
}

TEST(SseParser, ResetForgetsTheStreamBefore) {
  SseParser parser;
  std::vector<ReferenceEvent> events;
  take(parser, "id: 9\nevent: x\ndata: half\r", events);
  parser.reset();
  take(parser,
       "\xEF\xBB\xBF"
       "data: a\n\n",
       events);
  EXPECT_THAT(events, ElementsAre(ReferenceEvent{"", "a", ""}));
}

}  // namespace
}  // namespace sluice
