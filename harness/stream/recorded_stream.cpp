#include "harness/stream/recorded_stream.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

namespace sluice {
namespace {

constexpr std::string_view kHttp = "HTTP/";

bool same(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [lower](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const std::size_t from = text.find_first_not_of(kBlanks);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kBlanks) + 1 - from);
}

/// The next line without its end, CRLF or LF; none when no end has come.
std::optional<std::string_view> take_line(std::string_view& bytes) {
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view line = bytes.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  bytes.remove_prefix(end + 1);
  return line;
}

template <class Number>
std::optional<Number> number(std::string_view text, int base) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "1a;extension" -> 26
std::optional<std::uint64_t> chunk_size(std::string_view line) {
  return number<std::uint64_t>(trimmed(line.substr(0, line.find(';'))), 16);
}

void read_chunks(std::string_view bytes, RecordedStream& recording) {
  while (true) {
    const auto line = take_line(bytes);
    const auto size = line ? chunk_size(*line) : std::nullopt;
    if (!size) {
      recording.problem = line ? "not a chunk's size where one is due" : "it ends before its last chunk";
      return;
    }
    if (*size == 0) return;
    recording.body.append(bytes.substr(0, *size));
    if (bytes.size() < *size) {
      recording.problem = "it ends within a chunk";
      return;
    }
    bytes.remove_prefix(*size);
    if (const auto end = take_line(bytes); !end || !end->empty()) {
      recording.problem = end ? "a chunk is longer than it says" : "it ends before its last chunk";
      return;
    }
  }
}

/// What a head says of the body that follows.
struct Framing {
  bool chunked = false;
  std::optional<std::uint64_t> length;
};

Result<Framing> read_head(std::string_view& bytes, RecordedStream& recording) {
  Framing framing;
  const auto first = take_line(bytes);
  // HTTP/1.1 200 OK, or HTTP/2 200
  const std::size_t blank = first ? first->find(' ') : std::string_view::npos;
  const auto status =
      blank != std::string_view::npos ? number<unsigned>(first->substr(blank + 1, 3), 10) : std::nullopt;
  if (!status || *status < 100 || *status > 999)
    return fail("it begins as an HTTP answer, but its first line has no status");
  recording.has_head = true;
  recording.status = *status;
  recording.content_type.clear();
  while (true) {
    const auto line = take_line(bytes);
    if (!line) return fail("it ends within the head of its HTTP answer");
    if (line->empty()) return framing;
    const std::size_t colon = line->find(':');
    if (colon == std::string_view::npos) return fail("a line of its HTTP head has no colon");
    const std::string_view name = line->substr(0, colon), value = trimmed(line->substr(colon + 1));
    if (same(name, "content-type")) recording.content_type = value;
    if (same(name, "content-length")) framing.length = number<std::uint64_t>(value, 10);
    if (same(name, "transfer-encoding") && value.size() >= 7)
      framing.chunked = same(value.substr(value.size() - 7), "chunked");
  }
}

}  // namespace

Result<RecordedStream> read_recording(std::string_view bytes) {
  RecordedStream recording;
  Framing framing;
  while (bytes.starts_with(kHttp)) {
    auto read = read_head(bytes, recording);
    if (!read) return read.error();
    framing = *read;
    if (recording.status > 199) break;
  }
  if (framing.chunked) {
    std::string_view rest = bytes;
    const auto line = take_line(rest);
    // curl takes the chunks off and leaves the header.
    if (line && chunk_size(*line)) {
      read_chunks(bytes, recording);
      return {boost::system::in_place_value, std::move(recording)};
    }
  } else if (framing.length) {
    if (bytes.size() < *framing.length) recording.problem = "it is shorter than its Content-Length";
    bytes = bytes.substr(0, *framing.length);
  }
  recording.body = bytes;
  return {boost::system::in_place_value, std::move(recording)};
}

}  // namespace sluice
