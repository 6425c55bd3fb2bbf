// A stream that was kept in a file: the bytes of its body, or a whole HTTP answer as it came over the wire or as
// `curl -i` writes it (its head, and the body with the framing taken off).
//
// Pure. Foreign bytes: any input gives a recording or a sentence. Heads of 1xx before the final one are skipped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "harness/base/result.h"

namespace sluice {

inline constexpr std::size_t kRecordedBytesMax = std::size_t{256} << 20;  // a day of one stream

struct RecordedStream {
  bool has_head = false;
  unsigned status = 200;                           // without a head, here and below: what a stream has
  std::string content_type = "text/event-stream";  // empty: the head has none
  std::string body;                                // the framing taken off
  std::string problem;                             // how the body breaks its own framing; empty: it is whole
};

/// Fails when the head is no HTTP.
Result<RecordedStream> read_recording(std::string_view bytes);

}  // namespace sluice
