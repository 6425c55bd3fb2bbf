// Data files; the first byte chooses the format. Every row has a cell for every field.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/scenario/data_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const auto format = data[0] == 'c'   ? sluice::DataFormat::csv
                      : data[0] == 't' ? sluice::DataFormat::text
                                       : sluice::DataFormat::jsonl;
  sluice::ProblemList problems("s.yaml");
  const auto rows = sluice::read_data(bytes, format, "data", problems);
  for (const auto& row : rows.rows) {
    if (row.size() != rows.fields.size()) std::abort();
  }
  return 0;
}
