#include "harness/output/engine_timeline.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>

#include "harness/base/limits.h"

namespace sluice {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::size_t kWordBytes = 64;  // of a finish_reason, a clock, an event's name

/// kNever where there is none that can be.
Instant instant_of(const object& from, std::string_view name) {
  std::int64_t ns = 0;
  constexpr Instant kMost = INT64_MAX / 4;  // differences do not overflow
  if (from.at_key(name).get(ns) != simdjson::SUCCESS || ns <= 0 || ns > kMost) return kNever;
  return ns;
}

std::int64_t count_of(const object& from, std::string_view name) {
  std::int64_t count = -1;
  if (from.at_key(name).get(count) != simdjson::SUCCESS) return -1;
  return std::max<std::int64_t>(count, -1);
}

std::uint64_t amount_of(const object& from, std::string_view name) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(count_of(from, name), 0));
}

std::string word_of(const object& from, std::string_view name) {
  element value;
  if (from.at_key(name).get(value) != simdjson::SUCCESS) return {};
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) return std::string(text.substr(0, kWordBytes));
  std::int64_t number = 0;
  return value.get(number) == simdjson::SUCCESS ? std::to_string(number) : std::string();
}

/// Takes the entries of the list that say when they were; returns how many found no room.
template <class Mark, class Read>
std::uint64_t take_list(const object& from, std::string_view name, std::vector<Mark>& into, Read read) {
  array list;
  if (from.at_key(name).get(list) != simdjson::SUCCESS) return 0;
  std::uint64_t left_out = 0;
  for (const element entry : list) {
    object fields;
    if (entry.get(fields) != simdjson::SUCCESS) continue;
    Mark mark = read(fields);
    if (mark.began_at == kNever || mark.ended_at < mark.began_at) continue;
    if (into.size() < limits::trace_marks_max)
      into.push_back(std::move(mark));
    else
      ++left_out;
  }
  return left_out;
}

}  // namespace

Instant EngineTimeline::ended_at() const {
  Instant last = std::max({received_at, queued_at, prefill_began_at, prefill_ended_at, first_token_at, finished_at});
  for (const Step& step : steps) last = std::max(last, step.ended_at);
  for (const Write& write : writes) last = std::max(last, write.ended_at);
  return last;
}

Result<EngineTimeline> read_engine_timeline(std::string_view json) {
  if (json.size() > limits::body_bytes_kept) return fail("the timeline is too long");
  simdjson::dom::parser parser;
  object root;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS)
    return fail("the timeline is not an object of JSON");
  EngineTimeline found;
  found.clock = word_of(root, "clock");
  found.said_at = instant_of(root, "now_ns");
  found.received_at = instant_of(root, "received_ns");
  if (found.received_at == kNever) return fail("the timeline does not say when the request was received");
  found.queued_at = instant_of(root, "queued_ns");
  found.prefill_began_at = instant_of(root, "prefill_start_ns");
  found.prefill_ended_at = instant_of(root, "prefill_end_ns");
  found.first_token_at = instant_of(root, "first_token_ns");
  found.finished_at = instant_of(root, "finished_ns");
  found.prompt_tokens = count_of(root, "prompt_tokens");
  found.cached_tokens = count_of(root, "cached_tokens");
  found.completion_tokens = count_of(root, "completion_tokens");
  found.finish_reason = word_of(root, "finish_reason");
  found.steps_left_out =
      amount_of(root, "steps_dropped") + take_list(root, "steps", found.steps, [](const object& fields) {
        return EngineTimeline::Step{.began_at = instant_of(fields, "start_ns"),
                                    .ended_at = instant_of(fields, "end_ns"),
                                    .prefill = word_of(fields, "kind") == "prefill",
                                    .rows = amount_of(fields, "rows")};
      });
  found.writes_left_out =
      amount_of(root, "writes_dropped") + take_list(root, "writes", found.writes, [](const object& fields) {
        return EngineTimeline::Write{.began_at = instant_of(fields, "before_ns"),
                                     .ended_at = instant_of(fields, "after_ns"),
                                     .bytes = amount_of(fields, "bytes"),
                                     .event = word_of(fields, "event")};
      });
  return {boost::system::in_place_value, std::move(found)};
}

}  // namespace sluice
