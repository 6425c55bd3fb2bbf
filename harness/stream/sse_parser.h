// Server-sent events out of bytes, as the HTML standard's event-stream grammar defines them.
//
// Pure: no clock, no I/O. The same bytes give the same events however they are split over push(). LF, CR and CRLF end a
// line; an event is delivered the moment the byte that ends its blank line is there (the CR of a CRLF, so that nothing
// waits for the LF). Comments are skipped; several data lines are joined by LF; unknown fields are ignored.
//
// An event that lies whole in one push with one data line is a view of the pushed bytes: nothing is copied. The parser
// owns memory only for an unfinished event, at most `max_event_bytes`; beyond it overflowed() holds and no event
// follows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::size_t kMaxEventBytes = std::size_t{8} << 20;  // an 8 MiB event is no token stream

struct SseEvent {
  std::string_view type;  // of `event:`; empty when none was given, which means "message"
  std::string_view data;
  std::string_view id;       // the last `id:` so far, as the grammar keeps it
  std::uint64_t offset = 0;  // of the event's first line in the stream
};

class SseParser {
 public:
  explicit SseParser(std::size_t max_event_bytes = kMaxEventBytes) : max_event_bytes_(max_event_bytes) {}

  /// Takes the stream's next bytes. They stay the caller's and must live until next() has returned nothing.
  /// REQUIRES: next() has returned nothing since the last push.
  void push(std::string_view bytes) { in_ = bytes; }

  /// The next event; nothing when more bytes are needed. Its views are good until the next call of a member.
  std::optional<SseEvent> next();

  /// Ready for another stream; keeps its memory.
  void reset();

  /// An event has begun that no blank line has ended: at the end of a stream the grammar drops it.
  bool has_partial() const { return !line_.empty() || has_data_ || !type_.empty(); }
  bool overflowed() const { return overflowed_; }
  std::uint64_t bytes_consumed() const { return consumed_; }
  std::optional<std::uint64_t> retry_ms() const { return retry_ms_; }  // the last `retry:` so far

 private:
  void take_line(std::string_view line, bool owned);
  void add_data(std::string_view value, bool owned);
  void forget_event();
  void skip(std::size_t bytes) {
    in_.remove_prefix(bytes);
    consumed_ += bytes;
  }

  std::size_t max_event_bytes_;
  std::string_view in_;         // pushed and not yet read
  std::uint64_t consumed_ = 0;  // bytes of the stream before in_
  std::string line_;            // beginning of a line whose end has not come
  std::string data_;            // joined data lines, unless data_view_ is all of them
  std::string_view data_view_;  // the only data line, in the pushed bytes
  std::string type_, last_id_;
  std::optional<std::uint64_t> retry_ms_;
  std::uint64_t event_offset_ = 0, line_offset_ = 0;
  unsigned bom_bytes_ = 0;  // of the leading byte order mark, seen so far
  bool at_start_ = true;    // the byte order mark may still come
  bool after_cr_ = false;   // an LF now belongs to the line end before it
  bool has_data_ = false;
  bool in_event_ = false;   // event_offset_ is set
  bool delivered_ = false;  // the last event's views end with this call
  bool overflowed_ = false;
};

}  // namespace sluice
