// How far a row of numbers is from what it should be.
#pragma once

#include <cstddef>

namespace sluice::engine::test {

/// The mean squared error over the mean square.
template <class A, class B>
double normalized_error(const A& measured, const B& expected) {
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(measured[i]) - static_cast<double>(expected[i]);
    error += difference * difference;
    power += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return error / power;
}

}  // namespace sluice::engine::test
