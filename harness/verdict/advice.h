// Why a threshold did not hold, as far as the run itself shows, and what to try.
//
// Pure: rules over a summary, the most telling first. They name what was measured beside the figure; a cause that the
// figures do not show is not guessed.
#pragma once

#include <string>

#include "reports/summary.h"

namespace sluice {

struct Advice {
  std::string cause, suggestion;  // sentences without a full stop; empty: the run does not show it
};

/// REQUIRES: `result` is one of summary.thresholds, and has not passed.
Advice advice_for(const reports::Summary& summary, const reports::ThresholdResult& result);

}  // namespace sluice
