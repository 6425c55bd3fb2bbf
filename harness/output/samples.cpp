#include "harness/output/samples.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "harness/base/check.h"
#include "harness/base/limits.h"
#include "harness/output/sample.h"

namespace sluice {
namespace {

constexpr std::size_t kBatchBytes = 1u << 18;
constexpr Nanoseconds kIdle = std::chrono::milliseconds(10);
constexpr int kSamplesInTurn = 1000;  // of one sink, before the next one's

template <class Sample>
Sample as(std::span<const std::byte> bytes) {
  Sample sample;
  std::memcpy(&sample, bytes.data(), sizeof sample);
  return sample;
}

std::int64_t wall_now() {
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

samples::AnswerTags answer_of(Outcome outcome, std::uint32_t status, std::string_view error, bool http2 = false) {
  return {.is_answer = true,
          .expected_response = !samples::http_failed(outcome),
          .http2 = http2,
          .status = status,
          .error_code = samples::error_code_of(outcome, status),
          .error = error};
}

double milliseconds(Nanoseconds time) { return static_cast<double>(std::max<std::int64_t>(time.count(), 0)) / 1e6; }

}  // namespace

Result<SampleFile> SampleFile::parse(const std::string& text) {
  const auto equals = text.find('=');
  const std::string format = text.substr(0, equals);
  SampleFile file;
  if (equals != std::string::npos) file.path = text.substr(equals + 1);
  if (format == "csv") {
    file.format = Format::csv;
  } else if (format == "json") {
    return fail(fmt::format("--out {}: this format is called ndjson: write ndjson={}", text, file.path));
  } else if (format != "ndjson") {
    return fail(fmt::format("--out {}: write ndjson=FILE, csv=FILE, record=FILE or trace=FILE", text));
  }
  if (file.path.empty()) return fail(fmt::format("--out {}: names no file: write {}=FILE", text, format));
  return {boost::system::in_place_value, std::move(file)};
}

SampleWriter::SampleWriter(std::shared_ptr<const TallyLayout> layout, std::size_t sinks, const Options& options)
    : layout_(std::move(layout)),
      tags_(*layout_),
      options_(options),
      wall_offset_(options.wall_offset.value_or(wall_now() - now())) {
  const std::size_t bytes = options_.ring_bytes == 0 ? limits::sample_ring_bytes : options_.ring_bytes;
  for (std::size_t i = 0; i < sinks; ++i) sinks_.push_back(std::make_unique<SampleSink>(bytes));
}

Result<std::unique_ptr<SampleWriter>> SampleWriter::open(const std::vector<SampleFile>& files,
                                                         std::shared_ptr<const TallyLayout> layout,
                                                         const std::vector<SampleThreshold>& thresholds,
                                                         std::size_t sinks, const Options& options) {
  std::unique_ptr<SampleWriter> writer(new SampleWriter(std::move(layout), sinks, options));
  for (const SampleFile& wanted : files) {
    const auto same =
        std::count_if(files.begin(), files.end(), [&](const SampleFile& other) { return other.path == wanted.path; });
    if (same > 1) return fail(fmt::format("--out: {} stands twice", wanted.path));
    auto file = ByteFile::open(wanted.path);
    if (!file) return file.error();
    Output output{.file = std::move(*file),
                  .format = wanted.format == SampleFile::Format::csv
                                ? samples::make_csv(writer->tags_, *writer->layout_)
                                : samples::make_ndjson(writer->tags_, *writer->layout_, thresholds),
                  .lines = {}};
    output.format->begin(output.lines);
    writer->outputs_.push_back(std::move(output));
  }
  writer->thread_ = std::thread([self = writer.get()] { self->work(); });
  return {boost::system::in_place_value, std::move(writer)};
}

SampleWriter::~SampleWriter() { finish(); }

SampleCounts SampleWriter::finish() {
  finishing_.store(true);
  if (thread_.joinable()) thread_.join();
  SampleCounts counts;
  counts.dropped = lost_;
  counts.problems = problems_;
  for (const auto& sink : sinks_) {
    counts.samples += sink->added();
    counts.dropped += sink->dropped();
  }
  counts.dropped = std::min(counts.dropped, counts.samples);  // what two files lack is one sample
  return counts;
}

void SampleWriter::work() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // a broken pipe is an error code
  for (;;) {
    const bool last = finishing_.load();  // asked first: what was added before it is set is taken
    const Took took = take_some();
    write(took != Took::some, last && took == Took::all);
    if (took == Took::some) continue;
    const auto done = [](const Output& output) { return output.given_up || output.file.waiting() == 0; };
    if (last && took == Took::all && std::all_of(outputs_.begin(), outputs_.end(), done)) return;
    if (took == Took::all) std::this_thread::sleep_for(kIdle);
  }
}

SampleWriter::Took SampleWriter::take_some() {
  Took took = Took::all;
  for (const auto& sink : sinks_) {
    for (int i = 0; i < kSamplesInTurn; ++i) {
      // Lines wait here only as far as a batch goes; the rest waits in the sinks, where it can be dropped.
      const auto full = [](const Output& output) {
        return !output.given_up && output.lines.size() + output.file.waiting() > kBatchBytes;
      };
      if (std::any_of(outputs_.begin(), outputs_.end(), full)) return took == Took::some ? Took::some : Took::blocked;
      const auto bytes = sink->ring().front();
      if (bytes.empty()) break;
      take(bytes);
      sink->ring().pop();
      took = Took::some;
    }
  }
  return took;
}

void SampleWriter::take(std::span<const std::byte> bytes) {
  using namespace samples;
  points_.clear();
  switch (static_cast<Kind>(bytes[0])) {
    case Kind::request:
      return take_request(RequestView(bytes));
    case Kind::websocket: {
      const auto session = as<WebSocket>(bytes);
      const std::string_view error(reinterpret_cast<const char*>(bytes.data()) + sizeof session, session.error_bytes);
      points_of(session, points_);
      return put(tags_.of_step(session.step), answer_of(session.outcome, session.status, error));
    }
    case Kind::check: {
      const auto check = as<CheckDone>(bytes);
      points_.push_back({Metric::checks, check.at, check.passed ? 1.0 : 0.0});
      return put(tags_.of_check(check.check), {});
    }
    case Kind::group: {
      const auto group = as<GroupDone>(bytes);
      points_.push_back({Metric::group_duration, group.ended_at, milliseconds(group.duration)});
      return put(tags_.of_step(group.group), {});
    }
    case Kind::iteration: {
      const auto iteration = as<IterationDone>(bytes);
      if (iteration.interrupted) return;
      points_.push_back({Metric::iterations, iteration.ended_at, 1});
      points_.push_back({Metric::iteration_duration, iteration.ended_at, milliseconds(iteration.duration)});
      return put(tags_.of_scenario(iteration.scenario), {});
    }
    case Kind::failed: {
      const auto failed = as<IterationFailed>(bytes);
      points_.push_back({Metric::iterations_failed, failed.ended_at, 1});
      return put(tags_.of_scenario(failed.scenario), {});
    }
    case Kind::custom: {
      const auto custom = as<CustomValue>(bytes);
      const bool is_rate = layout_->info(custom.metric).kind == MetricKind::rate;
      points_.push_back({custom.metric, custom.at, is_rate ? (custom.value != 0 ? 1.0 : 0.0) : custom.value});
      return put(tags_.of_step(custom.step), {});
    }
    case Kind::dropped: {
      const auto dropped = as<IterationsDropped>(bytes);
      points_.push_back({Metric::dropped_iterations, dropped.at, static_cast<double>(dropped.iterations)});
      return put(tags_.of_scenario(dropped.scenario), {});
    }
    case Kind::vus: {
      const auto vus = as<VusNow>(bytes);
      points_.push_back({Metric::vus, vus.at, static_cast<double>(vus.now)});
      points_.push_back({Metric::vus_max, vus.at, static_cast<double>(vus.peak)});
      return put(tags_.none(), {});
    }
  }
  SLUICE_CHECK(false);
}

void SampleWriter::take_request(const samples::RequestView& view) {
  const samples::Request& r = view.request;
  const StepInfo& step = layout_->steps()[r.step];
  samples::points_of(view, step.is_stream, layout_->token_time(step.scenario), points_);
  put(tags_.of_step(r.step), answer_of(r.outcome, r.status, view.error, r.http2));
}

void SampleWriter::put(std::size_t static_tags, const samples::AnswerTags& answer) {
  bool everywhere = true;
  for (Output& output : outputs_) {
    everywhere = everywhere && !output.given_up;
    if (output.given_up) continue;
    output.format->set_tags(static_tags, answer);
    for (const samples::Point& point : points_) output.format->add(point, point.at + wall_offset_, output.lines);
    ++output.held;
  }
  if (!everywhere) ++lost_;
}

void SampleWriter::write(bool at_once, bool last) {
  for (Output& output : outputs_) {
    if (output.given_up) continue;
    if (output.lines.size() + output.file.waiting() < kBatchBytes && !at_once) continue;
    output.file.add(output.lines);
    output.lines.clear();
    if (last && !output.ended) {
      output.file.end();
      output.ended = true;
    }
    if (write_one(output)) continue;
    output.given_up = true;
    lost_ += output.held;
    output.held = 0;
  }
}

/// False: it cannot be written any more.
bool SampleWriter::write_one(Output& output) {
  const std::size_t before = output.file.waiting();
  switch (output.file.write(kIdle)) {
    case ByteFile::Wrote::all:
      output.held = 0;
      output.stuck_since = kNever;
      return true;
    case ByteFile::Wrote::failed:
      problems_.push_back(output.file.error());
      return false;
    case ByteFile::Wrote::some:
      break;
  }
  const bool moved = output.file.waiting() < before;
  // While the load lasts nothing is given up: a reader may come yet.
  if (moved || output.stuck_since == kNever || !finishing_.load()) output.stuck_since = now();
  if (now() - output.stuck_since < options_.patience.count()) return true;
  problems_.push_back(fmt::format("{} takes nothing more: the last samples are not in it", output.file.path()));
  return false;
}

}  // namespace sluice
