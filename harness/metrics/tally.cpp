#include "harness/metrics/tally.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <tuple>

#include "harness/base/check.h"
#include "harness/base/limits.h"
#include "harness/base/stream_rule.h"
#include "harness/metrics/ttft_split.h"

namespace sluice {
namespace {

constexpr Instant kBurstGap = ChunkFigures::kTogether;  // ns
constexpr Instant kStallFloor = 100'000'000;            // ns
constexpr std::string_view kOtherErrors = "(other errors)";
constexpr double kThousandths = 1000;

bool happened(Instant at) { return at != kNever; }

/// Half the sum of the two middle values, times two: whole numbers decide, in every order of records alike.
std::uint64_t twice_median(std::span<std::uint64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return 2 * *middle;
  return *middle + *std::max_element(values.begin(), middle);
}

std::uint64_t gap_before(const std::vector<ContentEvent>& content, std::size_t i) {
  const Instant gap = content[i].received_at - content[i - 1].received_at;
  return gap > 0 ? static_cast<std::uint64_t>(gap) : 0;
}

bool token_deltas_known(const std::vector<ContentEvent>& content) {
  return std::all_of(content.begin(), content.end(), [](const ContentEvent& event) { return event.tokens > 0; });
}

/// How long after `from` the thing happened, if both did.
std::optional<Instant> between(Instant from, Instant to) {
  if (!happened(from) || !happened(to)) return std::nullopt;
  return std::max<Instant>(to - from, 0);
}

std::optional<Instant> time_per_output_token(const RequestRecord& record) {
  if (record.content.empty() || record.output_tokens < 0) return std::nullopt;
  const std::int64_t first = std::max<std::int64_t>(record.content.front().tokens, 1);
  if (record.output_tokens <= first) return std::nullopt;
  const Instant span = record.content.back().received_at - record.content.front().received_at;
  return std::max<Instant>(span, 0) / (record.output_tokens - first);
}

Instant first_content(const RequestRecord& r) { return r.content.empty() ? kNever : r.content.front().received_at; }
Instant last_content(const RequestRecord& r) { return r.content.empty() ? kNever : r.content.back().received_at; }

/// What an objective on `metric` compares: the request's value, of gaps the longest.
struct ObjectiveValue {
  bool applies = true;                          // the metric means something for this kind of step
  bool required = true;                         // a request without the value does not meet it
  std::optional<Instant> value = std::nullopt;  // ns
};
ObjectiveValue objective_value(Metric metric, const RequestRecord& r, bool stream) {
  switch (metric) {
    case Metric::http_req_duration:
      return {.value = between(r.send_began_at, r.ended_at)};
    case Metric::http_req_duration_sched:
      return {.value = between(r.scheduled_at, r.ended_at)};
    case Metric::http_req_waiting:
      return {.value = between(r.sent_at, r.first_byte_at)};
    case Metric::ttfb:
      return {.applies = stream, .value = between(r.started_at, r.first_body_at)};
    case Metric::ttfe:
      return {.applies = stream, .value = between(r.started_at, r.first_event_at)};
    case Metric::ttft:
      return {.applies = stream, .value = between(r.started_at, first_content(r))};
    case Metric::ttft_sched:
      return {.applies = stream, .value = between(r.scheduled_at, first_content(r))};
    case Metric::ttfa:
      return {.applies = stream, .value = between(r.started_at, r.first_answer_at)};
    case Metric::e2e:
    case Metric::stream_duration:
      return {.applies = stream, .value = between(r.started_at, last_content(r))};
    case Metric::e2e_done:
      return {.applies = stream, .value = between(r.started_at, r.done_at)};
    case Metric::e2e_sched:
      return {.applies = stream, .value = between(r.scheduled_at, last_content(r))};
    // An answer of one token has no time between tokens: it cannot miss the limit.
    case Metric::tpot:
      return {.applies = stream, .required = false, .value = time_per_output_token(r)};
    case Metric::icl: {
      ObjectiveValue longest{.applies = stream, .required = false};
      for (std::size_t i = 1; i < r.content.size(); ++i)
        longest.value = std::max(longest.value.value_or(0), static_cast<Instant>(gap_before(r.content, i)));
      return longest;
    }
    case Metric::itl: {
      ObjectiveValue longest{.applies = stream && token_deltas_known(r.content), .required = false};
      for (std::size_t i = 1; longest.applies && i < r.content.size(); ++i)
        longest.value =
            std::max(longest.value.value_or(0), static_cast<Instant>(gap_before(r.content, i) / r.content[i].tokens));
      return longest;
    }
    default:
      return {.applies = false};
  }
}

std::string_view bounded(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a code point
  return text.substr(0, end);
}

}  // namespace

double ticks_per_unit(const MetricInfo& about) {
  const Metric metric = about.id;
  if (is_custom(metric))
    return about.kind == MetricKind::trend && about.unit == Unit::milliseconds ? 1e6 : kThousandths;
  if (about.unit == Unit::milliseconds) return 1e6;
  if (about.unit == Unit::percent || about.unit == Unit::watts) return kThousandths;
  const bool fractions =
      metric == Metric::chunks_per_second || metric == Metric::events_per_read || metric == Metric::tokens_per_chunk;
  return fractions ? kThousandths : 1;
}

struct Tally::Context {
  const RequestRecord& record;
  StepId step;
  std::uint32_t scenario;
  bool stream;  // the step asked for a stream
  bool interrupted;
  bool http_failed;  // k6's http_req_failed
  bool failed;
  std::int32_t stage;  // from 0; -1: the scenario has none
};

Tally::Tally(std::shared_ptr<const TallyLayout> layout, Instant origin)
    : layout_(std::move(layout)),
      origin_(origin),
      until_(origin),
      figures_(layout_->figures().size()),
      stages_(layout_->stage_slots()),
      scenarios_(layout_->scenarios()),
      steps_(layout_->steps().size()),
      chunks_(layout_->scenarios()),
      checks_(layout_->checks().size()),
      rejected_(layout_->metrics() - kMetricCount),
      series_(origin) {
  windows_.reserve(layout_->windows().size());
  for (const WindowsInfo& about : layout_->windows()) windows_.emplace_back(about.over);
}

// ---- adding ---------------------------------------------------------------------------------------------------------

template <class Apply>
void Tally::apply_to(FigureId id, Instant at, Apply& apply) {
  apply(figures_[id]);
  if (windows_.empty()) return;
  for (const std::uint32_t number : layout_->windows_of(id)) apply(windows_[number].at(Nanoseconds(at - origin_)));
}

template <class Apply>
void Tally::feed(const Context& context, Metric metric, Apply apply) {
  const Instant at = context.record.ended_at;
  apply_to(static_cast<FigureId>(metric), at, apply);
  for (const TallyLayout::Feed& wanted : layout_->feeds(context.step, metric)) {
    const bool matches =
        (wanted.status == TallyLayout::kAny || wanted.status == static_cast<std::int32_t>(context.record.status)) &&
        (wanted.expected_response == TallyLayout::kAny || wanted.expected_response == (context.http_failed ? 0 : 1)) &&
        (wanted.stage == TallyLayout::kAny || wanted.stage == context.stage) && wanted.rule == TallyLayout::kAny;
    if (matches)
      apply_to(wanted.figure, at, apply);
    else
      ++figures_[wanted.figure].samples;  // of a counter: looked at, and found to be 0
  }
}

void Tally::add_trend(const Context& context, Metric metric, std::int64_t ticks) {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(ticks, 0));
  feed(context, metric, [value](auto& figure) { figure.histogram.add(value); });
}

void Tally::add_time(const Context& context, Metric metric, Instant from, Instant to) {
  if (happened(from) && happened(to)) add_trend(context, metric, to - from);
}

void Tally::add_count(const Context& context, Metric metric, std::uint64_t amount) {
  feed(context, metric, [amount](auto& figure) {
    ++figure.samples;
    figure.sum += amount;
  });
}

void Tally::add_rate(const Context& context, Metric metric, bool passed) {
  feed(context, metric, [passed](auto& figure) { ++(passed ? figure.passes : figure.fails); });
}

template <class Apply>
void Tally::feed_scenario(std::uint32_t scenario, Metric metric, Instant scheduled_at, Instant at, Apply apply) {
  apply_to(static_cast<FigureId>(metric), at, apply);
  const std::int32_t stage = stage_at(scenario, scheduled_at);
  for (const TallyLayout::Feed& wanted : layout_->scenario_feeds(scenario, metric))
    if (wanted.stage == TallyLayout::kAny || wanted.stage == stage) apply_to(wanted.figure, at, apply);
}

bool Tally::add(const RequestRecord& record, StepId step) {
  SLUICE_CHECK(step < layout_->steps().size());
  const StepInfo& about = layout_->steps()[step];
  if (is_warmup(about.scenario, record.scheduled_at)) {
    ++scenarios_[about.scenario].warmup_requests;
    return false;
  }
  const bool interrupted = record.outcome == Outcome::interrupted;
  const bool failed = record.outcome != Outcome::ok && !interrupted;
  const Context context{.record = record,
                        .step = step,
                        .scenario = about.scenario,
                        .stream = about.is_stream,
                        .interrupted = interrupted,
                        .http_failed = failed && record.outcome != Outcome::stream_invalid,
                        .failed = failed,
                        .stage = stage_at(about.scenario, record.scheduled_at)};
  advance_to(record.ended_at);
  Instant& last_at = scenarios_[about.scenario].last_at;
  last_at = std::max(last_at, record.ended_at);
  add_http(context);
  add_tokens(context);
  if (context.stream) add_stream(context);
  if (!stages_.empty()) add_to_stage(context);
  add_to_series(context);
  if (failed) add_error(record.outcome, record.error);
  return true;
}

bool Tally::add_websocket(const RequestRecord& r, const WebSocketRecord& session, StepId id) {
  SLUICE_CHECK(id < layout_->steps().size());
  const bool interrupted = r.outcome == Outcome::interrupted;
  const bool failed = r.outcome != Outcome::ok && !interrupted;
  const std::uint32_t scenario = layout_->steps()[id].scenario;
  if (is_warmup(scenario, r.scheduled_at)) {
    ++scenarios_[scenario].warmup_requests;
    return false;
  }
  const Context context{.record = r,
                        .step = id,
                        .scenario = scenario,
                        .stream = false,
                        .interrupted = interrupted,
                        .http_failed = failed,
                        .failed = failed,
                        .stage = stage_at(scenario, r.scheduled_at)};
  advance_to(r.ended_at);
  add_count(context, Metric::ws_sessions, 1);
  add_count(context, Metric::ws_msgs_sent, session.sent);
  add_count(context, Metric::ws_msgs_received, session.received);
  add_count(context, Metric::data_sent, r.bytes_sent);
  add_count(context, Metric::data_received, r.bytes_received);
  add_time(context, Metric::ws_connecting, r.started_at, session.opened_at);
  if (session.pong_time.count() >= 0) add_trend(context, Metric::ws_ping, session.pong_time.count());
  Instant& last_at = scenarios_[scenario].last_at;
  last_at = std::max(last_at, r.ended_at);
  if (!stages_.empty()) add_to_stage(context);
  if (interrupted) return true;
  add_time(context, Metric::ws_session_duration, r.started_at, r.ended_at);
  StepCount& step = steps_[id];
  ++step.requests;
  if (failed) ++step.failures;
  if (const auto whole = between(r.started_at, r.ended_at)) step.duration.add(static_cast<std::uint64_t>(*whole));
  add_rate(context, Metric::connect_failed, r.outcome == Outcome::connect_failed);
  add_rate(context, Metric::timed_out, r.outcome == Outcome::timed_out);
  add_rate(context, Metric::availability, !failed);
  if (failed) add_error(r.outcome, r.error);
  return true;
}

void Tally::add_http(const Context& context) {
  const RequestRecord& r = context.record;
  add_count(context, Metric::http_reqs, 1);
  add_count(context, Metric::data_sent, r.bytes_sent);
  add_count(context, Metric::data_received, r.bytes_received);
  add_time(context, Metric::sched_lag, r.scheduled_at, r.started_at);
  add_time(context, Metric::send_lag, r.scheduled_at, r.sent_at);
  if (happened(r.sent_at)) {
    // Connecting is the network's time, not the harness's: it must not make a run look client-limited.
    const Instant own = r.started_at - r.scheduled_at + own_sending_time(r);
    trust_.own_send_lag.add(static_cast<std::uint64_t>(std::max<Instant>(own, 0)));
  }

  if (happened(r.send_began_at)) {  // a connection was found
    add_time(context, Metric::http_req_blocked, r.started_at, r.send_began_at);
    const bool fresh = r.new_connection;
    const Instant looked_up_at = happened(r.looked_up_at) ? r.looked_up_at : r.started_at;
    add_trend(context, Metric::http_req_looking_up, fresh ? looked_up_at - r.started_at : 0);
    add_trend(context, Metric::http_req_connecting, fresh ? between(looked_up_at, r.connected_at).value_or(0) : 0);
    add_trend(context, Metric::http_req_tls_handshaking, fresh ? between(r.connected_at, r.tls_at).value_or(0) : 0);
    add_time(context, Metric::http_req_sending, r.send_began_at, r.sent_at);
    add_time(context, Metric::http_req_waiting, r.sent_at, r.first_byte_at);
  }
  add_count(context, Metric::abandoned, r.abandoned ? 1 : 0);
  if (context.interrupted) return;

  StepCount& step = steps_[context.step];
  ++step.requests;
  if (context.failed) ++step.failures;
  if (happened(r.send_began_at)) {
    if (const auto whole = between(r.send_began_at, r.ended_at)) step.duration.add(static_cast<std::uint64_t>(*whole));
    add_time(context, Metric::http_req_receiving, r.first_byte_at, r.ended_at);
    add_time(context, Metric::http_req_duration, r.send_began_at, r.ended_at);
    add_time(context, Metric::http_req_duration_sched, r.scheduled_at, r.ended_at);
  }
  add_rate(context, Metric::http_req_failed, context.http_failed);
  add_rate(context, Metric::connect_failed, r.outcome == Outcome::connect_failed);
  add_rate(context, Metric::timed_out, r.outcome == Outcome::timed_out);
  add_rate(context, Metric::availability, !context.failed);

  bool any = false, good = !context.failed;
  for (const Objective& objective : layout_->objectives(context.scenario)) {
    const ObjectiveValue value = objective_value(objective.metric, r, context.stream);
    if (!value.applies) continue;
    any = true;
    good = good && (value.value ? static_cast<double>(*value.value) <= objective.limit_ms * 1e6 : !value.required);
  }
  if (any) {
    add_rate(context, Metric::goodput, good);
    add_rate(context, Metric::goodput_rate, good);
  }
}

void Tally::add_tokens(const Context& context) {
  const auto count = [&](std::int64_t tokens, Metric total, Metric each) {
    if (tokens < 0) return;
    add_count(context, total, static_cast<std::uint64_t>(tokens));
    if (context.record.outcome == Outcome::ok) add_trend(context, each, tokens);
  };
  count(context.record.output_tokens, Metric::output_tokens, Metric::output_tokens_per_request);
  count(context.record.prompt_tokens, Metric::prompt_tokens, Metric::prompt_tokens_per_request);
  count(context.record.cached_tokens, Metric::cached_tokens, Metric::cached_tokens_per_request);
  if (context.record.output_tokens >= 0)
    add_count(context, Metric::output_tokens_per_second, static_cast<std::uint64_t>(context.record.output_tokens));
}

void Tally::add_stream(const Context& context) {
  const RequestRecord& r = context.record;
  trust_.events += r.events;
  trust_.events_kernel_stamped += r.events_kernel_stamped;
  if (r.backlog) ++trust_.backlogs;
  if (r.status >= 200 && r.status < 300) {
    add_time(context, Metric::ttfb, r.started_at, r.first_body_at);
    add_time(context, Metric::ttfe, r.started_at, r.first_event_at);
    add_time(context, Metric::ttft, r.started_at, first_content(r));
    add_time(context, Metric::ttft_sched, r.scheduled_at, first_content(r));
    add_time(context, Metric::ttfa, r.started_at, r.first_answer_at);
    add_ttft_split(context);
    if (!r.content.empty()) add_content(context);
    if (r.reads > 0) add_trend(context, Metric::events_per_read, std::llround(r.events * kThousandths / r.reads));
  }
  add_findings(context);
  if (context.interrupted) return;

  add_rate(context, Metric::stream_failed, context.failed);
  add_vllm(context);
  if (context.failed) return;

  // Of whole streams only: a broken one would look short, and with it fast.
  add_trend(context, Metric::stream_chunks, static_cast<std::int64_t>(r.content.size()));
  add_trend(context, Metric::stream_events, r.events);
  add_time(context, Metric::e2e_done, r.started_at, r.done_at);
  if (r.content.empty()) return;
  const Instant last = last_content(r);
  add_time(context, Metric::e2e, r.started_at, last);
  add_time(context, Metric::e2e_sched, r.scheduled_at, last);
  add_time(context, Metric::stream_duration, r.started_at, last);
  if (last > r.started_at) {
    const double seconds = static_cast<double>(last - r.started_at) / 1e9;
    const double per_second = static_cast<double>(r.content.size()) / seconds;
    add_trend(context, Metric::chunks_per_second, std::llround(per_second * kThousandths));
  }
  if (const auto per_token = time_per_output_token(r)) add_trend(context, Metric::tpot, *per_token);
  const auto per_chunk = tokens_per_chunk(r);
  if (per_chunk) add_trend(context, Metric::tokens_per_chunk, std::llround(*per_chunk * kThousandths));
  const bool deltas = token_deltas_known(r.content);
  Fluidity fluidity(layout_->token_time(context.scenario));
  for (const ContentEvent& event : r.content)
    fluidity.add(event.received_at, deltas ? event.tokens : per_chunk.value_or(1));
  add_trend(context, Metric::fluidity, std::llround(fluidity.share() * 100 * kThousandths));
  if (r.judged) chunks_[context.scenario].add(r);
}

void Tally::add_ttft_split(const Context& context) {
  const RequestRecord& r = context.record;
  const auto split = split_ttft(r);
  if (!split) return;
  const auto said = [&](Metric metric, Nanoseconds time) {
    if (time.count() >= 0) add_trend(context, metric, time.count());
  };
  said(Metric::ttft_client, split->client);
  said(Metric::ttft_network, split->network);
  said(Metric::ttft_queue, split->queue);
  said(Metric::ttft_prefill, split->prefill);
  said(Metric::ttft_output, split->output);
  ++ttft_split_.requests[static_cast<std::size_t>(r.server.source)];
  if (split->exceeded) ++ttft_split_.exceeded;
  ttft_split_.ttft.add(static_cast<std::uint64_t>(between(r.started_at, first_content(r)).value_or(0)));
}

void Tally::add_content(const Context& context) {
  const auto& content = context.record.content;
  feed(context, Metric::client_lag, [&](auto& figure) {
    for (const ContentEvent& event : content)
      figure.histogram.add(static_cast<std::uint64_t>(std::max<Instant>(event.seen_at - event.received_at, 0)));
  });
  feed(context, Metric::chunk_size, [&](auto& figure) {
    for (const ContentEvent& event : content) figure.histogram.add(event.characters);
  });
  const auto large =
      static_cast<std::uint64_t>(std::count_if(content.begin(), content.end(), [&](const ContentEvent& event) {
        return event.characters >= layout_->large_chunk_chars(context.scenario);
      }));
  feed(context, Metric::buffer_efficiency, [&](auto& figure) {
    figure.passes += large;
    figure.fails += content.size() - large;
  });

  gaps_.clear();
  std::uint64_t bursts = 0;
  for (std::size_t i = 1; i < content.size(); ++i) {
    const std::uint64_t gap = gap_before(content, i);
    gaps_.push_back(gap);
    if (gap < static_cast<std::uint64_t>(kBurstGap)) ++bursts;
    if (content[i].coalesced || content[i - 1].coalesced) ++trust_.gaps_coalesced;
  }
  trust_.gaps += gaps_.size();
  std::uint64_t stalls = 0;
  if (!gaps_.empty()) {
    feed(context, Metric::icl, [&](auto& figure) {
      for (const std::uint64_t gap : gaps_) figure.histogram.add(gap);
    });
    feed(context, Metric::burst_gaps, [&](auto& figure) {
      figure.passes += bursts;
      figure.fails += gaps_.size() - bursts;
    });
    if (token_deltas_known(content))
      feed(context, Metric::itl, [&](auto& figure) {
        for (std::size_t i = 1; i < content.size(); ++i)
          figure.histogram.add(gaps_[i - 1] / content[i].tokens, content[i].tokens);
      });
    const double limit = layout_->stall_factor() * static_cast<double>(twice_median(gaps_)) / 2;  // reorders gaps_
    stalls = static_cast<std::uint64_t>(std::count_if(gaps_.begin(), gaps_.end(), [&](std::uint64_t gap) {
      return static_cast<double>(gap) > limit && gap > static_cast<std::uint64_t>(kStallFloor);
    }));
  }
  add_count(context, Metric::stalls, stalls);
}

namespace {

/// Which of two is shown, the same in any order: one that was found before one that was noted, and of these the
/// earlier.
void keep_first(std::optional<Tally::Example>& kept, Instant at, const std::string& stream_id, const Finding& finding) {
  if (kept) {
    const Finding& known = kept->finding;
    if (std::tie(known.noted, kept->at, kept->stream_id, known.offset, known.bytes) <=
        std::tie(finding.noted, at, stream_id, finding.offset, finding.bytes))
      return;
  }
  kept = {at, stream_id, finding};
}

}  // namespace

void Tally::add_findings(const Context& context) {
  const auto& found = context.record.findings;
  ScenarioCount& scenario = scenarios_[context.scenario];
  if (context.record.judged) ++scenario.streams;
  for (const Finding& finding : found) {
    RuleCount& count = findings_[static_cast<std::size_t>(finding.rule)];
    ++(finding.noted ? count.noted : count.found);
    if (!finding.noted) ++scenario.findings[static_cast<std::size_t>(info(finding.rule).severity)];
    keep_first(count.first, context.record.ended_at, context.record.id, finding);
  }
  const auto add_to = [&](FigureId id, std::uint64_t amount) {
    const auto apply = [amount](auto& figure) {
      ++figure.samples;
      figure.sum += amount;
    };
    apply_to(id, context.record.ended_at, apply);
  };
  const auto amount_of = [&](std::int32_t rule) {
    return static_cast<std::uint64_t>(std::count_if(found.begin(), found.end(), [rule](const Finding& finding) {
      return !finding.noted && (rule == TallyLayout::kAny || rule == static_cast<std::int32_t>(finding.rule));
    }));
  };
  add_to(static_cast<FigureId>(Metric::stream_findings), amount_of(TallyLayout::kAny));
  for (const TallyLayout::Feed& wanted : layout_->feeds(context.step, Metric::stream_findings)) {
    const bool matches =
        (wanted.status == TallyLayout::kAny || wanted.status == static_cast<std::int32_t>(context.record.status)) &&
        (wanted.expected_response == TallyLayout::kAny || wanted.expected_response == (context.http_failed ? 0 : 1)) &&
        (wanted.stage == TallyLayout::kAny || wanted.stage == context.stage);
    add_to(wanted.figure, matches ? amount_of(wanted.rule) : 0);
  }
}

void Tally::add_vllm(const Context& context) {
  const RequestRecord& r = context.record;
  if (context.failed) {
    ++vllm_.failed;
    return;
  }
  ++vllm_.completed;
  if (r.prompt_tokens > 0) vllm_.prompt_tokens += static_cast<std::uint64_t>(r.prompt_tokens);
  if (r.output_tokens > 0) vllm_.output_tokens += static_cast<std::uint64_t>(r.output_tokens);
  // Their first token is the first event with choices, a role-only one too; every later one makes a gap, the one with
  // finish_reason too.
  const Instant first = happened(r.first_event_at) ? r.first_event_at : first_content(r);
  if (!happened(first)) return;
  const auto ticks = [](Instant time) { return static_cast<std::uint64_t>(std::max<Instant>(time, 0)); };
  Instant last = first;
  for (const ContentEvent& event : r.content) {
    if (event.received_at > last) vllm_.itl.add(ticks(event.received_at - last));
    last = std::max(last, event.received_at);
  }
  if (r.finish_seen_at > last) {
    vllm_.itl.add(ticks(r.finish_seen_at - last));
    last = r.finish_seen_at;
  }
  vllm_.ttft.add(ticks(first - r.started_at));
  vllm_.e2el.add(ticks(last - r.started_at));
  if (r.output_tokens > 1) vllm_.tpot.add(ticks(last - first) / static_cast<std::uint64_t>(r.output_tokens - 1));
}

void Tally::add_to_stage(const Context& context) {
  const RequestRecord& r = context.record;
  const bool by_stage = layout_->slots_of(context.scenario) > 1;
  const std::uint32_t slot = by_stage ? static_cast<std::uint32_t>(context.stage) : 0;
  StageCount& stage = stages_[layout_->first_slot(context.scenario) + slot];
  const auto add = [](CompactHistogram& histogram, std::optional<Instant> time) {
    if (time) histogram.add(static_cast<std::uint64_t>(*time));
  };
  if (context.stream && r.status >= 200 && r.status < 300) add(stage.ttft, between(r.started_at, first_content(r)));
  if (context.interrupted) return;
  ++stage.requests;
  if (context.failed) ++stage.failures;
  add(stage.duration, between(r.send_began_at, r.ended_at));
}

void Tally::add_to_series(const Context& context) {
  const RequestRecord& r = context.record;
  {
    SeriesInterval& interval = series_.at(r.ended_at);
    ++interval.requests;
    if (context.failed) ++interval.failures;
    if (const auto duration = between(r.send_began_at, r.ended_at); duration && !context.interrupted)
      interval.duration.add(Series::ticks(Nanoseconds(*duration)));
    if (r.content.empty() && r.output_tokens > 0) interval.output_tokens += static_cast<std::uint64_t>(r.output_tokens);
  }
  if (r.content.empty()) return;
  if (const auto ttft = between(r.started_at, first_content(r)))
    series_.at(first_content(r)).ttft.add(Series::ticks(Nanoseconds(*ttft)));
  // Tokens fall where their events arrived; where only the total is known it is spread evenly over the events.
  const bool known = token_deltas_known(r.content);
  const auto total = static_cast<std::uint64_t>(std::max<std::int64_t>(r.output_tokens, 0));
  std::uint64_t given = 0;
  for (std::size_t i = 0; i < r.content.size(); ++i) {
    SeriesInterval& interval = series_.at(r.content[i].received_at);
    if (i > 0) interval.gap.add(Series::ticks(Nanoseconds(static_cast<std::int64_t>(gap_before(r.content, i)))));
    const std::uint64_t due = known ? given + r.content[i].tokens : total * (i + 1) / r.content.size();
    interval.output_tokens += due - given;
    given = due;
  }
}

void Tally::add_error(Outcome outcome, std::string_view error) {
  std::pair<Outcome, std::string_view> key{outcome, bounded(error, kExampleMax)};
  auto found = errors_.find(key);
  if (found == errors_.end() && errors_.size() >= kErrorsMax) {
    key.second = kOtherErrors;
    found = errors_.find(key);
  }
  if (found == errors_.end()) found = errors_.emplace(std::pair{key.first, std::string(key.second)}, 0).first;
  ++found->second;
}

void Tally::add_iteration(std::uint32_t scenario, Nanoseconds duration, Instant ended_at, bool interrupted) {
  const Instant began_at = ended_at - duration.count();
  if (is_warmup(scenario, began_at)) return;
  advance_to(ended_at);
  ScenarioCount& count = scenarios_[scenario];
  if (began_at - origin_ <= layout_->load_ends(scenario).count()) ++count.begun_in_time;
  feed_scenario(scenario, Metric::dropped_iterations, began_at, ended_at, [](auto& figure) { ++figure.samples; });
  feed_scenario(scenario, Metric::iterations_failed, began_at, ended_at, [](auto& figure) { ++figure.samples; });
  if (interrupted) {
    ++count.interrupted;
    return;
  }
  ++count.iterations;
  feed_scenario(scenario, Metric::iterations, began_at, ended_at, [](auto& figure) {
    ++figure.samples;
    ++figure.sum;
  });
  const auto ticks = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
  feed_scenario(scenario, Metric::iteration_duration, began_at, ended_at,
                [ticks](auto& figure) { figure.histogram.add(ticks); });
}

void Tally::add_failed_iteration(std::uint32_t scenario, std::string_view message, Instant began_at, Instant ended_at) {
  if (is_warmup(scenario, began_at)) return;
  feed_scenario(scenario, Metric::iterations_failed, began_at, ended_at, [](auto& figure) { ++figure.sum; });
  add_error(Outcome::flow_failed, message);
}

void Tally::add_dropped(std::uint32_t scenario, std::uint64_t iterations, Instant at) {
  if (is_warmup(scenario, at)) return;
  advance_to(at);
  scenarios_[scenario].dropped += iterations;
  feed_scenario(scenario, Metric::dropped_iterations, at, at, [iterations](auto& figure) {
    figure.samples += iterations;
    figure.sum += iterations;
  });
  // A dropped iteration is a request that was asked for and not answered.
  const auto fail = [iterations](auto& figure) {
    figure.samples += iterations;
    figure.fails += iterations;
  };
  feed_scenario(scenario, Metric::availability, at, at, fail);
  if (!layout_->objectives(scenario).empty()) feed_scenario(scenario, Metric::goodput_rate, at, at, fail);
}

void Tally::add_check(CheckId check, bool passed, Instant scheduled_at, Instant ended_at) {
  const std::uint32_t scenario = layout_->steps()[layout_->checks()[check].step].scenario;
  if (is_warmup(scenario, scheduled_at)) return;
  ++(passed ? checks_[check].passes : checks_[check].fails);
  const auto apply = [passed](auto& figure) { ++(passed ? figure.passes : figure.fails); };
  apply_to(static_cast<FigureId>(Metric::checks), ended_at, apply);
  const auto& feeds = layout_->check_feeds(check);
  if (feeds.empty()) return;
  const std::int32_t stage = stage_at(scenario, scheduled_at);
  for (const TallyLayout::Feed& wanted : feeds)
    if (wanted.stage == TallyLayout::kAny || wanted.stage == stage) apply_to(wanted.figure, ended_at, apply);
}

bool Tally::add_custom(StepId step, Metric metric, double value, Instant at) {
  const std::uint32_t scenario = layout_->steps()[step].scenario;
  if (is_warmup(scenario, at)) return false;
  advance_to(at);
  const MetricInfo about = layout_->info(metric);
  const bool below_zero = value < 0 && (about.kind == MetricKind::trend || about.kind == MetricKind::counter);
  constexpr double kMost = 1e15;  // what counters of thousandths can add up a few thousand times
  if (!(std::abs(value) <= kMost) || below_zero) {
    ++rejected_[static_cast<std::size_t>(metric) - kMetricCount];
    return false;
  }
  constexpr double kMostTicks = 9e18;  // of a 64-bit number
  const auto ticks =
      static_cast<std::uint64_t>(std::llround(std::min(std::abs(value) * ticks_per_unit(about), kMostTicks)));
  const auto apply = [&](auto& figure) {
    if (about.kind == MetricKind::trend) return figure.histogram.add(ticks);
    if (about.kind == MetricKind::rate) {
      ++(value != 0 ? figure.passes : figure.fails);
      return;
    }
    ++figure.samples;
    if (about.kind == MetricKind::counter)
      figure.sum += ticks;
    else
      figure.set(value, at);
  };
  apply_to(static_cast<FigureId>(metric), at, apply);
  const std::int32_t stage = stage_at(scenario, at);
  for (const TallyLayout::Feed& wanted : layout_->feeds(step, metric))
    if (wanted.status == TallyLayout::kAny && wanted.expected_response == TallyLayout::kAny &&
        (wanted.stage == TallyLayout::kAny || wanted.stage == stage))
      apply_to(wanted.figure, at, apply);
  return true;
}

void Tally::add_group(StepId group, Nanoseconds duration, Instant ended_at) {
  const std::uint32_t scenario = layout_->steps()[group].scenario;
  const Instant began_at = ended_at - duration.count();
  if (is_warmup(scenario, began_at)) return;
  const auto ticks = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
  const auto apply = [ticks](auto& figure) { figure.histogram.add(ticks); };
  apply_to(static_cast<FigureId>(Metric::group_duration), ended_at, apply);
  const std::int32_t stage = stage_at(scenario, began_at);
  for (const TallyLayout::Feed& wanted : layout_->feeds(group, Metric::group_duration))
    if (wanted.status == TallyLayout::kAny && wanted.expected_response == TallyLayout::kAny &&
        (wanted.stage == TallyLayout::kAny || wanted.stage == stage))
      apply_to(wanted.figure, ended_at, apply);
}

void Tally::set_vus(std::uint32_t scenario, std::uint32_t active, Instant at) {
  advance_to(at);
  // The peak is of the measured window: when it begins, as many as there are then.
  const auto set = [](Vus& vus, std::uint64_t now, bool warmup) {
    vus.now = now;
    vus.peak = warmup ? now : std::max(vus.peak, now);
  };
  const std::uint64_t before = scenarios_[scenario].vus.now;
  series_.at(at).vus_change += static_cast<std::int64_t>(active) - static_cast<std::int64_t>(before);
  set(scenarios_[scenario].vus, active, is_warmup(scenario, at));
  set(vus_, vus_.now + active - before, layout_->measured_from().count() > 0 && at < origin_);
  for (const Metric metric : {Metric::vus, Metric::vus_max}) {
    ++figures_[static_cast<std::size_t>(metric)].samples;
    for (const TallyLayout::Feed& wanted : layout_->scenario_feeds(scenario, metric)) ++figures_[wanted.figure].samples;
  }
}

void Tally::add_system(const SystemSamples& system) {
  const auto add_sample = [this](Metric metric, const std::optional<double>& value) {
    if (!value) return;
    Figure& figure = figures_[static_cast<std::size_t>(metric)];
    ++figure.samples;
    figure.histogram.add(static_cast<std::uint64_t>(std::llround(*value * ticks_per_unit(metric))));
  };
  for (const SystemSample& sample : system.samples) {
    if (middle_of(sample, system.period) < origin_) continue;  // of the time before the run
    add_sample(Metric::gpu_utilization, sample.gpu_utilization_percent);
    add_sample(Metric::gpu_memory_used, sample.gpu_memory_bytes);
    add_sample(Metric::gpu_power, sample.gpu_power_w);
    add_sample(Metric::gpu_clock, sample.gpu_clock_mhz);
    add_sample(Metric::gpu_temperature, sample.gpu_temperature_c);
    add_sample(Metric::kv_cache_usage, sample.kv_cache_usage_percent);
    add_sample(Metric::engine_running, sample.engine_running);
    add_sample(Metric::engine_queued, sample.engine_queued);
  }
  const auto add_growth = [&](Metric metric, std::optional<std::uint64_t> SystemSample::*counter) {
    Figure& figure = figures_[static_cast<std::size_t>(metric)];
    const SystemSample *first = nullptr, *last = nullptr;
    for (const SystemSample& sample : system.samples) {
      if (!(sample.*counter)) continue;
      if (first == nullptr || sample.at < origin_) first = &sample;  // the last before the window, if there is one
      last = &sample;
    }
    if (first == last) return;  // a single one says nothing of the run
    ++figure.samples;
    figure.sum += *(last->*counter) - std::min(*(first->*counter), *(last->*counter));
  };
  add_growth(Metric::engine_preemptions, &SystemSample::engine_preemptions);
  add_growth(Metric::engine_steps, &SystemSample::engine_steps);
}

void Tally::add_loop_lag(Nanoseconds lag, Instant at) {
  if (layout_->measured_from().count() > 0 && at < origin_) return;
  const auto ticks = static_cast<std::uint64_t>(std::max<std::int64_t>(lag.count(), 0));
  const auto apply = [ticks](auto& figure) { figure.histogram.add(ticks); };
  apply_to(static_cast<FigureId>(Metric::loop_lag), at, apply);
}

// ---- merging --------------------------------------------------------------------------------------------------------

void Tally::merge(const Tally& other) {
  SLUICE_CHECK(figures_.size() == other.figures_.size() && origin_ == other.origin_);
  advance_to(other.until_);
  for (std::size_t i = 0; i < figures_.size(); ++i) figures_[i].merge(other.figures_[i]);
  for (std::size_t i = 0; i < windows_.size(); ++i) windows_[i].merge(other.windows_[i]);
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    stages_[i].requests += other.stages_[i].requests;
    stages_[i].failures += other.stages_[i].failures;
    stages_[i].duration.merge(other.stages_[i].duration);
    stages_[i].ttft.merge(other.stages_[i].ttft);
  }
  const auto add_vus = [](Vus& mine, const Vus& theirs) {
    mine.now += theirs.now;
    mine.peak += theirs.peak;
  };
  for (std::size_t i = 0; i < scenarios_.size(); ++i) {
    scenarios_[i].iterations += other.scenarios_[i].iterations;
    scenarios_[i].interrupted += other.scenarios_[i].interrupted;
    scenarios_[i].begun_in_time += other.scenarios_[i].begun_in_time;
    scenarios_[i].warmup_requests += other.scenarios_[i].warmup_requests;
    scenarios_[i].last_at = std::max(scenarios_[i].last_at, other.scenarios_[i].last_at);
    scenarios_[i].dropped += other.scenarios_[i].dropped;
    scenarios_[i].streams += other.scenarios_[i].streams;
    for (std::size_t severity = 0; severity < scenarios_[i].findings.size(); ++severity)
      scenarios_[i].findings[severity] += other.scenarios_[i].findings[severity];
    add_vus(scenarios_[i].vus, other.scenarios_[i].vus);
  }
  add_vus(vus_, other.vus_);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    steps_[i].requests += other.steps_[i].requests;
    steps_[i].failures += other.steps_[i].failures;
    steps_[i].duration.merge(other.steps_[i].duration);
  }
  for (std::size_t i = 0; i < chunks_.size(); ++i) chunks_[i].merge(other.chunks_[i]);
  for (std::size_t i = 0; i < checks_.size(); ++i) {
    checks_[i].passes += other.checks_[i].passes;
    checks_[i].fails += other.checks_[i].fails;
  }
  for (std::size_t i = 0; i < rejected_.size(); ++i) rejected_[i] += other.rejected_[i];
  for (std::size_t i = 0; i < findings_.size(); ++i) {
    findings_[i].found += other.findings_[i].found;
    findings_[i].noted += other.findings_[i].noted;
    if (const auto& first = other.findings_[i].first)
      keep_first(findings_[i].first, first->at, first->stream_id, first->finding);
  }
  for (const auto& [key, count] : other.errors_) {
    const bool room = errors_.size() < kErrorsMax || errors_.contains(key);
    errors_[{key.first, room ? key.second : std::string(kOtherErrors)}] += count;
  }
  trust_.events += other.trust_.events;
  trust_.events_kernel_stamped += other.trust_.events_kernel_stamped;
  trust_.backlogs += other.trust_.backlogs;
  trust_.gaps += other.trust_.gaps;
  trust_.gaps_coalesced += other.trust_.gaps_coalesced;
  trust_.own_send_lag.merge(other.trust_.own_send_lag);
  vllm_.completed += other.vllm_.completed;
  vllm_.failed += other.vllm_.failed;
  vllm_.prompt_tokens += other.vllm_.prompt_tokens;
  vllm_.output_tokens += other.vllm_.output_tokens;
  vllm_.ttft.merge(other.vllm_.ttft);
  vllm_.tpot.merge(other.vllm_.tpot);
  vllm_.itl.merge(other.vllm_.itl);
  vllm_.e2el.merge(other.vllm_.e2el);
  for (std::size_t i = 0; i < ttft_split_.requests.size(); ++i)
    ttft_split_.requests[i] += other.ttft_split_.requests[i];
  ttft_split_.exceeded += other.ttft_split_.exceeded;
  ttft_split_.ttft.merge(other.ttft_split_.ttft);
  series_.merge(other.series_);
}

void Tally::copy_figures(const Tally& other) {
  origin_ = other.origin_;
  until_ = other.until_;
  figures_ = other.figures_;
  for (std::size_t i = 0; i < windows_.size(); ++i) windows_[i].copy_from(other.windows_[i]);
  scenarios_ = other.scenarios_;
  steps_ = other.steps_;
  checks_ = other.checks_;
  rejected_ = other.rejected_;
  findings_ = other.findings_;
  errors_ = other.errors_;
  vus_ = other.vus_;
  trust_ = other.trust_;
  vllm_ = other.vllm_;
  ttft_split_ = other.ttft_split_;
  if (layout_->judges_gaps_early()) series_ = other.series_;
}

// ---- reading --------------------------------------------------------------------------------------------------------

double Tally::window_s() const { return static_cast<double>(until_ - origin_) / 1e9; }

std::optional<double> Tally::aggregate(FigureId id, Aggregation aggregation, double percentile) const {
  return value_of(figures_[id], id, aggregation, percentile, window_s());
}

std::uint64_t Tally::samples(FigureId id) const {
  const Figure& figure = figures_[id];
  switch (layout_->info(layout_->figures()[id].metric).kind) {
    case MetricKind::trend:
      return figure.histogram.count();
    case MetricKind::rate:
      return figure.passes + figure.fails;
    default:
      return std::max(figure.samples, figure.passes + figure.fails);
  }
}

std::size_t Tally::whole_windows(std::size_t number, Nanoseconds slack) const {
  const std::int64_t measured = std::max<std::int64_t>(until_ - origin_ - slack.count(), 0);
  return std::min(static_cast<std::size_t>(measured / windows_[number].over().count()), limits::windows_max);
}

std::optional<double> Tally::aggregate_window(std::size_t number, std::size_t window, Aggregation aggregation,
                                              double percentile) const {
  const FigureId id = layout_->windows()[number].figure;
  const Windows& windows = windows_[number];
  const MetricInfo metric = layout_->info(layout_->figures()[id].metric);
  const bool counts =
      metric.kind == MetricKind::counter || (metric.kind == MetricKind::gauge && metric.unit == Unit::per_second);
  const auto ends = static_cast<Instant>(window + 1) * windows.over().count();
  if (counts && load_end_ != kNever && ends > load_end_ - origin_) return std::nullopt;
  WindowFigure zero;
  const WindowFigure& figure = window < windows.size() ? windows[window] : zero;
  const double seconds = std::chrono::duration<double>(windows.over()).count();
  if (counts && samples(id) > 0 && figure.samples == 0 && figure.passes + figure.fails == 0) {
    // A counter that stood still.
    zero.samples = 1;
    zero.fails = 1;
    return value_of(zero, id, aggregation, percentile, seconds);
  }
  return value_of(figure, id, aggregation, percentile, seconds);
}

template <class AnyFigure>
std::optional<double> Tally::value_of(const AnyFigure& figure, FigureId id, Aggregation aggregation, double percentile,
                                      double window) const {
  const FigureInfo& about = layout_->figures()[id];
  const auto share = [&]() -> std::optional<double> {
    const std::uint64_t tries = figure.passes + figure.fails;
    if (tries == 0) return std::nullopt;
    return static_cast<double>(figure.passes) / static_cast<double>(tries);
  };
  const auto per_second = [&](std::uint64_t amount) -> std::optional<double> {
    if (window <= 0) return std::nullopt;
    return static_cast<double>(amount) / window;
  };
  const MetricInfo metric = layout_->info(about.metric);
  switch (metric.kind) {
    case MetricKind::counter: {
      if (figure.samples == 0) return std::nullopt;
      const double unit = is_custom(about.metric) ? ticks_per_unit(metric) : 1;
      if (aggregation == Aggregation::count) return static_cast<double>(figure.sum) / unit;
      if (aggregation != Aggregation::rate || window <= 0) return std::nullopt;
      return static_cast<double>(figure.sum) / unit / window;
    }
    case MetricKind::rate:
      if (aggregation == Aggregation::rate) return share();
      return std::nullopt;
    case MetricKind::gauge: {
      if (aggregation != Aggregation::value) return std::nullopt;
      if (is_custom(about.metric)) return figure.samples == 0 ? std::nullopt : std::optional(figure.last);
      switch (about.metric) {
        case Metric::availability:
        case Metric::goodput_rate:
          return share();
        case Metric::goodput:
          return share() ? per_second(figure.passes) : std::nullopt;
        case Metric::output_tokens_per_second:
          return figure.samples == 0 ? std::nullopt : per_second(figure.sum);
        case Metric::vus:
        case Metric::vus_max: {
          if (figure.samples == 0) return std::nullopt;
          const bool peak = about.metric == Metric::vus_max;
          if (about.selector.empty()) return static_cast<double>(peak ? vus_.peak : vus_.now);
          std::uint64_t sum = 0;
          for (std::uint32_t scenario = 0; scenario < scenarios_.size(); ++scenario)
            for (const TallyLayout::Feed& fed : layout_->scenario_feeds(scenario, about.metric))
              if (fed.figure == id) sum += peak ? scenarios_[scenario].vus.peak : scenarios_[scenario].vus.now;
          return static_cast<double>(sum);
        }
        default:
          return std::nullopt;
      }
    }
    case MetricKind::trend: {
      const auto& histogram = figure.histogram;
      if (histogram.count() == 0) return std::nullopt;
      const double unit = ticks_per_unit(metric);
      switch (aggregation) {
        case Aggregation::avg:
          return histogram.mean() / unit;
        case Aggregation::min:
          return static_cast<double>(histogram.min()) / unit;
        case Aggregation::max:
          return static_cast<double>(histogram.max()) / unit;
        case Aggregation::med:
          return histogram.quantile(0.5) / unit;
        case Aggregation::percentile:
          return histogram.quantile(percentile / 100) / unit;
        case Aggregation::count:
          return static_cast<double>(histogram.count());
        case Aggregation::rate:
        case Aggregation::value:
          return std::nullopt;
      }
    }
  }
  return std::nullopt;
}

}  // namespace sluice
