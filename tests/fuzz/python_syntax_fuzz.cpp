// Any bytes as Python: the same verdict twice, one line long.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/content/python_syntax.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view code(reinterpret_cast<const char*>(data), size);
  const auto error = sluice::python_syntax_error(code);
  if (error != sluice::python_syntax_error(code)) std::abort();
  if (error && (error->empty() || error->find('\n') != std::string::npos)) std::abort();
  return 0;
}
