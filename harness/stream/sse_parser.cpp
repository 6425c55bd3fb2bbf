#include "harness/stream/sse_parser.h"

#include <algorithm>
#include <cstring>

namespace sluice {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// Where the line ends: the first CR or LF, or npos.
std::size_t find_line_end(std::string_view bytes) {
  const auto* const lf = static_cast<const char*>(std::memchr(bytes.data(), '\n', bytes.size()));
  const std::size_t before_lf = lf != nullptr ? static_cast<std::size_t>(lf - bytes.data()) : bytes.size();
  const auto* const cr = static_cast<const char*>(std::memchr(bytes.data(), '\r', before_lf));
  if (cr != nullptr) return static_cast<std::size_t>(cr - bytes.data());
  return lf != nullptr ? before_lf : std::string_view::npos;
}

}  // namespace

std::optional<SseEvent> SseParser::next() {
  if (delivered_) forget_event();
  while (!in_.empty() && !overflowed_) {
    if (at_start_) {
      if (bom_bytes_ < kByteOrderMark.size() && in_.front() == kByteOrderMark[bom_bytes_]) {
        skip(1);
        ++bom_bytes_;
        continue;
      }
      at_start_ = false;
      // A mark cut short is text of the first line.
      if (bom_bytes_ < kByteOrderMark.size()) line_.assign(kByteOrderMark.substr(0, bom_bytes_));
      line_offset_ = consumed_ - line_.size();
    }
    if (after_cr_) {
      after_cr_ = false;
      if (in_.front() == '\n') {
        skip(1);
        continue;
      }
    }
    if (line_.empty()) line_offset_ = consumed_;

    const std::size_t end = find_line_end(in_);
    const std::size_t line_bytes = std::min(end, in_.size());
    const std::size_t data_bytes = data_.size() + data_view_.size();
    if (data_bytes + line_.size() + line_bytes > max_event_bytes_) {
      overflowed_ = true;
      break;
    }
    if (end == std::string_view::npos) {
      line_.append(in_);
      skip(in_.size());
      break;
    }
    const bool owned = !line_.empty();
    if (owned) line_.append(in_.substr(0, end));
    const std::string_view line = owned ? std::string_view(line_) : in_.substr(0, end);
    after_cr_ = in_[end] == '\r';
    skip(end + 1);
    if (!line.empty()) {
      take_line(line, owned);
      line_.clear();
      continue;
    }
    if (!has_data_) {  // a blank line without data ends nothing, but the event's type is forgotten
      forget_event();
      continue;
    }
    delivered_ = true;
    return SseEvent{type_, data_view_.data() != nullptr ? data_view_ : std::string_view(data_), last_id_,
                    event_offset_};
  }
  if (data_view_.data() != nullptr) {  // the pushed bytes are about to go
    data_.assign(data_view_);
    data_view_ = {};
  }
  return std::nullopt;
}

void SseParser::reset() {
  in_ = {};
  consumed_ = 0;
  line_.clear();
  forget_event();
  last_id_.clear();
  retry_ms_.reset();
  event_offset_ = line_offset_ = 0;
  bom_bytes_ = 0;
  at_start_ = true;
  after_cr_ = overflowed_ = false;
}

void SseParser::forget_event() {
  data_.clear();
  data_view_ = {};
  type_.clear();
  has_data_ = in_event_ = delivered_ = false;
}

void SseParser::take_line(std::string_view line, bool owned) {
  if (line.front() == ':') return;
  if (!in_event_) {
    in_event_ = true;
    event_offset_ = line_offset_;
  }
  const std::size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  std::string_view value;
  if (colon != std::string_view::npos) {
    value = line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
  } else {
    value = line.substr(line.size());  // empty, yet pointing into the line: no null view below
  }
  if (name == "data") {
    add_data(value, owned);
  } else if (name == "event") {
    type_.assign(value);
  } else if (name == "id") {
    if (value.find('\0') == std::string_view::npos) last_id_.assign(value);
  } else if (name == "retry") {
    std::uint64_t milliseconds = 0;
    const bool digits = !value.empty() && value.size() <= 18 &&
                        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return;
    for (const char c : value) milliseconds = milliseconds * 10 + static_cast<std::uint64_t>(c - '0');
    retry_ms_ = milliseconds;
  }
}

void SseParser::add_data(std::string_view value, bool owned) {
  if (!has_data_ && !owned) {
    data_view_ = value;
  } else {
    if (data_view_.data() != nullptr) {
      data_.assign(data_view_);
      data_view_ = {};
    }
    if (has_data_) data_.push_back('\n');
    data_.append(value);
  }
  has_data_ = true;
}

}  // namespace sluice
