// The kernels over a vector of 16 floats. Included once by each kernels_*.cpp, inside its unnamed namespace, after the
// file has defined for its instruction set:
//   Vec, Pairs, Pair          16 floats; 16 columns x 2 weights; 2 activations for all columns
//   zero, splat, load, store, add, sub, mul, div, fma, maximum, minimum, reduce_add, reduce_max
//   load_pairs, splat_pair, dot      acc + w.even * x.even + w.odd * x.odd, in this order on every path of one set
//   load_bf16, store_bf16, splice    bf16 to float and back (nearest even), and a value into a half of 32-bit cells
//   keep_lanes(v, begin, end, other), zero_below(v, x, bound), pow2(v), any_equal(a, b)
//   kColumns, kColumnsOneRow, rows_at_once(columns)
// No std function is called here: one instantiated with this file's machine flags could be the copy that the linker
// keeps for everybody, and then an older processor meets an illegal instruction.

inline std::size_t least(std::size_t a, std::size_t b) { return a < b ? a : b; }
inline std::size_t most(std::size_t a, std::size_t b) { return a < b ? b : a; }

// ---- products -------------------------------------------------------------------------------------------------------

/// R rows x C vectors of columns, all in registers. Strides in Bf16 (w_stride: from one pair of K to the next).
template <int R, int C>
void micro(const Bf16* a, std::size_t lda, const Bf16* w, std::size_t w_stride, std::size_t k_pairs, Finish finish,
           float* out, std::size_t ldo) {
  Vec acc[R][C];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c)
      acc[r][c] = finish == Finish::accumulate ? load(out + static_cast<std::size_t>(r) * ldo + c * kLanes) : zero();
  for (std::size_t k = 0; k < k_pairs; ++k) {
    Pairs b[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      b[c] = load_pairs(w + c * 2 * kLanes);
      // Few rows: nothing to hide the cache's latency behind, and the hardware's prefetcher stops at each 4 KiB page.
      if constexpr (R <= 4) __builtin_prefetch(w + c * 2 * kLanes + kPrefetchAhead, 0, 3);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Pair x = splat_pair(a + static_cast<std::size_t>(r) * lda + 2 * k);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = dot(acc[r][c], b[c], x);
    }
    w += w_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      float* to = out + static_cast<std::size_t>(r) * ldo + c * kLanes;
      store(to, finish == Finish::add ? add(load(to), acc[r][c]) : acc[r][c]);
    }
}

using Micro = void (*)(const Bf16*, std::size_t, const Bf16*, std::size_t, std::size_t, Finish, float*, std::size_t);

template <int C, int R = 1>
Micro micro_of(std::size_t rows) {
  if constexpr (R < rows_at_once(C)) {
    if (rows > R) return micro_of<C, R + 1>(rows);
  }
  return micro<R, C>;
}

inline Micro micro_of(std::size_t rows, std::size_t columns) {
  if constexpr (kColumnsOneRow >= 4) {
    if (columns == 4) return micro_of<4>(rows);
  }
  if constexpr (kColumnsOneRow >= 3) {
    if (columns == 3) return micro_of<3>(rows);
  }
  if constexpr (kColumnsOneRow >= 2) {
    if (columns == 2) return micro_of<2>(rows);
  }
  return micro_of<1>(rows);
}

/// Any number of rows times up to four vectors of columns.
inline void block(const Bf16* a, std::size_t lda, std::size_t rows, const Bf16* w, std::size_t w_stride,
                  std::size_t vectors, std::size_t k_pairs, Finish finish, float* out, std::size_t ldo) {
  const std::size_t columns_max = rows == 1 ? kColumnsOneRow : kColumns;
  for (std::size_t c = 0; c < vectors;) {
    const std::size_t columns = least(vectors - c, columns_max);
    const std::size_t at_once = rows_at_once(static_cast<int>(columns));
    // Even shares: 8 rows at 6 at once run as 4 + 4, which reuses each load of weights better than 6 + 2.
    const std::size_t parts = (rows + at_once - 1) / at_once;
    for (std::size_t part = 0, r = 0; part < parts; ++part) {
      const std::size_t end = rows * (part + 1) / parts;
      micro_of(end - r, columns)(a + r * lda, lda, w + c * 2 * kLanes, w_stride, k_pairs, finish,
                                 out + r * ldo + c * kLanes, ldo);
      r = end;
    }
    c += columns;
  }
}

inline Vec exp2_of(Vec x);

inline Vec silu(Vec x) {
  const Vec e = exp2_of(mul(x, splat(-1.44269504088896341f)));
  return div(x, add(splat(1.0f), e));
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), as x over 1 + e^-2u: no cancellation where tanh nears -1.
inline Vec gelu_tanh(Vec x) {
  const Vec u = mul(x, fma(mul(x, x), splat(0.044715f), splat(1.0f)));
  const Vec e = exp2_of(mul(u, splat(-2.30220819813844f)));  // -2 sqrt(2 / pi) log2(e)
  return div(x, add(splat(1.0f), e));
}

/// 0.5 x (1 + erf(x / sqrt(2))), as max(x, 0) - 0.5 |x| erfc(|x| / sqrt(2)). erfc within 1.5e-7: Abramowitz and Stegun
/// 7.1.26.
inline Vec gelu(Vec x) {
  const Vec magnitude = maximum(sub(zero(), x), x);
  const Vec t = div(splat(1.0f), fma(magnitude, splat(0.3275911f * 0.70710678f), splat(1.0f)));
  Vec p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const Vec e = exp2_of(mul(mul(x, x), splat(-0.72134752f)));  // e^-(x^2 / 2)
  const Vec tail = mul(mul(p, t), mul(e, mul(magnitude, splat(0.5f))));
  return sub(maximum(zero(), x), tail);
}

template <Unit unit>
Vec apply(Vec x) {
  if constexpr (unit == Unit::gelu) return gelu(x);
  if constexpr (unit == Unit::gelu_tanh) return gelu_tanh(x);
  return silu(x);
}

/// Up to 12 rows of one group's sums -> what the next product reads.
template <Unit unit, bool gated>
void activate(const Product& p, const Group& group, const float* tile, std::size_t first_row, std::size_t rows) {
  constexpr std::size_t kStep = gated ? 2 * kLanes : kLanes;
  const std::size_t width = std::size_t{group.vectors} * kLanes;
  const std::size_t ldo = p.ldo;  // out may alias p, for all the compiler knows
  const float* const bias = p.bias == nullptr ? nullptr : p.bias + group.column;
  Bf16* out = p.out_bf16 + first_row * ldo + (gated ? group.column / 2 : group.column);
  for (std::size_t i = 0; i < rows; ++i, out += ldo, tile += width)
    for (std::size_t v = 0; v < width; v += kStep) {
      Vec x = load(tile + v);
      if (bias != nullptr) x = add(x, load(bias + v));
      x = apply<unit>(x);
      if constexpr (gated) {
        const Vec up = load(tile + v + kLanes);
        x = mul(x, bias == nullptr ? up : add(up, load(bias + v + kLanes)));
      }
      store_bf16(out + v * kLanes / kStep, x);
    }
}

using Activate = void (*)(const Product&, const Group&, const float*, std::size_t, std::size_t);

template <bool gated>
Activate activate_of(Unit unit) {
  if (unit == Unit::gelu) return activate<Unit::gelu, gated>;
  if (unit == Unit::gelu_tanh) return activate<Unit::gelu_tanh, gated>;
  return activate<Unit::silu, gated>;
}

inline void add_bias(const Product& p, const Group& group) {
  for (std::size_t r = 0; r < p.rows; ++r)
    for (std::size_t v = 0; v < group.vectors; ++v) {
      float* to = p.out + r * p.ldo + group.column + v * kLanes;
      store(to, add(load(to), load(p.bias + group.column + v * kLanes)));
    }
}

void product(const Product& p) {
  alignas(64) float tile[12 * kGroupVectors * kLanes];
  for (std::size_t g = 0; g < p.group_count; ++g) {
    const Group group = p.groups[g];
    const Bf16* w = p.weights + group.offset;
    const std::size_t w_stride = std::size_t{group.vectors} * kLanes * 2;
    if (p.unit == Unit::none) {
      block(p.a, p.lda, p.rows, w, w_stride, group.vectors, p.k_pairs, p.finish, p.out + group.column, p.ldo);
      if (p.bias != nullptr) add_bias(p, group);
      continue;
    }
    const Activate unit = p.gated ? activate_of<true>(p.unit) : activate_of<false>(p.unit);
    const std::size_t width = std::size_t{group.vectors} * kLanes;
    const std::size_t rows_max = rows_at_once(static_cast<int>(group.vectors <= kColumns ? group.vectors : kColumns));
    const std::size_t parts = (p.rows + rows_max - 1) / rows_max;
    for (std::size_t part = 0, r = 0; part < parts; ++part) {
      const std::size_t end = p.rows * (part + 1) / parts;
      block(p.a + r * p.lda, p.lda, end - r, w, w_stride, group.vectors, p.k_pairs, Finish::assign, tile, width);
      unit(p, group, tile, r, end - r);
      r = end;
    }
  }
}

// ---- functions of vectors -------------------------------------------------------------------------------------------

/// 2^x within 2e-7 relative; 0 below 2^-126, at most 2^127; NaN stays NaN. Cephes' polynomial.
inline Vec exp2_of(Vec x) {
  const Vec clamped = minimum(splat(127.0f), maximum(splat(-126.0f), x));  // these give the second operand for NaN
  const Vec magic = splat(12582912.0f);                                    // 1.5 * 2^23: adding it rounds to an integer
  const Vec shifted = add(clamped, magic);
  const Vec f = sub(clamped, sub(shifted, magic));
  Vec p = splat(1.535336188319500e-4f);
  p = fma(p, f, splat(1.339887440266574e-3f));
  p = fma(p, f, splat(9.618437357674640e-3f));
  p = fma(p, f, splat(5.550332471162809e-2f));
  p = fma(p, f, splat(2.402264791363012e-1f));
  p = fma(p, f, splat(6.931472028550421e-1f));
  p = fma(p, f, splat(1.0f));
  return zero_below(mul(p, pow2(shifted)), x, splat(-126.0f));
}

void widen(const Bf16* in, const Bf16* more, float* out, std::size_t n) {
  for (std::size_t i = 0; i < n; i += kLanes) {
    const Vec x = load_bf16(in + i);
    store(out + i, more == nullptr ? x : add(x, load_bf16(more + i)));
  }
}

/// What an RMS norm multiplies x by.
inline Vec rms_scale(const float* x, std::size_t n, std::size_t n_padded, float eps) {
  Vec squares = zero();
  for (std::size_t i = 0; i < n_padded; i += kLanes) squares = fma(load(x + i), load(x + i), squares);
  const float mean = reduce_add(squares) / static_cast<float>(n);
  return splat(1.0f / __builtin_sqrtf(mean + eps));
}

void rms_norm(const float* x, const float* weight, Bf16* out, std::size_t n, std::size_t n_padded, float eps) {
  const Vec scale = rms_scale(x, n, n_padded, eps);
  for (std::size_t i = 0; i < n_padded; i += kLanes)
    store_bf16(out + i, mul(mul(load(x + i), scale), load(weight + i)));
}

void layer_norm(const float* x, const float* weight, const float* bias, Bf16* out, std::size_t n, std::size_t n_padded,
                float eps) {
  Vec sum = zero();
  for (std::size_t i = 0; i < n_padded; i += kLanes) sum = add(sum, load(x + i));
  const Vec mean = splat(reduce_add(sum) / static_cast<float>(n));
  Vec squares = zero();
  for (std::size_t i = 0; i < n_padded; i += kLanes) {
    const Vec off = keep_lanes(sub(load(x + i), mean), 0, least(n - i, kLanes), 0, zero());
    squares = fma(off, off, squares);
  }
  const Vec scale = splat(1.0f / __builtin_sqrtf(reduce_add(squares) / static_cast<float>(n) + eps));
  for (std::size_t i = 0; i < n_padded; i += kLanes)
    store_bf16(out + i, fma(mul(sub(load(x + i), mean), scale), load(weight + i), load(bias + i)));
}

// ---- attention ------------------------------------------------------------------------------------------------------

constexpr std::size_t kHeadDimMax = 512;

/// Norms x[dim] where there is a weight for it, and rotates it by its position's angles into out (bf16).
inline void rotate(const RopeJob& job, const float* norm, const float* x, std::size_t position, Bf16* out) {
  const std::size_t padded_dim = job.shape.dim_padded;
  alignas(64) float normed[kHeadDimMax + 2 * kLanes];
  if (norm != nullptr) {
    const Vec scale = rms_scale(x, job.shape.dim, padded_dim, job.eps);
    for (std::size_t d = 0; d < padded_dim; d += kLanes)
      store(normed + d, mul(mul(load(x + d), scale), load(norm + d)));
    for (std::size_t d = 0; d < 2 * kLanes; ++d) normed[padded_dim + d] = 0;
    x = normed;
  }
  if (job.cosines == nullptr) {
    for (std::size_t d = 0; d < padded_dim; d += kLanes) store_bf16(out + d, load(x + d));
    return;
  }
  const std::size_t half = job.turned / 2;
  alignas(64) float swapped[kHeadDimMax + 2 * kLanes];
  for (std::size_t d = 0; d < half; d += kLanes) store(swapped + d, load(x + half + d));
  for (std::size_t d = 0; d < half; d += kLanes) store(swapped + half + d, load(x + d));
  for (std::size_t d = 2 * half; d < padded_dim; ++d) swapped[d] = 0;
  const float* cosines = job.cosines + position * padded_dim;
  const float* sines = job.sines + position * padded_dim;
  for (std::size_t d = 0; d < padded_dim; d += kLanes)
    store_bf16(out + d, fma(load(swapped + d), load(sines + d), mul(load(x + d), load(cosines + d))));
}

void rope_write(const RopeJob& job, const Segment& segment, std::uint32_t kv_head) {
  const std::size_t dim = job.shape.dim_padded;
  const std::size_t group = job.shape.heads / job.shape.kv_heads;
  Bf16* keys =
      job.kv.base + static_cast<std::size_t>(segment.block) * job.kv.block_stride + kv_head * job.kv.head_stride;
  Bf16* values = keys + dim * kTileKeys;
  for (std::size_t i = 0; i < segment.rows; ++i) {
    const std::size_t row = segment.first_row + i;
    const std::size_t position = segment.position + i;
    const std::size_t key = position % kTileKeys;
    const float* x = job.qkv + row * job.ld;
    Bf16* q = job.q + (std::size_t{kv_head} * job.rows + row) * group * dim;
    for (std::size_t h = 0; h < group; ++h)
      rotate(job, job.q_norm, x + (kv_head * group + h) * dim, position, q + h * dim);

    alignas(64) Bf16 rotated[kHeadDimMax];
    rotate(job, job.k_norm, x + (job.shape.heads + kv_head) * dim, position, rotated);
    for (std::size_t d = 0; d < dim; d += 2) __builtin_memcpy(keys + d * kTileKeys + key * 2, rotated + d, 4);

    const float* v = x + (job.shape.heads + job.shape.kv_heads + kv_head) * dim;
    Bf16* cells = values + key / 2 * dim * 2;
    // An even key clears its partner: what an earlier owner of the block left there may be NaN, and 0 * NaN is not 0.
    for (std::size_t d = 0; d < dim; d += kLanes) splice(cells + d * 2, load(v + d), key % 2 == 1);
  }
}

void attention(const AttentionJob& job, const AttentionItem& item, float* scratch) {
  const std::size_t dim = job.shape.dim_padded;
  const std::size_t group = job.shape.heads / job.shape.kv_heads;
  const std::size_t rows_max = most(group, kAttentionRows);
  float* scores = scratch;                                            // [rows, 64]
  float* sums = scores + rows_max * kTileKeys;                        // [rows, dim]
  Bf16* weights = reinterpret_cast<Bf16*>(sums + rows_max * dim);     // [rows, 64]
  float* row_max = sums + rows_max * dim + rows_max * kTileKeys / 2;  // [rows]
  float* row_sum = row_max + rows_max;                                // [rows]
  const std::size_t rows = item.rows * group;
  const Bf16* q = job.q + (std::size_t{item.kv_head} * job.rows + item.first_row) * group * dim;
  const Vec minus_infinity = splat(-__builtin_inff());

  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t d = 0; d < dim; d += kLanes) store(sums + r * dim + d, zero());
    row_max[r] = -__builtin_inff();
    row_sum[r] = 0;
  }
  const std::size_t last = item.position + item.rows - 1;  // position of the last row
  const std::size_t oldest = job.window == 0 || item.position + 1 < job.window ? 0 : item.position + 1 - job.window;
  for (std::size_t tile = oldest / kTileKeys; tile <= last / kTileKeys; ++tile) {
    const std::size_t first_key = tile * kTileKeys;
    // The rows that see any key of this tile are consecutive.
    const std::size_t begin = first_key > item.position ? first_key - item.position : 0;
    const std::size_t end =
        job.window == 0 ? item.rows : least(item.rows, first_key + kTileKeys - 1 + job.window - item.position);
    const std::size_t first = begin * group;
    const std::size_t count = (end - begin) * group;
    const Bf16* keys = job.kv.base + static_cast<std::size_t>(item.blocks[tile]) * job.kv.block_stride +
                       item.kv_head * job.kv.head_stride;
    const Bf16* values = keys + dim * kTileKeys;

    block(q + first * dim, dim, count, keys, kTileKeys * 2, kTileKeys / kLanes, dim / 2, Finish::assign,
          scores + first * kTileKeys, kTileKeys);
    for (std::size_t r = first; r < first + count; ++r) {
      const std::size_t position = item.position + r / group;
      const std::size_t key_end = least(kTileKeys, position + 1 - first_key);
      const std::size_t start = job.window == 0 || position + 1 < job.window ? 0 : position + 1 - job.window;
      const std::size_t key_begin = start > first_key ? start - first_key : 0;
      const Vec scale = splat(job.scale);
      Vec s[4];
      for (std::size_t v = 0; v < 4; ++v)
        s[v] = keep_lanes(mul(load(scores + r * kTileKeys + v * kLanes), scale), key_begin, key_end, v * kLanes,
                          minus_infinity);
      const float tile_max = reduce_max(maximum(maximum(s[0], s[1]), maximum(s[2], s[3])));
      const float new_max = row_max[r] > tile_max ? row_max[r] : tile_max;
      const Vec shift = splat(new_max);
      for (std::size_t v = 0; v < 4; ++v) {
        s[v] = exp2_of(sub(s[v], shift));
        store_bf16(weights + r * kTileKeys + v * kLanes, s[v]);
      }
      const Vec keep = exp2_of(sub(splat(row_max[r]), shift));
      row_sum[r] = row_sum[r] * first_lane(keep) + reduce_add(add(add(s[0], s[1]), add(s[2], s[3])));
      if (new_max != row_max[r])
        for (std::size_t d = 0; d < dim; d += kLanes) store(sums + r * dim + d, mul(load(sums + r * dim + d), keep));
      row_max[r] = new_max;
    }
    const std::size_t pairs = (least(kTileKeys, item.position + end - first_key) + 1) / 2;
    for (std::size_t d = 0; d < dim; d += kGroupVectors * kLanes)
      block(weights + first * kTileKeys, kTileKeys, count, values + d * 2, dim * 2,
            least(kGroupVectors, (dim - d) / kLanes), pairs, Finish::accumulate, sums + first * dim + d, dim);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    const std::size_t head = item.kv_head * group + r % group;
    Bf16* out = job.out + (item.first_row + r / group) * job.ldo + head * dim;
    const Vec scale = splat(1.0f / row_sum[r]);
    // + 0: a sum of nothing but underflow is -0 or +0 by how many masked keys shared its walk; from here on it is +0.
    for (std::size_t d = 0; d < dim; d += kLanes)
      store_bf16(out + d, add(mul(load(sums + r * dim + d), scale), zero()));
  }
}

// ---- logits ---------------------------------------------------------------------------------------------------------

void logit_stats(const float* logits, std::size_t n, LogitStats* out) {
  Vec top = splat(-__builtin_inff());
  Vec poison = zero();  // x * 0 is NaN when x is not finite
  for (std::size_t i = 0; i < n; i += kLanes) {
    const Vec x = load(logits + i);
    top = maximum(top, x);
    poison = fma(x, zero(), poison);
  }
  const float bad = reduce_add(poison);
  out->finite = bad == bad;
  out->maximum = reduce_max(top);
  out->argmax = 0;
  for (std::size_t i = 0; i < n; i += kLanes) {
    if (!any_equal(load(logits + i), splat(out->maximum))) continue;
    while (logits[i] != out->maximum) ++i;
    out->argmax = static_cast<std::int32_t>(i);
    break;
  }
  Vec sum = zero();
  for (std::size_t i = 0; i < n; i += kLanes)
    sum = add(sum, exp2_of(mul(sub(load(logits + i), splat(out->maximum)), splat(1.44269504088896341f))));
  out->exp_sum = reduce_add(sum);
}

void exps(const float* logits, std::size_t n, float maximum_logit, float scale, float* out, float* block_sums) {
  for (std::size_t begin = 0; begin < n; begin += kExpBlock) {
    Vec sum = zero();
    for (std::size_t i = begin; i < least(n, begin + kExpBlock); i += kLanes) {
      const Vec e = exp2_of(mul(sub(load(logits + i), splat(maximum_logit)), splat(scale)));
      store(out + i, e);
      sum = add(sum, e);
    }
    block_sums[begin / kExpBlock] = reduce_add(sum);
  }
}

// ---- roofs ----------------------------------------------------------------------------------------------------------

double products_in_registers(std::size_t rounds, float* seed) {
  constexpr int chains = 3 * rows_at_once(1) <= 12 ? 3 * rows_at_once(1) : 12;
  alignas(64) Bf16 cells[2 * kLanes];
  for (std::size_t i = 0; i < 2 * kLanes; ++i) cells[i] = static_cast<Bf16>(0x3c00 + i);
  const Pairs w = load_pairs(cells);
  const Pair x = splat_pair(cells);
  Vec acc[chains];
  for (int i = 0; i < chains; ++i) acc[i] = splat(*seed);
  for (std::size_t round = 0; round < rounds; ++round)
    for (int i = 0; i < chains; ++i) acc[i] = dot(acc[i], w, x);
  for (int i = 1; i < chains; ++i) acc[0] = add(acc[0], acc[i]);
  *seed = reduce_add(acc[0]);
  return static_cast<double>(rounds) * chains * kLanes * 4;
}

float read_all(const float* values, std::size_t n) {
  Vec top[16];
  for (int v = 0; v < 16; ++v) top[v] = zero();
  for (std::size_t i = 0; i < n; i += 16 * kLanes)
    for (int v = 0; v < 16; ++v) top[v] = maximum(top[v], load(values + i + static_cast<std::size_t>(v) * kLanes));
  for (int v = 1; v < 16; ++v) top[0] = maximum(top[0], top[v]);
  return reduce_max(top[0]);
}

constexpr Kernels table(const char* name) {
  return {name,       product,   widen,       rms_norm, layer_norm,
          rope_write, attention, logit_stats, exps,     products_in_registers,
          read_all};
}
