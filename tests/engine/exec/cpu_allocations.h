// What operator new was asked for, anywhere in this binary.
#pragma once

#include <cstddef>

namespace sluice::engine::test {

std::size_t allocations();

}  // namespace sluice::engine::test
