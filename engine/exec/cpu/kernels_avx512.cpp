// AVX-512 with BF16 (Zen 4 and later, Cooper Lake, Sapphire Rapids and later).
#include <immintrin.h>

#include "engine/exec/cpu/kernels.h"

namespace sluice::engine::cpu {
namespace {

using Vec = __m512;
using Pairs = __m512i;
using Pair = __m512i;

constexpr std::size_t kPrefetchAhead = 4096;  // in Bf16: 8 KiB, measured
constexpr std::size_t kColumns = 4;
constexpr std::size_t kColumnsOneRow = 4;
// 32 registers: rows x columns accumulators, the columns' weights and one broadcast. 6 x 4: 24 products for 10 loads.
constexpr int rows_at_once(int columns) { return columns == 4 ? 6 : columns == 3 ? 8 : 12; }

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec maximum(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec minimum(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline float first_lane(Vec v) { return _mm512_cvtss_f32(v); }
inline float reduce_add(Vec v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
inline float reduce_max(Vec v) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

inline Pairs load_pairs(const Bf16* p) { return _mm512_loadu_si512(p); }
inline Pair splat_pair(const Bf16* p) {
  int bits;
  __builtin_memcpy(&bits, p, 4);
  return _mm512_set1_epi32(bits);
}
inline Vec dot(Vec acc, Pairs w, Pair x) { return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x); }

inline Vec load_bf16(const Bf16* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline __m256i to_bf16(Vec v) { return (__m256i)_mm512_cvtneps_pbh(v); }
inline void store_bf16(Bf16* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v)); }
inline void splice(Bf16* cells, Vec v, bool upper) {
  __m512i wide = _mm512_cvtepu16_epi32(to_bf16(v));
  if (upper) {
    const __m512i lower = _mm512_and_si512(_mm512_loadu_si512(cells), _mm512_set1_epi32(0xffff));
    wide = _mm512_or_si512(lower, _mm512_slli_epi32(wide, 16));
  }
  _mm512_storeu_si512(cells, wide);
}

/// Lanes of [begin, end) from v, the others from `other`; the first lane is number `base`.
inline Vec keep_lanes(Vec v, std::size_t begin, std::size_t end, std::size_t base, Vec other) {
  const std::uint64_t upto_end = end >= 64 ? ~0ull : (1ull << end) - 1;
  const std::uint64_t upto_begin = begin >= 64 ? ~0ull : (1ull << begin) - 1;
  return _mm512_mask_mov_ps(other, static_cast<__mmask16>((upto_end & ~upto_begin) >> base), v);
}
inline Vec zero_below(Vec v, Vec x, Vec bound) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), v);
}
/// 2^n for the integer in the low bits of 12582912 + n.
inline Vec pow2(Vec shifted) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127)), 23));
}
inline bool any_equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) != 0; }

#include "engine/exec/cpu/kernels_body.h"

constexpr Kernels kTable = table("avx512-bf16");

}  // namespace

const Kernels& avx512_kernels() { return kTable; }

}  // namespace sluice::engine::cpu
