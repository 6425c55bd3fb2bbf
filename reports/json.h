// A Summary as JSON text with a version, and back. Reading back what was written gives an equal value.
//
// from_json() takes foreign bytes: everything is checked, sizes are bounded, and a refusal says what and where
// ("metrics[3].unit: a string is wanted"). Members that are not known are ignored, so that a newer minor writer's file
// still opens; another schema_version is refused.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <string_view>

#include "reports/suite.h"
#include "reports/summary.h"

namespace sluice::reports {

struct ReadError {
  std::string message;
};
[[noreturn]] void throw_exception_from_error(const ReadError& error, const boost::source_location&);

std::string to_json(const Summary& summary);  // indented, ends with a line feed
std::string to_json(const SuiteSummary& suite);
boost::system::result<Summary, ReadError> from_json(std::string_view text);

}  // namespace sluice::reports
