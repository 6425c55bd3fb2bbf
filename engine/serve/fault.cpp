#include "engine/serve/fault.h"

#include <fmt/format.h>

#include <iterator>

#include "engine/core/text_values.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

using Kind = Fault::Kind;

struct KindInfo {
  Kind kind;
  std::string_view name;
  bool has_place, has_time;
};
constexpr KindInfo kKinds[] = {
    {Kind::reset, "reset", true, false},
    {Kind::close, "close", true, false},
    {Kind::stall, "stall", true, true},
    {Kind::malformed, "malformed", true, false},
    {Kind::half_codepoint, "half-codepoint", true, false},
    {Kind::error_event, "error-event", true, false},
    {Kind::truncated, "truncated", true, false},
    {Kind::crosstalk, "crosstalk", true, false},
    {Kind::no_done, "no-done", false, false},
    {Kind::no_finish, "no-finish", false, false},
    {Kind::one_chunk, "one-chunk", false, false},
    {Kind::role_missing, "role-missing", false, false},
    {Kind::done_twice, "done-twice", false, false},
    {Kind::slow_headers, "slow-headers", false, true},
};
constexpr std::string_view kStatusPrefix = "http-";
constexpr std::uint32_t kAfterMax = 1'000'000;
constexpr std::size_t kShownBytes = 60;
constexpr std::string_view kHalf = "\xe2\x82";  // of U+20AC

Error unknown(std::string_view text) {
  std::string shown;
  append_valid_utf8(text.substr(0, kShownBytes), shown);
  std::string kinds;
  for (const KindInfo& kind : kKinds)
    fmt::format_to(std::back_inserter(kinds), "{}{}{}, ", kind.name, kind.has_place ? "@N" : "",
                   kind.has_time ? ":TIME" : "");
  return fail(
      fmt::format("there is no fault '{}': write {}or http-NNN (400 to 599); N counts content frames (1 where "
                  "it is left out, at most {}), TIME is a number up to 1 h and us, ms or s",
                  shown, kinds, kAfterMax));
}

bool is_role(std::string_view event) { return event.find("\"delta\":{\"role\":") != std::string_view::npos; }
bool is_done(std::string_view event) { return event == "data: [DONE]\n\n"; }
/// Quotes inside texts are escaped, so these words are what they seem.
bool is_finish(std::string_view event) { return event.find("\"finish_reason\":\"") != std::string_view::npos; }
bool is_content(std::string_view event) {
  return event.find("\"finish_reason\":null") != std::string_view::npos && !is_role(event);
}

/// Where the text of a content event ends: at its closing quote.
std::size_t end_of_text(std::string_view event) {
  for (const std::string_view key : {"\"content\":\"", "\"text\":\""}) {
    auto at = event.find(key);
    if (at == std::string_view::npos) continue;
    at += key.size();
    while (at < event.size() && event[at] != '"') at += event[at] == '\\' ? 2 : 1;
    return std::min(at, event.size());
  }
  return event.size();
}

}  // namespace

Result<Fault> parse_fault(std::string_view text) {
  Fault fault;
  if (text.starts_with(kStatusPrefix)) {
    const auto status = number_of<unsigned>(text.substr(kStatusPrefix.size()));
    if (!status || *status < 400 || *status > 599) return unknown(text);
    fault.kind = Kind::http_status;
    fault.status = *status;
    return fault;
  }
  const auto name = text.substr(0, text.find_first_of("@:"));
  for (const KindInfo& kind : kKinds) {
    if (name != kind.name) continue;
    fault.kind = kind.kind;
    auto rest = text.substr(name.size());
    if (kind.has_place && rest.starts_with('@')) {
      const auto colon = std::min(rest.find(':'), rest.size());
      const auto after = number_of<std::uint32_t>(rest.substr(1, colon - 1));
      if (!after || *after > kAfterMax) return unknown(text);
      fault.after = *after;
      rest.remove_prefix(colon);
    }
    if (kind.has_time) {
      const auto time = rest.starts_with(':') ? duration_of(rest.substr(1)) : std::nullopt;
      if (!time) return unknown(text);
      fault.time = *time;
      rest = {};
    }
    if (!rest.empty()) return unknown(text);
    return fault;
  }
  return unknown(text);
}

bool needs_stream(const Fault& fault) { return fault.kind != Kind::http_status && fault.kind != Kind::slow_headers; }

FaultyStream::Then FaultyStream::pass(std::string& event) {
  if (over_) return Then::drop;
  const bool content = is_content(event);
  // Where it strikes: at what follows so many content frames, and never before them.
  const bool here = !struck_ && !is_role(event) && contents_ >= fault_.after;
  if (content) ++contents_;
  switch (fault_.kind) {
    case Kind::reset:
    case Kind::close:
    case Kind::truncated:
      if (!here) return Then::go_on;
      over_ = true;
      event.resize(fault_.kind == Kind::truncated ? event.size() / 2 : 0);
      return fault_.kind == Kind::reset ? Then::reset : Then::close;
    case Kind::stall:
      if (!here) return Then::go_on;
      struck_ = true;
      return Then::hold;
    case Kind::malformed:
      if (!here) return Then::go_on;
      struck_ = true;
      event.insert(0, "data: {\"choices\":[{\"index\":0,\"delta\":{\n\n");
      return Then::go_on;
    case Kind::half_codepoint:
      if (!here || !content) return Then::go_on;
      struck_ = true;
      event.insert(end_of_text(event), kHalf);
      return Then::go_on;
    case Kind::error_event:
      if (!here) return Then::go_on;
      over_ = true;
      event =
          "data: {\"error\":{\"message\":\"The server had an error while processing your request\","
          "\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";
      return Then::end;
    case Kind::crosstalk: {
      if (!here || !content) return Then::go_on;
      struck_ = true;
      const auto at = event.find(id_);
      if (at != std::string::npos && !id_.empty()) {
        char& last = event[at + id_.size() - 1];
        last = last == '0' ? '1' : '0';
      }
      return Then::go_on;
    }
    case Kind::no_done:
      if (!is_done(event)) return Then::go_on;
      over_ = true;
      event.clear();
      return Then::end;
    case Kind::no_finish:
      return is_finish(event) ? Then::drop : Then::go_on;
    case Kind::role_missing:
      return is_role(event) ? Then::drop : Then::go_on;
    case Kind::done_twice:
      if (is_done(event)) event += std::string(event);
      return Then::go_on;
    case Kind::one_chunk:
    case Kind::http_status:
    case Kind::slow_headers:
      break;  // not about single events
  }
  return Then::go_on;
}

}  // namespace sluice::engine
