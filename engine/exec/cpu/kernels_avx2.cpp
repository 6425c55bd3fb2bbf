// AVX2 with FMA (Haswell, Zen and later). A bf16 becomes a float by a shift or a mask, so pairs cost two FMAs.
#include <immintrin.h>

#include "engine/exec/cpu/kernels.h"

namespace sluice::engine::cpu {
namespace {

struct Vec {
  __m256 low, high;
};
struct Pairs {
  __m256 even_low, even_high, odd_low, odd_high;
};
struct Pair {
  __m256 even, odd;
};

constexpr std::size_t kPrefetchAhead = 4096;  // in Bf16: 8 KiB, measured
constexpr std::size_t kColumns = 1;
constexpr std::size_t kColumnsOneRow = 4;
// 16 registers: a column of 16 is two of them; weights take four, the broadcast pair two.
constexpr int rows_at_once(int columns) { return columns == 1 ? 4 : 1; }

inline Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Vec splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, Vec v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
inline Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Vec maximum(Vec a, Vec b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Vec minimum(Vec a, Vec b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline float first_lane(Vec v) { return _mm256_cvtss_f32(v.low); }
inline float reduce_add(Vec v) {
  const __m256 half = _mm256_add_ps(v.low, v.high);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
inline float reduce_max(Vec v) {
  const __m256 half = _mm256_max_ps(v.low, v.high);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

inline __m256i load_cells(const Bf16* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256 even_of(__m256i cells) { return _mm256_castsi256_ps(_mm256_slli_epi32(cells, 16)); }
inline __m256 odd_of(__m256i cells) {
  return _mm256_castsi256_ps(_mm256_and_si256(cells, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
inline Pairs load_pairs(const Bf16* p) {
  const __m256i low = load_cells(p);
  const __m256i high = load_cells(p + 16);
  return {even_of(low), even_of(high), odd_of(low), odd_of(high)};
}
inline Pair splat_pair(const Bf16* p) {
  int bits;
  __builtin_memcpy(&bits, p, 4);
  const __m256i cells = _mm256_set1_epi32(bits);
  return {even_of(cells), odd_of(cells)};
}
inline Vec dot(Vec acc, Pairs w, Pair x) {
  acc.low = _mm256_fmadd_ps(w.even_low, x.even, acc.low);
  acc.high = _mm256_fmadd_ps(w.even_high, x.even, acc.high);
  acc.low = _mm256_fmadd_ps(w.odd_low, x.odd, acc.low);
  acc.high = _mm256_fmadd_ps(w.odd_high, x.odd, acc.high);
  return acc;
}

inline __m256 widen8(const Bf16* p) {
  return even_of(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Vec load_bf16(const Bf16* p) { return {widen8(p), widen8(p + 8)}; }
/// Nearest even in the lower half of each cell; NaN stays a (quiet) NaN.
inline __m256i round8(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan);
}
inline void store_bf16(Bf16* p, Vec v) {
  const __m256i mixed = _mm256_packus_epi32(round8(v.low), round8(v.high));  // packs within halves
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
}
inline void splice8(Bf16* cells, __m256 v, bool upper) {
  __m256i wide = round8(v);
  if (upper) {
    const __m256i lower = _mm256_and_si256(load_cells(cells), _mm256_set1_epi32(0xffff));
    wide = _mm256_or_si256(lower, _mm256_slli_epi32(wide, 16));
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(cells), wide);
}
inline void splice(Bf16* cells, Vec v, bool upper) {
  splice8(cells, v.low, upper);
  splice8(cells + 16, v.high, upper);
}

inline __m256 keep8(__m256 v, int begin, int end, int base, __m256 other) {
  const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(base));
  const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane);
  const __m256i inside = _mm256_andnot_si256(below, _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
  return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(inside));
}
/// Lanes of [begin, end) from v, the others from `other`; the first lane is number `base`.
inline Vec keep_lanes(Vec v, std::size_t begin, std::size_t end, std::size_t base, Vec other) {
  const int b = static_cast<int>(begin), e = static_cast<int>(end), first = static_cast<int>(base);
  return {keep8(v.low, b, e, first, other.low), keep8(v.high, b, e, first + 8, other.high)};
}
inline Vec zero_below(Vec v, Vec x, Vec bound) {
  return {_mm256_and_ps(v.low, _mm256_cmp_ps(x.low, bound.low, _CMP_NLT_UQ)),
          _mm256_and_ps(v.high, _mm256_cmp_ps(x.high, bound.high, _CMP_NLT_UQ))};
}
inline __m256 pow2_8(__m256 shifted) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127)), 23));
}
/// 2^n for the integer in the low bits of 12582912 + n.
inline Vec pow2(Vec shifted) { return {pow2_8(shifted.low), pow2_8(shifted.high)}; }
inline bool any_equal(Vec a, Vec b) {
  return _mm256_movemask_ps(
             _mm256_or_ps(_mm256_cmp_ps(a.low, b.low, _CMP_EQ_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_EQ_OQ))) != 0;
}

#include "engine/exec/cpu/kernels_body.h"

constexpr Kernels kTable = table("avx2");

}  // namespace

const Kernels& avx2_kernels() { return kTable; }

}  // namespace sluice::engine::cpu
