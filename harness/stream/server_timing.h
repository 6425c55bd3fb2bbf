// The response header Server-Timing (W3C): `queue;dur=1.2, prefill;dur=30;desc="two steps"`. Pure.
#pragma once

#include <string_view>

#include "harness/base/server_times.h"

namespace sluice {

/// Takes what one such header says; of several the first that says a thing counts. Names do not differ by case: queue
/// or queued, prefill or prompt; all others are left out, and so is what is no time.
void take_server_timing(std::string_view header, ServerTimes& times);

}  // namespace sluice
