#include "harness/scenario/data_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <unordered_map>
#include <utility>

#include "harness/base/limits.h"
#include "harness/scenario/json_items.h"

namespace sluice {

namespace {

namespace json = boost::json;

constexpr int kBadRowsMax = 5;  // a file in the wrong format is wrong in every row

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

enum class Row { good, bad, enough };

std::string too_many_rows() { return fmt::format("more than {} rows: limit: takes the first", limits::data_rows_max); }
std::string too_much() {
  return fmt::format("more than {} MiB of rows: limit: takes the first", limits::data_file_bytes_max >> 20U);
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

/// Rows out of JSON objects, whose members come in any order and need not all be there.
class ObjectRows {
 public:
  ObjectRows(const std::string& file, ProblemList& problems) : file_(file), problems_(problems) {}

  /// False: a problem, which has been told.
  bool add(const json::object& object, int line) {
    row_.assign(data_.fields.size(), {});
    given_.assign(data_.fields.size(), false);
    if (!add_members(object, "", line, 0)) return false;
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (!given_[i]) data_.lacking.emplace(data_.fields[i], line);
    }
    if (first_line_ == 0) first_line_ = line;
    data_.rows.push_back(row_);
    data_.lines.push_back(line);
    return true;
  }

  std::size_t rows() const { return data_.rows.size(); }

  DataRows take() {
    for (auto& row : data_.rows) row.resize(data_.fields.size());
    return std::move(data_);
  }

 private:
  static constexpr int kDepthMax = 4;

  bool add_members(const json::object& object, const std::string& prefix, int line, int depth) {
    for (const auto& [key, member] : object) {
      const std::string name = prefix + std::string(key);
      const auto [found, is_new] = index_.emplace(name, data_.fields.size());
      if (is_new && data_.fields.size() >= limits::data_fields_max) {
        index_.erase(found);
        if (depth > 0) continue;  // nobody asked for these: there are as many as there is room for
        problems_.add_in(file_, {line, 1}, fmt::format("more than {} fields", limits::data_fields_max));
        return false;
      }
      if (is_new) {
        data_.fields.push_back(name);
        if (first_line_ != 0) data_.lacking.emplace(name, first_line_);  // the rows before had no such field
        row_.emplace_back();
        given_.push_back(false);
      }
      given_[found->second] = true;
      row_[found->second] = member.is_string() ? std::string(member.as_string())
                            : member.is_null() ? std::string()
                                               : json::serialize(member);
      if (const auto* inner = member.if_object(); inner != nullptr && depth < kDepthMax) {
        if (!add_members(*inner, name + '.', line, depth + 1)) return false;
      }
    }
    return true;
  }

  const std::string& file_;
  ProblemList& problems_;
  DataRows data_;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<std::string> row_;
  std::vector<bool> given_;
  int first_line_ = 0;
};

DataRows read_jsonl(std::string_view bytes, const std::string& file, ProblemList& problems, std::size_t rows_max) {
  ObjectRows rows(file, problems);
  int line_number = 0, bad_rows = 0;
  for (std::size_t from = 0; from < bytes.size() && bad_rows < kBadRowsMax && rows.rows() < rows_max;) {
    const auto end = std::min(bytes.find('\n', from), bytes.size());
    const auto line = without_cr(bytes.substr(from, end - from));
    from = end + 1;
    ++line_number;
    if (is_blank(line)) continue;
    if (rows.rows() >= limits::data_rows_max) {
      problems.add_in(file, {line_number, 1}, too_many_rows());
      break;
    }
    boost::system::error_code error;
    const auto value = json::parse(line, error);
    if (error || !value.is_object()) {
      problems.add_in(
          file, {line_number, 1},
          error ? fmt::format("not JSON: {}", error.message()) : std::string("each line must be a JSON object"));
      ++bad_rows;
    } else if (!rows.add(value.as_object(), line_number)) {
      ++bad_rows;
    }
  }
  return rows.take();
}

/// Whatever the values are: how many bytes they take.
std::size_t bytes_of(const std::vector<std::string>& row) {
  std::size_t bytes = 0;
  for (const std::string& cell : row) bytes += cell.size();
  return bytes;
}

/// Calls `add(value, line)` for each item; false from it is a bad row, and a few of those end it.
template <class Add>
void for_each_item(const NextBlock& next_block, const std::string& file, ProblemList& problems, Add add) {
  JsonItems items(limits::data_item_bytes_max);
  int bad_rows = 0;
  bool more = true, is_start = true;
  while (more && !items.problem()) {
    std::string_view block = next_block();
    more = !block.empty();
    if (is_start && block.starts_with("\xef\xbb\xbf")) block.remove_prefix(3);
    is_start = false;
    if (more) {
      items.push(block);
    } else {
      items.end();
    }
    while (const auto item = items.next()) {
      boost::system::error_code error;
      const auto value = json::parse(item->text, error);
      if (error) problems.add_in(file, {item->line, 1}, fmt::format("not JSON: {}", error.message()));
      switch (error ? Row::bad : add(value, item->line)) {
        case Row::good:
          break;
        case Row::bad:
          if (++bad_rows >= kBadRowsMax) return;
          break;
        case Row::enough:
          return;
      }
    }
  }
  if (items.problem()) problems.add_in(file, {items.problem()->line, 1}, items.problem()->message);
}

DataRows read_json(const NextBlock& next_block, const std::string& file, ProblemList& problems, std::size_t rows_max) {
  ObjectRows rows(file, problems);
  std::size_t bytes = 0;
  for_each_item(next_block, file, problems, [&](const json::value& value, int line) {
    if (rows.rows() >= rows_max) return Row::enough;
    if (rows.rows() >= limits::data_rows_max) {
      problems.add_in(file, {line, 1}, too_many_rows());
      return Row::enough;
    }
    bytes += json::serialize(value).size();
    if (bytes > limits::data_file_bytes_max) {
      problems.add_in(file, {line, 1}, too_much());
      return Row::enough;
    }
    if (value.is_string()) return rows.add({{"text", value}}, line) ? Row::good : Row::bad;
    if (value.is_object()) return rows.add(value.as_object(), line) ? Row::good : Row::bad;
    problems.add_in(file, {line, 1}, "an array of objects or of strings is wanted");
    return Row::bad;
  });
  return rows.take();
}

std::string_view text_of(const json::object& object, std::string_view key, std::string_view other_key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr) found = object.if_contains(other_key);
  if (found == nullptr || !found->is_string()) return {};
  return {found->as_string().data(), found->as_string().size()};
}

/// prompt, completion, and the tokens of the completion where they are told.
struct Conversation {
  std::string_view prompt, completion;
  std::string tokens;
};

std::optional<Conversation> first_turns(const json::object& conversation) {
  const json::value* list = conversation.if_contains("conversations");
  if (list == nullptr) list = conversation.if_contains("messages");
  if (list == nullptr || !list->is_array()) return std::nullopt;
  Conversation found;
  for (const json::value& turn : list->as_array()) {
    if (!turn.is_object()) continue;
    const std::string_view who = text_of(turn.as_object(), "from", "role");
    const std::string_view said = text_of(turn.as_object(), "value", "content");
    if (is_blank(said)) continue;
    if (found.prompt.empty()) {
      if (who == "human" || who == "user") found.prompt = said;
    } else if (who == "gpt" || who == "chatgpt" || who == "assistant") {
      found.completion = said;
      for (const json::object* place : {&turn.as_object(), &conversation}) {
        for (const std::string_view key : {"tokens", "completion_tokens", "output_tokens"}) {
          const json::value* tokens = place->if_contains(key);
          if (found.tokens.empty() && tokens != nullptr && tokens->is_int64() && tokens->as_int64() >= 0)
            found.tokens = std::to_string(tokens->as_int64());
        }
      }
      return found;
    }
  }
  return std::nullopt;
}

DataRows read_sharegpt(const NextBlock& next_block, const std::string& file, ProblemList& problems,
                       std::size_t rows_max) {
  DataRows data;
  data.fields = {"prompt", "completion"};
  int without_tokens = 0;
  bool any_tokens = false;
  std::size_t bytes = 0;
  for_each_item(next_block, file, problems, [&](const json::value& value, int line) {
    if (data.rows.size() >= rows_max) return Row::enough;
    if (data.rows.size() >= limits::data_rows_max) {
      problems.add_in(file, {line, 1}, too_many_rows());
      return Row::enough;
    }
    if (!value.is_object()) {
      problems.add_in(file, {line, 1}, "a conversation is wanted: an object with a list of conversations");
      return Row::bad;
    }
    auto found = first_turns(value.as_object());
    if (!found) return Row::good;
    if (found->tokens.empty() && without_tokens == 0) without_tokens = line;
    any_tokens = any_tokens || !found->tokens.empty();
    data.rows.push_back({std::string(found->prompt), std::string(found->completion), std::move(found->tokens)});
    bytes += bytes_of(data.rows.back());
    if (bytes <= limits::data_file_bytes_max) return Row::good;
    problems.add_in(file, {line, 1}, too_much());
    return Row::enough;
  });
  if (any_tokens) {
    data.fields.emplace_back("tokens");
    if (without_tokens != 0) data.lacking.emplace("tokens", without_tokens);
  }
  for (auto& row : data.rows) row.resize(data.fields.size());
  return data;
}

DataRows read_csv(std::string_view bytes, const std::string& file, ProblemList& problems, std::size_t rows_max) {
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
        problems.add_in(file, {row_line, 1}, too_many_rows());
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
      if (!end_row() || data.rows.size() >= rows_max) return data;
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

DataRows read_lines(std::string_view bytes, const std::string& file, ProblemList& problems, std::size_t rows_max) {
  DataRows data;
  data.fields = {"text"};
  int number = 0;
  for (std::size_t from = 0; from < bytes.size() && data.rows.size() < rows_max;) {
    const auto end = std::min(bytes.find('\n', from), bytes.size());
    const auto line = without_cr(bytes.substr(from, end - from));
    from = end + 1;
    ++number;
    if (is_blank(line)) continue;
    if (data.rows.size() >= limits::data_rows_max) {
      problems.add_in(file, {number, 1}, too_many_rows());
      break;
    }
    data.rows.push_back({std::string(line)});
  }
  return data;
}

}  // namespace

DataFormat data_format_of(std::string_view file) {
  if (file.ends_with(".jsonl") || file.ends_with(".ndjson")) return DataFormat::jsonl;
  if (file.ends_with(".json")) return DataFormat::json;
  return file.ends_with(".csv") ? DataFormat::csv : DataFormat::text;
}

DataRows read_data(std::string_view bytes, DataFormat format, const std::string& file, ProblemList& problems,
                   std::size_t rows_max) {
  if (is_streamed(format)) {
    const auto all_at_once = [&] { return std::exchange(bytes, {}); };
    return read_data_stream(all_at_once, format, file, problems, rows_max);
  }
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  switch (format) {
    case DataFormat::jsonl:
      return read_jsonl(bytes, file, problems, rows_max);
    case DataFormat::csv:
      return read_csv(bytes, file, problems, rows_max);
    default:
      return read_lines(bytes, file, problems, rows_max);
  }
}

DataRows read_data_stream(const NextBlock& next_block, DataFormat format, const std::string& file,
                          ProblemList& problems, std::size_t rows_max) {
  return format == DataFormat::sharegpt ? read_sharegpt(next_block, file, problems, rows_max)
                                        : read_json(next_block, file, problems, rows_max);
}

}  // namespace sluice
