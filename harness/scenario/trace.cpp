#include "harness/scenario/trace.h"

#include <algorithm>
#include <chrono>

#include "harness/base/mix.h"
#include "harness/scenario/prompt_generator.h"

namespace sluice {
namespace {

std::string_view cell_of(const Trace& trace, const TraceRow& row, std::string_view field) {
  const auto found = std::find(trace.fields.begin(), trace.fields.end(), field);
  if (found == trace.fields.end() || row.number >= trace.cells.size()) return {};
  const auto& cells = trace.cells[row.number];
  const auto column = static_cast<std::size_t>(found - trace.fields.begin());
  return column < cells.size() ? std::string_view(cells[column]) : std::string_view();
}

Value count(std::int32_t tokens) { return tokens < 0 ? Value{} : Value(static_cast<double>(tokens)); }

}  // namespace

void cut_trace(Trace& trace, std::optional<Nanoseconds> from, std::optional<Nanoseconds> to, std::size_t rows_max) {
  std::vector<TraceRow>& rows = trace.rows;
  const auto first_at = [&](Nanoseconds at) {
    return std::lower_bound(rows.begin(), rows.end(), at,
                            [](const TraceRow& row, Nanoseconds wanted) { return row.at < wanted; });
  };
  if (to) rows.erase(first_at(*to), rows.end());
  if (from) rows.erase(rows.begin(), first_at(*from));
  if (rows.size() > rows_max) rows.resize(rows_max);
  rows.shrink_to_fit();
  if (rows.empty()) return;
  const Nanoseconds start = from.value_or(rows.front().at);
  for (TraceRow& row : rows) row.at -= start;
}

Nanoseconds length_of(const Trace& trace) {
  const Nanoseconds first = trace.rows.front().at, last = trace.rows.back().at;
  if (first == last) return last + std::chrono::seconds(1);
  return last + std::max((last - first) / static_cast<std::int64_t>(trace.rows.size() - 1), Nanoseconds(1));
}

Nanoseconds due_at(const TraceRow& row, double speed) {
  return Nanoseconds(static_cast<std::int64_t>(static_cast<long double>(row.at.count()) / speed));
}

void write_prompt(const Trace& trace, const TraceRow& row, std::uint64_t seed, std::string& out) {
  out = cell_of(trace, row, "prompt");
  if (!out.empty()) return;
  const auto tokens = static_cast<std::uint64_t>(std::max(row.input_tokens, 0));
  // Without ids it is like no other.
  if (row.blocks == 0) return append_generated(0, tokens, ~mix(seed) ^ mix(row.number), out);
  for (std::uint32_t i = 0; i < row.blocks; ++i) {
    const std::uint64_t from = std::uint64_t{i} * trace.block_tokens;
    append_generated(from, std::min(tokens, from + trace.block_tokens),
                     mix(seed) ^ mix(trace.block_ids[row.first_block + i]), out);
  }
}

Value trace_field(const Trace& trace, const TraceRow& row, std::string_view field) {
  if (field == "input_tokens") return count(row.input_tokens);
  if (field == "output_tokens") return count(row.output_tokens);
  const std::string_view cell = cell_of(trace, row, field);
  return cell.data() == nullptr ? Value{} : Value(cell);
}

}  // namespace sluice
