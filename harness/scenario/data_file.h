// The bytes of a data file -> rows: JSONL, CSV (RFC 4180, first row names the fields), or text (a row a line).
//
// Every row has a cell for every field; where a JSONL row lacks a field its cell is empty and `lacking` says so.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness/scenario/problem.h"

namespace sluice {

enum class DataFormat : std::uint8_t { jsonl, csv, text };

/// By the file's ending.
DataFormat data_format_of(std::string_view file);

struct DataRows {
  std::vector<std::string> fields;
  std::vector<std::vector<std::string>> rows;
  std::map<std::string, int> lacking;  // field -> the first line without it
};

/// `file` is for problems. A JSON member that is no text becomes its JSON text. Blank lines are skipped.
DataRows read_data(std::string_view bytes, DataFormat format, const std::string& file, ProblemList& problems);

}  // namespace sluice
