#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "harness/app/commands.h"
#include "harness/base/metric_catalog.h"
#include "harness/scenario/keys.h"
#include "harness/verdict/judge.h"

namespace sluice {

int metrics_command() {
  std::size_t width = 0;
  for (const auto& metric : metric_catalog()) width = std::max(width, metric.name.size());
  for (const auto& metric : metric_catalog()) {
    fmt::print("{:<{}}  {:<7}  {:<10}  {}\n", metric.name, width, kind_name(metric.kind), unit_name(metric.unit),
               metric.definition);
  }
  return kExitPassed;
}

int schema_command() {
  fmt::print("{}", scenario_schema());
  return kExitPassed;
}

int version_command() {
  fmt::print("sluice {}\n", SLUICE_VERSION);
  return kExitPassed;
}

}  // namespace sluice
