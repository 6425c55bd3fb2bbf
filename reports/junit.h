// A Summary as JUnit XML: thresholds and checks as test cases, as CI systems read them.
#pragma once

#include <string>

#include "reports/suite.h"
#include "reports/summary.h"

namespace sluice::reports {

std::string to_junit(const Summary& summary);
std::string to_junit(const SuiteSummary& suite);

}  // namespace sluice::reports
