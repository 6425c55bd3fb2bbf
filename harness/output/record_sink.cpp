#include "harness/output/record_sink.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "harness/base/letters.h"

namespace sluice {
namespace {

/// What tells something of the server and nothing of who asks.
constexpr std::array<std::string_view, 8> kKept{"cache-control",  "content-encoding", "date",   "openai-processing-ms",
                                                "openai-version", "retry-after",      "server", "x-request-id"};

/// "POST /v1/chat/completions?key=1 HTTP/1.1" -> POST, /v1/chat/completions
struct RequestLine {
  std::string_view method, path;
};

RequestLine request_line(std::string_view request) {
  const std::string_view line = request.substr(0, request.find('\r'));
  const std::size_t blank = std::min(line.find(' '), line.size());
  RequestLine found{.method = line.substr(0, blank), .path = line.substr(std::min(blank + 1, line.size()))};
  found.path = found.path.substr(0, found.path.find_first_of(" ?#"));
  return found;
}

std::string_view body_of(std::string_view request) {
  const std::size_t end = request.find("\r\n\r\n");
  return end == std::string_view::npos ? std::string_view() : request.substr(end + 4);
}

}  // namespace

bool RecordSink::keeps(std::string_view name) {
  return std::any_of(kKept.begin(), kKept.end(), [&](std::string_view kept) { return same_letters(kept, name); });
}

void RecordSink::count(std::atomic<std::uint64_t>& counter) {
  // One thread writes the counts: no locked instruction is needed.
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

std::uint64_t RecordSink::begin(const RecordedHead& head) {
  const RequestLine line = request_line(head.request);
  const std::array<std::string_view, 5> texts{line.method, line.path, head.content_type, head.headers,
                                              with_request_ ? body_of(head.request) : std::string_view()};
  RecordedMark mark{.kind = RecordedMark::Kind::head,
                    .status = static_cast<std::uint16_t>(head.status),
                    .stream = next_,
                    .after = Nanoseconds(head.head_at - head.sent_at),
                    .sent_at = head.sent_at};
  std::size_t size = sizeof mark;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    mark.sizes[i] = static_cast<std::uint32_t>(texts[i].size());
    size += texts[i].size();
  }
  count(begun_);
  std::byte* room = ring_.reserve(size);
  if (room == nullptr) {
    count(given_up_);
    return 0;
  }
  std::memcpy(room, &mark, sizeof mark);
  room += sizeof mark;
  for (const std::string_view text : texts) {
    if (!text.empty()) std::memcpy(room, text.data(), text.size());
    room += text.size();
  }
  ring_.commit();
  next_ += step_;
  return mark.stream;
}

bool RecordSink::add(std::uint64_t stream, Nanoseconds after, std::string_view bytes) {
  RecordedMark mark{.kind = RecordedMark::Kind::piece, .stream = stream, .after = after};
  mark.sizes[0] = static_cast<std::uint32_t>(bytes.size());
  std::byte* const room = ring_.reserve(sizeof mark + bytes.size());
  if (room == nullptr) {
    count(given_up_);
    return false;
  }
  std::memcpy(room, &mark, sizeof mark);
  if (!bytes.empty()) std::memcpy(room + sizeof mark, bytes.data(), bytes.size());
  ring_.commit();
  return true;
}

void RecordSink::end(std::uint64_t stream, Nanoseconds after, RecordedEnd how) {
  const RecordedMark mark{.kind = RecordedMark::Kind::end, .how = how, .stream = stream, .after = after};
  std::byte* const room = ring_.reserve(sizeof mark);
  if (room == nullptr) return count(given_up_);
  std::memcpy(room, &mark, sizeof mark);
  ring_.commit();
}

}  // namespace sluice
