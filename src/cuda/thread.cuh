#pragma once

#include <cstdint>

namespace mlx_native::cuda {

/// The thread context of gpu/kernels. Contracts: emulator/thread.h.
struct Thread {
  static constexpr unsigned kAllLanes = 0xffffffffu;

  __device__ std::uint32_t thread_in_group() const { return threadIdx.x; }
  __device__ std::uint32_t threads_in_group() const { return blockDim.x; }
  __device__ std::uint32_t lane() const { return threadIdx.x % 32; }
  __device__ std::uint32_t simdgroup() const { return threadIdx.x / 32; }
  __device__ std::uint32_t simdgroups() const { return blockDim.x / 32; }
  __device__ std::uint32_t group() const { return blockIdx.x; }
  __device__ std::uint32_t groups() const { return gridDim.x; }

  __device__ void barrier() const { __syncthreads(); }
  __device__ float simd_sum(float x) const {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(kAllLanes, x, apart);
    return x;
  }
  __device__ float simd_max(float x) const {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, apart));
    return x;
  }
  __device__ std::uint32_t simd_min(std::uint32_t x) const { return __reduce_min_sync(kAllLanes, x); }
  __device__ float simd_shuffle_xor(float x, std::uint32_t mask) const { return __shfl_xor_sync(kAllLanes, x, mask); }
  template <class T>
  __device__ T simd_broadcast(T x, std::uint32_t lane) const {
    return __shfl_sync(kAllLanes, x, lane);
  }
};

}  // namespace mlx_native::cuda
