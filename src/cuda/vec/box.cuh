// Products of three to eight rows with quantized weights, on Hopper.
//
// One warp of a group streams W through a ring in shared memory, a box of 16 rows a copy; 16 multiply a unit of a stage
// each; another adds up and writes their sums, so that none of them waits for the others.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/activations.cuh"
#include "cuda/vec/box_plan.h"

namespace mlx_native::cuda {

struct BoxBarriers {
  Handover stages[kBoxStages];
  Handover slots[kBoxSlots];  // of a round's sums; all lanes arrive, which is what racecheck can follow
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

/// Rounds of a group: each a step of slabs.
struct BoxWork {
  const BoxPlan& p;
  std::uint32_t first, step, rounds;
  __device__ __forceinline__ explicit BoxWork(const BoxPlan& plan) : p(plan) {
    first = blockIdx.x << p.step_slabs_log2;
    step = gridDim.x << p.step_slabs_log2;
    rounds = first < p.slabs ? (p.slabs - first - 1) / step + 1 : 0;
  }
};

/// Fills the ring: a slab a lane. A team's stages are every kBoxTeams-th.
template <class U>
__device__ __forceinline__ void stream_boxes(const BoxWork& work, std::uint8_t* ring, Handover* stages,
                                             std::uint32_t lane) {
  const BoxPlan& p = work.p;
  std::uint32_t place = 0, parity = 1;
  for (std::uint32_t round = 0; round < work.rounds; round += kBoxTeams) {
    for (std::uint32_t unit = 0; unit < p.units; unit += 1u << p.step_units_log2) {
      for (std::uint32_t team = 0; team < kBoxTeams; ++team) {
        if (round + team < work.rounds) {
          const std::uint32_t slab = work.first + (round + team) * work.step + lane;
          const bool wanted = lane >> p.step_slabs_log2 == 0 && slab < p.slabs;
          stages[place].empty.await(parity);
          const std::uint32_t all = __popc(__ballot_sync(0xffffffffu, wanted)) * 16 * p.pitch;
          if (lane == 0) stages[place].full.arrive_and_expect(all);
          __syncwarp();
          if (wanted) {
            const BoxSlab of(p, slab);
            box_copy_once(ring + place * p.stage_bytes + lane * 16 * p.pitch, p.map[of.product].tensor,
                          unit * U::kRowBytes / 16 * (16 / kMapUnit), of.row, 0, stages[place].full);
          }
        }
        if (++place == p.stages) place = 0, parity ^= 1;
      }
    }
  }
}

/// Adds up and writes the sums of every round.
template <int T>
__device__ __forceinline__ void finish_rounds(const BoxWork& work, const float* partials, Handover* slots,
                                              std::uint32_t lane) {
  constexpr std::uint32_t kRows = 4 * T, kTile = 16 * kRows;
  const BoxPlan& p = work.p;
  const std::uint32_t row = lane % 16, step_units = 1u << p.step_units_log2;
  std::uint32_t slot = 0, parity = 0;
  for (std::uint32_t round = 0; round < work.rounds; ++round) {
    slots[slot].full.await(parity);
    for (std::uint32_t i = lane / 16; i < T << p.step_slabs_log2; i += 2) {
      const std::uint32_t four = i % T, own = i / T, slab = work.first + round * work.step + own;
      if (slab >= p.slabs) break;
      const float* const from = partials + (slot * kBoxTeamWarps + own * step_units) * kTile + row * kRows + 4 * four;
      float4 sum = *reinterpret_cast<const float4*>(from);
      for (std::uint32_t w = 1; w < step_units; ++w) {
        const float4 v = *reinterpret_cast<const float4*>(from + w * kTile);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
      }
      const BoxSlab of(p, slab);
      const VecPlan::Target& target = of.target();
      if (of.row + row >= target.n) continue;
      float* const to = target.output + of.row + row;
      const float v[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
      for (std::uint32_t j = 0; j < 4; ++j)
        if (4 * four + j < p.m) to[std::uint64_t(4 * four + j) * target.n] = v[j];
    }
    slots[slot].empty.arrive();
    if (++slot == kBoxSlots) slot = 0, parity ^= 1;
  }
}

/// 4 T rows of x, at least p.m. Teams take rounds by turns.
template <class Format, int T>
__global__ void __launch_bounds__(32 * (kBoxTeams * kBoxTeamWarps + 2), 1)
    box_kernel(const __grid_constant__ BoxPlan p) {
#if __CUDA_ARCH__ >= 900
  using U = Unit<Format>;
  constexpr bool kAligned = U::kRowBytes % 16 == 0;
  constexpr int kRows = 4 * T, kTile = 16 * kRows, kWarps = kBoxTeams * kBoxTeamWarps, kThreads = 32 * kWarps;
  extern __shared__ __align__(128) std::uint8_t shared[];
  BoxBarriers& barriers = *reinterpret_cast<BoxBarriers*>(shared);
  Handover *const stages = barriers.stages, *const slots = barriers.slots;
  std::uint8_t* const ring = shared + RingRoom::kRingAt;
  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  const std::uint32_t warp = threadIdx.x / 32;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const BoxWork work(p);

  allow_next();
  if (warp == kWarps) {
    if (lane == 0) {
      for (std::uint32_t i = 0; i < p.stages; ++i) stages[i].full.init(1), stages[i].empty.init(kBoxTeamWarps);
      for (std::uint32_t i = 0; i < kBoxSlots; ++i) slots[i].full.init(32 * kBoxTeamWarps), slots[i].empty.init(32);
      fence_barrier_init();
    }
    __syncwarp();
    asm volatile("bar.arrive 1, %0;" ::"n"(kThreads + 64) : "memory");
    return stream_boxes<U>(work, ring, stages, std::uint32_t(lane));
  }
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads + 64) : "memory");
  await_previous();
  if (warp == kWarps + 1) return finish_rounds<T>(work, partials, slots, std::uint32_t(lane));

  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const x = shared + p.x_at;
  split_units<U, 1>(warp, kWarps, p.m * p.units, lane, [&](std::uint32_t i) -> UnitPlace {
    const std::uint32_t row = i / p.units, unit = i - row * p.units;
    std::uint8_t* const hi = x + row * p.x_stride + unit * U::kXBytes;
    return {p.input + std::uint64_t(row) * p.k + unit * 256, hi, hi + p.m * p.x_stride, factors + unit * kRows + row};
  });
  asm volatile("bar.sync 2, %0;" ::"n"(kThreads) : "memory");

  // The lane's columns: rows g % 4 of each four, hi or lo. Columns beyond m repeat the last row and are not stored.
  const std::uint8_t* column[T];
#pragma unroll
  for (int i = 0; i < T; ++i) column[i] = x + (min(std::uint32_t(4 * i + g % 4), p.m - 1) + g / 4 * p.m) * p.x_stride;

  const std::uint32_t units_log2 = p.step_units_log2, step_units = 1u << units_log2;
  const std::uint32_t team = warp / kBoxTeamWarps, of_team = warp % kBoxTeamWarps;
  const std::uint32_t own_unit = of_team & step_units - 1, own_slab = of_team >> units_log2;
  const std::uint8_t* const own_row = ring + (16 * own_slab + g) * p.pitch + own_unit * U::kRowBytes;
  std::uint32_t place = team, parity = 0, slot = team, slot_parity = 1;
  for (std::uint32_t round = team; round < work.rounds; round += kBoxTeams) {
    const bool works = work.first + round * work.step + own_slab < p.slabs;
    Sums<T> sums = {};
    for (std::uint32_t unit = 0; unit < p.units; unit += step_units) {
      stages[place].full.await(parity);
      if (const std::uint32_t own = unit + own_unit; own < p.units && works) {
        Columns<T> columns;
#pragma unroll
        for (int c = 0; c < T; ++c) {
          columns.at[c] = column[c] + own * U::kXBytes;
          columns.factor[c] = *reinterpret_cast<const float2*>(factors + own * kRows + 4 * c + 2 * (t % 2));
        }
        // Copies begin at multiples of 16 bytes.
        const std::uint32_t before = kAligned ? 0 : unit * U::kRowBytes % 16;
        const std::uint8_t* const row = own_row + place * p.stage_bytes + before;
        U::template add<T>({{row, row + 8 * p.pitch}}, columns, t, sums);
      }
      __syncwarp();
      if (lane == 0) stages[place].empty.arrive();
      place += kBoxTeams;
      if (place >= p.stages) place = team, parity ^= 1;
    }
    slots[slot].empty.await(slot_parity);
    float* const to = partials + (slot * kBoxTeamWarps + of_team) * kTile;
#pragma unroll
    for (int c = 0; c < T; ++c) {
      float v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = sums[c][j] + __shfl_xor_sync(0xffffffffu, sums[c][j], 2);
      if (t < 2) {
        *reinterpret_cast<float2*>(to + g * kRows + 4 * c + 2 * t) = make_float2(v[0], v[1]);
        *reinterpret_cast<float2*>(to + (g + 8) * kRows + 4 * c + 2 * t) = make_float2(v[2], v[3]);
      }
    }
    slots[slot].full.arrive();
    slot += kBoxTeams;
    if (slot >= kBoxSlots) slot = team, slot_parity ^= 1;
  }
#endif
}

}  // namespace mlx_native::cuda
