#include "harness/content/code_text.h"

#include <boost/json/basic_parser_impl.hpp>

#include "harness/base/limits.h"
#include "harness/content/text_place.h"

namespace sluice {

namespace {

struct Line {
  std::string_view text;  // without its end
  std::size_t begin = 0, next = 0;
};

Line line_at(std::string_view text, std::size_t begin) {
  const auto end = std::min(text.find('\n', begin), text.size());
  Line line{text.substr(begin, end - begin), begin, std::min(end + 1, text.size())};
  if (line.text.ends_with('\r')) line.text.remove_suffix(1);
  return line;
}

struct Fence {
  char character = '\0';
  std::size_t length = 0;  // 0: the line is none
  std::string_view rest;   // of the line
};

Fence fence_of(std::string_view line) {
  const auto begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos || (line[begin] != '`' && line[begin] != '~')) return {};
  const char c = line[begin];
  const auto end = std::min(line.find_first_not_of(c, begin), line.size());
  if (end - begin < 3) return {};
  const auto rest = line.substr(end);
  if (c == '`' && rest.find('`') != std::string_view::npos) return {};  // code within a line of text
  return {c, end - begin, rest};
}

/// Boost.JSON reports to one of these; the text's form is all that counts here.
struct Nobody {
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  using Code = boost::json::error_code;

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code&) { return true; }
  bool on_object_end(std::size_t, Code&) { return true; }
  bool on_array_begin(Code&) { return true; }
  bool on_array_end(std::size_t, Code&) { return true; }
  bool on_key_part(boost::json::string_view, std::size_t, Code&) { return true; }
  bool on_key(boost::json::string_view, std::size_t, Code&) { return true; }
  bool on_string_part(boost::json::string_view, std::size_t, Code&) { return true; }
  bool on_string(boost::json::string_view, std::size_t, Code&) { return true; }
  bool on_number_part(boost::json::string_view, Code&) { return true; }
  bool on_int64(std::int64_t, boost::json::string_view, Code&) { return true; }
  bool on_uint64(std::uint64_t, boost::json::string_view, Code&) { return true; }
  bool on_double(double, boost::json::string_view, Code&) { return true; }
  bool on_bool(bool, Code&) { return true; }
  bool on_null(Code&) { return true; }
  bool on_comment_part(boost::json::string_view, Code&) { return true; }
  bool on_comment(boost::json::string_view, Code&) { return true; }
};

}  // namespace

std::string_view code_of(std::string_view answer) {
  for (std::size_t at = 0; at < answer.size();) {
    const auto line = line_at(answer, at);
    at = line.next;
    const auto opening = fence_of(line.text);
    if (opening.length == 0) continue;
    const std::size_t inside = line.next;
    for (std::size_t end = inside; end < answer.size();) {
      const auto inner = line_at(answer, end);
      const auto closing = fence_of(inner.text);
      if (closing.character == opening.character && closing.length >= opening.length &&
          closing.rest.find_first_not_of(" \t") == std::string_view::npos)
        return answer.substr(inside, end - inside);
      end = inner.next;
    }
    return answer.substr(inside);
  }
  return answer;
}

std::optional<std::string> json_syntax_error(std::string_view text) {
  if (text.size() > limits::code_bytes_max)
    return fmt::format("{} bytes, and more than {} are not parsed", text.size(), limits::code_bytes_max);
  boost::json::parse_options options;
  options.max_depth = limits::json_text_depth_max;
  boost::json::basic_parser<Nobody> parser(options);
  boost::json::error_code error;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (!error && read < text.size()) error = boost::json::error::extra_data;
  if (!error) return std::nullopt;
  return at_place(text, read, error.message());
}

}  // namespace sluice
