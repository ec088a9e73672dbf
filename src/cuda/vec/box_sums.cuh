// How the sums of box_kernel's warps meet, within a group and between those of a cluster.
#pragma once

#include <bit>
#include <type_traits>

#include "cuda/vec/box_work.cuh"
#include "cuda/vec/box_x.cuh"

namespace mlx_native::cuda {

/// Where the sums of a row of W and of four rows of x are written to.
struct Four {
  const BoxPlan& p;
  float* output;
  std::uint64_t at;
  std::uint32_t n, count;
  float rest[4] = {};  // of the residual
  /// index: of a slab's. Without `exists` none are written.
  __device__ __forceinline__ Four(const BoxPlan& plan, std::uint32_t slab, std::uint32_t index, bool exists) : p(plan) {
    const BoxSlab of(p, slab);
    const std::uint32_t row = of.row + index % 16, x_row = index / 16 * 4;
    n = of.target().n;
    count = exists && row < n && x_row < p.m ? min(p.m - x_row, 4u) : 0;
    at = std::uint64_t(x_row) * n + row;
    output = of.target().output + at;
    settle(n), settle(count);
    asm volatile("" : "+l"(output));
    if (!p.sum) return;
#pragma unroll
    for (std::uint32_t j = 0; j < 4; ++j)
      if (j < count) rest[j] = p.residual[at + std::uint64_t(j) * n];
  }
  __device__ __forceinline__ void write(const float4& sum) const {
    const float v[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (std::uint32_t j = 0; j < 4; ++j)
      if (j < count) output[std::uint64_t(j) * n] = v[j];
    if (!p.sum) return;
#pragma unroll
    for (std::uint32_t j = 0; j < 4; ++j)
      if (j < count) p.sum[at + std::uint64_t(j) * n] = rest[j] + v[j];
  }
};

/// Fours of a slab, as a power of two.
template <int kStored>
constexpr std::uint32_t kFoursLog2 = std::countr_zero(4u * kStored);

/// The fours of a round that a group gathers, if any: shares go round the groups of a cluster, of which each begins
/// where the round before left off. Sources of a four are the groups of the cluster or, where they are few, all of its
/// warps that have a unit of a slab.
struct Share {
  const BoxPlan& p;
  std::uint32_t sources;
  __device__ __forceinline__ explicit Share(const BoxPlan& plan)
      : p(plan), sources((p.direct ? p.step.units : 1) << p.parts_log2) {}
  __device__ __forceinline__ std::uint32_t size() const { return 1u << p.share_log2; }
  __device__ __forceinline__ std::uint32_t groups() const { return 1u << p.parts_log2; }
  /// Where a source's four i of a round goes.
  __device__ __forceinline__ std::uint32_t at(std::uint32_t slot, std::uint32_t source, std::uint32_t i) const {
    return (slot * sources + source << p.share_log2) + (i & size() - 1);
  }
  /// Who gathers four i.
  __device__ __forceinline__ std::uint32_t rank(std::uint32_t round, std::uint32_t i) const {
    return (i >> p.share_log2) + round & groups() - 1;
  }
  /// The first four that a group gathers.
  __device__ __forceinline__ std::uint32_t first(std::uint32_t round, std::uint32_t rank) const {
    return (rank - round & groups() - 1) << p.share_log2;
  }
};

/// Of `count` fours, `apart` from each other, in their order.
__device__ __forceinline__ float4 sum_of(const float4* from, std::uint32_t count, std::uint32_t apart) {
  float4 sum = {};
  const auto add = [&]<int kMany>(std::integral_constant<int, kMany>) {
    float4 v[kMany];
#pragma unroll
    for (int i = 0; i < kMany; ++i, from += apart) v[i] = *from;
#pragma unroll
    for (int i = 0; i < kMany; ++i) sum.x += v[i].x, sum.y += v[i].y, sum.z += v[i].z, sum.w += v[i].w;
  };
#pragma unroll 1
  for (; count >= 8; count -= 8) add(std::integral_constant<int, 8>());
  if (count & 4) add(std::integral_constant<int, 4>());
  if (count & 2) add(std::integral_constant<int, 2>());
  if (count & 1) add(std::integral_constant<int, 1>());
  return sum;
}

/// Adds up a group's sums of a team's rounds, and writes them or sends them to the groups that gather them.
template <int kStored>
__device__ __forceinline__ void add_rounds(const BoxWork& work, std::uint32_t team, BoxBarriers& barriers,
                                           const float4* partials, float4* gathered, std::uint32_t lane) {
  constexpr std::uint32_t kLog2 = kFoursLog2<kStored>;
  const BoxPlan& p = work.p;
  const Share share(p);
  std::uint32_t slot = team, parity = 0;
  for (std::uint32_t round = team; round < work.rounds; round += kBoxTeams) {
    const Turn turn(round);
    const std::uint32_t count = work.slabs(round) << kLog2;
    if (p.parts_log2 > 0) turn.await(barriers.gather);
    barriers.slots[slot].full.await(parity);
    for (std::uint32_t i = lane; i < count; i += 32) {
      const std::uint32_t slab = i >> kLog2, four = i & (1u << kLog2) - 1;
      const float4 sum = sum_of(partials + (slot * kBoxTeamWarps + (slab << p.step.units_log2) << kLog2) + four,
                                p.step.units, 1u << kLog2);
      if (p.parts_log2 == 0) {
        Four(p, work.slab(round) + slab, four, true).write(sum);
      } else {
        send(&gathered[share.at(turn.slot, work.rank, i)].x, sum, barriers.gather.full[turn.slot],
             share.rank(round, i));
      }
    }
    barriers.slots[slot].empty.arrive();
    slot += kBoxTeams;
    if (slot >= p.slots) slot = team, parity ^= 1;
  }
}

/// Adds up and writes what all sources sent of this group's share of every step-th round.
template <int kStored>
__device__ __forceinline__ void gather_rounds(const BoxWork& work, std::uint32_t first_round, std::uint32_t step,
                                              Gather& gather, const float4* gathered, std::uint32_t lane) {
  constexpr std::uint32_t kLog2 = kFoursLog2<kStored>;
  const BoxPlan& p = work.p;
  const Share share(p);
  for (std::uint32_t round = first_round; round < work.rounds; round += step) {
    const Turn turn(round);
    turn.await(gather);  // without a share it would be laps ahead of the others
    const std::uint32_t count = work.slabs(round) << kLog2, first = share.first(round, work.rank),
                        own = count <= first ? 0 : min(count - first, share.size());
    if (lane == 0) gather.full[turn.slot].arrive_and_expect(own * share.sources * std::uint32_t(sizeof(float4)));
    for (std::uint32_t i = lane; i < own + lane; i += 32) {
      const Four four(p, work.slab(round) + (first + i >> kLog2), first + i & (1u << kLog2) - 1, i < own);
      gather.full[turn.slot].await(turn.lap & 1);
      four.write(sum_of(gathered + share.at(turn.slot, 0, i), share.sources, share.size()));
    }
    __syncwarp();
    // Who sends to the same place again waits for it; of the others nobody may be there any more.
    if (round + kGatherSlots < work.rounds && lane < share.groups()) gather.free[turn.slot].arrive_at(lane);
  }
}

}  // namespace mlx_native::cuda
