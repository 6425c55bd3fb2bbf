// A data file -> rows: JSONL, JSON (an array of objects, or of strings), CSV (RFC 4180, first row names the fields),
// text (a row a line), or ShareGPT's conversations.
//
// Every row has a cell for every field; where a row of objects lacks a field its cell is empty and `lacking` says so.
// JSON and ShareGPT files are read as a stream: of what may be far larger than memory only the rows are held.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/limits.h"
#include "harness/scenario/problem.h"

namespace sluice {

enum class DataFormat : std::uint8_t { jsonl, csv, text, json, sharegpt };

/// By the file's ending. None means ShareGPT: that has to be said.
DataFormat data_format_of(std::string_view file);
constexpr bool is_streamed(DataFormat format) { return format == DataFormat::json || format == DataFormat::sharegpt; }

struct DataRows {
  std::vector<std::string> fields;
  std::vector<std::vector<std::string>> rows;
  std::map<std::string, int> lacking;  // field -> the first line without it
  std::vector<int> lines;              // of rows of objects: where each stands
};

/// `file` is for problems; the rows after the first `rows_max` are left out. Of objects: a member that is no text
/// becomes its JSON text; one that is an object gives its own members as further fields, `a.b`. Blank lines are
/// skipped.
DataRows read_data(std::string_view bytes, DataFormat format, const std::string& file, ProblemList& problems,
                   std::size_t rows_max = limits::data_rows_max);

/// The next bytes of a file, good until the next call; empty at its end.
using NextBlock = std::function<std::string_view()>;

/// ShareGPT: `prompt` is the first human turn and `completion` the first answer after it; a conversation without both
/// is left out. `tokens`, where a conversation says how many its answer has. REQUIRES: is_streamed(format).
DataRows read_data_stream(const NextBlock& next_block, DataFormat format, const std::string& file,
                          ProblemList& problems, std::size_t rows_max = limits::data_rows_max);

}  // namespace sluice
