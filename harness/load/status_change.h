// What an order to a run says: the body of the control API's PATCH.
//
// Bytes of whoever reaches the API: bounded, checked once here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "harness/base/result.h"

namespace sluice {

inline constexpr std::size_t kStatusChangeBytesMax = 16u << 10;

struct StatusChange {
  std::optional<std::uint32_t> vus;
  std::optional<bool> paused, stopped;
};

/// Of a PATCH's body. Fails on what is not JSON, on members that do not exist and on values that do not fit.
Result<StatusChange> parse_status_change(std::string_view json);

}  // namespace sluice
