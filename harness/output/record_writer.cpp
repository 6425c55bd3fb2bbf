#include "harness/output/record_writer.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "harness/base/limits.h"
#include "harness/output/text_pieces.h"

namespace sluice {
namespace {

constexpr std::size_t kBatchBytes = 1u << 20;  // waiting for the file, beyond which the rings hold what comes
constexpr Nanoseconds kIdle = std::chrono::milliseconds(10);

std::int64_t microseconds(Nanoseconds time) { return std::max<std::int64_t>(time.count(), 0) / 1000; }

std::string_view name_of(RecordedEnd how) {
  switch (how) {
    case RecordedEnd::complete:
      return "complete";
    case RecordedEnd::closed:
      return "closed";
    case RecordedEnd::reset:
      return "reset";
    case RecordedEnd::timeout:
      return "timeout";
    case RecordedEnd::cut:
      return "cut";
    case RecordedEnd::malformed:
      return "malformed";
  }
  return "";
}

void append_base64(std::string_view bytes, std::string& out) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t size = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) bits = bits << 8 | (k < size ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= size ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
  }
}

/// A member with bytes as they are: "text" where they are UTF-8, else "base64".
void append_bytes(std::string_view text_name, std::string_view base64_name, std::string_view bytes, std::string& out) {
  const bool text = samples::is_utf8(bytes);
  fmt::format_to(std::back_inserter(out), ",\"{}\":", text ? text_name : base64_name);
  if (text) return samples::append_json_string(bytes, out);
  out += '"';
  append_base64(bytes, out);
  out += '"';
}

void append_text(std::string_view name, std::string_view text, std::string& out) {
  fmt::format_to(std::back_inserter(out), ",\"{}\":", name);
  samples::append_json_string(text, out);
}

/// Of "name: value\n" lines; of several with one name the first.
void append_headers(std::string_view lines, std::string& out) {
  out += ",\"headers\":{";
  std::vector<std::string> names;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const std::size_t colon = line.find(": ");
    std::string name(line.substr(0, colon));
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    if (!names.empty()) out += ',';
    samples::append_json_string(name, out);
    out += ':';
    samples::append_json_string(line.substr(colon + 2), out);
    names.push_back(std::move(name));
  }
  out += '}';
}

}  // namespace

RecordWriter::RecordWriter(ByteFile file, std::size_t sinks, const Options& options)
    : file_(std::move(file)), options_(options), origin_(now()) {
  const std::size_t bytes = options_.ring_bytes == 0 ? limits::recording_ring_bytes : options_.ring_bytes;
  for (std::size_t i = 0; i < sinks; ++i)
    sinks_.push_back(std::make_unique<RecordSink>(bytes, i + 1, sinks, options_.with_request));
}

Result<std::unique_ptr<RecordWriter>> RecordWriter::open(const std::string& path, std::size_t sinks,
                                                         const Options& options) {
  if (path.ends_with(".gz")) return fail(fmt::format("{}: recordings are not compressed: leave .gz out", path));
  auto file = ByteFile::open(path);
  if (!file) return file.error();
  std::unique_ptr<RecordWriter> writer(new RecordWriter(std::move(*file), sinks, options));
  std::string& line = writer->line_;
  line = "{\"sluice_recording\":1";
  append_text("by", options.by, line);
  line += ",\"at\":\"";
  samples::append_rfc3339(
      std::chrono::duration_cast<Nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count(), line);
  line += "\"}\n";
  writer->put();
  writer->thread_ = std::thread([self = writer.get()] { self->work(); });
  return {boost::system::in_place_value, std::move(writer)};
}

RecordWriter::~RecordWriter() { finish(); }

RecordCounts RecordWriter::finish() {
  finishing_.store(true);
  if (thread_.joinable()) thread_.join();
  RecordCounts counts = counts_;
  std::uint64_t begun = 0, given_up = 0;
  for (const auto& sink : sinks_) {
    begun += sink->begun();
    given_up += sink->given_up();
  }
  counts.missing = begun - counts.streams;
  if (counts.problem.empty() && given_up > 0) counts.problem = "they came faster than they could be written";
  return counts;
}

void RecordWriter::work() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // a broken pipe is an error code
  Instant stuck_since = kNever;
  for (;;) {
    const bool last = finishing_.load();  // asked first: what was added before it is set is taken
    const bool took = take_some();
    const std::size_t before = file_.waiting();
    const ByteFile::Wrote wrote = failed_ ? ByteFile::Wrote::all : file_.write(kIdle);
    if (wrote == ByteFile::Wrote::failed) {
      counts_.problem = file_.error();
      failed_ = true;
    } else if (wrote == ByteFile::Wrote::all) {
      stuck_since = kNever;
    } else {
      if (stuck_since == kNever || file_.waiting() < before || !last) stuck_since = now();
      if (now() - stuck_since >= options_.patience.count()) {
        counts_.problem = fmt::format("{} takes nothing more", file_.path());
        failed_ = true;
      }
    }
    if (took) continue;
    if (last && (failed_ || file_.waiting() == 0)) return;
    if (wrote == ByteFile::Wrote::all) std::this_thread::sleep_for(kIdle);
  }
}

/// False: there was nothing, or the file takes no more at present.
bool RecordWriter::take_some() {
  bool took = false;
  for (const auto& sink : sinks_) {
    while (failed_ || file_.waiting() < kBatchBytes) {
      const auto bytes = sink->ring().front();
      if (bytes.empty()) break;
      take(bytes);
      sink->ring().pop();
      took = true;
    }
  }
  return took;
}

void RecordWriter::take(std::span<const std::byte> bytes) {
  if (failed_ || full_) return;
  RecordedMark mark;
  std::memcpy(&mark, bytes.data(), sizeof mark);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()) + sizeof mark, bytes.size() - sizeof mark);
  const auto next = [&rest](std::size_t size) {
    const std::string_view text = rest.substr(0, size);
    rest.remove_prefix(size);
    return text;
  };
  line_.clear();
  fmt::format_to(std::back_inserter(line_), "{{\"stream\":{}", mark.stream);
  switch (mark.kind) {
    case RecordedMark::Kind::head: {
      append_text("method", next(mark.sizes[0]), line_);
      append_text("path", next(mark.sizes[1]), line_);
      fmt::format_to(std::back_inserter(line_), ",\"sent_us\":{},\"head_us\":{},\"status\":{}",
                     microseconds(Nanoseconds(mark.sent_at - origin_)), microseconds(mark.after), mark.status);
      append_text("content_type", next(mark.sizes[2]), line_);
      append_headers(next(mark.sizes[3]), line_);
      if (mark.sizes[4] > 0) append_bytes("request", "request_base64", next(mark.sizes[4]), line_);
      break;
    }
    case RecordedMark::Kind::piece:
      fmt::format_to(std::back_inserter(line_), ",\"us\":{}", microseconds(mark.after));
      append_bytes("text", "base64", next(mark.sizes[0]), line_);
      ++counts_.pieces;
      break;
    case RecordedMark::Kind::end:
      fmt::format_to(std::back_inserter(line_), ",\"us\":{},\"end\":\"{}\"", microseconds(mark.after),
                     name_of(mark.how));
      break;
  }
  line_ += "}\n";
  put();
  if (mark.kind == RecordedMark::Kind::end && !full_) ++counts_.streams;
}

void RecordWriter::put() {
  const std::size_t most = options_.bytes_max == 0 ? limits::recording_bytes_max : options_.bytes_max;
  if (counts_.bytes + line_.size() > most) {
    full_ = true;
    counts_.problem = fmt::format("{} has reached {} bytes, which is the bound of a recording", file_.path(), most);
    return;
  }
  file_.add(line_);
  counts_.bytes += line_.size();
}

}  // namespace sluice
