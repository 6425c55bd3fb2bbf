// Faults on cue: what a server does wrong because a request asked for it ("sluice_fault"), so that whoever judges
// servers can be judged.
//
// Pure: no sockets, no clock. The text is a kind, for most kinds the place, and for some a time: "reset@5",
// "stall@5:10s", "slow-headers:2s", "http-503". A place counts content frames, over all choices: the fault comes with
// what would follow that many of them. An answer that has fewer is served without it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace sluice::engine {

struct Fault {
  enum class Kind : std::uint8_t {
    reset,           // the connection is reset
    close,           // it is closed between two events, the body without its end
    stall,           // nothing for a time, then all that was held back
    malformed,       // an event more, whose data is no JSON
    half_codepoint,  // a content event whose text ends inside a code point
    error_event,     // an error instead of the rest, as OpenAI's servers end
    truncated,       // the connection is closed inside an event
    no_done,         // no [DONE]
    no_finish,       // no finish frame
    one_chunk,       // all text in one content frame
    http_status,     // an error instead of the answer
    slow_headers,    // the answer begins late
    role_missing,    // no role frame
    done_twice,      // two [DONE]
    crosstalk        // one event has the id of another answer
  };
  Kind kind = Kind::reset;
  std::uint32_t after = 1;  // content frames; of kinds with a place
  std::chrono::nanoseconds time{0};
  unsigned status = 0;  // of http_status
};

/// The error names the text and lists what there is.
Result<Fault> parse_fault(std::string_view text);

/// False: it is about whole answers too.
bool needs_stream(const Fault& fault);

/// One stream's events on their way out.
class FaultyStream {
 public:
  /// `id`: the answer's.
  FaultyStream(const Fault& fault, std::string id) : fault_(fault), id_(std::move(id)) {}

  enum class Then : std::uint8_t {
    go_on,
    drop,   // the event does not go out
    hold,   // it goes out, with all that is behind it, only after fault().time
    end,    // it is the last one; what is empty does not go out, but ends the body
    close,  // likewise, and then the connection is closed, the body without its end
    reset   // likewise by a reset
  };
  /// What becomes of `event` ("data: ...\n\n", as Frames renders it), which may be changed, or have another before it.
  Then pass(std::string& event);

  const Fault& fault() const { return fault_; }

 private:
  Fault fault_;
  std::string id_;
  std::uint32_t contents_ = 0;  // content frames that have passed
  bool struck_ = false;         // a fault with a place comes once
  bool over_ = false;           // nothing goes out any more
};

}  // namespace sluice::engine
