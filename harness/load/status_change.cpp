#include "harness/load/status_change.h"

#include <fmt/format.h>
#include <simdjson.h>

#include "harness/base/limits.h"

namespace sluice {

Result<StatusChange> parse_status_change(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (json.size() > kStatusChangeBytesMax) return fail("the body is too long");
  if (json.empty() || parser.parse(json.data(), json.size()).get(object) != simdjson::SUCCESS) {
    return fail("a JSON object is wanted, as in {\"vus\": 20}");
  }
  simdjson::dom::object inner;
  if (object["data"]["attributes"].get(inner) == simdjson::SUCCESS) object = inner;  // k6's document
  StatusChange change;
  for (const auto& [key, value] : object) {
    std::uint64_t number = 0;
    bool truth = false;
    if (key == "vus") {
      if (value.get(number) != simdjson::SUCCESS || number > limits::vus_max)
        return fail(fmt::format("vus: a whole number of at most {} is wanted", limits::vus_max));
      change.vus = static_cast<std::uint32_t>(number);
    } else if (key == "paused" || key == "stopped") {
      if (value.get(truth) != simdjson::SUCCESS) return fail(fmt::format("{}: true or false is wanted", key));
      (key == "paused" ? change.paused : change.stopped) = truth;
    } else if (key != "vus-max" && key != "status" && key != "running" && key != "tainted") {  // k6 sends them too
      return fail("there is vus, paused and stopped to change");
    }
  }
  return change;
}

}  // namespace sluice
