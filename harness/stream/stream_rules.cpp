#include "harness/stream/stream_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {
namespace {

/// Bytes of the well-formed UTF-8 sequence that begins here; 0 when there is none.
std::size_t sequence_bytes(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = at(0);
  std::size_t length = 0;
  if (first >= 0xC2 && first <= 0xDF) length = 2;
  if (first >= 0xE0 && first <= 0xEF) length = 3;
  if (first >= 0xF0 && first <= 0xF4) length = 4;
  if (length == 0 || bytes.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0U) != 0x80U) return 0;
  }
  if (first == 0xE0 && at(1) < 0xA0) return 0;
  if (first == 0xED && at(1) > 0x9F) return 0;
  if (first == 0xF0 && at(1) < 0x90) return 0;
  if (first == 0xF4 && at(1) > 0x8F) return 0;
  return length;
}

bool is_event_stream(std::string_view content_type) {
  constexpr std::string_view kWanted = "text/event-stream";
  if (content_type.size() < kWanted.size()) return false;
  for (std::size_t i = 0; i < kWanted.size(); ++i) {
    const char c = content_type[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != kWanted[i]) return false;
  }
  return content_type.size() == kWanted.size() || content_type[kWanted.size()] == ';' ||
         content_type[kWanted.size()] == ' ' || content_type[kWanted.size()] == '\t';
}

}  // namespace

std::string escape_bytes(std::string_view bytes, std::size_t bytes_max) {
  std::string out;
  const bool cut = bytes.size() > bytes_max;
  bytes = bytes.substr(0, bytes_max);
  while (!bytes.empty()) {
    const auto c = static_cast<unsigned char>(bytes.front());
    std::size_t taken = 1;
    if (c >= 0x20 && c < 0x7F) {
      out.push_back(bytes.front());
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (const std::size_t length = sequence_bytes(bytes); length > 0) {
      out.append(bytes.substr(0, length));
      taken = length;
    } else {
      out += fmt::format("\\x{:02x}", c);
    }
    bytes.remove_prefix(taken);
  }
  if (cut) out += "...";
  return out;
}

void StreamRules::begin(Api api, std::string_view dialect) {
  api_ = api;
  done_owed_ = dialect != "anthropic" && dialect != "raw";
  findings_.clear();
  seen_.reset();
  id_.clear();
  model_.clear();
  created_ = -1;
  usage_ = {};
  usage_offset_ = content_events_ = 0;
  finished_choices_ = roles_seen_ = 0;
  any_event_ = any_content_ = any_finish_ = done_ = last_was_done_ = false;
  delta_seen_ = usage_final_ = error_ = false;
}

void StreamRules::add(StreamRule rule, std::uint64_t offset, std::string_view bytes) {
  const auto index = static_cast<std::size_t>(rule);
  if (seen_.test(index)) return;
  seen_.set(index);
  findings_.push_back(Finding{rule, offset, escape_bytes(bytes)});
}

void StreamRules::header(unsigned status, std::string_view content_type) {
  if (status < 200 || status > 299) {
    add(StreamRule::http_status, 0, fmt::format("HTTP status {}", status));
    return;  // an error's body is no stream, nor need its type be one
  }
  if (!is_event_stream(content_type)) add(StreamRule::content_type, 0, content_type);
}

void StreamRules::event(const SseEvent& raw, const ChatEvent& event) {
  using Kind = ChatEvent::Kind;
  any_event_ = true;
  if (event.kind == Kind::done) {
    if (done_) add(StreamRule::done_twice, raw.offset, raw.data);
    done_ = last_was_done_ = true;
    return;
  }
  last_was_done_ = false;
  if (done_) add(StreamRule::data_after_done, raw.offset, raw.data);
  if (event.kind == Kind::broken) {
    const bool utf8 = event.problem == ChatEvent::Problem::invalid_utf8;
    add(utf8 ? StreamRule::invalid_utf8 : StreamRule::invalid_json, raw.offset, raw.data);
    return;
  }
  if (event.kind == Kind::error || raw.type == "error") {
    error_ = true;
    add(StreamRule::error_event, raw.offset, raw.data);
    return;
  }

  if (!event.id.empty()) {
    if (id_.empty()) id_.assign(event.id);
    if (id_ != event.id) add(StreamRule::id_changed, raw.offset, raw.data);
  }
  if (!event.model.empty()) {
    if (model_.empty()) model_.assign(event.model);
    if (model_ != event.model) add(StreamRule::model_changed, raw.offset, raw.data);
  }
  if (event.created >= 0) {
    if (created_ < 0) created_ = event.created;
    if (created_ != event.created) add(StreamRule::created_changed, raw.offset, raw.data);
  }
  const std::string_view object = api_ == Api::chat ? "chat.completion.chunk" : "text_completion";
  if (event.object != object) add(StreamRule::object_wrong, raw.offset, raw.data);
  if (event.index_out_of_range) add(StreamRule::index_out_of_range, raw.offset, raw.data);

  if ((event.role_choices & roles_seen_) != 0) add(StreamRule::role_twice, raw.offset, raw.data);
  roles_seen_ |= event.role_choices;
  if (event.has_delta && !delta_seen_) {
    delta_seen_ = true;
    if (api_ == Api::chat && !event.has_role) add(StreamRule::role_missing, raw.offset, raw.data);
  }
  if ((event.content_choices & finished_choices_) != 0) add(StreamRule::delta_after_finish, raw.offset, raw.data);
  if ((event.finish_choices & finished_choices_) != 0) add(StreamRule::finish_twice, raw.offset, raw.data);
  if ((event.finish_choices & event.content_choices) != 0) {
    add(StreamRule::finish_with_content, raw.offset, raw.data);
  }
  if (event.empty_finish) add(StreamRule::finish_empty_string, raw.offset, raw.data);
  finished_choices_ |= event.finish_choices;
  any_finish_ = any_finish_ || !event.finish_reason.empty();

  if (event.has_text()) {
    any_content_ = true;
    ++content_events_;
  }
  if (usage_final_ && event.choices > 0) add(StreamRule::usage_not_last, raw.offset, raw.data);
  if (event.has_usage) {
    usage_ = event.usage;
    usage_offset_ = raw.offset;
    if (event.choices == 0) {
      usage_final_ = true;
      check_usage(raw);
    }
  }
}

void StreamRules::check_usage(const SseEvent& raw) {
  const ChatUsage& u = usage_;
  const bool sum_known = u.prompt_tokens >= 0 && u.completion_tokens >= 0 && u.total_tokens >= 0;
  const bool sum_wrong = sum_known && u.prompt_tokens + u.completion_tokens != u.total_tokens;
  const bool nothing_wrong = u.completion_tokens == 0 && any_content_;
  // One choice at least was streamed in pieces of a token or more: more pieces than tokens cannot be.
  const bool pieces_wrong =
      u.completion_tokens >= 0 &&
      content_events_ > static_cast<std::uint64_t>(std::max<std::int64_t>(u.completion_tokens, 0));
  if (sum_wrong || nothing_wrong || pieces_wrong) add(StreamRule::usage_mismatch, raw.offset, raw.data);
}

void StreamRules::end(const StreamEnd& end) {
  if (end.event_too_large) add(StreamRule::event_too_large, end.offset, "");
  if (end.interrupted) return;
  if (found(StreamRule::http_status) || found(StreamRule::content_type)) return;  // there was no stream to judge
  const bool cut = !end.framing_whole || end.partial_event;
  if (cut && !end.event_too_large) add(StreamRule::truncated, end.offset, "");
  const bool empty_by_usage = usage_.completion_tokens == 0;
  if (!any_content_ && !empty_by_usage && !end.event_too_large) add(StreamRule::no_content, end.offset, "");
  if (error_ || end.event_too_large) return;  // what is missing behind that is no finding of its own
  if (!any_finish_) add(StreamRule::no_finish, end.offset, "");
  if (done_owed_ && !done_) add(StreamRule::no_done, end.offset, "");
  if (done_ && !last_was_done_) add(StreamRule::done_not_last, end.offset, "");
}

bool StreamRules::failed() const {
  if (found(StreamRule::no_finish) || found(StreamRule::no_done)) return true;
  return std::any_of(findings_.begin(), findings_.end(),
                     [](const Finding& finding) { return info(finding.rule).severity == Severity::fatal; });
}

}  // namespace sluice
