// From a row of logits to a token, the way SamplingParams says; the CPU's exec/cpu/sampler.h has the order of things.
//
// A block of 1,024 threads a row; the row stays in the L2 cache, each walk over it costs 4 bytes a token. Nothing is
// sorted: top_k and top_p look for the logit at which they cut, eleven bits of it at a time, in histograms of counts
// and of probability mass. Mass is counted in fixed point (2^-40), so that atomic additions give the same sum in any
// order. The draw is by Gumbel's maximum (logit / temperature - log(-log(u))): u is keyed by (seed, choice, position,
// token) through Philox, so a row's token is a function of its logits and parameters alone.
#include <cfloat>
#include <cstdint>

#include "engine/exec/cuda/device.h"
#include "engine/exec/cuda/kernels.h"
#include "engine/exec/cuda/launch.cuh"
#include "engine/exec/cuda/ptx.cuh"

namespace sluice::engine::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr std::uint32_t kBins = 2048;
constexpr std::uint32_t kInPrompt = 1u << 31;
constexpr float kLog2E = 1.44269504088896341f;
constexpr float kGreedyBelow = 1e-5f;
constexpr double kMassUnit = 1099511627776.0;  // 2^40

struct Shared {
  std::uint64_t mass[kBins];
  std::uint32_t count[kBins];
  std::uint64_t warp_u64[kWarps];
  double warp_f64[kWarps];
  std::uint32_t warp_u32[kWarps];
  std::uint64_t above_mass;
  std::uint32_t above_count, bin;
  std::int32_t tie_bound;
};

__device__ double block_sum(double value, Shared& shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if (threadIdx.x % 32 == 0) shared.warp_f64[threadIdx.x / 32] = value;
  __syncthreads();
  double all = 0;
  for (int warp = 0; warp < kWarps; ++warp) all += shared.warp_f64[warp];
  __syncthreads();
  return all;
}

template <class Combine>
__device__ std::uint64_t block_combine(std::uint64_t value, Shared& shared, Combine combine) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value = combine(value, __shfl_xor_sync(0xffffffffu, value, offset));
  if (threadIdx.x % 32 == 0) shared.warp_u64[threadIdx.x / 32] = value;
  __syncthreads();
  std::uint64_t all = shared.warp_u64[0];
  for (int warp = 1; warp < kWarps; ++warp) all = combine(all, shared.warp_u64[warp]);
  __syncthreads();
  return all;
}
__device__ std::uint64_t block_add(std::uint64_t value, Shared& shared) {
  return block_combine(value, shared, [](std::uint64_t a, std::uint64_t b) { return a + b; });
}
__device__ std::uint64_t block_greatest(std::uint64_t value, Shared& shared) {
  return block_combine(value, shared, [](std::uint64_t a, std::uint64_t b) { return a > b ? a : b; });
}

/// Orders as the float does.
__device__ std::uint32_t key_of(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
/// Greatest for the highest key, then for the lowest id.
__device__ std::uint64_t rank_of(float score, std::uint32_t id) {
  return static_cast<std::uint64_t>(key_of(score)) << 32 | (0xffffffffu - id);
}
__device__ std::int32_t id_of(std::uint64_t rank) {
  return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(rank));
}

/// The last token kept, by rank: a logit's key, and among equal ones an id.
struct Cut {
  std::uint32_t key = 0;
  std::int32_t id = INT32_MAX;
  __device__ bool keeps(std::uint32_t other, std::int32_t other_id) const {
    return other > key || (other == key && other_id <= id);
  }
};

__device__ std::uint64_t mass_of(float logit, float maximum, float per_logit) {
  return static_cast<std::uint64_t>(exp2f((logit - maximum) * per_logit) * static_cast<float>(kMassUnit));
}

/// Where the ranked list of those that `within` keeps has reached `count_wanted` tokens (by_count) or `mass_wanted`.
__device__ Cut find_cut(const float* logits, std::uint32_t vocab, const Cut& within, bool by_count,
                        std::uint32_t count_wanted, std::uint64_t mass_wanted, float maximum, float per_logit,
                        Shared& shared) {
  constexpr std::uint32_t kShifts[3] = {21, 10, 0};
  constexpr std::uint32_t kBits[3] = {11, 11, 10};
  std::uint32_t prefix = 0;
  if (threadIdx.x == 0) shared.above_mass = 0, shared.above_count = 0;
  for (int pass = 0; pass < 3; ++pass) {
    for (std::uint32_t i = threadIdx.x; i < kBins; i += kThreads) shared.mass[i] = 0, shared.count[i] = 0;
    __syncthreads();
    for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads) {
      const float logit = logits[i];
      const std::uint32_t key = key_of(logit);
      if (pass > 0 && key >> (kShifts[pass] + kBits[pass]) != prefix) continue;
      if (!within.keeps(key, static_cast<std::int32_t>(i))) continue;
      const std::uint32_t bin = key >> kShifts[pass] & ((1u << kBits[pass]) - 1);
      atomicAdd(&shared.count[bin], 1u);
      if (!by_count)
        atomicAdd(reinterpret_cast<unsigned long long*>(&shared.mass[bin]),
                  static_cast<unsigned long long>(mass_of(logit, maximum, per_logit)));
    }
    __syncthreads();
    // Bins from the highest down, two a thread: sums up to and with each.
    const std::uint32_t high = kBins - 1 - 2 * threadIdx.x, low = high - 1;
    const std::uint64_t mass_high = shared.mass[high], mass_low = shared.mass[low];
    const std::uint32_t count_high = shared.count[high], count_low = shared.count[low];
    std::uint64_t mass = mass_high + mass_low;
    std::uint32_t count = count_high + count_low;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
      const std::uint64_t mass_before = __shfl_up_sync(0xffffffffu, mass, offset);
      const std::uint32_t count_before = __shfl_up_sync(0xffffffffu, count, offset);
      if (threadIdx.x % 32 >= static_cast<unsigned>(offset)) mass += mass_before, count += count_before;
    }
    if (threadIdx.x % 32 == 31) shared.warp_u64[threadIdx.x / 32] = mass, shared.warp_u32[threadIdx.x / 32] = count;
    const std::uint64_t above_mass = shared.above_mass;
    const std::uint32_t above_count = shared.above_count;
    if (threadIdx.x == 0) shared.bin = kBins;
    __syncthreads();
    std::uint64_t mass_at = above_mass + mass;
    std::uint32_t count_at = above_count + count;
    for (std::uint32_t warp = 0; warp < threadIdx.x / 32; ++warp)
      mass_at += shared.warp_u64[warp], count_at += shared.warp_u32[warp];
    const std::uint64_t mass_mid = mass_at - mass_low, mass_before = mass_mid - mass_high;
    const std::uint32_t count_mid = count_at - count_low, count_before = count_mid - count_high;
    const auto reached = [&](std::uint32_t c, std::uint64_t m) {
      return by_count ? c >= count_wanted : m >= mass_wanted;
    };
    if (reached(count_at, mass_at) && !reached(count_before, mass_before)) {
      const bool first = reached(count_mid, mass_mid);
      shared.bin = first ? high : low;
      shared.above_mass = first ? mass_before : mass_mid;
      shared.above_count = first ? count_before : count_mid;
    }
    __syncthreads();
    if (shared.bin == kBins) return within;  // never reached: everybody stays
    prefix = pass == 0 ? shared.bin : prefix << kBits[pass] | shared.bin;
    __syncthreads();
  }
  Cut cut;
  cut.key = prefix;
  // Of those with exactly this logit, the lowest ids, as many as are wanted still.
  std::uint32_t wanted;
  if (by_count) {
    wanted = count_wanted - shared.above_count;
  } else {
    const std::uint32_t bits = prefix ^ ((prefix >> 31) != 0 ? 0x80000000u : 0xffffffffu);
    const std::uint64_t each = max(std::uint64_t{1}, mass_of(__uint_as_float(bits), maximum, per_logit));
    wanted = static_cast<std::uint32_t>(min((mass_wanted - shared.above_mass + each - 1) / each, std::uint64_t{vocab}));
  }
  if (threadIdx.x == 0) shared.tie_bound = INT32_MAX;
  std::uint32_t met = 0;
  for (std::uint32_t base = 0; base < vocab; base += kThreads) {
    const std::uint32_t i = base + threadIdx.x;
    const bool tie = i < vocab && key_of(logits[i]) == prefix && within.keeps(prefix, static_cast<std::int32_t>(i));
    shared.count[threadIdx.x] = tie ? 1 : 0;
    const std::uint32_t here = static_cast<std::uint32_t>(__syncthreads_count(tie));
    if (met + here >= wanted) {
      if (threadIdx.x == 0) {
        std::uint32_t seen = met, at = 0;
        for (; at < kThreads; ++at) {
          seen += shared.count[at];
          if (seen >= wanted) break;
        }
        shared.tie_bound = static_cast<std::int32_t>(base + at);
      }
      break;
    }
    met += here;
    __syncthreads();
  }
  __syncthreads();
  cut.id = shared.tie_bound;
  __syncthreads();
  return cut;
}

/// Philox4x32-10, as engine/core/rng.h has it.
__device__ uint4 philox(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
    const std::uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
    counter = uint4{high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0};
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

/// -log(-log(1 - v)) of a uniform v: its small values, which make the large results, keep all their bits.
__device__ float gumbel(std::uint32_t bits) {
  const float v = (static_cast<float>(bits) + 0.5f) * 0x1p-32f;
  return -logf(-log1pf(-v));
}

__device__ std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93ull;
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93ull;
  return x ^ (x >> 32);
}

__global__ void __launch_bounds__(kThreads) draw_kernel(DrawJob job) {
  __shared__ Shared shared;
  let_kernel_after_start();
  wait_for_kernel_before();
  const StepHeader& step = *job.step;
  if (static_cast<std::int32_t>(blockIdx.x) >= step.samples) return;
  const StepSample sample = array_at<StepSample>(job.step, step.samples_at)[blockIdx.x];
  const SlotParams params = job.params[sample.slot];
  const std::uint32_t vocab = job.vocab;
  float* logits = job.logits + static_cast<std::size_t>(blockIdx.x) * job.vocab_padded;
  StepResult& result = job.results[static_cast<std::size_t>(step.ring) * job.samples_max + blockIdx.x];

  std::uint64_t hash = 0;
  if (job.hash) {
    for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads)
      hash += mixed(static_cast<std::uint64_t>(i) << 32 | __float_as_uint(logits[i]));
    hash = mixed(block_add(hash, shared) ^ vocab);
  }

  const Edit* edits = job.edits + static_cast<std::size_t>(sample.slot) * job.edits_max;
  std::uint32_t* uses = job.uses == nullptr ? nullptr : job.uses + static_cast<std::size_t>(sample.slot) * vocab;
  const bool counting = params.counting != 0 && uses != nullptr;
  if (params.edits > 0 || counting) {
    for (std::int32_t e = static_cast<std::int32_t>(threadIdx.x); e < params.edits; e += kThreads)
      if (edits[e].banned == 0) logits[edits[e].token] += edits[e].bias;
    __syncthreads();
    if (counting)
      for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads) {
        const std::uint32_t use = uses[i];
        if (use == 0) continue;
        const std::uint32_t output = use & ~kInPrompt;
        float logit = logits[i];
        logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
        logit -= params.frequency_penalty * static_cast<float>(output);
        if (output > 0) logit -= params.presence_penalty;
        logits[i] = logit;
      }
    __syncthreads();
    for (std::int32_t e = static_cast<std::int32_t>(threadIdx.x); e < params.edits; e += kThreads)
      if (edits[e].banned != 0) logits[edits[e].token] = -FLT_MAX;
    __syncthreads();
  }

  std::uint64_t best = 0;
  bool bad = false;
  for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads) {
    const float logit = logits[i];
    bad |= !isfinite(logit);
    const std::uint64_t rank = rank_of(logit, i);
    best = rank > best ? rank : best;
  }
  best = block_greatest(best, shared);
  const std::int32_t argmax = id_of(best);
  const float maximum = logits[argmax];
  const bool finite = __syncthreads_or(bad) == 0 && maximum != -FLT_MAX;
  float sum = 0;
  for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads) sum += exp2f((logits[i] - maximum) * kLog2E);
  const double log_sum = log(block_sum(static_cast<double>(sum), shared));

  std::int32_t token = argmax;
  if (finite && params.temperature >= kGreedyBelow) {
    const float per_logit = kLog2E / params.temperature;
    Cut cut;
    if (params.top_k > 0 && static_cast<std::uint32_t>(params.top_k) < vocab)
      cut = find_cut(logits, vocab, cut, true, static_cast<std::uint32_t>(params.top_k), 0, maximum, per_logit, shared);
    if (params.top_p < 1.0f) {
      std::uint64_t mass = 0;
      for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads)
        if (cut.keeps(key_of(logits[i]), static_cast<std::int32_t>(i))) mass += mass_of(logits[i], maximum, per_logit);
      mass = block_add(mass, shared);
      const auto wanted =
          static_cast<std::uint64_t>(ceil(static_cast<double>(params.top_p) * static_cast<double>(mass)));
      cut = find_cut(logits, vocab, cut, false, 0, max(std::uint64_t{1}, wanted), maximum, per_logit, shared);
    }
    const float lowest = params.min_p > 0 ? maximum + params.temperature * logf(fminf(1.0f, params.min_p)) : -FLT_MAX;
    std::uint64_t chosen = 0;
    for (std::uint32_t base = threadIdx.x * 4; base < vocab; base += kThreads * 4) {
      const uint4 bits = philox(uint4{static_cast<std::uint32_t>(sample.position), params.choice, base / 4, 1},
                                uint2{params.seed_low, params.seed_high});
      const std::uint32_t draws[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
      for (std::uint32_t e = 0; e < 4; ++e) {
        const std::uint32_t i = base + e;
        if (i >= vocab) break;
        const float logit = logits[i];
        if (logit < lowest || logit == -FLT_MAX || !cut.keeps(key_of(logit), static_cast<std::int32_t>(i))) continue;
        const std::uint64_t rank = rank_of((logit - maximum) / params.temperature + gumbel(draws[e]), i);
        chosen = rank > chosen ? rank : chosen;
      }
    }
    chosen = block_greatest(chosen, shared);
    if (chosen != 0) token = id_of(chosen);
  }

  const std::int32_t top = finite ? min(params.top_logprobs, kTopMax) : 0;
  std::uint64_t bound = ~std::uint64_t{0};
  for (std::int32_t n = 0; n < top; ++n) {
    std::uint64_t next = 0;
    for (std::uint32_t i = threadIdx.x; i < vocab; i += kThreads) {
      const std::uint64_t rank = rank_of(logits[i], i);
      if (rank < bound && rank > next) next = rank;
    }
    bound = block_greatest(next, shared);
    if (threadIdx.x == 0 && bound != 0) {
      result.top_tokens[n] = id_of(bound);
      result.top_logprobs[n] = static_cast<float>(static_cast<double>(logits[id_of(bound)]) - maximum - log_sum);
    }
  }
  if (threadIdx.x == 0) {
    if (counting && finite) ++uses[token];
    job.drawn[sample.slot] = token;
    result.slot = sample.slot;
    result.token = token;
    result.logprob = static_cast<float>(static_cast<double>(logits[token]) - maximum - log_sum);
    result.finite = finite ? 1 : 0;
    result.hash = hash;
    result.top_count = min(top, static_cast<std::int32_t>(vocab));
    __threadfence_system();
  }
}

__global__ void count_kernel(std::uint32_t* uses, const std::int32_t* tokens, std::uint32_t prompt, std::uint32_t all) {
  for (std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += gridDim.x * blockDim.x) {
    if (i < prompt)
      atomicOr(&uses[tokens[i]], kInPrompt);
    else
      atomicAdd(&uses[tokens[i]], 1u);
  }
}

}  // namespace

void draw(const Launch& launch, const DrawJob& job, std::uint32_t samples) {
  start(launch, "draw", draw_kernel, dim3(samples), dim3(kThreads), 0, job);
}

void count_uses(cudaStream_t stream, std::uint32_t* uses, std::uint32_t vocab, const std::int32_t* tokens,
                std::uint32_t prompt, std::uint32_t all) {
  check(cudaMemsetAsync(uses, 0, std::size_t{vocab} * sizeof(std::uint32_t), stream), "clearing a slot's uses");
  if (all == 0) return;
  start({stream, false}, "count_uses", count_kernel, dim3((all + 255) / 256), dim3(256), 0, uses, tokens, prompt, all);
}

}  // namespace sluice::engine::cuda
