#include "harness/output/chrome_trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>

#include "harness/output/text_pieces.h"

namespace sluice {
namespace {

enum Process : int { kClient = 1, kEngine = 2 };

struct Span {
  Instant from = kNever, to = kNever;
};

/// The time of a slice, for those inside it: each begins where the one before has ended, and none outlasts it.
class Room {
 public:
  explicit Room(Span of) : free_from_(of.from), to_(of.to) {}

  /// What a slice inside gets of it; none where it has no beginning or no end.
  std::optional<Span> take(Instant from, Instant to) {
    if (from == kNever || to == kNever) return std::nullopt;
    Span inside;
    inside.from = std::clamp(from, free_from_, to_);
    inside.to = free_from_ = std::clamp(to, inside.from, to_);
    return inside;
  }

 private:
  Instant free_from_, to_;
};

/// Members of an event's args.
class Args {
 public:
  Args& add(std::string_view name, std::string_view text) {
    if (text.empty()) return *this;
    key(name);
    samples::append_json_string(text, json_);
    return *this;
  }
  template <class Number>
  requires std::is_arithmetic_v<Number> Args& add(std::string_view name, Number number) {
    key(name);
    fmt::format_to(std::back_inserter(json_), "{}", number);
    return *this;
  }
  /// What is below 0 is not known.
  Args& add_known(std::string_view name, std::int64_t count) { return count < 0 ? *this : add(name, count); }
  Args& add_some(std::string_view name, std::uint64_t count) { return count == 0 ? *this : add(name, count); }
  std::string_view json() const { return json_; }

 private:
  void key(std::string_view name) {
    fmt::format_to(std::back_inserter(json_), "{}\"{}\":", json_.empty() ? "" : ",", name);
  }

  std::string json_;
};

class TraceWriter {
 public:
  TraceWriter(const RequestTrace& trace, const TallyLayout& layout, const std::function<void(std::string_view)>& put)
      : trace_(trace), layout_(layout), put_(put) {}

  void write(const std::string& run);

 private:
  void lay_out();
  void head(const std::string& run);
  void name_rows();
  void client(std::size_t number);
  void engine(std::size_t number);
  void flush() {
    put_(out_);
    out_.clear();
  }

  /// One row of the client; of the engine one for the request and one for its writes, which happen meanwhile.
  static std::size_t client_row(std::size_t row) { return 3 * row + 1; }
  static std::size_t engine_row(std::size_t row) { return 3 * row + 2; }
  static std::size_t writes_row(std::size_t row) { return 3 * row + 3; }

  static std::string time(Instant ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }  // microseconds
  void begin_event(char phase, Process process, std::size_t row) {
    fmt::format_to(std::back_inserter(out_), "{}{{\"ph\":\"{}\",\"pid\":{},\"tid\":{}", first_ ? "\n" : ",\n", phase,
                   static_cast<int>(process), row);
    first_ = false;
  }
  void end_event(std::string_view name, const Args& args) {
    out_ += ",\"name\":";
    samples::append_json_string(name, out_);
    if (!args.json().empty()) fmt::format_to(std::back_inserter(out_), ",\"args\":{{{}}}", args.json());
    out_ += '}';
  }
  void slice(Process process, std::size_t row, std::string_view name, const std::optional<Span>& span,
             const Args& args = {}) {
    if (!span) return;
    begin_event('X', process, row);
    fmt::format_to(std::back_inserter(out_), ",\"ts\":{},\"dur\":{}", time(span->from - origin_),
                   time(span->to - span->from));
    end_event(name, args);
  }
  void instant(Process process, std::size_t row, std::string_view name, Instant at) {
    begin_event('i', process, row);
    fmt::format_to(std::back_inserter(out_), ",\"ts\":{},\"s\":\"t\"", time(at - origin_));
    end_event(name, {});
  }
  /// One end of an arrow.
  void arrow(char phase, Process process, std::size_t row, std::size_t number, Instant at) {
    begin_event(phase, process, row);
    fmt::format_to(std::back_inserter(out_), ",\"ts\":{},\"id\":{},\"cat\":\"network\"{}", time(at - origin_), number,
                   phase == 'f' ? ",\"bp\":\"e\"" : "");
    end_event("network", {});
  }

  Span client_span(const TracedRequest& r) const;
  Span engine_span(const TracedRequest& r) const;

  const RequestTrace& trace_;
  const TallyLayout& layout_;
  const std::function<void(std::string_view)>& put_;
  Instant origin_ = 0;
  std::vector<std::size_t> rows_;  // by request
  std::size_t row_count_ = 0;
  bool first_ = true;
  std::string out_;
};

Span TraceWriter::client_span(const TracedRequest& r) const {
  Span span{std::min(r.scheduled_at, r.started_at), std::max(r.ended_at, r.started_at)};
  for (const ContentEvent& event : r.content) span.to = std::max(span.to, event.seen_at);
  return span;
}

Span TraceWriter::engine_span(const TracedRequest& r) const {
  const Instant offset = engine_offset(r).count();
  return {r.engine->received_at + offset, r.engine->ended_at() + offset};
}

/// Gives each request the first row in which it overlaps no other.
void TraceWriter::lay_out() {
  std::vector<Span> spans;
  for (const TracedRequest& r : trace_.requests) {
    Span span = client_span(r);
    if (r.engine) {
      const Span there = engine_span(r);
      span = {std::min(span.from, there.from), std::max(span.to, there.to)};
    }
    spans.push_back(span);
    origin_ = spans.size() == 1 ? span.from : std::min(origin_, span.from);
  }
  std::vector<std::size_t> order(spans.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return spans[a].from < spans[b].from; });
  rows_.resize(spans.size());
  std::vector<Instant> busy_until;
  for (const std::size_t number : order) {
    const auto free =
        std::find_if(busy_until.begin(), busy_until.end(), [&](Instant until) { return until <= spans[number].from; });
    rows_[number] = static_cast<std::size_t>(free - busy_until.begin());
    if (free == busy_until.end()) busy_until.push_back(0);
    busy_until[rows_[number]] = spans[number].to;
  }
  row_count_ = busy_until.size();
}

void TraceWriter::head(const std::string& run) {
  const auto told = std::count_if(trace_.requests.begin(), trace_.requests.end(),
                                  [](const TracedRequest& r) { return r.engine.has_value(); });
  const auto placed = std::count_if(trace_.requests.begin(), trace_.requests.end(),
                                    [](const TracedRequest& r) { return r.engine && !r.same_clock; });
  Args about;
  about.add("run", run).add("requests", trace_.requests.size()).add("requests_left_out", trace_.left_out);
  about.add("requests_with_engine", told);
  about.add("clock", told == 0     ? "the client's CLOCK_MONOTONIC"
                     : placed == 0 ? "CLOCK_MONOTONIC, the same for client and engine"
                                   : "the engine's clock is another: its part is placed by durations alone, as if both "
                                     "ways through the network had taken the same time");
  about.add("no_engine", trace_.no_engine);
  out_ += fmt::format("{{\"displayTimeUnit\":\"ms\",\"otherData\":{{{}}},\"traceEvents\":[", about.json());
}

void TraceWriter::name_rows() {
  const auto named = [&](Process process, std::size_t row, std::string_view what, const Args& args) {
    begin_event('M', process, row);
    end_event(what, args);
  };
  const bool any_engine = std::any_of(trace_.requests.begin(), trace_.requests.end(),
                                      [](const TracedRequest& r) { return r.engine.has_value(); });
  const auto thread = [&](Process process, std::size_t row, const std::string& name) {
    named(process, row, "thread_name", Args().add("name", name));
    named(process, row, "thread_sort_index", Args().add("sort_index", row));
  };
  named(kClient, client_row(0), "process_name", Args().add("name", "sluice (client)"));
  for (std::size_t row = 0; row < row_count_; ++row)
    thread(kClient, client_row(row), fmt::format("requests {}", row + 1));
  if (!any_engine) return;
  named(kEngine, engine_row(0), "process_name", Args().add("name", "engine"));
  for (std::size_t row = 0; row < row_count_; ++row) {
    thread(kEngine, engine_row(row), fmt::format("requests {}", row + 1));
    thread(kEngine, writes_row(row), fmt::format("writes {}", row + 1));
  }
}

void TraceWriter::client(std::size_t number) {
  const TracedRequest& r = trace_.requests[number];
  const std::size_t row = client_row(rows_[number]);
  const Span whole = client_span(r);
  Args about;
  about.add("request_id", r.request_id).add("id", r.id).add("outcome", name_of(r.outcome)).add("status", r.status);
  about.add_known("prompt_tokens", r.prompt_tokens).add_known("output_tokens", r.output_tokens);
  about.add_some("content_events_left_out", r.content_left_out);
  slice(kClient, row, layout_.steps()[r.step].name, whole, about);
  Room room(whole);
  if (r.scheduled_at < r.started_at) slice(kClient, row, "late", room.take(r.scheduled_at, r.started_at));
  slice(kClient, row, "connect", room.take(r.looked_up_at, r.connected_at));
  slice(kClient, row, "tls", room.take(r.connected_at, r.tls_at));
  slice(kClient, row, "send", room.take(r.send_began_at, r.sent_at));
  slice(kClient, row, "wait", room.take(r.sent_at, r.first_byte_at));
  const auto receiving = room.take(r.first_byte_at, r.first_byte_at == kNever ? kNever : whole.to);
  slice(kClient, row, "receive", receiving);
  if (!receiving) return;
  Room events(*receiving);
  Instant before = kNever;
  for (const ContentEvent& event : r.content) {
    if (event.received_at != before)
      instant(kClient, row, event.kernel_stamp ? "received by the kernel" : "received by the client",
              std::clamp(event.received_at, receiving->from, receiving->to));
    before = event.received_at;
    Args about_event;
    about_event.add("characters", event.characters);
    if (event.tokens > 0) about_event.add("tokens", event.tokens);
    if (event.coalesced) about_event.add("coalesced", true);
    slice(kClient, row, "parse", events.take(event.received_at, event.seen_at), about_event);
  }
}

void TraceWriter::engine(std::size_t number) {
  const TracedRequest& r = trace_.requests[number];
  if (!r.engine) return;
  const EngineTimeline& engine = *r.engine;
  const std::size_t row = engine_row(rows_[number]), writes = writes_row(rows_[number]);
  const Instant offset = engine_offset(r).count();
  const auto here = [offset](Instant at) { return at == kNever ? kNever : at + offset; };
  const Span whole = engine_span(r);
  Args about;
  about.add("request_id", r.request_id).add("finish_reason", engine.finish_reason);
  about.add_known("prompt_tokens", engine.prompt_tokens).add_known("cached_tokens", engine.cached_tokens);
  about.add_known("completion_tokens", engine.completion_tokens);
  about.add_some("steps_left_out", engine.steps_left_out).add_some("writes_left_out", engine.writes_left_out);
  if (!r.same_clock) about.add("clock", "placed by durations");
  slice(kEngine, row, layout_.steps()[r.step].name, whole, about);

  Room room(whole);
  slice(kEngine, row, "queue", room.take(here(engine.queued_at), here(engine.prefill_began_at)));
  const auto prefill = room.take(here(engine.prefill_began_at), here(engine.prefill_ended_at));
  const auto decode = room.take(here(engine.prefill_ended_at), whole.to);
  const Instant border = prefill ? prefill->to : whole.from;
  const auto steps = [&](const std::optional<Span>& within, bool in_prefill) {
    if (!within) return;
    Room inside(*within);
    for (const EngineTimeline::Step& step : engine.steps) {
      // A prompt that is computed again, after its blocks were taken, is no part of the first prefill.
      if ((step.prefill && here(step.began_at) < border) != in_prefill) continue;
      slice(kEngine, row, step.prefill ? "prefill step" : "decode step",
            inside.take(here(step.began_at), here(step.ended_at)), Args().add("rows", step.rows));
    }
  };
  slice(kEngine, row, "prefill", prefill);
  steps(prefill, true);
  slice(kEngine, row, "decode", decode);
  steps(decode, false);

  Room writing(whole);
  Instant answered_at = kNever;
  for (const EngineTimeline::Write& write : engine.writes) {
    const auto span = writing.take(here(write.began_at), here(write.ended_at));
    slice(kEngine, writes, "write", span, Args().add("bytes", write.bytes).add("event", write.event));
    if (span && answered_at == kNever && engine.first_token_at != kNever && write.began_at >= engine.first_token_at)
      answered_at = span->from;
  }
  const Span client_side = client_span(r);
  if (r.sent_at != kNever) {
    arrow('s', kClient, client_row(rows_[number]), 2 * number + 1,
          std::clamp(r.sent_at, client_side.from, client_side.to));
    arrow('f', kEngine, row, 2 * number + 1, whole.from);
  }
  if (answered_at != kNever && !r.content.empty()) {
    arrow('s', kEngine, writes, 2 * number + 2, answered_at);
    arrow('f', kClient, client_row(rows_[number]), 2 * number + 2,
          std::clamp(r.content.front().received_at, client_side.from, client_side.to));
  }
}

void TraceWriter::write(const std::string& run) {
  lay_out();
  head(run);
  name_rows();
  for (std::size_t number = 0; number < trace_.requests.size(); ++number) {
    client(number);
    engine(number);
    flush();
  }
  out_ += "\n]}\n";
  flush();
}

}  // namespace

Nanoseconds engine_offset(const TracedRequest& r) {
  if (!r.engine || r.same_clock) return {};
  const EngineTimeline& engine = *r.engine;
  const Instant sent_at = r.sent_at == kNever ? r.started_at : r.sent_at;
  if (r.content.empty() || engine.first_token_at == kNever) return Nanoseconds(sent_at - engine.received_at);
  Instant answered_at = engine.first_token_at;
  for (const EngineTimeline::Write& write : engine.writes) {
    if (write.began_at < engine.first_token_at) continue;
    answered_at = write.began_at;
    break;
  }
  const Instant here = r.content.front().received_at - sent_at, there = answered_at - engine.received_at;
  return Nanoseconds(sent_at + (here - there) / 2 - engine.received_at);
}

void write_chrome_trace(const RequestTrace& trace, const TallyLayout& layout, const std::string& run,
                        const std::function<void(std::string_view)>& put) {
  TraceWriter(trace, layout, put).write(run);
}

}  // namespace sluice
