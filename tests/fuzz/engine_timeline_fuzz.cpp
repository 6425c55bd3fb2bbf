// Any bytes as an engine's timeline: read or refused; and a trace of what was read is JSON.
#include <simdjson.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "harness/output/chrome_trace.h"

namespace {

sluice::Plan plan_of_one_step() {
  sluice::Step step;
  step.name = "ask";
  step.verb = sluice::ChatStep{};
  sluice::ScenarioPlan scenario;
  scenario.shape = sluice::ConstantVus{};
  scenario.flow = {step};
  sluice::Plan plan;
  plan.scenarios.push_back(scenario);
  return plan;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto layout = sluice::TallyLayout::from(plan_of_one_step());
  const std::string text(reinterpret_cast<const char*>(data), size);  // memory of its own: reading past it is found
  auto timeline = sluice::read_engine_timeline(text);
  if (!timeline) return 0;
  sluice::RequestTrace trace;
  trace.requests.resize(1);
  sluice::TracedRequest& request = trace.requests[0];
  request.scheduled_at = request.started_at = request.sent_at = 1000;
  request.first_byte_at = request.ended_at = 9000;
  request.same_clock = size % 2 == 0;
  request.engine = std::move(*timeline);
  std::string file;
  sluice::write_chrome_trace(trace, *layout, "fuzz", [&](std::string_view bytes) { file += bytes; });
  simdjson::dom::parser parser;
  if (parser.parse(file).error() != simdjson::SUCCESS) std::abort();
  return 0;
}
