// A file of recorded arrivals -> a Trace. Formats:
//
// mooncake  JSON lines: timestamp (ms), input_length, output_length, hash_ids: an id a block of the prompt.
// azure     CSV: TIMESTAMP (2023-11-16 18:15:46.6805900), ContextTokens, GeneratedTokens.
// burstgpt  CSV: Timestamp (seconds), Request tokens, Response tokens; rows without response tokens are requests that
//           failed when they were recorded, and are left out.
// sluice    JSON lines: at (seconds, or a duration), input_tokens or prompt, output_tokens; any others are fields.
//
// Read as a stream: of a file only the rows are held, at most limits::trace_rows_max. Those of the last format hold
// their texts, so the file has the bounds of a data file. Rows may come out of order: they are sorted, stably.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "harness/scenario/data_file.h"
#include "harness/scenario/problem.h"
#include "harness/scenario/trace.h"

namespace sluice {

enum class TraceFormat : std::uint8_t { mooncake, azure, burstgpt, sluice };

struct TraceFile {
  Trace trace;
  std::map<std::string, int, std::less<>> fields;  // that ${trace.FIELD} may name -> the first line without it; 0: none
};

/// `format`: none recognises it by its first line. Times stay as written; those of azure count from its first request.
/// `file` is for problems. A trace without a row is one.
TraceFile read_trace(const NextBlock& next_block, std::optional<TraceFormat> format, std::uint32_t block_tokens,
                     const std::string& file, ProblemList& problems);

}  // namespace sluice
