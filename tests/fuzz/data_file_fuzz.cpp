// Data files; the first byte chooses the format. Every row has a cell for every field, and what is read as a stream is
// the same however it is split.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/scenario/data_file.h"

namespace {

sluice::DataFormat format_of(std::uint8_t choice) {
  switch (choice) {
    case 'c':
      return sluice::DataFormat::csv;
    case 't':
      return sluice::DataFormat::text;
    case 'a':
      return sluice::DataFormat::json;
    case 's':
      return sluice::DataFormat::sharegpt;
    default:
      return sluice::DataFormat::jsonl;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto format = format_of(data[0]);
  sluice::ProblemList problems("s.yaml");
  const auto rows = sluice::read_data(bytes, format, "data", problems);
  for (const auto& row : rows.rows) {
    if (row.size() != rows.fields.size()) std::abort();
  }
  if (!sluice::is_streamed(format) || bytes.starts_with("\xef")) return 0;
  std::size_t at = 0;
  const auto next_block = [&] {
    const auto block = bytes.substr(at, 1 + size % 7);
    at += block.size();
    return block;
  };
  sluice::ProblemList split_problems("s.yaml");
  const auto split = sluice::read_data_stream(next_block, format, "data", split_problems);
  if (split.rows != rows.rows || split_problems.take().text() != problems.take().text()) std::abort();
  return 0;
}
