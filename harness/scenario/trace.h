// Recorded arrivals: when each request came and how long it was, and the prompts that are made of that.
//
// Values only: trace_file.h reads them. Rows are small; a prompt is made when it is wanted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/time.h"
#include "harness/scenario/expression.h"

namespace sluice {

struct TraceRow {
  Nanoseconds at{};          // in the trace's own time; once cut, from where the replay begins
  std::uint32_t number = 0;  // of the request in the file, from 0: its text depends on it
  std::int32_t input_tokens = -1, output_tokens = -1;  // -1: not told
  std::uint32_t blocks = 0;                            // block ids, from `first_block` on
  std::uint64_t first_block = 0;
};

struct Trace {
  std::vector<TraceRow> rows;        // by time; those of one instant as in the file
  std::uint32_t block_tokens = 512;  // of each block but a prompt's last
  std::vector<std::uint64_t> block_ids;
  // What the rows of Sluice's own format have beside: by row.number.
  std::vector<std::string> fields;
  std::vector<std::vector<std::string>> cells;
};

/// Leaves what came in [from, to), of that the first `rows_max`, and counts time from `from`; without it from the first
/// request that is left.
void cut_trace(Trace& trace, std::optional<Nanoseconds> from, std::optional<Nanoseconds> to, std::size_t rows_max);

/// From the replay's beginning until one mean gap after its last request, so that the mean rate is the trace's; a
/// second where there is no gap. REQUIRES: it has been cut and has a row.
Nanoseconds length_of(const Trace& trace);

/// When, at that speed, the row is due. Computed from the row alone: nothing adds up.
Nanoseconds due_at(const TraceRow& row, double speed);

/// Makes `out` the row's prompt: its text, or as many generated tokens as it had. Prompts agree block by block where
/// their block ids do, and nowhere else.
void write_prompt(const Trace& trace, const TraceRow& row, std::uint64_t seed, std::string& out);

/// What ${trace.FIELD} is, the prompt excepted.
Value trace_field(const Trace& trace, const TraceRow& row, std::string_view field);

}  // namespace sluice
