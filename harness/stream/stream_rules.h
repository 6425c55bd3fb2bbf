// Judges one stream by the rules of docs/streams.md that can be known from that stream alone.
//
// Pure: fed with what the exchange and the parsers saw, it answers with findings. A rule is reported once a stream,
// with the first bytes that offended it.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/stream_rule.h"
#include "harness/stream/chat_event.h"
#include "harness/stream/sse_parser.h"

namespace sluice {

struct Finding {
  StreamRule rule;
  std::uint64_t offset = 0;  // in the stream's bytes, of the event it was seen in
  std::string bytes;         // the first offending ones, escaped, at most kFindingBytes of them
};
inline constexpr std::size_t kFindingBytes = 160;

/// Bytes for people: printable ASCII and well-formed UTF-8 as they are, all else as \xNN; cut to `bytes_max`.
std::string escape_bytes(std::string_view bytes, std::size_t bytes_max = kFindingBytes);

/// What the end of a stream looked like.
struct StreamEnd {
  bool framing_whole = true;   // the HTTP body ended as its framing says
  bool partial_event = false;  // an event had begun that no blank line ended
  bool event_too_large = false;
  bool interrupted = false;  // we cut it: nothing that is missing is the server's fault
  std::uint64_t offset = 0;  // bytes of the stream
};

class StreamRules {
 public:
  enum class Api : std::uint8_t { chat, completions };

  /// `dialect`: as in Target; decides whether `[DONE]` is owed.
  void begin(Api api, std::string_view dialect);
  void header(unsigned status, std::string_view content_type);
  void event(const SseEvent& raw, const ChatEvent& event);
  void end(const StreamEnd& end);

  const std::vector<Finding>& findings() const { return findings_; }
  bool found(StreamRule rule) const { return seen_.test(static_cast<std::size_t>(rule)); }
  /// Any fatal finding, no finish_reason, or no end marker where the dialect has one.
  bool failed() const;

 private:
  void add(StreamRule rule, std::uint64_t offset, std::string_view bytes);
  void check_usage(const SseEvent& raw);

  Api api_ = Api::chat;
  bool done_owed_ = true;
  std::vector<Finding> findings_;
  std::bitset<kStreamRuleCount> seen_;
  std::string id_, model_;
  std::int64_t created_ = -1;
  ChatUsage usage_;
  std::uint64_t usage_offset_ = 0;
  std::uint64_t content_events_ = 0;
  std::uint32_t finished_choices_ = 0, roles_seen_ = 0;
  bool any_event_ = false, any_content_ = false, any_finish_ = false, done_ = false, last_was_done_ = false;
  bool delta_seen_ = false, usage_final_ = false, error_ = false;
};

}  // namespace sluice
