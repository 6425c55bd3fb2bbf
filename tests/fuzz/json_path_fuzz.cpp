// A path in the first line, a document in the rest: what a capture does with an answer.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/scenario/json_path.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto line_end = input.find('\n');
  const auto path = sluice::JsonPath::parse(input.substr(0, line_end));
  if (!path) return 0;
  static sluice::JsonFinder finder;
  const std::string_view json = line_end == std::string_view::npos ? std::string_view() : input.substr(line_end + 1);
  if (finder.find(json, *path) != finder.find(json, *path)) std::abort();
  return 0;
}
