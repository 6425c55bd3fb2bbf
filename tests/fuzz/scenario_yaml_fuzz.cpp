// A whole scenario file: YAML, variables, steps, thresholds. No file is read: data comes from memory.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "harness/scenario/load_plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  sluice::LoadOptions options;
  options.overrides = {{"BASE_URL", "http://127.0.0.1:8000"}, {"API_TOKEN", "secret"}, {"N", "5"}};
  options.environment = [](const std::string& name) {
    return name == "TTFT_THRESHOLD" ? std::optional<std::string>("2s") : std::nullopt;
  };
  options.read_file = [](const std::string&) -> sluice::Result<std::string> {
    return {boost::system::in_place_value, "{\"text\":\"say hi\"}\n"};
  };
  options.time_scale = 0.5;
  const auto plan = sluice::read_plan(text, "fuzz.yaml", options);
  if (!plan && plan.error().list.empty()) std::abort();  // a failure that says nothing
  if (plan && (plan->scenarios.empty() || plan->name.empty())) std::abort();
  return 0;
}
