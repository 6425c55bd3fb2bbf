// Foreign bytes as a summary: refused with a sentence, or a value that every report can show and that reads back equal.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "reports/html.h"
#include "reports/json.h"
#include "reports/junit.h"
#include "reports/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice::reports;
  const auto summary = from_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!summary) {
    if (summary.error().message.empty()) std::abort();
    return 0;
  }
  const auto again = from_json(to_json(*summary));
  if (!again || !(*again == *summary)) std::abort();
  to_text(*summary, {.color = true, .width = 80});
  to_junit(*summary);
  to_html(*summary);
  return 0;
}
