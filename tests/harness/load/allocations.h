// What operator new was asked for.
#pragma once

#include <cstdint>

namespace sluice::testing_support {

/// By the calling thread, so far.
std::uint64_t allocations_of_this_thread();

}  // namespace sluice::testing_support
