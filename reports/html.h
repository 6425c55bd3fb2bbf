// A Summary as one self-contained page: opens from disk, asks no network, works without scripts (tables carry all
// figures).
#pragma once

#include <string>

#include "reports/suite.h"
#include "reports/summary.h"

namespace sluice::reports {

std::string to_html(const Summary& summary);
std::string to_html(const SuiteSummary& suite);

}  // namespace sluice::reports
