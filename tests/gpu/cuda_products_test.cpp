// The step's products: the own kernel against double precision and against itself, and cuBLASLt's algorithms against
// it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

#include "engine/exec/cuda/products.h"
#include "tests/gpu/cuda_model.h"

namespace sluice::engine::cuda {
namespace {

using test::bf16_value;
using test::normalized_error;

constexpr std::uint32_t kRows = 384;  // what 300 rows are padded to

struct Shape {
  std::uint32_t n, k;
  bool gated;  // n may be eight gates and eight ups in turn
};

// An 8-billion model's, then small ones: n a multiple of 16, k of 64 but not of 128.
constexpr Shape kShapes[] = {{6144, 4096, false}, {4096, 14336, false}, {28672, 4096, true}, {16, 64, true},
                             {48, 192, true},     {272, 320, true},     {1008, 704, true},   {320, 64, false}};

std::size_t element_of(ProductOut kind) { return kind == ProductOut::add || kind == ProductOut::fp32 ? 4 : 2; }
std::uint32_t width_of(const Shape& shape, ProductOut kind) {
  return kind == ProductOut::gated ? shape.n / 2 : shape.n;
}

std::vector<ProductOut> kinds_of(const Shape& shape) {
  std::vector<ProductOut> kinds = {ProductOut::bf16, ProductOut::add, ProductOut::fp32};
  if (shape.gated) kinds.push_back(ProductOut::gated);
  return kinds;
}

/// Device memory for one shape, and the ways to compute its product.
struct Bench {
  explicit Bench(const Shape& of, bool own_only = true)
      : shape(of),
        products(ProductsOptions{.multiprocessors = multiprocessors(), .own_only = own_only}),
        weights(std::size_t{of.n} * of.k, "test"),
        rows(std::size_t{kRows} * of.k, "test"),
        others(std::size_t{kRows} * of.k, "test"),
        expected(std::size_t{kRows} * of.n * 4, "test"),
        seen(std::size_t{kRows} * of.n * 4, "test"),
        gate_up(std::size_t{kRows} * of.n * 2, "test"),
        count(1, "test"),
        w(products.matrix(weights.data(), of.n, of.k)),
        a(products.rows_buffer(rows.data(), kRows, of.k)),
        b(products.rows_buffer(others.data(), kRows, of.k)) {
    fill(1);
  }
  static std::uint32_t multiprocessors() {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0), "test");
    return static_cast<std::uint32_t>(value);
  }
  void fill(std::uint64_t seed) {
    fill_random(nullptr, weights.data(), 1, weights.size(), weights.size(), 0.05f, seed << 40);
    fill_random(nullptr, rows.data(), 1, rows.size(), rows.size(), 1.0f, (seed + 100) << 40);
  }
  /// What `add` adds to: the same numbers in every row, so that a row may be compared at another place. Else: rubbish.
  void prepare(Block<unsigned char>& out, ProductOut kind) {
    if (kind != ProductOut::add) return check(cudaMemsetAsync(out.data(), 0xee, out.bytes(), nullptr), "test");
    const std::size_t row_bytes = std::size_t{shape.n} * 4;
    fill_random(nullptr, out.data(), 1, row_bytes / 2, row_bytes / 2, 1.0f, 7);
    for (std::uint32_t done = 1; done < kRows;) {
      const std::uint32_t more = std::min(done, kRows - done);
      check(cudaMemcpyAsync(out.data() + done * row_bytes, out.data(), more * row_bytes, cudaMemcpyDeviceToDevice,
                            nullptr),
            "test");
      done += more;
    }
  }
  void run(Products& with, const RowsBuffer& from, std::uint32_t count_of_rows, ProductOut kind,
           Block<unsigned char>& out) {
    with.run(Launch{nullptr, false}, w, from, count_of_rows, kind, out.data(), width_of(shape, kind), gate_up.data());
  }
  /// Elements of `seen` that are not those of `expected` from `first` on.
  std::uint32_t differences(std::uint32_t first, std::uint32_t count_of_rows, ProductOut kind) {
    const std::uint32_t width = width_of(shape, kind);
    check(cudaMemsetAsync(count.data(), 0, sizeof(std::uint32_t), nullptr), "test");
    count_differences(nullptr, expected.data() + std::size_t{first} * width * element_of(kind), width, seen.data(),
                      width, count_of_rows, width, static_cast<std::uint32_t>(element_of(kind)), count.data());
    std::uint32_t different = 0;
    check(cudaMemcpy(&different, count.data(), sizeof different, cudaMemcpyDeviceToHost), "test");
    return different;
  }

  Shape shape;
  Products products;
  Block<std::uint16_t> weights, rows, others;
  Block<unsigned char> expected, seen, gate_up;
  Block<std::uint32_t> count;
  Matrix w;
  RowsBuffer a, b;
};

template <class T>
std::vector<T> fetch(const void* from, std::size_t count) {
  std::vector<T> values(count);
  check(cudaMemcpy(values.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost), "test");
  return values;
}

TEST(CudaProducts, TheOwnKernelIsThatOfDoublePrecision) {
  SLUICE_NEEDS_GPU();
  for (const Shape& shape : {Shape{272, 320, true}, Shape{16, 64, true}, Shape{1008, 704, true}}) {
    Bench bench(shape);
    constexpr std::uint32_t kSome = 37;
    const auto w = fetch<std::uint16_t>(bench.weights.data(), bench.weights.size());
    const auto a = fetch<std::uint16_t>(bench.rows.data(), std::size_t{kSome} * shape.k);
    std::vector<double> exact;
    for (std::size_t row = 0; row < kSome; ++row)
      for (std::size_t column = 0; column < shape.n; ++column) {
        double sum = 0;
        for (std::size_t i = 0; i < shape.k; ++i)
          sum += static_cast<double>(bf16_value(a[row * shape.k + i])) *
                 static_cast<double>(bf16_value(w[column * shape.k + i]));
        exact.push_back(sum);
      }
    bench.run(bench.products, bench.a, kSome, ProductOut::fp32, bench.seen);
    const double plain = normalized_error(fetch<float>(bench.seen.data(), exact.size()), exact);
    EXPECT_LE(plain, 1e-5);
    bench.prepare(bench.seen, ProductOut::add);
    const auto before = fetch<float>(bench.seen.data(), exact.size());
    bench.run(bench.products, bench.a, kSome, ProductOut::add, bench.seen);
    std::vector<double> added = exact;
    for (std::size_t i = 0; i < added.size(); ++i) added[i] += static_cast<double>(before[i]);
    EXPECT_LE(normalized_error(fetch<float>(bench.seen.data(), exact.size()), added), 1e-5);
    bench.run(bench.products, bench.a, kSome, ProductOut::bf16, bench.seen);
    const auto rounded = fetch<std::uint16_t>(bench.seen.data(), exact.size());
    std::vector<float> wide;
    for (const std::uint16_t bits : rounded) wide.push_back(bf16_value(bits));
    EXPECT_LE(normalized_error(wide, exact), 1e-5);
    bench.run(bench.products, bench.a, kSome, ProductOut::gated, bench.seen);
    std::vector<double> gated;
    for (std::size_t row = 0; row < kSome; ++row)
      for (std::size_t column = 0; column < shape.n / 2; ++column) {
        const double* at = exact.data() + row * shape.n + column / 8 * 16 + column % 8;
        gated.push_back(at[0] / (1 + std::exp(-at[0])) * at[8]);
      }
    const auto activated = fetch<std::uint16_t>(bench.seen.data(), gated.size());
    wide.clear();
    for (const std::uint16_t bits : activated) wide.push_back(bf16_value(bits));
    EXPECT_LE(normalized_error(wide, gated), 3e-5);  // three roundings to bf16
    std::printf("%u x %u: NMSE %.1e\n", shape.n, shape.k, plain);
  }
}

TEST(CudaProducts, ARowDoesNotDependOnTheOthersNorOnItsPlace) {
  SLUICE_NEEDS_GPU();
  for (const Shape& shape : kShapes) {
    Bench bench(shape);
    const std::size_t row_bytes = std::size_t{shape.k} * 2;
    for (const ProductOut kind : kinds_of(shape)) {
      bench.prepare(bench.expected, kind);
      bench.run(bench.products, bench.a, kRows, kind, bench.expected);
      for (const std::uint32_t rows :
           {1u, 2u, 7u, 8u, 9u, 16u, 17u, 31u, 33u, 64u, 65u, 100u, 128u, 129u, 200u, 256u, 300u}) {
        for (const std::uint32_t first : {0u, 37u, 83u}) {
          // Behind the rows that are asked for lies what must not be looked at: NaN.
          check(cudaMemsetAsync(bench.others.data(), 0xff, bench.others.bytes(), nullptr), "test");
          check(cudaMemcpyAsync(bench.others.data(), bench.rows.data() + std::size_t{first} * shape.k, rows * row_bytes,
                                cudaMemcpyDeviceToDevice, nullptr),
                "test");
          bench.prepare(bench.seen, kind);
          bench.run(bench.products, bench.b, rows, kind, bench.seen);
          ASSERT_EQ(bench.differences(first, rows, kind), 0u)
              << shape.n << " x " << shape.k << ", kind " << static_cast<int>(kind) << ", " << rows << " rows from "
              << first;
        }
      }
    }
  }
}

TEST(CudaProducts, WhatIsAdmittedOfCublasLtHasTheOwnKernelsBits) {
  SLUICE_NEEDS_GPU();
  constexpr std::size_t kWorkspace = std::size_t{64} << 20;
  Block<unsigned char> workspace(kWorkspace, "test");
  const auto blas = Blas::open(workspace.data(), workspace.bytes());
  if (blas == nullptr) GTEST_SKIP() << "cuBLASLt cannot be opened here";
  std::size_t tried_in_all = 0, admitted_in_all = 0;
  for (const Shape& shape : kShapes) {
    Bench bench(shape);
    std::size_t tried = 0, refused = 0, failed = 0;
    for (const ProductOut kind : {ProductOut::bf16, ProductOut::add, ProductOut::fp32}) {
      struct Candidate {
        std::uint32_t rows;
        std::shared_ptr<BlasPlan> plan;
      };
      std::vector<Candidate> admitted;
      for (const std::uint32_t rows : {8u, 16u, 64u, 96u, 128u, 192u, 256u, 384u})
        for (auto& plan : blas->plans({.n = shape.n,
                          .k = shape.k,
                          .rows = rows,
                          .out_stride = shape.n,
                          .fp32 = element_of(kind) == 4,
                          .add = kind == ProductOut::add},
                                      12))
          admitted.push_back({rows, std::move(plan)});
      tried += admitted.size();
      // The first numbers decide who is admitted, as in Products::tune; the others must agree.
      for (const std::uint64_t seed : {1u, 2u, 3u}) {
        bench.fill(seed);
        bench.prepare(bench.expected, kind);
        bench.run(bench.products, bench.a, kRows, kind, bench.expected);
        std::erase_if(admitted, [&](const Candidate& candidate) {
          bench.prepare(bench.seen, kind);
          if (!blas->run(*candidate.plan, bench.rows.data(), bench.weights.data(), bench.seen.data(), nullptr)) {
            ++failed;
            return true;
          }
          const std::uint32_t different = bench.differences(0, candidate.rows, kind);
          if (seed == 1) {
            refused += different == 0 ? 0 : 1;
            return different != 0;
          }
          EXPECT_EQ(different, 0u) << shape.n << " x " << shape.k << ", kind " << static_cast<int>(kind) << ", "
                                   << candidate.rows << " rows, numbers " << seed;
          return false;
        });
      }
    }
    std::printf("%u x %u: %zu candidates of cuBLASLt's, %zu refused, %zu could not run\n", shape.n, shape.k, tried,
                refused, failed);
    tried_in_all += tried;
    admitted_in_all += tried - refused - failed;
  }
  std::printf("%zu of %zu candidates admitted\n", admitted_in_all, tried_in_all);
  EXPECT_GT(admitted_in_all, 0u) << "cuBLASLt is never used";
}

TEST(CudaProducts, TuningChangesNoBit) {
  SLUICE_NEEDS_GPU();
  for (const Shape& shape : kShapes) {
    // Of the large ones what their model asks for: to choose takes time.
    std::vector<ProductOut> kinds = kinds_of(shape);
    if (shape.n >= 4096)
      kinds = {shape.gated ? ProductOut::gated : shape.k > 4096 ? ProductOut::add : ProductOut::bf16};
    Bench bench(shape, false);
    if (!bench.products.has_blas()) GTEST_SKIP() << "cuBLASLt cannot be opened here";
    Products own(ProductsOptions{.multiprocessors = Bench::multiprocessors(), .own_only = true});
    for (const ProductOut kind : kinds) {
      bench.products.tune({&bench.w}, bench.a, kind, width_of(shape, kind), bench.seen.data(), bench.expected.data(),
                          300, nullptr);
      bench.fill(5);
      for (const std::uint32_t rows : {1u, 8u, 13u, 60u, 65u, 100u, 130u, 250u, 300u}) {
        bench.prepare(bench.expected, kind);
        bench.run(own, bench.a, rows, kind, bench.expected);
        bench.prepare(bench.seen, kind);
        bench.run(bench.products, bench.a, rows, kind, bench.seen);
        EXPECT_EQ(bench.differences(0, rows, kind), 0u)
            << shape.n << " x " << shape.k << ", kind " << static_cast<int>(kind) << ", " << rows << " rows";
      }
    }
    for (const std::string& note : bench.products.notes()) std::printf("%s\n", note.c_str());
    std::printf("%u x %u: %u of %u candidates refused\n", shape.n, shape.k, bench.products.candidates_refused(),
                bench.products.candidates_tried());
  }
}

}  // namespace
}  // namespace sluice::engine::cuda
