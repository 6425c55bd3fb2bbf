// Plain C++ for any processor: the compiler's own vectors, so that even the base instruction set works four floats at a
// time.
#include "engine/exec/cpu/kernels.h"

namespace sluice::engine::cpu {
namespace {

typedef float Floats __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));
typedef std::uint32_t Bits __attribute__((vector_size(64)));

struct Vec {  // a struct: vectors wider than the machine's are passed as values of a class, whatever the calling
              // convention
  Floats f;
};
struct Pairs {
  Bits cells;
};
struct Pair {
  float even, odd;
};

constexpr std::size_t kPrefetchAhead = 1024;  // in Bf16
constexpr std::size_t kColumns = 1;
constexpr std::size_t kColumnsOneRow = 1;
constexpr int rows_at_once(int) { return 2; }

inline float as_float(std::uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

inline Vec zero() { return {Floats{}}; }
inline Vec splat(float x) { return {Floats{} + x}; }
inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, 64);
  return v;
}
inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, 64); }
inline Vec add(Vec a, Vec b) { return {a.f + b.f}; }
inline Vec sub(Vec a, Vec b) { return {a.f - b.f}; }
inline Vec mul(Vec a, Vec b) { return {a.f * b.f}; }
inline Vec div(Vec a, Vec b) { return {a.f / b.f}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {a.f * b.f + c.f}; }  // two roundings: not every processor has the one
inline Vec maximum(Vec a, Vec b) { return {a.f > b.f ? a.f : b.f}; }
inline Vec minimum(Vec a, Vec b) { return {a.f < b.f ? a.f : b.f}; }
inline float first_lane(Vec v) { return v.f[0]; }
inline float reduce_add(Vec v) {
  float s[8];
  for (int i = 0; i < 8; ++i) s[i] = v.f[i] + v.f[i + 8];
  for (int i = 0; i < 4; ++i) s[i] += s[i + 4];
  return (s[0] + s[2]) + (s[1] + s[3]);
}
inline float reduce_max(Vec v) {
  float top = v.f[0];
  for (int i = 1; i < 16; ++i) top = v.f[i] > top ? v.f[i] : top;
  return top;
}

inline Pairs load_pairs(const Bf16* p) {
  Pairs w;
  __builtin_memcpy(&w, p, 64);
  return w;
}
inline Pair splat_pair(const Bf16* p) {
  return {as_float(std::uint32_t{p[0]} << 16), as_float(std::uint32_t{p[1]} << 16)};
}
inline Vec dot(Vec acc, Pairs w, Pair x) {
  acc.f = acc.f + reinterpret_cast<Floats>(w.cells << 16) * x.even;
  acc.f = acc.f + reinterpret_cast<Floats>(w.cells & 0xffff0000u) * x.odd;
  return acc;
}

inline Vec load_bf16(const Bf16* p) {
  Vec v;
  for (int i = 0; i < 16; ++i) v.f[i] = as_float(std::uint32_t{p[i]} << 16);
  return v;
}
/// Nearest even in the lower half of each cell; NaN stays a (quiet) NaN.
inline Bits round_bf16(Vec v) {
  const Bits bits = reinterpret_cast<Bits>(v.f);
  const Bits rounded = (bits + ((bits >> 16 & 1u) + 0x7fffu)) >> 16;
  return (v.f == v.f) ? rounded : Bits{} + 0x7fc0u;
}
inline void store_bf16(Bf16* p, Vec v) {
  const Bits cells = round_bf16(v);
  for (int i = 0; i < 16; ++i) p[i] = static_cast<Bf16>(cells[i]);
}
inline void splice(Bf16* cells, Vec v, bool upper) {
  const Bits rounded = round_bf16(v);
  for (int i = 0; i < 16; ++i) {
    if (!upper) cells[2 * i] = 0, cells[2 * i + 1] = 0;
    cells[2 * i + (upper ? 1 : 0)] = static_cast<Bf16>(rounded[i]);
  }
}

/// Lanes of [begin, end) from v, the others from `other`; the first lane is number `base`.
inline Vec keep_lanes(Vec v, std::size_t begin, std::size_t end, std::size_t base, Vec other) {
  for (std::size_t i = 0; i < kLanes; ++i)
    if (base + i < begin || base + i >= end) v.f[i] = other.f[i];
  return v;
}
inline Vec zero_below(Vec v, Vec x, Vec bound) { return {x.f < bound.f ? Floats{} : v.f}; }
/// 2^n for the integer in the low bits of 12582912 + n.
inline Vec pow2(Vec shifted) { return {reinterpret_cast<Floats>((reinterpret_cast<Bits>(shifted.f) + 127u) << 23)}; }
inline bool any_equal(Vec a, Vec b) {
  const Ints equal = a.f == b.f;
  std::int32_t any = 0;
  for (int i = 0; i < 16; ++i) any |= equal[i];
  return any != 0;
}

#include "engine/exec/cpu/kernels_body.h"

constexpr Kernels kTable = table("portable");

}  // namespace

const Kernels& portable_kernels() { return kTable; }

}  // namespace sluice::engine::cpu
