// The few machine instructions that CUDA C++ has no words for, one function each. Device code only; sm_80 and newer,
// bulk copies and mbarriers sm_90 and newer. Names and semantics: PTX ISA 9.0.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace sluice::engine::cuda {

using Bf16 = __nv_bfloat16;

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- tensor cores ---------------------------------------------------------------------------------------------------

/// d += a (16 x 16, rows) * b (16 x 8, columns), fp32 accumulator: one ascending k16 step of the numerics contract.
__device__ __forceinline__ void mma_16816(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                          std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 x 8 matrices of bf16; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrix_x2_transposed(std::uint32_t& r0, std::uint32_t& r1, std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r0), "=r"(r1)
               : "r"(address)
               : "memory");
}

// ---- warpgroup products (sm_90a alone) ------------------------------------------------------------------------------

/// Describes an operand in shared memory with the 128-byte swizzle; `leading` is the distance of blocks of 64 elements
/// along the operand's own dimension (only for operands that run along it), `stride` that of groups of 8 rows.
__device__ __forceinline__ std::uint64_t operand(std::uint32_t address, std::uint32_t leading, std::uint32_t stride) {
  return static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) | static_cast<std::uint64_t>(leading >> 4) << 16 |
         static_cast<std::uint64_t>(stride >> 4) << 32 | std::uint64_t{1} << 62;
}
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ __forceinline__ void warpgroup_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void warpgroup_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

#define SLUICE_D4(d, n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define SLUICE_D32(d)                                                                                   \
  SLUICE_D4(d, 0), SLUICE_D4(d, 1), SLUICE_D4(d, 2), SLUICE_D4(d, 3), SLUICE_D4(d, 4), SLUICE_D4(d, 5), \
      SLUICE_D4(d, 6), SLUICE_D4(d, 7)

/// d[64, 64] (+)= a[64, 16] * b[64, 16]^T, both in shared memory with k contiguous; d as eight n8 tiles of mma_16816.
__device__ __forceinline__ void wgmma_64_64(float (&d)[8][4], std::uint64_t a, std::uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%"
      "30,%31}, "
      "%32, %33, p, 1, 1, 0, 0;\n}\n"
      : SLUICE_D32(d)
      : "l"(a), "l"(b), "r"(add));
}
/// d[64, 64] += a[64, 16] * b[16, 64]; a in registers as for mma_16816, b in shared memory with its columns contiguous.
__device__ __forceinline__ void wgmma_values(float (&d)[8][4], const std::uint32_t (&a)[4], std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%"
      "30,%31}, "
      "{%32,%33,%34,%35}, %36, 1, 1, 1, 1;\n"
      : SLUICE_D32(d)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
/// The same for 128 columns.
__device__ __forceinline__ void wgmma_values(float (&d)[16][4], const std::uint32_t (&a)[4], std::uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%"
      "30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,"
      "%60,%61,"
      "%62,%63}, "
      "{%64,%65,%66,%67}, %68, 1, 1, 1, 1;\n"
      : SLUICE_D32(d), SLUICE_D4(d, 8), SLUICE_D4(d, 9), SLUICE_D4(d, 10), SLUICE_D4(d, 11), SLUICE_D4(d, 12),
        SLUICE_D4(d, 13), SLUICE_D4(d, 14), SLUICE_D4(d, 15)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef SLUICE_D32
#undef SLUICE_D4
#endif

// ---- mbarriers and bulk copies --------------------------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(std::uint32_t barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// After barrier_init, before anybody uses the barriers: makes them known to the copy engine.
__device__ __forceinline__ void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_arrive_expect(std::uint32_t barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// `bytes` (a multiple of 16) from global to shared memory; completes on the barrier.
__device__ __forceinline__ void bulk_copy(std::uint32_t to, const void* from, std::uint32_t bytes,
                                          std::uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
/// A box of a three-dimensional tensor map: rows from `row`, boxes of 64 columns from `box`.
__device__ __forceinline__ void tensor_copy(std::uint32_t to, const void* map, int row, int box,
                                            std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {0, %2, %3}], [%4];" ::
          "r"(to),
      "l"(map), "r"(row), "r"(box), "r"(barrier)
      : "memory");
}
/// The same for what is read once: it need not push other data out of the L2 cache.
__device__ __forceinline__ void tensor_copy_streaming(std::uint32_t to, const void* map, int row, int box,
                                                      std::uint32_t barrier) {
  constexpr std::uint64_t kEvictFirst = 0x12F0000000000000ull;
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {0, %2, "
      "%3}], "
      "[%4], %5;" ::"r"(to),
      "l"(map), "r"(row), "r"(box), "r"(barrier), "l"(kEvictFirst)
      : "memory");
}
__device__ __forceinline__ void tensor_map_prefetch(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// ---- dependent launches ---------------------------------------------------------------------------------------------

/// Waits until the kernel before has ended and what it wrote can be seen. Every kernel of a step calls it before it
/// reads or writes anything that a step changes.
__device__ __forceinline__ void wait_for_kernel_before() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
/// The kernel after may start its blocks (and what it does before wait_for_kernel_before()) from here on.
__device__ __forceinline__ void let_kernel_after_start() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

/// What threads wrote to shared memory by ordinary stores may be read by wgmma and the copy engine after the next
/// barrier.
__device__ __forceinline__ void fence_for_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// 2^x, the hardware's approximation (2 ulp): the same on every path of the contract.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&both);
}

}  // namespace sluice::engine::cuda
