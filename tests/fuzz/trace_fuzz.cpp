// Traces; the first byte chooses the format. Rows are in order, whatever the file's are; their prompts can be made; and
// all is the same however the file is split.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "harness/scenario/trace_file.h"

namespace {

std::optional<sluice::TraceFormat> format_of(std::uint8_t choice) {
  switch (choice) {
    case 'm':
      return sluice::TraceFormat::mooncake;
    case 'a':
      return sluice::TraceFormat::azure;
    case 'b':
      return sluice::TraceFormat::burstgpt;
    case 's':
      return sluice::TraceFormat::sluice;
    default:
      return std::nullopt;
  }
}

sluice::Trace read(std::string_view bytes, std::uint8_t choice, std::size_t block, std::string& problems) {
  sluice::ProblemList list("s.yaml");
  const auto next_block = [&] {
    const auto piece = bytes.substr(0, block);
    bytes.remove_prefix(piece.size());
    return piece;
  };
  auto file = sluice::read_trace(next_block, format_of(choice), 4, "trace", list);
  problems = list.take().text();
  return std::move(file.trace);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  if (bytes.starts_with("\xef")) return 0;
  std::string problems, split_problems, prompt;
  sluice::Trace trace = read(bytes, data[0], size, problems);
  const sluice::Trace split = read(bytes, data[0], 1 + size % 7, split_problems);
  if (split.rows.size() != trace.rows.size() || split_problems != problems) std::abort();
  for (std::size_t i = 1; i < trace.rows.size(); ++i) {
    if (trace.rows[i].at < trace.rows[i - 1].at) std::abort();
  }
  for (const sluice::TraceRow& row : trace.rows) {
    if (row.input_tokens > 1000) continue;
    sluice::write_prompt(trace, row, 1, prompt);
    for (const std::string& field : trace.fields) sluice::trace_field(trace, row, field);
  }
  sluice::cut_trace(trace, std::nullopt, std::chrono::seconds(3), 5);
  if (!trace.rows.empty() && sluice::length_of(trace) <= trace.rows.back().at) std::abort();
  return 0;
}
