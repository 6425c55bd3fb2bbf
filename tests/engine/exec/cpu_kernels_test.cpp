// The vector kernels one by one, against float64.
#include "engine/exec/cpu/kernels.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "engine/exec/cpu/isa.h"
#include "tests/engine/exec/cpu_model.h"

namespace sluice::engine {
namespace {

using namespace test;
using cpu::kLanes;
using cpu::padded;

class CpuKernels : public testing::TestWithParam<cpu::Isa> {
 protected:
  const cpu::Kernels& kernels() const { return **cpu::kernels_for(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(, CpuKernels, testing::ValuesIn(cpu::supported_isas()),
                         [](const auto& each) { return std::string(to_string(each.param)); });

std::vector<float> normal(std::size_t count, std::size_t room, double mean, double deviation, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> draw(mean, deviation);
  std::vector<float> values(room);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(draw(random));
  return values;
}

std::vector<double> widened(const std::vector<cpu::Bf16>& values, std::size_t count) {
  std::vector<double> wide;
  for (std::size_t i = 0; i < count; ++i) wide.push_back(static_cast<double>(bf16_value(values[i])));
  return wide;
}

TEST_P(CpuKernels, NormsRowsOfAnyWidth) {
  for (const std::size_t n : {1, 2, 15, 16, 17, 45, 64, 100, 769}) {
    const std::size_t room = padded(static_cast<std::uint32_t>(n));
    const auto x = normal(n, room, 3, 2, n), weight = normal(n, room, 1, 0.2, n + 1),
               bias = normal(n, room, 0, 1, n + 2);
    double sum = 0, squares = 0, around_mean = 0;
    for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
    const double mean = sum / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i) {
      squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      around_mean += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
    }
    std::vector<double> layer, rms;
    for (std::size_t i = 0; i < n; ++i) {
      const double w = static_cast<double>(weight[i]);
      layer.push_back((static_cast<double>(x[i]) - mean) / std::sqrt(around_mean / static_cast<double>(n) + 1e-5) * w +
                      static_cast<double>(bias[i]));
      rms.push_back(static_cast<double>(x[i]) / std::sqrt(squares / static_cast<double>(n) + 1e-5) * w);
    }
    std::vector<cpu::Bf16> out(room, 0x7fc0);
    kernels().layer_norm(x.data(), weight.data(), bias.data(), out.data(), n, room, 1e-5f);
    EXPECT_LT(normalized_error(widened(out, n), layer), 1e-5) << n;
    for (std::size_t i = n; i < room; ++i) EXPECT_EQ(out[i], 0) << n;  // the next product reads the padding
    kernels().rms_norm(x.data(), weight.data(), out.data(), n, room, 1e-5f);
    EXPECT_LT(normalized_error(widened(out, n), rms), 1e-5) << n;
    for (std::size_t i = n; i < room; ++i) EXPECT_EQ(out[i], 0) << n;
  }
}

struct UnitCase {
  cpu::Unit unit;
  std::function<double(double)> exact;
};

std::vector<UnitCase> units() {
  return {{cpu::Unit::silu, [](double x) { return x / (1 + std::exp(-x)); }},
          {cpu::Unit::gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
          {cpu::Unit::gelu_tanh, [](double x) {
             return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
           }}};
}

// The product is zero, so that what is activated is the bias: any float there is.
TEST_P(CpuKernels, ActivatesWithinARoundingToBf16) {
  constexpr std::size_t kColumns = 4 * kLanes;
  const std::vector<cpu::Bf16> zeros(2 * kColumns * kLanes);
  const cpu::Group group{.offset = 0, .column = 0, .vectors = 4};
  std::vector<float> inputs;
  for (int i = -4000; i <= 4000; ++i) inputs.push_back(static_cast<float>(i) * 0.005f);
  for (const float each : {1e-20f, -1e-20f, 1e4f, -1e4f, 1e13f, -1e13f, 0.0f}) inputs.push_back(each);
  for (const UnitCase& each : units())
    for (const bool gated : {false, true}) {
      double worst = 0;
      const std::size_t at_once = gated ? kColumns / 2 : kColumns;
      for (std::size_t first = 0; first < inputs.size(); first += at_once) {
        const std::size_t count = std::min(at_once, inputs.size() - first);
        std::vector<float> bias(kColumns, 1.5f);  // gated: what stays is up
        for (std::size_t i = 0; i < count; ++i)
          bias[gated ? i / kLanes * 2 * kLanes + i % kLanes : i] = inputs[first + i];
        std::vector<cpu::Bf16> out(kColumns);
        kernels().product({.a = zeros.data(),
                           .lda = kLanes,
                           .rows = 1,
                           .weights = zeros.data(),
                           .groups = &group,
                           .group_count = 1,
                           .k_pairs = kLanes / 2,
                           .bias = bias.data(),
                           .unit = each.unit,
                           .gated = gated,
                           .out_bf16 = out.data(),
                           .ldo = kColumns});
        for (std::size_t i = 0; i < count; ++i) {
          const double exact = each.exact(static_cast<double>(inputs[first + i])) * (gated ? 1.5 : 1);
          const double seen = static_cast<double>(bf16_value(out[i]));
          // Half a unit in bf16's last place, and what is left of an activation that is next to nothing.
          worst = std::max(worst, std::abs(seen - exact) / (std::abs(exact) / 256 + 2e-6));
        }
      }
      EXPECT_LT(worst, 1.05) << static_cast<int>(each.unit) << (gated ? " gated" : "");
    }
}

TEST_P(CpuKernels, AddsABiasAfterTheSum) {
  constexpr std::size_t kRows = 5, kColumns = 3 * kLanes, kK = 2 * kLanes;
  std::mt19937_64 random(11);
  const auto draw = [&] { return bf16_bits(static_cast<float>(random() % 2001) / 1000 - 1); };
  std::vector<cpu::Bf16> a(kRows * kK), w(kK * kColumns);
  for (auto& each : a) each = draw();
  for (auto& each : w) each = draw();
  const auto bias = normal(kColumns, kColumns, 0, 1, 5);
  const cpu::Group group{.offset = 0, .column = 0, .vectors = 3};
  for (const cpu::Finish finish : {cpu::Finish::assign, cpu::Finish::add}) {
    auto out = normal(kRows * kColumns, kRows * kColumns, 0, 1, 6);
    std::vector<double> expected;
    for (std::size_t r = 0; r < kRows; ++r)
      for (std::size_t c = 0; c < kColumns; ++c) {
        double sum = finish == cpu::Finish::add ? static_cast<double>(out[r * kColumns + c]) : 0.0;
        for (std::size_t k = 0; k < kK; ++k)
          sum += static_cast<double>(bf16_value(a[r * kK + k])) *
                 static_cast<double>(bf16_value(w[(k / 2 * kColumns + c) * 2 + k % 2]));
        expected.push_back(sum + static_cast<double>(bias[c]));
      }
    kernels().product({.a = a.data(),
                       .lda = kK,
                       .rows = kRows,
                       .weights = w.data(),
                       .groups = &group,
                       .group_count = 1,
                       .k_pairs = kK / 2,
                       .finish = finish,
                       .bias = bias.data(),
                       .out = out.data(),
                       .ldo = kColumns});
    EXPECT_LT(normalized_error(out, expected), 1e-12);
  }
}

}  // namespace
}  // namespace sluice::engine
