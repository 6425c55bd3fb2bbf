#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "harness/app/commands.h"
#include "harness/base/metric_catalog.h"
#include "harness/scenario/keys.h"
#include "harness/verdict/judge.h"

namespace sluice {

namespace {

std::string_view name_of(MetricKind kind) {
  switch (kind) {
    case MetricKind::counter:
      return "counter";
    case MetricKind::gauge:
      return "gauge";
    case MetricKind::rate:
      return "rate";
    case MetricKind::trend:
      return "trend";
  }
  return "";
}

std::string_view name_of(Unit unit) {
  switch (unit) {
    case Unit::none:
      return "";
    case Unit::milliseconds:
      return "ms";
    case Unit::bytes:
      return "bytes";
    case Unit::characters:
      return "characters";
    case Unit::tokens:
      return "tokens";
    case Unit::per_second:
      return "1/s";
    case Unit::percent:
      return "%";
  }
  return "";
}

}  // namespace

int metrics_command() {
  std::size_t width = 0;
  for (const auto& metric : metric_catalog()) width = std::max(width, metric.name.size());
  for (const auto& metric : metric_catalog()) {
    fmt::print("{:<{}}  {:<7}  {:<10}  {}\n", metric.name, width, name_of(metric.kind), name_of(metric.unit),
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
