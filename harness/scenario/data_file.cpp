#include "harness/scenario/data_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <unordered_map>

#include "harness/base/limits.h"

namespace sluice {

namespace {

namespace json = boost::json;

constexpr int kBadRowsMax = 5;  // a file in the wrong format is wrong in every row

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

class JsonlReader {
 public:
  JsonlReader(const std::string& file, ProblemList& problems) : file_(file), problems_(problems) {}

  DataRows read(std::string_view bytes) {
    int line_number = 0;
    for (std::size_t from = 0; from < bytes.size() && bad_rows_ < kBadRowsMax;) {
      const auto end = std::min(bytes.find('\n', from), bytes.size());
      const auto line = without_cr(bytes.substr(from, end - from));
      from = end + 1;
      ++line_number;
      if (is_blank(line)) continue;
      if (data_.rows.size() >= limits::data_rows_max) {
        problems_.add_in(file_, {line_number, 1}, fmt::format("more than {} rows", limits::data_rows_max));
        break;
      }
      if (!add(line, line_number)) ++bad_rows_;
    }
    for (auto& row : data_.rows) row.resize(data_.fields.size());
    return std::move(data_);
  }

 private:
  bool add(std::string_view line, int number) {
    boost::system::error_code error;
    const auto value = json::parse(line, error);
    if (error || !value.is_object()) {
      problems_.add_in(
          file_, {number, 1},
          error ? fmt::format("not JSON: {}", error.message()) : std::string("each line must be a JSON object"));
      return false;
    }
    std::vector<std::string> row(data_.fields.size());
    std::vector<bool> given(data_.fields.size(), false);
    for (const auto& [key, member] : value.as_object()) {
      const auto [found, is_new] = index_.emplace(std::string(key), data_.fields.size());
      if (is_new) {
        if (data_.fields.size() >= limits::data_fields_max) {
          problems_.add_in(file_, {number, 1}, fmt::format("more than {} fields", limits::data_fields_max));
          return false;
        }
        data_.fields.emplace_back(key);
        if (first_line_ != 0) data_.lacking.emplace(key, first_line_);  // the rows before had no such field
        row.emplace_back();
        given.push_back(false);
      }
      given[found->second] = true;
      row[found->second] = member.is_string() ? std::string(member.as_string())
                           : member.is_null() ? std::string()
                                              : json::serialize(member);
    }
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (!given[i]) data_.lacking.emplace(data_.fields[i], number);
    }
    if (first_line_ == 0) first_line_ = number;
    data_.rows.push_back(std::move(row));
    return true;
  }

  const std::string& file_;
  ProblemList& problems_;
  DataRows data_;
  std::unordered_map<std::string, std::size_t> index_;
  int first_line_ = 0;
  int bad_rows_ = 0;
};

DataRows read_csv(std::string_view bytes, const std::string& file, ProblemList& problems) {
  DataRows data;
  int line = 1, row_line = 1, bad_rows = 0;
  std::vector<std::string> row;
  std::string cell;
  bool has_header = false;

  const auto end_row = [&] {
    row.push_back(std::move(cell));
    cell.clear();
    const bool blank = row.size() == 1 && row[0].empty();
    if (!blank && !has_header) {
      has_header = true;
      if (row.size() > limits::data_fields_max) {
        problems.add_in(file, {row_line, 1}, fmt::format("more than {} fields", limits::data_fields_max));
        return false;
      }
      data.fields = row;
      auto sorted = row;
      std::sort(sorted.begin(), sorted.end());
      if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end()) {
        problems.add_in(file, {row_line, 1}, fmt::format("the field '{}' stands twice in the first row", *twice));
        return false;
      }
    } else if (!blank) {
      if (row.size() != data.fields.size()) {
        problems.add_in(file, {row_line, 1},
                        fmt::format("{} cells, and the first row names {} fields", row.size(), data.fields.size()));
        if (++bad_rows >= kBadRowsMax) return false;
      } else if (data.rows.size() >= limits::data_rows_max) {
        problems.add_in(file, {row_line, 1}, fmt::format("more than {} rows", limits::data_rows_max));
        return false;
      } else {
        data.rows.push_back(std::move(row));
      }
    }
    row.clear();
    return true;
  };

  bool in_quotes = false;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (c == '\n') ++line;
    if (in_quotes) {
      if (c != '"') {
        cell += c;
      } else if (i + 1 < bytes.size() && bytes[i + 1] == '"') {
        cell += '"';
        ++i;
      } else {
        in_quotes = false;
      }
    } else if (c == '"' && cell.empty()) {
      in_quotes = true;
    } else if (c == ',') {
      row.push_back(std::move(cell));
      cell.clear();
      if (row.size() > limits::data_fields_max) {
        problems.add_in(file, {row_line, 1}, fmt::format("more than {} fields", limits::data_fields_max));
        return data;
      }
    } else if (c == '\n') {
      if (cell.ends_with('\r')) cell.pop_back();
      if (!end_row()) return data;
      row_line = line;
    } else {
      cell += c;
    }
  }
  if (in_quotes) {
    problems.add_in(file, {row_line, 1}, "a quoted cell that starts in this row is never closed");
  } else if (!row.empty() || !cell.empty()) {
    if (cell.ends_with('\r')) cell.pop_back();
    end_row();
  }
  return data;
}

DataRows read_lines(std::string_view bytes, const std::string& file, ProblemList& problems) {
  DataRows data;
  data.fields = {"text"};
  int number = 0;
  for (std::size_t from = 0; from < bytes.size();) {
    const auto end = std::min(bytes.find('\n', from), bytes.size());
    const auto line = without_cr(bytes.substr(from, end - from));
    from = end + 1;
    ++number;
    if (is_blank(line)) continue;
    if (data.rows.size() >= limits::data_rows_max) {
      problems.add_in(file, {number, 1}, fmt::format("more than {} rows", limits::data_rows_max));
      break;
    }
    data.rows.push_back({std::string(line)});
  }
  return data;
}

}  // namespace

DataFormat data_format_of(std::string_view file) {
  if (file.ends_with(".jsonl") || file.ends_with(".ndjson")) return DataFormat::jsonl;
  return file.ends_with(".csv") ? DataFormat::csv : DataFormat::text;
}

DataRows read_data(std::string_view bytes, DataFormat format, const std::string& file, ProblemList& problems) {
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  switch (format) {
    case DataFormat::jsonl:
      return JsonlReader(file, problems).read(bytes);
    case DataFormat::csv:
      return read_csv(bytes, file, problems);
    case DataFormat::text:
      break;
  }
  return read_lines(bytes, file, problems);
}

}  // namespace sluice
