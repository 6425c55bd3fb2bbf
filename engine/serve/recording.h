// A recording of streams, as docs/recordings.md says: JSON lines with the bytes of each body and when they came.
//
// Pure. Foreign bytes, bounded by limits.h: any input gives streams that can be served, or an error with its line.
// Members and lines that are not known are skipped; so is a last line without its end, and a stream without an end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/result.h"

namespace sluice::engine {

struct RecordedStream {
  struct Piece {
    std::int64_t us = 0;  // since the request was sent; never decreases
    std::size_t end = 0;  // in the body
  };
  enum class End : std::uint8_t { complete, closed, reset, timeout, cut, malformed };

  std::string method, path;  // the method may stand in a header; the path decoded, without query
  unsigned status = 200;     // 200 to 599
  // What a server may send again; no name or value can break out of its header.
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::vector<Piece> pieces;  // none is empty
  std::int64_t head_us = 0, end_us = 0;
  End end = End::complete;
};

struct Recording {
  std::vector<RecordedStream> streams;  // in the order of their first lines; not empty
  std::vector<std::string> models;      // that the streams name, or else the header line
  std::size_t unfinished = 0;           // streams without an end, left out
  std::size_t unservable = 0;           // whole ones of a status that no answer can end with, left out
};

/// `name` is used in messages.
Result<Recording> parse_recording(std::string_view bytes, const std::string& name);
Result<Recording> load_recording(const std::string& path);

}  // namespace sluice::engine
