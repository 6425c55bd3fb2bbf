// The path a request line asks for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::engine {

/// The decoded path of an HTTP request target, in origin form ("/v1/models?x=1") or absolute form
/// ("http://host/v1/models"): no query, no fragment, %XX decoded. Nothing when it is neither, or when an escape is
/// broken or hides a NUL.
std::optional<std::string> path_of(std::string_view target);

}  // namespace sluice::engine
