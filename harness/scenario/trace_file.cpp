#include "harness/scenario/trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <cmath>
#include <utility>

#include "harness/base/duration.h"
#include "harness/base/limits.h"

namespace sluice {
namespace {

namespace json = boost::json;

constexpr int kBadRowsMax = 5;       // a file in the wrong format is wrong in every row
constexpr double kSecondsMax = 4e9;  // seconds since 1970 fit, until 2096

std::string_view trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r") - from + 1);
}

/// The lines of a file that comes in blocks.
class Lines {
 public:
  explicit Lines(const NextBlock& next_block) : next_block_(next_block) {}

  /// Good until the next call. None at the end, and when a line is too long.
  std::optional<std::string_view> next() {
    line_.clear();
    ++number_;
    for (;;) {
      if (block_.empty()) {
        block_ = next_block_();
        if (is_start_ && block_.starts_with("\xef\xbb\xbf")) block_.remove_prefix(3);
        is_start_ = false;
        if (block_.empty()) return line_.empty() ? std::nullopt : std::optional<std::string_view>(line_);
      }
      const auto end = block_.find('\n');
      line_ += block_.substr(0, end);
      if (line_.size() > limits::data_item_bytes_max) {
        too_long_ = true;
        return std::nullopt;
      }
      block_.remove_prefix(end == std::string_view::npos ? block_.size() : end + 1);
      if (end != std::string_view::npos) return line_;
    }
  }

  /// The next that is not blank, trimmed.
  std::optional<std::string_view> next_full() {
    for (auto line = next(); line; line = next()) {
      if (const auto text = trimmed(*line); !text.empty()) return text;
    }
    return std::nullopt;
  }

  int number() const { return number_; }  // of the last line, from 1
  bool too_long() const { return too_long_; }

 private:
  const NextBlock& next_block_;
  std::string_view block_;
  std::string line_;
  int number_ = 0;
  bool is_start_ = true, too_long_ = false;
};

/// Cells of a row without line breaks in them; quotes around one are taken away.
std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  for (;;) {
    const auto comma = line.find(',');
    std::string_view cell = trimmed(line.substr(0, comma));
    if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') cell = cell.substr(1, cell.size() - 2);
    cells.push_back(cell);
    if (comma == std::string_view::npos || cells.size() > limits::data_fields_max) return cells;
    line.remove_prefix(comma + 1);
  }
}

bool parse_tokens(std::string_view text, std::int32_t& tokens) {
  double number = 0;  // 12, also written 12.0
  if (!parse_decimal(text, number) || number < 0 || number > static_cast<double>(limits::trace_tokens_max) ||
      number != std::floor(number))
    return false;
  tokens = static_cast<std::int32_t>(number);
  return true;
}

/// For messages: a file that is no trace may have anything there.
std::string_view shortened(std::string_view text) { return text.substr(0, 60); }

std::string no_tokens(std::string_view field, std::string_view text) {
  return fmt::format("{}: '{}' is no number of tokens: 0 to {}", field, shortened(text), limits::trace_tokens_max);
}

/// A time that counts in `unit_s` seconds.
std::optional<Nanoseconds> time_of(std::string_view text, double unit_s) {
  double number = 0;
  if (!parse_decimal(text, number)) return std::nullopt;
  const double seconds = number * unit_s;
  if (seconds < 0 || seconds > kSecondsMax) return std::nullopt;
  return Nanoseconds(std::llround(seconds * 1e9));
}

bool take_digits(std::string_view& text, std::size_t count, int& out) {
  if (text.size() < count) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + count, out);
  if (error != std::errc() || end != text.data() + count || text[0] == '-') return false;
  text.remove_prefix(count);
  return true;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

/// "2023-11-16 18:15:46.6805900", also with T, without a fraction, with Z or +02:00 behind; since 1970.
std::optional<Nanoseconds> wall_time(std::string_view text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (!(take_digits(text, 4, year) && take(text, "-") && take_digits(text, 2, month) && take(text, "-") &&
        take_digits(text, 2, day) && take(text, " T") && take_digits(text, 2, hour) && take(text, ":") &&
        take_digits(text, 2, minute) && take(text, ":") && take_digits(text, 2, second)))
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || year < 1970 || year > 2200 || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  std::int64_t fraction = 0, unit = 1'000'000'000;
  if (take(text, ".")) {
    if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
    for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1)) {
      unit /= 10;
      fraction += unit * (text.front() - '0');
    }
  }
  int zone = 0;  // minutes
  if (!text.empty() && text != "Z") {
    const bool west = text.front() == '-';
    int hours = 0, minutes = 0;
    if (!take(text, "+-") || !take_digits(text, 2, hours)) return std::nullopt;
    take(text, ":");
    if (!take_digits(text, 2, minutes) || !text.empty()) return std::nullopt;
    zone = (west ? -1 : 1) * (hours * 60 + minutes);
  }
  return std::chrono::sys_days(date).time_since_epoch() + std::chrono::hours(hour) +
         std::chrono::minutes(minute - zone) + std::chrono::seconds(second) + Nanoseconds(fraction);
}

/// A member as text; empty when there is none.
std::string text_of(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr) return "";
  if (found->is_string()) return std::string(found->as_string());
  return json::serialize(*found);
}

std::optional<json::object> object_of(std::string_view line) {
  boost::system::error_code error;
  auto value = json::parse(line, error);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.as_object());
}

class TraceReader {
 public:
  TraceReader(const NextBlock& next_block, std::uint32_t block_tokens, const std::string& file, ProblemList& problems)
      : lines_(next_block), file_(file), problems_(problems) {
    read_.trace.block_tokens = block_tokens;
  }

  TraceFile read(std::optional<TraceFormat> format) {
    first_ = lines_.next_full();
    if (first_) {
      const std::string first(*first_);  // the reader's own memory is used again
      first_ = first;
      if (!format) format = recognised(first);
      if (format) read_as(*format);
    }
    if (lines_.too_long())
      problem(lines_.number(), fmt::format("a line of more than {} MiB", limits::data_item_bytes_max >> 20U));
    if (read_.trace.rows.empty() && !any_problem_) problem(0, "has no requests");
    auto& rows = read_.trace.rows;
    std::stable_sort(rows.begin(), rows.end(), [](const TraceRow& a, const TraceRow& b) { return a.at < b.at; });
    if (format == TraceFormat::azure && !rows.empty()) {
      const Nanoseconds start = rows.front().at;
      for (TraceRow& row : rows) row.at -= start;
    }
    return std::move(read_);
  }

 private:
  void problem(int line, std::string_view message) {
    any_problem_ = true;
    problems_.add_in(file_, {line, line == 0 ? 0 : 1}, message);
  }
  /// Of a row; false after a few.
  bool bad_row(int line, std::string_view message) {
    problem(line, message);
    return ++bad_rows_ < kBadRowsMax;
  }

  std::optional<TraceFormat> recognised(std::string_view first) {
    if (const auto object = object_of(first)) {
      if (object->contains("timestamp")) return TraceFormat::mooncake;
      if (object->contains("at")) return TraceFormat::sluice;
    }
    const auto cells = cells_of(first);
    const auto has = [&](std::string_view name) { return std::find(cells.begin(), cells.end(), name) != cells.end(); };
    if (has("ContextTokens")) return TraceFormat::azure;
    if (has("Request tokens")) return TraceFormat::burstgpt;
    problem(lines_.number(),
            "not recognised as a trace: JSON lines with timestamp (mooncake) or at (sluice), or CSV with ContextTokens "
            "(azure) or Request tokens (burstgpt)");
    return std::nullopt;
  }

  void read_as(TraceFormat format) {
    switch (format) {
      case TraceFormat::mooncake:
        return read_mooncake();
      case TraceFormat::azure:
        return read_csv({"TIMESTAMP", "ContextTokens", "GeneratedTokens"}, format);
      case TraceFormat::burstgpt:
        return read_csv({"Timestamp", "Request tokens", "Response tokens"}, format);
      case TraceFormat::sluice:
        return read_own();
    }
  }

  void know_all_fields() {
    for (const char* field : {"prompt", "input_tokens", "output_tokens"}) read_.fields[field] = 0;
  }

  /// False: no more are read.
  bool add(const TraceRow& row) {
    if (read_.trace.rows.size() >= limits::trace_rows_max) {
      problem(lines_.number(), fmt::format("more than {} requests", limits::trace_rows_max));
      return false;
    }
    read_.trace.rows.push_back(row);
    return true;
  }

  void read_mooncake() {
    know_all_fields();
    std::uint32_t number = 0;
    for (auto line = first_; line; line = lines_.next_full()) {
      TraceRow row;
      row.number = number++;
      const std::string wrong = read_mooncake_row(*line, row);
      if (!(wrong.empty() ? add(row) : bad_row(lines_.number(), wrong))) return;
    }
  }

  /// What is wrong with it; empty: nothing.
  std::string read_mooncake_row(std::string_view line, TraceRow& row) {
    const auto object = object_of(line);
    if (!object) return "each line must be a JSON object";
    const auto at = time_of(text_of(*object, "timestamp"), 1e-3);
    if (!at)
      return fmt::format("timestamp: '{}' is no number of milliseconds", shortened(text_of(*object, "timestamp")));
    row.at = *at;
    for (const auto& [key, tokens] :
         {std::pair{"input_length", &row.input_tokens}, std::pair{"output_length", &row.output_tokens}}) {
      const std::string text = text_of(*object, key);
      if (!parse_tokens(text, *tokens)) return no_tokens(key, text);
    }
    const json::value* ids = object->if_contains("hash_ids");
    if (ids == nullptr) return {};
    if (!ids->is_array()) return "hash_ids: a list of numbers is wanted";
    const std::uint64_t tokens_of_block = read_.trace.block_tokens;
    const std::uint64_t wanted = (static_cast<std::uint64_t>(row.input_tokens) + tokens_of_block - 1) / tokens_of_block;
    if (ids->as_array().size() != wanted)
      return fmt::format(
          "hash_ids: {} of them, and {} tokens are {} blocks of {}: block_tokens: says how long a block is",
          ids->as_array().size(), row.input_tokens, wanted, tokens_of_block);
    std::vector<std::uint64_t>& all = read_.trace.block_ids;
    row.first_block = all.size();
    row.blocks = static_cast<std::uint32_t>(wanted);
    if (all.size() + wanted > limits::trace_blocks_max)
      return fmt::format("more than {} hash_ids in all", limits::trace_blocks_max);
    for (const json::value& id : ids->as_array()) {
      if (!id.is_int64() && !id.is_uint64()) {
        all.resize(row.first_block);
        return "hash_ids: whole numbers are wanted";
      }
      all.push_back(id.is_int64() ? static_cast<std::uint64_t>(id.as_int64()) : id.as_uint64());
    }
    return {};
  }

  void read_csv(const std::array<std::string_view, 3>& names, TraceFormat format) {
    know_all_fields();
    const auto header = cells_of(*first_);
    std::array<std::size_t, 3> columns{};
    for (std::size_t i = 0; i < names.size(); ++i) {
      columns[i] = static_cast<std::size_t>(std::find(header.begin(), header.end(), names[i]) - header.begin());
      if (columns[i] == header.size())
        return problem(lines_.number(),
                       fmt::format("the first row names no {}; it names {}", names[i], shortened(*first_)));
    }
    const std::size_t last = *std::max_element(columns.begin(), columns.end());
    std::uint32_t number = 0;
    for (auto line = lines_.next_full(); line; line = lines_.next_full()) {
      const auto cells = cells_of(*line);
      TraceRow row;
      row.number = number++;
      std::string wrong;
      std::optional<Nanoseconds> at;
      if (cells.size() <= last) {
        wrong = fmt::format("{} cells are too few: the first row names {}", cells.size(), header.size());
      } else if (at = format == TraceFormat::azure ? wall_time(cells[columns[0]]) : time_of(cells[columns[0]], 1);
                 !at) {
        wrong = fmt::format("{}: '{}' is no {}", names[0], shortened(cells[columns[0]]),
                            format == TraceFormat::azure ? "time as in 2023-11-16 18:15:46.68" : "number of seconds");
      } else if (!parse_tokens(cells[columns[1]], row.input_tokens)) {
        wrong = no_tokens(names[1], cells[columns[1]]);
      } else if (!parse_tokens(cells[columns[2]], row.output_tokens)) {
        wrong = no_tokens(names[2], cells[columns[2]]);
      }
      if (!wrong.empty()) {
        if (!bad_row(lines_.number(), wrong)) return;
        continue;
      }
      if (format == TraceFormat::burstgpt && row.output_tokens == 0) continue;  // it failed when it was recorded
      row.at = *at;
      if (!add(row)) return;
    }
  }

  /// As a data file, of whose fields some are known.
  void read_own() {
    std::string bytes(static_cast<std::size_t>(lines_.number() - 1), '\n');  // so that lines keep their numbers
    bytes += *first_;
    for (auto line = lines_.next(); line; line = lines_.next()) {
      bytes += '\n';
      bytes += *line;
      if (bytes.size() > limits::data_file_bytes_max)
        return problem(lines_.number(), fmt::format("longer than {} MiB", limits::data_file_bytes_max >> 20U));
    }
    ProblemList found(file_);
    DataRows data = read_data(bytes, DataFormat::jsonl, file_, found);
    if (!found.empty()) {
      for (const Problem& one : found.take().list) problem(one.place.line, one.message);
      return;
    }
    const auto column = [&](std::string_view name) {
      return static_cast<std::size_t>(std::find(data.fields.begin(), data.fields.end(), name) - data.fields.begin());
    };
    const std::size_t at = column("at"), prompt = column("prompt"), input = column("input_tokens"),
                      output = column("output_tokens");
    const auto cell = [&](std::size_t row, std::size_t field) {
      return field < data.fields.size() ? std::string_view(data.rows[row][field]) : std::string_view();
    };
    for (std::size_t i = 0; i < data.rows.size(); ++i) {
      TraceRow row;
      row.number = static_cast<std::uint32_t>(i);
      const std::string_view time = cell(i, at);
      std::string wrong;
      if (const auto seconds = time_of(time, 1)) {
        row.at = *seconds;
      } else if (const auto duration = parse_duration(time)) {
        row.at = *duration;
      } else {
        wrong = fmt::format("at: '{}' is neither a number of seconds nor a duration", shortened(time));
      }
      if (wrong.empty() && cell(i, prompt).empty() && cell(i, input).empty()) wrong = "neither prompt nor input_tokens";
      for (const auto& [field, name, tokens] : {std::tuple{input, "input_tokens", &row.input_tokens},
                                                std::tuple{output, "output_tokens", &row.output_tokens}}) {
        if (wrong.empty() && !cell(i, field).empty() && !parse_tokens(cell(i, field), *tokens))
          wrong = no_tokens(name, cell(i, field));
      }
      if (!(wrong.empty() ? add(row) : bad_row(data.lines[i], wrong))) return;
    }
    for (const std::string& field : data.fields) {
      const auto lacking = data.lacking.find(field);
      if (field != "at") read_.fields[field] = lacking == data.lacking.end() ? 0 : lacking->second;
    }
    read_.fields["prompt"] = 0;  // generated where it is not there
    read_.trace.fields = std::move(data.fields);
    read_.trace.cells = std::move(data.rows);
  }

  Lines lines_;
  const std::string& file_;
  ProblemList& problems_;
  std::optional<std::string_view> first_;  // the first line that is not blank
  TraceFile read_;
  int bad_rows_ = 0;
  bool any_problem_ = false;
};

}  // namespace

TraceFile read_trace(const NextBlock& next_block, std::optional<TraceFormat> format, std::uint32_t block_tokens,
                     const std::string& file, ProblemList& problems) {
  return TraceReader(next_block, block_tokens, file, problems).read(format);
}

}  // namespace sluice
