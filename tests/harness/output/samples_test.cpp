#include "harness/output/samples.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>

#include "harness/base/stream_rule.h"
#include "harness/metrics/tally.h"
#include "harness/output/sample.h"
#include "tests/harness/metrics/records.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kWallOffset = 1'763'780'395'000'000'000 - kOrigin;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(SLUICE_SOURCE_DIR "/tests/harness/output/golden/") + name;
  if (std::getenv("UPDATE_GOLDEN") != nullptr) std::ofstream(path, std::ios::binary) << text;
  return contents(path);
}

Plan plan_with_metrics() {
  Plan plan = small_plan();
  plan.metrics = {{"queue_time", MetricKind::trend, Unit::milliseconds}, {"found", MetricKind::rate, Unit::none}};
  return plan;
}

class Samples : public testing::Test {
 protected:
  Samples() {
    std::string pattern = (fs::temp_directory_path() / "samples_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Samples() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::unique_ptr<SampleWriter> writer(const std::vector<SampleFile>& files, SampleWriter::Options options = {},
                                       std::size_t sinks = 1) {
    options.wall_offset = kWallOffset;
    auto made = SampleWriter::open(files, layout_, thresholds_, sinks, options);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }

  fs::path folder_;
  std::shared_ptr<const TallyLayout> layout_ = TallyLayout::from(plan_with_metrics());
  std::vector<SampleThreshold> thresholds_ = {{Metric::http_req_duration, {}, "p(95) < 2s"},
                                              {Metric::http_req_duration, {{"kind", "chat"}}, "max < 3s"},
                                              {Metric::http_req_duration, {{"kind", "chat"}}, "p(99) < 3s"},
                                              {Metric::checks, {}, "rate > 0.99"},
                                              {custom_metric(0), {}, "p(95) < 20ms"}};
};

/// A bit of everything.
void add_story(SampleSink& sink) {
  RequestRecord stream = stream_record(10, 30, {{30, 4, 1}, {50, 4, 1}, {80.5, 4, 2}}, 4);
  stream.new_connection = true;
  stream.looked_up_at = at_ms(10.5);
  stream.connected_at = at_ms(11);
  stream.send_began_at = at_ms(11.5);
  stream.sent_at = at_ms(11.75);
  stream.bytes_sent = 200;
  stream.bytes_received = 1000;
  stream.id = "c-\"7";
  stream.findings = {{.rule = StreamRule::finish_twice, .noted = true, .offset = 5, .bytes = "known"},
                     {.rule = StreamRule::role_missing, .offset = 31, .bytes = R"({"delta":{}})"}};
  stream.cached_tokens = 0;
  sink.add(stream, 0);
  sink.add_check(0, true, stream.ended_at);
  sink.add_check(1, false, stream.ended_at);
  RequestRecord missing = plain_record(90, 95, 404);
  sink.add(missing, 2);
  sink.add_check(2, false, missing.ended_at);
  RequestRecord refused = plain_record(96, 97, 200);
  refused.status = 0;
  refused.outcome = Outcome::connect_failed;
  refused.error = "cannot connect to 127.0.0.1:9, \"Connection refused\"";
  refused.send_began_at = refused.sent_at = refused.first_byte_at = refused.first_body_at = kNever;
  sink.add(refused, 2);
  sink.add_group(1, 7ms, at_ms(97));
  sink.add_iteration(0, 87ms, at_ms(97), false);
  sink.add_iteration(0, 3ms, at_ms(100), true);
  sink.add_failed_iteration(0, at_ms(97));
  sink.add_custom(0, custom_metric(0), 12.5, at_ms(98));
  sink.add_custom(0, custom_metric(1), 3, at_ms(99));
  sink.add_dropped(0, 5, at_ms(150));
  sink.add_vus(2, 3, at_ms(1000));
}

TEST_F(Samples, NdjsonIsK6sJson) {
  auto out = writer({{SampleFile::Format::ndjson, path("a.ndjson")}});
  add_story(out->sink(0));
  const SampleCounts counts = out->finish();
  EXPECT_EQ(counts.samples, 14u);
  EXPECT_EQ(counts.dropped, 0u);
  EXPECT_THAT(counts.problems, IsEmpty());
  const std::string text = contents(path("a.ndjson"));
  EXPECT_EQ(text, golden("samples.ndjson", text));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    boost::system::error_code error;
    const json::value value = json::parse(line, error);
    ASSERT_FALSE(error) << line;
    EXPECT_TRUE(value.at("type") == "Metric" || value.at("type") == "Point");
  }
}

TEST_F(Samples, CsvHasK6sColumns) {
  auto out = writer({{SampleFile::Format::csv, path("a.csv")}});
  add_story(out->sink(0));
  out->finish();
  const std::string text = contents(path("a.csv"));
  EXPECT_EQ(text, golden("samples.csv", text));
}

TEST_F(Samples, SeveralFilesGetTheSame) {
  auto out = writer({{SampleFile::Format::csv, path("a.csv")},
                     {SampleFile::Format::ndjson, path("a.ndjson")},
                     {SampleFile::Format::csv, path("a.csv.gz")}});
  add_story(out->sink(0));
  out->finish();
  EXPECT_EQ(contents(path("a.ndjson")), contents(SLUICE_SOURCE_DIR "/tests/harness/output/golden/samples.ndjson"));
  gzFile packed = ::gzopen(path("a.csv.gz").c_str(), "rb");
  ASSERT_NE(packed, nullptr);
  std::string unpacked(100'000, '\0');
  const int size = ::gzread(packed, unpacked.data(), static_cast<unsigned>(unpacked.size()));
  ASSERT_GT(size, 0);
  unpacked.resize(static_cast<std::size_t>(size));
  ::gzclose(packed);
  EXPECT_EQ(unpacked, contents(path("a.csv")));
  EXPECT_LT(contents(path("a.csv.gz")).size(), unpacked.size() / 2);
}

/// Records of all sorts, the same for the same seed.
RequestRecord any_record(std::mt19937& random, bool stream) {
  const double start = static_cast<double>(random() % 1000);
  RequestRecord r;
  if (stream) {
    std::vector<EventAt> events;
    double at = start + 20;
    const bool deltas = random() % 2 == 0;
    for (std::uint32_t i = random() % 6; i > 0; --i) {
      at += static_cast<double>(random() % 4000) / 100;
      events.push_back(
          {at, static_cast<std::uint32_t>(random() % 30), deltas ? 1 + static_cast<std::uint32_t>(random() % 3) : 0});
    }
    r = stream_record(start, start + 20, events, random() % 3 == 0 ? -1 : static_cast<std::int64_t>(random() % 9));
    if (random() % 3 == 0)
      r.findings = {{.rule = StreamRule::http_status, .bytes = "HTTP status 500"},
                    {.rule = static_cast<StreamRule>(random() % kStreamRuleCount), .offset = random() % 99},
                    {.rule = StreamRule::role_twice, .noted = true}};
  } else {
    r = plain_record(start, start + static_cast<double>(random() % 50), random() % 3 == 0 ? 500 : 200);
  }
  r.scheduled_at -= static_cast<Instant>(random() % 3'000'000);
  r.bytes_sent = random() % 1000;
  r.bytes_received = random() % 9000;
  if (random() % 2 == 0) {
    r.new_connection = true;
    r.looked_up_at = random() % 2 == 0 ? kNever : r.started_at + 1000;
    r.connected_at = r.started_at + 50'000;
    r.tls_at = random() % 2 == 0 ? kNever : r.started_at + 90'000;
    r.send_began_at += 100'000;
    r.sent_at += 120'000;
  }
  switch (random() % 8) {
    case 0:
      r.outcome = Outcome::interrupted;
      break;
    case 1:
      r.outcome = stream ? Outcome::stream_invalid : Outcome::reset;
      r.error = "it broke";
      break;
    case 2:
      r.outcome = Outcome::timed_out;
      r.error = "no answer";
      r.first_byte_at = kNever;
      break;
    case 3:
      r.outcome = Outcome::connect_failed;
      r.send_began_at = r.sent_at = kNever;
      break;
    default:
      break;
  }
  return r;
}

TEST_F(Samples, PointsAddUpToWhatTheTallyCounts) {
  Tally tally(layout_, kOrigin);
  SampleSink sink(1u << 22);
  std::map<Metric, std::vector<double>> points;
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    const StepId step = random() % 2 == 0 ? 0 : 2;
    const RequestRecord record = any_record(random, step == 0);
    tally.add(record, step);
    sink.add(record, step);
    std::vector<samples::Point> list;
    samples::points_of(samples::RequestView(sink.ring().front()), layout_->steps()[step].is_stream,
                       layout_->token_time(0), list);
    sink.ring().pop();
    for (const samples::Point& point : list) points[point.metric].push_back(point.value);
  }
  for (int i = 0; i < 300; ++i) {
    RequestRecord record = any_record(random, false);
    WebSocketRecord session;
    session.opened_at = random() % 4 == 0 ? kNever : record.started_at + 70'000;
    session.sent = random() % 5;
    session.received = random() % 5;
    session.pong_time = Nanoseconds(static_cast<std::int64_t>(random() % 1000) - 300);
    tally.add_websocket(record, session, 2);
    sink.add_websocket(record, session, 2);
    const auto& left = *reinterpret_cast<const samples::WebSocket*>(sink.ring().front().data());
    std::vector<samples::Point> list;
    samples::points_of(left, list);
    sink.ring().pop();
    for (const samples::Point& point : list) points[point.metric].push_back(point.value);
  }
  EXPECT_GT(points.size(), 36u);
  for (const auto& [metric, values] : points) {
    SCOPED_TRACE(info(metric).name);
    const Figure& figure = tally.figure(metric);
    double sum = 0, most = 0;
    for (const double value : values) {
      sum += value;
      most = std::max(most, value);
    }
    switch (info(metric).kind) {
      case MetricKind::counter:
        EXPECT_EQ(sum, static_cast<double>(figure.sum));
        break;
      case MetricKind::rate:
        EXPECT_EQ(values.size(), figure.passes + figure.fails);
        EXPECT_EQ(sum, static_cast<double>(figure.passes));
        break;
      case MetricKind::trend:
        EXPECT_EQ(values.size(), figure.histogram.count());
        EXPECT_NEAR(most, *tally.aggregate(metric, Aggregation::max), 1e-6);
        EXPECT_NEAR(sum / static_cast<double>(values.size()), *tally.aggregate(metric, Aggregation::avg), most * 1e-3);
        break;
      case MetricKind::gauge:
        FAIL() << "a gauge is no sample of a request";
    }
  }
}

TEST_F(Samples, WhatAPipeThatNobodyReadsDoesNotTakeIsDroppedAndCounted) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  auto out = writer({{SampleFile::Format::ndjson, path("pipe")}}, {.ring_bytes = 1u << 16, .patience = 50ms});
  SampleSink& sink = out->sink(0);
  const RequestRecord record = plain_record(0, 1);
  // The pipe holds 64 KiB, the writer a batch, the ring 64 KiB: this is more, and yet nothing waits here.
  for (int i = 0; i < 20'000; ++i) sink.add(record, 2);
  EXPECT_GT(sink.dropped(), 0u);
  const SampleCounts counts = out->finish();
  EXPECT_EQ(counts.samples, 20'000u);
  EXPECT_GT(counts.dropped, 15'000u);
  EXPECT_THAT(counts.problems, ElementsAre(HasSubstr("takes nothing more")));
}

TEST_F(Samples, APipeGetsEverythingWhenSomebodyReadsIt) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  auto out = writer({{SampleFile::Format::csv, path("pipe")}});
  std::string got;
  std::thread reader([&] { got = contents(path("pipe")); });
  SampleSink& sink = out->sink(0);
  const RequestRecord record = plain_record(0, 1);
  for (int i = 0; i < 2000; ++i) sink.add(record, 2);
  EXPECT_EQ(out->finish().dropped, 0u);
  out.reset();  // closes the pipe: the reader sees its end
  reader.join();
  std::istringstream lines(got);
  int reqs = 0;
  for (std::string line; std::getline(lines, line);) reqs += line.starts_with("http_reqs,") ? 1 : 0;
  EXPECT_EQ(reqs, 2000);
}

TEST_F(Samples, AFullDiskIsAProblemOfTheFileAndNotOfTheOthers) {
  auto out = writer({{SampleFile::Format::ndjson, "/dev/full"}, {SampleFile::Format::ndjson, path("a.ndjson")}});
  add_story(out->sink(0));
  const SampleCounts counts = out->finish();
  EXPECT_THAT(counts.problems, ElementsAre(HasSubstr("cannot write /dev/full: No space left")));
  EXPECT_EQ(counts.dropped, 13u) << "all but the interrupted iteration, which makes no line";
  EXPECT_EQ(contents(path("a.ndjson")), contents(SLUICE_SOURCE_DIR "/tests/harness/output/golden/samples.ndjson"));
}

TEST_F(Samples, EveryThreadsSamplesArrive) {
  constexpr std::size_t kThreads = 4;
  constexpr int kEach = 2000;
  auto out = writer({{SampleFile::Format::csv, path("a.csv")}}, {}, kThreads);
  {
    std::vector<std::jthread> threads;
    for (std::size_t k = 0; k < kThreads; ++k)
      threads.emplace_back([&, k] {
        for (int i = 0; i < kEach; ++i) out->sink(k).add_check(0, true, at_ms(i));
      });
  }
  const SampleCounts counts = out->finish();
  EXPECT_EQ(counts.samples, kThreads * kEach);
  EXPECT_EQ(counts.dropped, 0u);
  const std::string text = contents(path("a.csv"));
  EXPECT_EQ(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')), kThreads * kEach + 1);
}

TEST_F(Samples, FilesThatCannotBeWrittenAreNamedBeforeTheRun) {
  const auto refused = [&](const std::vector<SampleFile>& files) {
    const auto made = SampleWriter::open(files, layout_, {}, 1, {});
    return made ? std::string("taken") : made.error().message;
  };
  EXPECT_THAT(refused({{SampleFile::Format::csv, path("no/such/folder.csv")}}), HasSubstr("No such file or directory"));
  EXPECT_THAT(refused({{SampleFile::Format::csv, path("a")}, {SampleFile::Format::ndjson, path("a")}}),
              HasSubstr("stands twice"));
}

TEST(SampleFile, IsAFormatAndAPath) {
  const auto good = SampleFile::parse("csv=out/a=b.csv");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->format, SampleFile::Format::csv);
  EXPECT_EQ(good->path, "out/a=b.csv");
  EXPECT_THAT(SampleFile::parse("ndjson").error().message, HasSubstr("names no file: write ndjson=FILE"));
  EXPECT_THAT(SampleFile::parse("json=a").error().message, HasSubstr("write ndjson=a"));
  EXPECT_THAT(SampleFile::parse("influxdb=a").error().message,
              HasSubstr("write ndjson=FILE, csv=FILE, record=FILE or trace=FILE"));
}

}  // namespace
}  // namespace sluice
