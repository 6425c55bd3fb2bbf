// The style and the script of the HTML report, embedded: reports/page/assets.html as it is.
#pragma once

#include <string_view>

namespace sluice::reports {

extern const std::string_view kPageAssets;

}  // namespace sluice::reports
