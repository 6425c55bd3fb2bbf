// A Summary as text for a terminal, in the manner of k6.
#pragma once

#include <string>

#include "reports/suite.h"
#include "reports/summary.h"

namespace sluice::reports {

struct TextOptions {
  bool color = false;  // ANSI escapes
  int width = 100;     // columns, taken as 80 to 160
};

std::string to_text(const Summary& summary, const TextOptions& options = {});
std::string to_text(const SuiteSummary& suite, const TextOptions& options = {});

}  // namespace sluice::reports
