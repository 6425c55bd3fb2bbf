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

namespace {

constexpr int kLooksAmongLiveStreams = 4;  // each costs as much as there are streams
// A burst is no burst of the network's if it is one read in a hundred: most of the answer must have come that way.
constexpr std::uint64_t kBurstsWanted = 3;
constexpr Nanoseconds kLongSilence = std::chrono::milliseconds(500);  // in which an answer of some pieces is made
constexpr std::uint64_t kWholeAnswerEvents = 8;
constexpr std::int64_t kLongAnswerTokens = 8;   // a shorter answer may well be one piece
constexpr std::uint64_t kLongAnswerBytes = 40;  // where nobody tells the tokens

double seconds(Nanoseconds time) { return std::chrono::duration<double>(time).count(); }

void merge(ChatUsage& into, const ChatUsage& more) {
  const auto take = [](std::int64_t& to, std::int64_t from) {
    if (from >= 0) to = from;
  };
  take(into.prompt_tokens, more.prompt_tokens);
  take(into.completion_tokens, more.completion_tokens);
  take(into.total_tokens, more.total_tokens);
  take(into.cached_tokens, more.cached_tokens);
}

}  // namespace

void StreamRules::begin(StreamApi api, const RuleSet& noted, LiveStreams* live) {
  api_ = api;
  noted_ = noted;
  findings_.clear();
  seen_.reset();
  id_.clear();
  model_.clear();
  foreign_.reset();
  first_burst_.reset();
  looks_left_ = kLooksAmongLiveStreams;
  created_ = -1;
  usage_ = {};
  content_events_ = content_offset_ = content_bytes_ = bursts_ = burst_events_ = 0;
  finished_choices_ = roles_seen_ = open_blocks_ = 0;
  long_burst_ = begun_ = any_content_ = any_answer_ = any_finish_ = done_ = last_was_done_ = false;
  delta_seen_ = usage_final_ = error_ = false;
  leave();
  live_ = live;
  if (live == nullptr) return;
  next_ = live->first_;
  if (next_ != nullptr) next_->previous_ = this;
  live->first_ = this;
}

void StreamRules::leave() {
  if (live_ == nullptr) return;
  if (next_ != nullptr) next_->previous_ = previous_;
  (previous_ != nullptr ? previous_->next_ : live_->first_) = next_;
  live_ = nullptr;
  next_ = previous_ = nullptr;
}

bool StreamRules::is_of_another(std::string_view id) const {
  if (live_ == nullptr || id.empty()) return false;
  for (const StreamRules* each = live_->first_; each != nullptr; each = each->next_)
    if (each != this && each->id_ == id) return true;
  return false;
}

void StreamRules::add(StreamRule rule, std::uint64_t offset, std::string_view bytes, std::uint64_t count) {
  const auto index = static_cast<std::size_t>(rule);
  if (seen_.test(index)) {
    for (Finding& finding : findings_)
      if (finding.rule == rule) finding.count += count;
    return;
  }
  seen_.set(index);
  findings_.push_back({rule, noted_.test(index), offset, count, escape_bytes(bytes)});
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
  const bool named = api_ == StreamApi::messages || api_ == StreamApi::responses;
  const bool is_end = named ? event.part == ChatEvent::Part::ending : event.kind == Kind::done;
  if (done_) add(is_end ? StreamRule::done_twice : StreamRule::data_after_done, raw.offset, raw.data);
  last_was_done_ = is_end;
  done_ = done_ || is_end;
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
  switch (api_) {
    case StreamApi::chat:
    case StreamApi::completions:
      if (!is_end) openai_event(raw, event);
      break;
    case StreamApi::messages:
    case StreamApi::responses:
      named_event(raw, event);
      break;
    case StreamApi::raw:
      count_content(raw, event);
      break;
  }
}

/// What is said of the whole answer must stay the same.
void StreamRules::check_names(const SseEvent& raw, const ChatEvent& event) {
  check_id(raw, event.id);
  if (!event.model.empty()) {
    if (model_.empty()) model_.assign(event.model);
    if (model_ != event.model) add(StreamRule::model_changed, raw.offset, raw.data);
  }
  if (event.created >= 0) {
    if (created_ < 0) created_ = event.created;
    if (created_ != event.created) add(StreamRule::created_changed, raw.offset, raw.data);
  }
}

void StreamRules::check_id(const SseEvent& raw, std::string_view id) {
  if (id.empty()) return;
  if (id_.empty()) id_.assign(id);
  if (id == id_) {
    if (!foreign_ || foreign_->count == 0) return;
    add(StreamRule::interleaved, foreign_->offset, foreign_->bytes, foreign_->count);
    foreign_->count = 0;
    return;
  }
  if (foreign_) ++foreign_->count;
  if (!foreign_)
    foreign_ = {.rule = StreamRule::id_changed,
                .offset = raw.offset,
                .bytes = std::string(raw.data.substr(0, kFindingBytes + 1))};
  if (looks_left_ == 0 || found(StreamRule::interleaved)) return;
  --looks_left_;
  // Either may be the wrong one: the first event of a stream can be another's.
  if (is_of_another(id) || is_of_another(id_)) add(StreamRule::interleaved, raw.offset, raw.data);
}

void StreamRules::count_content(const SseEvent& raw, const ChatEvent& event) {
  if (!event.has_text()) return;
  any_content_ = true;
  any_answer_ = any_answer_ || !event.text.empty() || !event.reasoning.empty();
  if (content_events_++ > 0) return;
  content_offset_ = raw.offset;
  content_bytes_ = event.text.size() + event.reasoning.size();
}

void StreamRules::openai_event(const SseEvent& raw, const ChatEvent& event) {
  check_names(raw, event);
  const std::string_view object = api_ == StreamApi::chat ? "chat.completion.chunk" : "text_completion";
  if (event.object != object) add(StreamRule::object_wrong, raw.offset, raw.data);
  if (event.index_out_of_range) add(StreamRule::index_out_of_range, raw.offset, raw.data);

  if ((event.role_choices & roles_seen_) != 0) add(StreamRule::role_twice, raw.offset, raw.data);
  roles_seen_ |= event.role_choices;
  if (event.has_delta && !delta_seen_) {
    delta_seen_ = true;
    if (api_ == StreamApi::chat && !event.has_role) add(StreamRule::role_missing, raw.offset, raw.data);
  }
  if ((event.content_choices & finished_choices_) != 0) add(StreamRule::delta_after_finish, raw.offset, raw.data);
  if ((event.finish_choices & finished_choices_) != 0) add(StreamRule::finish_twice, raw.offset, raw.data);
  if ((event.finish_choices & event.content_choices) != 0) {
    add(StreamRule::finish_with_content, raw.offset, raw.data);
  }
  if (event.empty_finish) add(StreamRule::finish_empty_string, raw.offset, raw.data);
  if (event.no_finish_member) add(StreamRule::null_missing, raw.offset, raw.data);
  finished_choices_ |= event.finish_choices;
  any_finish_ = any_finish_ || !event.finish_reason.empty();

  count_content(raw, event);
  if (usage_final_ && event.choices > 0) add(StreamRule::usage_not_last, raw.offset, raw.data);
  if (event.has_usage) {
    usage_ = event.usage;
    if (event.choices == 0) {
      usage_final_ = true;
      check_usage(raw);
    }
  }
}

void StreamRules::named_event(const SseEvent& raw, const ChatEvent& event) {
  using Part = ChatEvent::Part;
  if (event.type.empty() || raw.type != event.type) add(StreamRule::object_wrong, raw.offset, raw.data);
  check_names(raw, event);
  if (event.part == Part::opening) {
    if (begun_) add(StreamRule::role_twice, raw.offset, raw.data);
    begun_ = true;
  } else if (event.part != Part::none && !begun_) {
    add(StreamRule::role_missing, raw.offset, raw.data);
  }
  if (event.index_out_of_range) add(StreamRule::index_out_of_range, raw.offset, raw.data);
  if (api_ == StreamApi::messages && event.index >= 0 && event.index < 32) {
    const std::uint32_t block = 1U << static_cast<unsigned>(event.index);
    const bool open = (open_blocks_ & block) != 0;
    if (event.part == Part::block_begin) open_blocks_ |= block;
    if (event.part == Part::block_end) open_blocks_ &= ~block;
    if ((event.part == Part::delta || event.part == Part::block_end) && !open)
      add(StreamRule::index_out_of_range, raw.offset, raw.data);
  }
  if (event.has_text() && any_finish_) add(StreamRule::delta_after_finish, raw.offset, raw.data);
  if (!event.finish_reason.empty()) {
    if (any_finish_) add(StreamRule::finish_twice, raw.offset, raw.data);
    any_finish_ = true;
  }
  count_content(raw, event);
  if (!event.has_usage) return;
  merge(usage_, event.usage);
  if (event.part != Part::opening) check_usage(raw);
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

void StreamRules::silence(Nanoseconds length, std::uint64_t offset) {
  add(StreamRule::keepalive_missing, offset, fmt::format("nothing for {:.3g} s", seconds(length)));
}

void StreamRules::burst(std::uint64_t events, Nanoseconds silence, std::uint64_t offset) {
  ++bursts_;
  burst_events_ += events;
  long_burst_ = long_burst_ || silence >= kLongSilence;
  if (first_burst_) return;
  first_burst_ = {
      .rule = StreamRule::proxy_buffering,
      .offset = offset,
      .bytes = fmt::format("{} content events in one read, after {:.3g} s without any", events, seconds(silence))};
}

/// How the answer was cut into pieces, and how these came.
void StreamRules::check_pieces() {
  const bool mostly = 2 * burst_events_ >= content_events_;
  const bool all_at_once =
      bursts_ == 1 && long_burst_ && burst_events_ == content_events_ && content_events_ >= kWholeAnswerEvents;
  if (first_burst_ && mostly && (bursts_ >= kBurstsWanted || all_at_once))
    add(StreamRule::proxy_buffering, first_burst_->offset, first_burst_->bytes, bursts_);
  if (content_events_ != 1 || !any_answer_ || api_ == StreamApi::raw) return;
  const bool is_long = usage_.completion_tokens >= 0 ? usage_.completion_tokens >= kLongAnswerTokens
                                                     : content_bytes_ >= kLongAnswerBytes;
  if (is_long)
    add(StreamRule::whole_answer_in_one_chunk, content_offset_,
        fmt::format("one content event, of {} bytes of text", content_bytes_));
}

void StreamRules::end(const StreamEnd& end) {
  if (end.event_too_large) add(StreamRule::event_too_large, end.offset, "");
  if (foreign_ && !found(StreamRule::interleaved))
    add(StreamRule::id_changed, foreign_->offset, foreign_->bytes, foreign_->count);
  leave();
  if (end.interrupted) return;
  if (found(StreamRule::http_status) || found(StreamRule::content_type)) return;  // there was no stream to judge
  const bool cut = !end.framing_whole || end.partial_event;
  if (cut && !end.event_too_large) add(StreamRule::truncated, end.offset, "");
  const bool empty_by_usage = usage_.completion_tokens == 0;
  if (!any_content_ && !empty_by_usage && !end.event_too_large) add(StreamRule::no_content, end.offset, "");
  if (error_ || end.event_too_large) return;  // what is missing behind that is no finding of its own
  if (owes_done() && !any_finish_) add(StreamRule::no_finish, end.offset, "");
  if (owes_done() && !done_) add(StreamRule::no_done, end.offset, "");
  if (done_ && !last_was_done_) add(StreamRule::done_not_last, end.offset, "");
  if (!cut) check_pieces();
}

bool StreamRules::fails(const Finding& finding) {
  return !finding.noted && (info(finding.rule).severity == Severity::fatal || finding.rule == StreamRule::no_finish ||
                            finding.rule == StreamRule::no_done);
}

bool StreamRules::failed() const { return std::any_of(findings_.begin(), findings_.end(), fails); }

}  // namespace sluice
