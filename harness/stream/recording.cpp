#include "harness/stream/recording.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>
#include <utility>

#include "harness/base/limits.h"

namespace sluice {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::string_view kBeginning = "{\"sluice_recording\"";
constexpr std::int64_t kTimeMax = std::int64_t{30} * 24 * 3600 * 1'000'000;  // microseconds
constexpr std::array<std::string_view, 6> kEnds{"complete", "closed", "reset", "timeout", "cut", "malformed"};

std::optional<std::string_view> text_of(const object& line, std::string_view name) {
  std::string_view text;
  if (line[name].get(text) != simdjson::SUCCESS) return std::nullopt;
  return text;
}

std::optional<std::int64_t> count_of(const object& line, std::string_view name, std::int64_t most) {
  std::int64_t count = 0;
  if (line[name].get(count) != simdjson::SUCCESS || count < 0 || count > most) return std::nullopt;
  return count;
}

bool has(const object& line, std::string_view name) {
  element ignored;
  return line[name].get(ignored) == simdjson::SUCCESS;
}

/// False: not base64.
bool append_decoded(std::string_view text, std::string& out) {
  const auto digit = [](char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  if (text.size() % 4 != 0) return false;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < text.size() - padding; ++i) {
    const int value = digit(text[i]);
    if (value < 0) return false;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    if (i % 4 == 1) out += static_cast<char>(bits >> 4 & 255);
    if (i % 4 == 2) out += static_cast<char>(bits >> 2 & 255);
    if (i % 4 == 3) out += static_cast<char>(bits & 255);
  }
  return true;
}

/// Takes one line after another.
class Reader {
 public:
  /// What is wrong with it; empty: nothing.
  std::string take(const object& line) {
    if (!begun_) return take_header(line);
    if (!has(line, "stream")) return {};
    const auto number = count_of(line, "stream", INT64_MAX);
    if (!number) return "'stream' is no number of a stream";
    if (has(line, "status")) return take_head(line, static_cast<std::uint64_t>(*number));
    const auto found = open_.find(static_cast<std::uint64_t>(*number));
    if (found == open_.end()) return fmt::format("stream {} has not begun, or has ended", *number);
    return take_part(line, found);
  }

  Recording finish() {
    std::erase_if(recording_.streams, [](const TimedStream& stream) { return stream.end_us < 0; });
    recording_.unfinished = open_.size();
    return std::move(recording_);
  }

 private:
  using Open = std::unordered_map<std::uint64_t, std::size_t>;

  std::string take_header(const object& line) {
    const auto version = count_of(line, "sluice_recording", INT64_MAX);
    if (!version) return "no recording: it does not begin with {\"sluice_recording\": 1}";
    if (*version != 1) return fmt::format("recordings of version {} are not known: this reads version 1", *version);
    begun_ = true;
    return {};
  }

  std::string take_head(const object& line, std::uint64_t number) {
    if (open_.contains(number)) return fmt::format("stream {} begins twice", number);
    if (recording_.streams.size() >= limits::recording_streams_max)
      return fmt::format("more than {} streams", limits::recording_streams_max);
    const auto path = text_of(line, "path");
    const auto status = count_of(line, "status", 999);
    const auto head_us = has(line, "head_us") ? count_of(line, "head_us", kTimeMax) : 0;
    if (!path || !path->starts_with('/')) return "'path' is no path";
    if (!status || *status < 100) return "'status' is no HTTP status";
    if (!head_us) return "'head_us' is no time of up to 30 days in microseconds";
    TimedStream stream;
    stream.number = number;
    stream.method = text_of(line, "method").value_or("POST");
    stream.path = *path;
    stream.answer.has_head = true;
    stream.answer.status = static_cast<unsigned>(*status);
    stream.answer.content_type = text_of(line, "content_type").value_or("");
    stream.head_us = *head_us;
    stream.end_us = -1;
    open_.emplace(number, recording_.streams.size());
    recording_.streams.push_back(std::move(stream));
    return {};
  }

  std::string take_part(const object& line, Open::iterator found) {
    TimedStream& stream = recording_.streams[found->second];
    if (!has(line, "end") && !has(line, "text") && !has(line, "base64")) return {};  // of a later writer
    const auto us = count_of(line, "us", kTimeMax);
    if (!us) return "'us' is no time of up to 30 days in microseconds";
    if (*us < (stream.pieces.empty() ? stream.head_us : stream.pieces.back().us))
      return "'us' is before what came before it";
    if (const auto end = text_of(line, "end")) {
      const auto known = std::find(kEnds.begin(), kEnds.end(), *end);
      if (known == kEnds.end()) return fmt::format("'end' is none of {}", fmt::join(kEnds, ", "));
      stream.end = static_cast<TimedStream::End>(known - kEnds.begin());
      stream.end_us = *us;
      open_.erase(found);
      return {};
    }
    if (const auto text = text_of(line, "text")) {
      stream.answer.body += *text;
    } else if (const auto coded = text_of(line, "base64"); !coded || !append_decoded(*coded, stream.answer.body)) {
      return "neither a 'text' nor a 'base64' that can be read, nor an 'end'";
    }
    stream.pieces.push_back({.us = *us, .end = stream.answer.body.size()});
    return {};
  }

  bool begun_ = false;
  Recording recording_;
  Open open_;  // by number: where in `recording_`
};

}  // namespace

std::string_view name_of(TimedStream::End end) { return kEnds[static_cast<std::size_t>(end)]; }

bool is_recording(std::string_view bytes) { return bytes.starts_with(kBeginning); }

Result<Recording> read_recording_file(std::string_view bytes) {
  if (bytes.size() > limits::recording_bytes_max)
    return fail(fmt::format("a recording of more than {} bytes", limits::recording_bytes_max));
  Reader reader;
  simdjson::dom::parser parser(limits::recording_line_bytes_max);
  for (std::size_t number = 1; !bytes.empty(); ++number) {
    const std::size_t end = bytes.find('\n');
    if (end == std::string_view::npos && number > 1) break;  // its end was not written any more
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(line.size() + 1, bytes.size()));
    object read;
    if (parser.parse(line.data(), line.size()).get(read) != simdjson::SUCCESS)
      return fail(
          fmt::format("line {}: not a JSON object of at most {} bytes", number, limits::recording_line_bytes_max));
    if (std::string problem = reader.take(read); !problem.empty())
      return fail(fmt::format("line {}: {}", number, problem));
  }
  return {boost::system::in_place_value, reader.finish()};
}

}  // namespace sluice
