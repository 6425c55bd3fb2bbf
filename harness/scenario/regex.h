// A PCRE2 pattern, compiled once; matching has a bound on its steps and memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "harness/base/result.h"

struct pcre2_real_code_8;

namespace sluice {

class Regex {
 public:
  static Result<Regex> compile(std::string_view pattern);

  /// Anywhere in the subject. False as well when the limits are reached.
  bool found_in(std::string_view subject) const;
  /// What group `number` of the first match holds, 0: the whole match; none when nothing matched or the group had no
  /// part in it. A view into the subject.
  std::optional<std::string_view> group_in(std::string_view subject, std::uint32_t number) const;
  std::uint32_t groups() const;  // the highest number of one

 private:
  std::shared_ptr<const pcre2_real_code_8> code_;  // shared by copies; immutable, matching does not write to it
};

}  // namespace sluice
