// Lists of processor cores as people write them: "0-3,6".
#pragma once

#include <string_view>
#include <vector>

#include "harness/base/result.h"

namespace sluice {

/// Ascending, each once; below CPU_SETSIZE. An empty text is no cores.
Result<std::vector<int>> parse_cores(std::string_view text);

}  // namespace sluice
