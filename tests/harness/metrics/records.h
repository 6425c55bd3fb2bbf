// Hand-made requests: instants in milliseconds after an origin, so that a test reads like a time line.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "harness/metrics/record.h"
#include "harness/scenario/plan.h"

namespace sluice {

inline constexpr Instant kOrigin = 5'000'000'000'000;

inline Instant at_ms(double ms) { return kOrigin + static_cast<Instant>(ms * 1e6); }

struct EventAt {
  double ms = 0;
  std::uint32_t characters = 4;
  std::uint32_t tokens = 0;
  bool coalesced = false;
};

/// A whole answer of a plain request over a warm connection.
inline RequestRecord plain_record(double start_ms, double end_ms, unsigned status = 200) {
  RequestRecord r;
  r.scheduled_at = r.started_at = r.send_began_at = at_ms(start_ms);
  r.sent_at = at_ms(start_ms);
  r.first_byte_at = r.first_body_at = r.ended_at = at_ms(end_ms);
  r.status = status;
  r.outcome = status >= 400 ? Outcome::http_error : Outcome::ok;
  if (status >= 400) r.error = "HTTP " + std::to_string(status);
  return r;
}

/// A whole stream: headers and role event at `first_ms`, content as given, finish and [DONE] 1 ms after the last.
inline RequestRecord stream_record(double start_ms, double first_ms, const std::vector<EventAt>& events,
                                   std::int64_t output_tokens = -1) {
  RequestRecord r = plain_record(start_ms, first_ms);
  r.first_event_at = at_ms(first_ms);
  r.stream = true;
  for (const EventAt& event : events)
    r.content.push_back({.received_at = at_ms(event.ms),
                         .seen_at = at_ms(event.ms) + 20'000,
                         .characters = event.characters,
                         .tokens = event.tokens,
                         .kernel_stamp = true,
                         .coalesced = event.coalesced});
  const double last = events.empty() ? first_ms : events.back().ms;
  if (!events.empty()) r.first_answer_at = r.content.front().received_at;
  r.finish_seen_at = r.done_at = r.ended_at = at_ms(last + 1);
  r.events = static_cast<std::uint32_t>(events.size()) + 3;
  r.reads = r.events;
  r.events_kernel_stamped = r.events;
  r.saw_done = r.judged = true;
  r.finish_reason = "stop";
  r.output_tokens = output_tokens;
  if (output_tokens >= 0) r.prompt_tokens = 11;
  return r;
}

/// One scenario: a chat step (0) with two checks, a group (1) "::login" with an http step (2) in it, a sleep (3).
inline Plan small_plan() {
  Plan plan;
  plan.name = "small";
  plan.file = "small.yaml";
  ScenarioPlan scenario;
  scenario.name = "chat";
  scenario.shape = ConstantVus{.vus = 2, .duration = std::chrono::seconds(10)};
  scenario.tags = {{"kind", "chat"}};
  Step chat;
  chat.name = "ask";
  chat.verb = ChatStep{};
  chat.checks.resize(2);
  chat.checks[0].text = "status == 200";
  chat.checks[1].text = "chunks in 1..9";
  chat.tags = {{"size", "small"}};
  Step http;
  http.name = "login";
  HttpStep post;
  post.method = "POST";
  post.url = Template("/api/login");
  http.verb = post;
  http.checks.resize(1);
  http.checks[0].text = "status == 200";
  http.tags = {{"kind", "login"}};  // wins over the scenario's
  Step group;
  group.name = "login";
  GroupStep inner;
  inner.name = "login";
  inner.steps.push_back(http);
  group.verb = inner;
  Step sleep;
  sleep.name = "sleep";
  sleep.verb = SleepStep{};
  scenario.flow = {chat, group, sleep};
  plan.scenarios.push_back(scenario);
  return plan;
}

inline Threshold threshold(Metric metric, Tags selector, Aggregation aggregation, double percentile,
                           Comparison comparison, double limit) {
  Threshold t;
  t.text = "given";
  t.metric = metric;
  t.selector = std::move(selector);
  t.aggregation = aggregation;
  t.percentile = percentile;
  t.comparison = comparison;
  t.limit = limit;
  return t;
}

}  // namespace sluice
