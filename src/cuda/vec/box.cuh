// Products of few rows with quantized weights, on Hopper.
//
// One warp of a group streams its part of W's columns through a ring in shared memory, a box of 16 rows a copy; 16
// multiply a unit of a stage each; others add up their sums, so that none of them waits for the others. What the groups
// of a cluster have of a round's sums they send each other, and each adds up and writes its share.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/box_x.cuh"
#include "cuda/vec/cluster.cuh"
#include "cuda/vec/pace.cuh"

namespace mlx_native::cuda {

constexpr std::uint32_t kMostSlots = 2 * kBoxTeams;
struct BoxBarriers {
  Handover stages[kBoxStages];
  Handover slots[kMostSlots];  // of a round's sums; all lanes arrive, which is what racecheck can follow
};
static_assert(sizeof(BoxBarriers) <= RingRoom::kRingAt);

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
    rounds = first < p.slabs ? (p.slabs - first - 1) / step + 1 : 0;
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
  __device__ __forceinline__ Turn(const BoxPlan& p, std::uint32_t round)
      : slot(round & (1u << p.gather_log2) - 1), lap(round >> p.gather_log2) {}
  /// Until all groups have read what was there.
  __device__ __forceinline__ void await(Gather& gather) const {
    if (lap > 0) gather.free[slot].await(lap - 1 & 1);
  }
};

/// A warp's share: an instruction each, by one lane.
template <std::uint32_t kSlots>
__device__ __forceinline__ void init_barriers(BoxBarriers& barriers, Gather& gather, const BoxPlan& p,
                                              std::uint32_t warp) {
  constexpr std::uint32_t kAdders = 32, kMultipliers = 32 * kBoxTeamWarps;
  for (std::uint32_t i = warp; i < p.stages; i += kBoxWarps)
    barriers.stages[i].full.init(1), barriers.stages[i].empty.init_for_warps(kBoxTeamWarps);
  if (std::uint32_t i = kBoxWarps - 1 - warp; i < kSlots)
    barriers.slots[i].full.init(kMultipliers), barriers.slots[i].empty.init(kAdders);
  if (p.parts_log2 > 0 && warp >> p.gather_log2 == 0)
    gather.full[warp].init(1), gather.free[warp].init(1u << p.parts_log2);
}
static_assert(kMostGatherSlots < kBoxWarps);

constexpr int kXIsSplit = 2;  // a barrier of the loading warp and one of those that split

/// Fills the ring: a slab a lane. A team's stages are every kBoxTeams-th. With x_first all but the first one are asked
/// for behind x, which would have to wait for them.
template <class U>
__device__ __forceinline__ void stream_boxes(const BoxWork& work, std::uint32_t first_unit, std::uint32_t units,
                                             std::uint8_t* ring, Handover* stages, std::uint32_t lane) {
  const BoxPlan& p = work.p;
  std::uint32_t place = 0, parity = 1;
  bool x_first = p.x_first;
  Pace pace{p.ahead, p.stages};
  for (std::uint32_t round = 0; round < work.rounds; round += kBoxTeams) {
    for (std::uint32_t unit = 0; unit < units; unit += p.step.units) {
      const std::uint32_t column = (first_unit + unit) * U::kRowBytes / 16 * (16 / kMapUnit);
      for (std::uint32_t team = 0; team < kBoxTeams; ++team) {
        if (round + team < work.rounds) {
          const std::uint32_t slabs = work.slabs(round + team);
          if (round + kBoxTeams <= work.rounds) pace.keep(stages);  // then stages follow each other
          stages[place].empty.await(parity);
          if (lane == 0) stages[place].full.arrive_and_expect(slabs * 16 * p.pitch);
          __syncwarp();
          if (lane < slabs) {
            const BoxSlab of(p, work.slab(round + team) + lane);
            box_copy_once(ring + place * p.stage_bytes + lane * 16 * p.pitch, p.map[of.product].tensor, column, of.row,
                          0, stages[place].full);
          }
          if (x_first) {
            x_first = false;
            asm volatile("bar.sync %0, 64;" ::"n"(kXIsSplit) : "memory");
          }
        }
        if (++place == p.stages) place = 0, parity ^= 1;
      }
    }
  }
}

/// Sums of `count` tiles, at most eight and one at least, `apart` floats apart: four rows of x for a row of W.
__device__ __forceinline__ float4 add_tiles(const float* from, std::uint32_t count, std::uint32_t apart) {
  float4 sum = *reinterpret_cast<const float4*>(from);
#pragma unroll
  for (std::uint32_t i = 1; i < 8; ++i) {
    if (i >= count) continue;
    const float4 v = *reinterpret_cast<const float4*>(from + i * apart);
    sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
  }
  return sum;
}
static_assert(kBoxTeamWarps == 8 && kMostPartsLog2 == 3);

/// Four sums of a round: of a row of W, of `slab` of the round, and four rows of x.
template <int kStored>
struct Four {
  static constexpr std::uint32_t kTile = 16 * kStored, kOfTile = kTile / 4;
  std::uint32_t slab, row, x_row;
  __device__ __forceinline__ explicit Four(std::uint32_t i)
      : slab(i / kOfTile), row(i % 16), x_row(i / 16 % (kStored / 4) * 4) {}

  __device__ __forceinline__ void write(const BoxPlan& p, std::uint32_t first_slab, const float4& sum) const {
    const BoxSlab of(p, first_slab + slab);
    const VecPlan::Target& target = of.target();
    if (of.row + row >= target.n) return;
    const float v[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (std::uint32_t j = 0; j < 4; ++j) {
      if (x_row + j >= p.m) continue;
      const std::uint64_t at = std::uint64_t(x_row + j) * target.n + of.row + row;
      target.output[at] = v[j];
      if (p.sum) p.sum[at] = p.residual[at] + v[j];
    }
  }
};

/// The fours of a round that a group gathers, if any: shares go round the groups of a cluster, of which each begins
/// where the round before left off.
struct Share {
  const BoxPlan& p;
  std::uint32_t round;
  __device__ __forceinline__ std::uint32_t size() const { return 1u << p.share_log2; }
  __device__ __forceinline__ std::uint32_t groups() const { return 1u << p.parts_log2; }
  /// Who gathers four i.
  __device__ __forceinline__ std::uint32_t rank(std::uint32_t i) const {
    return (i >> p.share_log2) + round & groups() - 1;
  }
  /// The first four that a group gathers.
  __device__ __forceinline__ std::uint32_t first(std::uint32_t rank) const {
    return (rank - round & groups() - 1) << p.share_log2;
  }
};

/// Adds up the sums of a team's rounds, and writes them or sends them to the groups that gather them.
template <int kStored>
__device__ __forceinline__ void finish_rounds(const BoxWork& work, std::uint32_t team, const float* partials,
                                              Handover* slots, std::uint32_t n_slots, Gather& gather, float* gathered,
                                              std::uint32_t lane) {
  using Fours = Four<kStored>;
  const BoxPlan& p = work.p;
  std::uint32_t slot = team, parity = 0;
  for (std::uint32_t round = team; round < work.rounds; round += kBoxTeams) {
    const Turn turn(p, round);
    if (p.parts_log2 > 0) turn.await(gather);
    const Share share{p, round};
    float* const place = gathered + 4 * ((turn.slot << p.parts_log2 | work.rank) << p.share_log2);
    slots[slot].full.await(parity);
    const std::uint32_t count = work.slabs(round) * Fours::kOfTile;
    for (std::uint32_t i = lane; i < count; i += 32) {
      const Fours four(i);
      const float* const tiles = partials + (slot * kBoxTeamWarps + (four.slab << p.step.units_log2)) * Fours::kTile;
      const float4 sum = add_tiles(tiles + four.row * kStored + four.x_row, p.step.units, Fours::kTile);
      if (p.parts_log2 == 0)
        four.write(p, work.slab(round), sum);
      else
        send(place + 4 * (i & share.size() - 1), sum, gather.full[turn.slot], share.rank(i));
    }
    slots[slot].empty.arrive();
    slot += kBoxTeams;
    if (slot >= n_slots) slot = team, parity ^= 1;
  }
}

/// Adds up and writes what all groups sent of this one's share of each round.
template <int kStored>
__device__ __forceinline__ void gather_rounds(const BoxWork& work, Gather& gather, const float* gathered,
                                              std::uint32_t lane) {
  using Fours = Four<kStored>;
  const BoxPlan& p = work.p;
  for (std::uint32_t round = 0; round < work.rounds; ++round) {
    const Turn turn(p, round);
    turn.await(gather);  // without a share it would be laps ahead of the others
    const Share share{p, round};
    const std::uint32_t count = work.slabs(round) * Fours::kOfTile, first = share.first(work.rank),
                        own = count <= first ? 0 : min(count - first, share.size());
    if (lane == 0) gather.full[turn.slot].arrive_and_expect((own << p.parts_log2) * std::uint32_t(sizeof(float4)));
    gather.full[turn.slot].await(turn.lap & 1);
    for (std::uint32_t i = lane; i < own; i += 32)
      Fours(first + i).write(
          p, work.slab(round),
          add_tiles(gathered + 4 * ((turn.slot << p.parts_log2 + p.share_log2) + i), share.groups(), 4 * share.size()));
    __syncwarp();
    // Who sends to the same place again waits for it; of the others nobody may be there any more.
    if (round + (1u << p.gather_log2) < work.rounds && lane < 1u << p.parts_log2)
      gather.free[turn.slot].arrive_at(lane);
  }
}

/// X: HalfBox or DigitBox, of at least p.m rows. Teams take rounds by turns.
template <class X>
__global__ void __launch_bounds__(32 * kBoxWarps, 1) box_kernel(const __grid_constant__ BoxPlan p) {
#if __CUDA_ARCH__ >= 900
  using U = typename X::U;
  constexpr int kTile = 16 * X::kStored, kWarps = kBoxTeams * kBoxTeamWarps, kThreads = 32 * kWarps;
  constexpr std::uint32_t kSlots = X::kShape.slots;
  extern __shared__ __align__(128) std::uint8_t shared[];
  BoxBarriers& barriers = *reinterpret_cast<BoxBarriers*>(shared);
  Gather& gather = *reinterpret_cast<Gather*>(shared + p.gathered_at);
  Handover *const stages = barriers.stages, *const slots = barriers.slots;
  std::uint8_t* const ring = shared + RingRoom::kRingAt;
  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  const std::uint32_t warp = threadIdx.x / 32;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const BoxWork work(p);
  const BoxX x(p, shared, work.rank);

  allow_next();
  if (lane == 0) {
    if (warp == kWarps) prefetch_map(p.map[0].tensor);
    init_barriers<kSlots>(barriers, gather, p, warp);
    fence_barrier_init();
  }
  __syncthreads();
  if (p.parts_log2 > 0) arrive_cluster_relaxed();
  if (warp >= kWarps) {
    if (warp == kWarps) return stream_boxes<U>(work, x.first, x.units, ring, stages, std::uint32_t(lane));
    await_previous();
    float* const gathered = reinterpret_cast<float*>(shared + p.gathered_at + kGatherBarrierBytes);
    if (p.parts_log2 > 0) await_cluster();
    if (warp < kWarps + 1 + kBoxTeams) {
      finish_rounds<X::kStored>(work, warp - kWarps - 1, partials, slots, kSlots, gather, gathered,
                                std::uint32_t(lane));
    } else if (p.parts_log2 > 0) {
      gather_rounds<X::kStored>(work, gather, gathered, std::uint32_t(lane));
    }
    return;
  }
  await_previous();
  X::split(x, warp, kWarps, lane);
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
  if (p.x_first && warp == 0) asm volatile("bar.arrive %0, 64;" ::"n"(kXIsSplit) : "memory");

  typename X::Column column;
  X::find(x, g, column);
  const std::uint32_t team = warp / kBoxTeamWarps, of_team = warp % kBoxTeamWarps;
  const std::uint32_t own_unit = of_team & (1u << p.step.units_log2) - 1, own_slab = of_team >> p.step.units_log2;
  const std::uint8_t* const own_row = ring + (16 * own_slab + g) * p.pitch + own_unit * U::kRowBytes;
  std::uint32_t place = team, parity = 0, slot = team, slot_parity = 1;
  for (std::uint32_t round = team; round < work.rounds; round += kBoxTeams) {
    const bool works = own_slab < work.slabs(round) && own_unit < p.step.units;
    Sums<X::T> sums = {};
    for (std::uint32_t unit = 0; unit < x.units; unit += p.step.units) {
      stages[place].full.await(parity);
      if (const std::uint32_t own = unit + own_unit; own < x.units && works) {
        // Copies begin at multiples of 16 bytes.
        const std::uint32_t before = X::kShape.aligned ? 0 : (x.first + unit) * U::kRowBytes % 16;
        const std::uint8_t* const row = own_row + place * p.stage_bytes + before;
        X::add({{row, row + 8 * p.pitch}}, x, column, own, g, t, sums);
      }
      __syncwarp();
      stages[place].empty.arrive_as_warp(lane);
      place += kBoxTeams;
      if (place >= p.stages) place = team, parity ^= 1;
    }
    slots[slot].empty.await(slot_parity);
    X::store(sums, partials + (slot * kBoxTeamWarps + of_team) * kTile, g, t);
    slots[slot].full.arrive();
    slot += kBoxTeams;
    if (slot >= kSlots) slot = team, slot_parity ^= 1;
  }
#endif
}

}  // namespace mlx_native::cuda
