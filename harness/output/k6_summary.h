// A Summary in the words of k6's --summary-export, for tools that read that file.
//
// Keys are k6's: metrics.<name>.{avg,min,med,max,"p(90)","p(95)"} of trends, {count,rate} of counters, {value,passes,
// fails} of rates, {value,min,max} of gauges; `thresholds` under a metric, where TRUE MEANS FAILED, as in k6; and
// root_group with its groups and checks. Times are milliseconds. Metrics that k6 does not have are there as well.
#pragma once

#include <string>

#include "reports/summary.h"

namespace sluice {

std::string to_k6_summary(const reports::Summary& summary);  // indented, ends with a line feed

}  // namespace sluice
