// Any bytes as a request target: a path that begins with a slash and hides no NUL, or nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/serve/target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view target(reinterpret_cast<const char*>(data), size);
  const auto path = sluice::engine::path_of(target);
  if (!path) return 0;
  if (path->empty() || path->front() != '/' || path->size() > size + 1) std::abort();
  if (target.find('\0') == std::string_view::npos && path->find('\0') != std::string::npos) std::abort();
  return 0;
}
