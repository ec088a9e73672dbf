// What the warps of box_kernel do by turns, and the barriers between them.
#pragma once

#include "cuda/vec/box_plan.h"
#include "cuda/vec/cluster.cuh"

namespace mlx_native::cuda {

/// Of rounds, each in a slot: full when what this group gathers of its sums is here, free when all groups have read
/// what they gather.
struct Gather {
  ClusterBarrier full[kGatherSlots], free[kGatherSlots];
};
struct BoxBarriers {
  Handover stages[kBoxStages];
  Handover slots[kMostSlots];  // of a round's sums; all lanes arrive, which is what racecheck can follow
  Gather gather;
  SharedBarrier split;  // x is
};
static_assert(sizeof(BoxBarriers) <= kBoxRingAt);

/// A slab of a product.
struct BoxSlab {
  const BoxPlan& p;
  std::uint32_t product = 0, row;
  __device__ __forceinline__ BoxSlab(const BoxPlan& plan, std::uint32_t slab) : p(plan) {
#pragma unroll
    for (std::uint32_t i = 1; i < VecPlan::kMostTargets; ++i)
      if (i < p.targets && slab >= p.target[i].first_slab) product = i;
    row = 16 * (slab - p.target[product].first_slab);
  }
  __device__ __forceinline__ const VecPlan::Target& target() const { return p.target[product]; }
};

/// Rounds of a cluster, each a step of slabs, and the group's part of them.
struct BoxWork {
  const BoxPlan& p;
  std::uint32_t rank, first, step, rounds;
  __device__ __forceinline__ explicit BoxWork(const BoxPlan& plan) : p(plan) {
    const std::uint32_t cluster = blockIdx.x >> p.parts_log2, clusters = gridDim.x >> p.parts_log2;
    rank = blockIdx.x & (1u << p.parts_log2) - 1;
    first = cluster << p.step.slabs_log2;
    step = clusters << p.step.slabs_log2;
    rounds = p.full_rounds + (slab(p.full_rounds) < p.slabs);
  }
  /// The first slab of a round, and how many.
  __device__ __forceinline__ std::uint32_t slab(std::uint32_t round) const { return first + round * step; }
  __device__ __forceinline__ std::uint32_t slabs(std::uint32_t round) const {
    return min(1u << p.step.slabs_log2, p.slabs - slab(round));
  }
};

/// A round's place among those that a group can gather; lap: how often it was used before.
struct Turn {
  std::uint32_t slot, lap;
  __device__ __forceinline__ explicit Turn(std::uint32_t round)
      : slot(round % kGatherSlots), lap(round / kGatherSlots) {}
  /// Until all groups have read what was there.
  __device__ __forceinline__ void await(Gather& gather) const {
    if (lap > 0) gather.free[slot].await(lap - 1 & 1);
  }
};

/// What the loading warp needs, by one of its lanes.
__device__ __forceinline__ void init_stages(BoxBarriers& barriers, const BoxPlan& p) {
  for (std::uint32_t i = 0; i < p.stages; ++i)
    barriers.stages[i].full.init(1), barriers.stages[i].empty.init_for_warps(kBoxTeamWarps);
  barriers.split.init(1);
}
/// The other barriers: an instruction or two of each warp, by one lane.
__device__ __forceinline__ void init_barriers(BoxBarriers& barriers, const BoxPlan& p, std::uint32_t warp) {
  if (warp < kGatherSlots) barriers.gather.full[warp].init(1), barriers.gather.free[warp].init(1u << p.parts_log2);
  if (std::uint32_t i = warp - kGatherSlots; i < kMostSlots)
    barriers.slots[i].full.init(32 * kBoxTeamWarps), barriers.slots[i].empty.init(32);
}

}  // namespace mlx_native::cuda
