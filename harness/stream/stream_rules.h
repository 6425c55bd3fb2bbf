// Judges one stream by the rules of docs/streams.md that can be known from that stream alone, and from the ids of those
// that are open beside it.
//
// Pure: fed with what the exchange and the parsers saw, it answers with findings. A rule is reported once a stream,
// with the first bytes that offended it. An event costs some comparisons and allocates nothing until it deviates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/dialect.h"
#include "harness/base/stream_rule.h"
#include "harness/base/time.h"
#include "harness/stream/chat_event.h"
#include "harness/stream/sse_parser.h"

namespace sluice {

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

class StreamRules;

/// The streams that are open at the same time on one thread. Must outlive their rules.
class LiveStreams {
 private:
  friend class StreamRules;
  StreamRules* first_ = nullptr;
};

class StreamRules {
 public:
  /// A read with so many content events after such a silence is a burst.
  static constexpr std::uint64_t kBurstEvents = 4;
  static constexpr Nanoseconds kBurstSilence = std::chrono::milliseconds(50);

  StreamRules() = default;
  ~StreamRules() { leave(); }
  StreamRules(const StreamRules&) = delete;
  StreamRules& operator=(const StreamRules&) = delete;

  /// `noted`: rules that are known to be broken, or may be. `live`: null: it is not known what else is open.
  void begin(StreamApi api, const RuleSet& noted = {}, LiveStreams* live = nullptr);
  void header(unsigned status, std::string_view content_type);
  void event(const SseEvent& raw, const ChatEvent& event);
  /// Nothing came for longer than it should; `offset`: bytes of the stream before.
  void silence(Nanoseconds length, std::uint64_t offset);
  /// REQUIRES: events >= kBurstEvents, silence >= kBurstSilence. One read has brought so many content events at once,
  /// after such a silence on the network (not only of the reader).
  void burst(std::uint64_t events, Nanoseconds silence, std::uint64_t offset);
  void end(const StreamEnd& end);

  const std::vector<Finding>& findings() const { return findings_; }
  bool found(StreamRule rule) const { return seen_.test(static_cast<std::size_t>(rule)); }
  std::uint64_t content_events() const { return content_events_; }
  /// Any fatal finding, no finish_reason, or no end marker where the API has one; but for what is only noted.
  bool failed() const;
  /// Does this finding make it so?
  static bool fails(const Finding& finding);

 private:
  void add(StreamRule rule, std::uint64_t offset, std::string_view bytes, std::uint64_t count = 1);
  void check_names(const SseEvent& raw, const ChatEvent& event);
  void check_id(const SseEvent& raw, std::string_view id);
  void check_usage(const SseEvent& raw);
  void openai_event(const SseEvent& raw, const ChatEvent& event);
  void named_event(const SseEvent& raw, const ChatEvent& event);
  void count_content(const SseEvent& raw, const ChatEvent& event);
  void check_pieces();
  bool is_of_another(std::string_view id) const;
  bool owes_done() const { return api_ != StreamApi::raw; }
  void leave();

  StreamApi api_ = StreamApi::chat;
  RuleSet noted_, seen_;
  std::vector<Finding> findings_;

  LiveStreams* live_ = nullptr;
  StreamRules *next_ = nullptr, *previous_ = nullptr;  // among the live ones

  std::string id_, model_;
  std::optional<Finding> foreign_;  // the first event with another id than the first, until that one comes again
  int looks_left_ = 0;              // for a foreign id among the live streams: a stream may have many
  std::int64_t created_ = -1;

  ChatUsage usage_;
  std::uint64_t content_events_ = 0;
  std::uint64_t content_offset_ = 0, content_bytes_ = 0;  // of the first content event
  std::uint64_t bursts_ = 0, burst_events_ = 0;
  std::optional<Finding> first_burst_;
  bool long_burst_ = false;  // after a silence as long as whole answers take
  std::uint32_t finished_choices_ = 0, roles_seen_ = 0;
  std::uint32_t open_blocks_ = 0;  // of messages
  bool begun_ = false;             // the opening event of an API with named events
  bool any_content_ = false, any_answer_ = false, any_finish_ = false, done_ = false, last_was_done_ = false;
  bool delta_seen_ = false, usage_final_ = false, error_ = false;
};

}  // namespace sluice
