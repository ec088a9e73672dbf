// What the groups of a cluster send each other.
#pragma once

#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/box_plan.h"
#include "cuda/vec/instructions.cuh"

namespace mlx_native::cuda {

/// arrive_cluster() that orders nothing but init() before fence_barrier_init().
__device__ __forceinline__ void arrive_cluster_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

/// A barrier that other groups arrive at.
struct ClusterBarrier : SharedBarrier {
  /// Orders what this thread read here, not what it wrote: for that it would wait until memory has it.
  __device__ __forceinline__ void arrive_at(std::uint32_t rank) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_in_group(this, rank)) : "memory");
  }
};

/// Sends four floats to where `own` lies in group `rank`; they count as arrived at `barrier` there.
__device__ __forceinline__ void send(float* own, const float4& v, ClusterBarrier& barrier, std::uint32_t rank) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                   address_in_group(own, rank)),
               "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(address_in_group(&barrier, rank))
               : "memory");
}

/// The same with two.
__device__ __forceinline__ void send(float* own, const float2& v, ClusterBarrier& barrier, std::uint32_t rank) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(
                   address_in_group(own, rank)),
               "f"(v.x), "f"(v.y), "r"(address_in_group(&barrier, rank))
               : "memory");
}

}  // namespace mlx_native::cuda
