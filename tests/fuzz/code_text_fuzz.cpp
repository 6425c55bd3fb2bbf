// Any bytes as an answer: its code lies inside, and is JSON or is not, for a reason.
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string_view>

#include "harness/content/code_text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view answer(reinterpret_cast<const char*>(data), size);
  const auto code = sluice::code_of(answer);
  const std::less_equal<const char*> before;
  if (!before(answer.data(), code.data()) || !before(code.data() + code.size(), answer.data() + size)) std::abort();
  const auto error = sluice::json_syntax_error(code);
  if (error && !error->starts_with("line ")) std::abort();
  return 0;
}
