#include "harness/scenario/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "harness/base/limits.h"

namespace sluice {

Result<Regex> Regex::compile(std::string_view pattern) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr);
  if (!compiled) {
    char message[256] = {};
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    return fail(fmt::format("the pattern '{}' is wrong at character {}: {}", pattern, offset + 1, message));
  }
  Regex regex;
  regex.code_.reset(compiled, pcre2_code_free);
  return regex;
}

std::optional<std::string_view> Regex::group_in(std::string_view subject, std::uint32_t number) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create(number + 1, nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  if (!data || !context) return std::nullopt;
  pcre2_set_match_limit(context.get(), limits::regex_match_steps_max);
  pcre2_set_heap_limit(context.get(), limits::regex_heap_kib_max);
  const int matched = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), 0, 0,
                                  data.get(), context.get());
  if (matched < 0 || number >= pcre2_get_ovector_count(data.get())) return std::nullopt;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
  const PCRE2_SIZE from = ends[2 * number], to = ends[2 * number + 1];
  if (from == PCRE2_UNSET || to < from || to > subject.size())
    return std::nullopt;  // \K may put the start after the end
  return subject.substr(from, to - from);
}

bool Regex::found_in(std::string_view subject) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(pcre2_match_data_create(1, nullptr),
                                                                            pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  if (!data || !context) return false;
  pcre2_set_match_limit(context.get(), limits::regex_match_steps_max);
  pcre2_set_heap_limit(context.get(), limits::regex_heap_kib_max);
  return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), 0, 0, data.get(),
                     context.get()) >= 0;
}

std::uint32_t Regex::groups() const {
  std::uint32_t count = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_CAPTURECOUNT, &count);
  return count;
}

}  // namespace sluice
