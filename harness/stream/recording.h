// A recording of many streams, as docs/recordings.md says: JSON lines with the bytes of each body and when they came.
//
// Pure. Foreign bytes, bounded by limits.h: any input gives streams or a sentence with its line. Members and lines that
// are not known are skipped; so is a last line without its end. A stream without an end line is left out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/result.h"
#include "harness/stream/recorded_stream.h"

namespace sluice {

struct TimedStream {
  struct Piece {
    std::int64_t us = 0;  // since the request was sent
    std::size_t end = 0;  // in the body
  };
  enum class End : std::uint8_t { complete, closed, reset, timeout, cut, malformed };

  std::uint64_t number = 0;
  std::string method, path;
  RecordedStream answer;  // status, content type, body; `problem` says nothing
  std::vector<Piece> pieces;
  std::int64_t head_us = 0, end_us = 0;
  End end = End::complete;
};

struct Recording {
  std::vector<TimedStream> streams;  // in the order of their first lines
  std::size_t unfinished = 0;        // left out
};

std::string_view name_of(TimedStream::End end);

/// Whether it begins as a recording does.
bool is_recording(std::string_view bytes);
Result<Recording> read_recording_file(std::string_view bytes);

}  // namespace sluice
