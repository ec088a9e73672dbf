// PTX instructions that the products of few rows are made of, named by what they do.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "cuda/tensor/mma.cuh"
#include "cuda/words.cuh"

namespace mlx_native::cuda {

/// c += A B: A 16 x 16 halfs by rows, B 16 x 8 by columns, c 16 x 8. With g = lane / 4 and t = lane % 4, a lane holds
///   a[0], a[2]: row g,     columns 2 t, 2 t + 1 and 2 t + 8, 2 t + 9
///   a[1], a[3]: row g + 8, the same
///   b0, b1: column g, rows 2 t, 2 t + 1 and 2 t + 8, 2 t + 9
///   c[0], c[1]: row g, columns 2 t, 2 t + 1;   c[2], c[3]: row g + 8
template <bool kBrainFloat>
__device__ __forceinline__ void multiply_tile(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                              std::uint32_t b1) {
  if constexpr (kBrainFloat)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// The first half of it: A 16 x 8, B 8 x 8.
__device__ __forceinline__ void multiply_half_tile(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}

/// Makes the compiler have a value here.
__device__ __forceinline__ void settle(std::uint32_t& value) { asm volatile("" : "+r"(value)); }
__device__ __forceinline__ void settle(float& value) { asm volatile("" : "+f"(value)); }

/// The warp's number, of which the compiler then knows that it is the same in all lanes.
__device__ __forceinline__ std::uint32_t own_warp() { return __shfl_sync(0xffffffffu, threadIdx.x / 32, 0); }
/// The lane's number and shared memory's address, once: the compiler would make them anew from special registers.
__device__ __forceinline__ std::uint32_t own_lane() {
  std::uint32_t lane = threadIdx.x % 32;
  settle(lane);
  return lane;
}
__device__ __forceinline__ std::uint8_t* settled(const std::uint8_t* shared) {
  std::uint32_t address = shared_address(shared);
  settle(address);
  return static_cast<std::uint8_t*>(__cvta_shared_to_generic(address));
}

/// Byte i of a word, signed.
__device__ __forceinline__ int signed_byte(std::uint32_t word, int i) {
  return int(pick_bytes(word, 0, std::uint32_t(i) * 0x1111u | 0x8880u));
}

/// a b + c, where the compiler would take terms apart for other instructions, of which fewer run at a time.
__device__ __forceinline__ std::uint32_t multiply_add(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t d;
  asm("mad.lo.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// Pairs of halfs in a word, each rounded once.
__device__ __forceinline__ std::uint32_t subtract2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t d;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
__device__ __forceinline__ std::uint32_t multiply2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t d;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
  return d;
}
/// a b + c
__device__ __forceinline__ std::uint32_t multiply_add2(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint32_t d;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

/// Starts a copy of 16 bytes to shared memory, of which the first `bytes` are read and the others become zero. Both
/// addresses are multiples of 16.
__device__ __forceinline__ void copy16(std::uint8_t* shared, const std::uint8_t* global, std::uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                   static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(bytes)
               : "memory");
}
/// Ends a batch of copies of this thread.
__device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// A barrier of all threads of a cluster in two halves; before Hopper, where a cluster is one group, at once.
__device__ __forceinline__ void arrive_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void await_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}
/// Writes to where `own` lies in the shared memory of group `rank` of the cluster.
__device__ __forceinline__ void store_in_cluster(float* own, std::uint32_t rank, float x) {
#if __CUDA_ARCH__ >= 900
  std::uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(there)
      : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(own))), "r"(rank));
  asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(x) : "memory");
#else
  *own = x;
#endif
}
__device__ __forceinline__ void store_in_cluster(float* own, std::uint32_t rank, float x, float y) {
#if __CUDA_ARCH__ >= 900
  std::uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;"
      : "=r"(there)
      : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(own))), "r"(rank));
  asm volatile("st.shared::cluster.v2.f32 [%0], {%1, %2};" ::"r"(there), "f"(x), "f"(y) : "memory");
#else
  *reinterpret_cast<float2*>(own) = make_float2(x, y);
#endif
}

}  // namespace mlx_native::cuda
