// The rules a stream is judged by: id, name, severity. The one list; the judging is in harness/stream/stream_rules.h,
// and docs/streams.md says what each means.
//
// Values are stable within one build only: files carry names.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

enum class Severity : std::uint8_t { warning, error, fatal };

enum class StreamRule : std::uint8_t {
  http_status,
  content_type,
  truncated,
  error_event,
  invalid_json,
  invalid_utf8,
  no_content,
  event_too_large,
  interleaved,
  no_done,
  done_not_last,
  done_twice,
  data_after_done,
  no_finish,
  finish_twice,
  delta_after_finish,
  id_changed,
  model_changed,
  created_changed,
  object_wrong,
  index_out_of_range,
  usage_mismatch,
  usage_not_last,
  role_missing,
  role_twice,
  finish_with_content,
  finish_empty_string,
  null_missing,
  keepalive_missing,
  proxy_buffering,
  whole_answer_in_one_chunk,
  count_  // how many there are
};
inline constexpr std::size_t kStreamRuleCount = static_cast<std::size_t>(StreamRule::count_);

struct StreamRuleInfo {
  StreamRule rule;
  std::string_view name;  // as in reports, in `allow:` and in the tag `rule`
  Severity severity;
};

inline constexpr std::array<StreamRuleInfo, kStreamRuleCount> kStreamRules{{
    {StreamRule::http_status, "http-status", Severity::fatal},
    {StreamRule::content_type, "content-type", Severity::fatal},
    {StreamRule::truncated, "truncated", Severity::fatal},
    {StreamRule::error_event, "error-event", Severity::fatal},
    {StreamRule::invalid_json, "invalid-json", Severity::fatal},
    {StreamRule::invalid_utf8, "invalid-utf8", Severity::fatal},
    {StreamRule::no_content, "no-content", Severity::fatal},
    {StreamRule::event_too_large, "event-too-large", Severity::fatal},
    {StreamRule::interleaved, "interleaved", Severity::fatal},
    {StreamRule::no_done, "no-done", Severity::error},
    {StreamRule::done_not_last, "done-not-last", Severity::error},
    {StreamRule::done_twice, "done-twice", Severity::error},
    {StreamRule::data_after_done, "data-after-done", Severity::error},
    {StreamRule::no_finish, "no-finish", Severity::error},
    {StreamRule::finish_twice, "finish-twice", Severity::error},
    {StreamRule::delta_after_finish, "delta-after-finish", Severity::error},
    {StreamRule::id_changed, "id-changed", Severity::error},
    {StreamRule::model_changed, "model-changed", Severity::error},
    {StreamRule::created_changed, "created-changed", Severity::error},
    {StreamRule::object_wrong, "object-wrong", Severity::error},
    {StreamRule::index_out_of_range, "index-out-of-range", Severity::error},
    {StreamRule::usage_mismatch, "usage-mismatch", Severity::error},
    {StreamRule::usage_not_last, "usage-not-last", Severity::error},
    {StreamRule::role_missing, "role-missing", Severity::warning},
    {StreamRule::role_twice, "role-twice", Severity::warning},
    {StreamRule::finish_with_content, "finish-with-content", Severity::warning},
    {StreamRule::finish_empty_string, "finish-empty-string", Severity::warning},
    {StreamRule::null_missing, "null-missing", Severity::warning},
    {StreamRule::keepalive_missing, "keepalive-missing", Severity::warning},
    {StreamRule::proxy_buffering, "proxy-buffering", Severity::warning},
    {StreamRule::whole_answer_in_one_chunk, "whole-answer-in-one-chunk", Severity::warning},
}};

constexpr const StreamRuleInfo& info(StreamRule rule) { return kStreamRules[static_cast<std::size_t>(rule)]; }

constexpr std::string_view name_of(Severity severity) {
  return severity == Severity::fatal ? "fatal" : severity == Severity::error ? "error" : "warning";
}
constexpr std::optional<StreamRule> stream_rule_named(std::string_view name) {
  for (const StreamRuleInfo& each : kStreamRules)
    if (each.name == name) return each.rule;
  return std::nullopt;
}

using RuleSet = std::bitset<kStreamRuleCount>;

/// A deviation from the protocol, in one stream.
struct Finding {
  StreamRule rule{};
  bool noted = false;        // known of the server's dialect, or allowed: told, and counted in nothing
  std::uint64_t offset = 0;  // in the stream's bytes (the body, framing taken off), of the event it was seen in
  std::uint64_t count = 1;   // events (or silences, ...) that broke it, of which this is the first
  std::string bytes = {};    // the first offending ones, escaped, at most kFindingBytes of them; or what is wrong
};
inline constexpr std::size_t kFindingBytes = 320;  // a chunk of the usual length, its finish_reason included

}  // namespace sluice
