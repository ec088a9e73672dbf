// The instructions of the tensor cores' older form, and of asynchronous copies.
#pragma once

#include <cstdint>

namespace mlx_native::cuda {

/// c += a * b with a 16 x 16 and b 16 x 8 of f16, c 16 x 8 of f32. Lane 4 g + t holds a of rows g, g + 8, g, g + 8 and
/// columns 2 t, 2 t, 2 t + 8, 2 t + 8 (each with the next one), b of column g and rows 2 t and 2 t + 8, and c of row g,
/// columns 2 t and 2 t + 1, then of row g + 8.
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

/// 16 bytes to shared memory, past L1; of them `bytes` are read, the others become 0.
__device__ __forceinline__ void copy_16(void* to, const void* from, uint32_t bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Until at most kPending of the thread's latest groups of copies are under way.
template <int kPending>
__device__ __forceinline__ void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace mlx_native::cuda
