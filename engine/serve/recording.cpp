#include "engine/serve/recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include "engine/core/json.h"
#include "engine/core/limits.h"
#include "engine/serve/target.h"

namespace sluice::engine {
namespace {

constexpr std::int64_t kTimeMax = std::int64_t{30} * 24 * 3600 * 1'000'000;  // microseconds
constexpr std::size_t kHeaderBytesMax = 1024;
constexpr std::size_t kMethodBytesMax = 32;
constexpr std::size_t kModelBytesMax = 256;
constexpr std::size_t kModelsMax = 100;
/// Those that say nothing of the connection, which is ours.
constexpr std::array<std::string_view, 5> kHeaders{"cache-control", "content-encoding", "openai-processing-ms",
                                                   "openai-version", "retry-after"};
constexpr std::array<std::string_view, 6> kEnds{"complete", "closed", "reset", "timeout", "cut", "malformed"};

bool is_header_value(std::string_view value) {
  return value.size() <= kHeaderBytesMax &&
         std::ranges::all_of(value, [](char byte) { return static_cast<unsigned char>(byte) >= 0x20 && byte != 0x7f; });
}

bool is_method(std::string_view name) {
  return !name.empty() && name.size() <= kMethodBytesMax && std::ranges::all_of(name, [](char byte) {
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte == '-' || byte == '_';
  });
}

std::optional<std::int64_t> number(JsonObject line, const char* key, std::int64_t least, std::int64_t most) {
  const auto value = member(line, key);
  const auto read = value ? as_integer(*value) : std::nullopt;
  return read && *read >= least && *read <= most ? read : std::nullopt;
}

std::optional<std::string_view> text(JsonObject line, const char* key) {
  const auto value = member(line, key);
  return value ? as_string(*value) : std::nullopt;
}

int base64_digit(char c) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto at = kDigits.find(c);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

bool append_base64(std::string_view coded, std::string& out) {
  if (coded.size() % 4 != 0) return false;
  while (!coded.empty()) {
    const std::string_view four = coded.substr(0, 4);
    coded.remove_prefix(4);
    std::size_t digits = 4;
    if (coded.empty() && four.ends_with('=')) digits = four.ends_with("==") ? 2 : 3;
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const int digit = i < digits ? base64_digit(four[i]) : 0;
      if (digit < 0) return false;
      bits = bits << 6 | static_cast<std::uint32_t>(digit);
    }
    for (std::size_t i = 0; i + 1 < digits; ++i) out += static_cast<char>(bits >> (16 - 8 * i) & 0xff);
  }
  return true;
}

/// What stands behind the first "model" of a body that is JSON, or a stream of it.
std::string_view model_in(std::string_view body) {
  constexpr std::string_view kKey = "\"model\"", kBlanks = " \t\r\n";
  const auto key = body.find(kKey);
  if (key == std::string_view::npos) return {};
  body.remove_prefix(key + kKey.size());
  for (const char expected : {':', '"'}) {
    body.remove_prefix(std::min(body.find_first_not_of(kBlanks), body.size()));
    if (!body.starts_with(expected)) return {};
    body.remove_prefix(1);
  }
  const auto end = body.find_first_of("\"\\");
  return end == std::string_view::npos || body[end] != '"' || end > kModelBytesMax ? std::string_view()
                                                                                   : body.substr(0, end);
}

/// Takes one line after another.
class Reader {
 public:
  /// What is wrong with it; empty: nothing.
  std::string take(JsonObject line) {
    if (!begun_) return take_header(line);
    if (!member(line, "stream")) return {};
    const auto stream = number(line, "stream", 0, INT64_MAX);
    if (!stream) return "'stream' must be a number of a stream";
    if (member(line, "status")) return take_head(line, *stream);
    if (!member(line, "text") && !member(line, "base64") && !member(line, "end")) return {};  // not known
    const auto found = open_.find(*stream);
    if (found == open_.end()) return fmt::format("stream {} has not begun, or has ended", *stream);
    return take_part(line, found);
  }

  Recording finish() {
    std::erase_if(recording_.streams, [](const RecordedStream& stream) { return stream.end_us < 0; });
    recording_.unfinished = open_.size();
    recording_.unservable = std::erase_if(
        recording_.streams, [](const RecordedStream& stream) { return stream.status < 200 || stream.status > 599; });
    for (const auto& stream : recording_.streams) {
      const auto model = model_in(stream.body);
      auto& models = recording_.models;
      if (!model.empty() && models.size() < kModelsMax && std::ranges::find(models, model) == models.end())
        models.emplace_back(model);
    }
    if (recording_.models.empty() && !model_.empty()) recording_.models.push_back(model_);
    return std::move(recording_);
  }

 private:
  using Open = std::unordered_map<std::int64_t, std::size_t>;

  std::string take_header(JsonObject line) {
    const auto version = number(line, "sluice_recording", 0, INT64_MAX);
    if (!version) return "no recording: its first line must be {\"sluice_recording\": 1, ...}";
    if (*version != 1) return fmt::format("recordings of version {} are not known: this reads version 1", *version);
    model_ = std::string(text(line, "model").value_or("").substr(0, kModelBytesMax));
    begun_ = true;
    return {};
  }

  std::string take_head(JsonObject line, std::int64_t number_of_it) {
    if (open_.contains(number_of_it)) return fmt::format("stream {} begins twice", number_of_it);
    if (recording_.streams.size() >= limits::recording_streams_max)
      return fmt::format("more than the {} streams that are read", limits::recording_streams_max);
    RecordedStream stream;
    const auto path = path_of(text(line, "path").value_or(""));
    if (!path) return "'path' must be that of a request, such as /v1/chat/completions";
    stream.path = *path;
    stream.method = text(line, "method").value_or("POST");
    if (!is_method(stream.method)) return "'method' must be that of a request, such as POST";
    const auto status = number(line, "status", 100, 999);
    if (!status) return "'status' must be an HTTP status from 100 to 999";
    stream.status = static_cast<unsigned>(*status);
    const auto head_us = member(line, "head_us") ? number(line, "head_us", 0, kTimeMax) : 0;
    if (!head_us) return "'head_us' must be microseconds, of 30 days at most";
    stream.head_us = *head_us;
    stream.end_us = -1;
    const auto content_type = text(line, "content_type").value_or("");
    if (!is_header_value(content_type)) return "'content_type' cannot be a header's value";
    if (!content_type.empty()) stream.headers.emplace_back("content-type", content_type);
    const auto headers = member(line, "headers");
    if (headers && !headers->is_object()) return "'headers' must be an object of names and values";
    if (headers) {
      for (const auto& [name, value] : fields(*headers)) {
        if (std::ranges::find(kHeaders, name) == kHeaders.end()) continue;
        const auto value_text = as_string(value);
        if (!value_text || !is_header_value(*value_text)) return fmt::format("'{}' cannot be a header's value", name);
        stream.headers.emplace_back(name, *value_text);
      }
    }
    open_.emplace(number_of_it, recording_.streams.size());
    recording_.streams.push_back(std::move(stream));
    return {};
  }

  std::string take_part(JsonObject line, Open::iterator found) {
    RecordedStream& stream = recording_.streams[found->second];
    const auto us = number(line, "us", 0, kTimeMax);
    if (!us) return "'us' must be microseconds, of 30 days at most";
    if (*us < (stream.pieces.empty() ? stream.head_us : stream.pieces.back().us))
      return fmt::format("'us' is {}, before what came before it", *us);
    if (const auto end = text(line, "end")) {
      const auto known = std::ranges::find(kEnds, *end);
      if (known == kEnds.end()) return fmt::format("'end' must be one of {}", fmt::join(kEnds, ", "));
      stream.end = static_cast<RecordedStream::End>(known - kEnds.begin());
      stream.end_us = *us;
      open_.erase(found);
      return {};
    }
    const std::size_t before = stream.body.size();
    if (const auto bytes = text(line, "text")) {
      stream.body += *bytes;
    } else if (const auto coded = text(line, "base64"); !coded || !append_base64(*coded, stream.body)) {
      return "its 'text', 'base64' or 'end' cannot be read";
    }
    if (stream.body.size() > before) stream.pieces.push_back({.us = *us, .end = stream.body.size()});
    return {};
  }

  bool begun_ = false;
  std::string model_;
  Recording recording_;
  Open open_;  // by number: where in `recording_`
};

}  // namespace

Result<Recording> parse_recording(std::string_view bytes, const std::string& name) {
  Reader reader;
  for (std::size_t number = 1; !bytes.empty(); ++number) {
    const auto end = bytes.find('\n');
    if (end == std::string_view::npos && number > 1) break;  // its end was not written any more
    const auto line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(line.size() + 1, bytes.size()));
    const std::string place = fmt::format("{}:{}", name, number);
    if (line.size() > limits::recording_line_bytes_max)
      return fail(fmt::format("{}: the line has more than {} bytes", place, limits::recording_line_bytes_max));
    const auto document = JsonDocument::parse(line, place);
    if (!document) return document.error();
    if (!document->root().is_object()) return fail(place + ": not a JSON object");
    const auto problem = reader.take(fields(document->root()));
    if (!problem.empty()) return fail(fmt::format("{}: {}", place, problem));
  }
  Recording recording = reader.finish();
  if (recording.streams.empty())
    return fail(fmt::format("{}: there is no whole stream of a status from 200 to 599 in it", name));
  return recording;
}

Result<Recording> load_recording(const std::string& path) {
  const auto bytes = read_file(path, limits::recording_bytes_max);
  if (!bytes) return bytes.error();
  return parse_recording(*bytes, path);
}

}  // namespace sluice::engine
