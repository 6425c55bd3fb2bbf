// Thresholds and selectors: "metric{tag:value}" LF "expression".
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/scenario/threshold.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto line = text.find('\n');
  auto metric = sluice::Metric::ttft;
  if (const auto selection = sluice::parse_selection(text.substr(0, line))) metric = selection->metric;
  const auto threshold = sluice::parse_threshold(line == std::string_view::npos ? text : text.substr(line + 1), metric);
  if (threshold && (!std::isfinite(threshold->limit) || threshold->percentile < 0 || threshold->percentile > 100))
    std::abort();
  if (const auto stable = sluice::parse_stable_metric(text)) {
    if (stable->percentile < 0 || stable->percentile > 100) std::abort();
  }
  return 0;
}
