// Products of few rows with quantized weights, on Hopper.
//
// One warp of a group streams its part of W's columns through a ring in shared memory, a box of 16 rows a copy; 16
// multiply a unit of a stage each; others add up their sums, so that none of them waits for the others. What the groups
// of a cluster have of a round's sums they send each other, and each adds up and writes its share. Where few warps have
// a part of a slab's columns, those that multiply send their sums themselves.
#pragma once

#include "cuda/order.cuh"
#include "cuda/vec/box_sums.cuh"
#include "cuda/vec/box_x.cuh"
#include "cuda/vec/pace.cuh"

namespace mlx_native::cuda {

/// The stages of a ring one after another: what a lane asks for, a slab of each. A team's are every kBoxTeams-th.
template <class U>
struct BoxStream {
  const BoxWork& work;
  std::uint32_t first_unit, units, lane;
  std::uint32_t rounds = 0, team = 0, unit = 0;  // the teams' rounds begin with `rounds`
  std::uint32_t slabs, column, row, product;
  __device__ __forceinline__ BoxStream(const BoxWork& all, std::uint32_t first, std::uint32_t count, std::uint32_t own)
      : work(all), first_unit(first), units(count), lane(own) {
    find();
  }
  __device__ __forceinline__ std::uint32_t round() const { return rounds + team; }
  __device__ __forceinline__ void find() {
    slabs = work.slabs(round());
    const BoxSlab of(work.p, work.slab(round()) + lane);
    row = of.row, product = of.product;
    column = (first_unit + unit) * U::kRowBytes / 16 * (16 / kMapUnit);
    settle(slabs), settle(row), settle(product), settle(column);
  }
  __device__ __forceinline__ void next() {
    if (++team == kBoxTeams) {
      team = 0, unit += work.p.step.units;
      if (unit >= units) unit = 0, rounds += kBoxTeams;
    }
    find();
  }
};

/// Fills the ring. Until x is split less may be on its way, for which x would have to wait.
template <class U>
__device__ __forceinline__ void stream_boxes(BoxStream<U>& stream, std::uint8_t* ring, BoxBarriers& barriers) {
  const BoxPlan& p = stream.work.p;
  Handover* const stages = barriers.stages;
  std::uint32_t place = 0, parity = 1, more = p.ahead - p.early;
  Pace pace{p.early, p.stages};
  for (; stream.rounds < stream.work.rounds; stream.next()) {
    if (stream.round() < stream.work.rounds) {
      if (more > 0 && barriers.split.has_ended(0)) pace.ahead += more, more = 0;
      if (stream.rounds + kBoxTeams <= stream.work.rounds) pace.keep(stages);  // then stages follow each other
      stages[place].empty.await(parity);
      if (stream.lane == 0) stages[place].full.arrive_and_expect(stream.slabs * 16 * p.pitch);
      __syncwarp();
      if (stream.lane < stream.slabs)
        box_copy_once(ring + place * p.stage_bytes + stream.lane * 16 * p.pitch, p.map[stream.product].tensor,
                      stream.column, stream.row, 0, stages[place].full);
    }
    if (++place == p.stages) place = 0, parity ^= 1;
  }
}

/// X: HalfBox or DigitBox, of at least p.m rows. Teams take rounds by turns.
template <class X>
__global__ void __launch_bounds__(32 * kBoxWarps, 1) box_kernel(const __grid_constant__ BoxPlan p) {
#if __CUDA_ARCH__ >= 900
  using U = typename X::U;
  constexpr int kWarps = kBoxTeams * kBoxTeamWarps, kThreads = 32 * kWarps;
  constexpr std::uint32_t kLog2 = kFoursLog2<X::kStored>;
  extern __shared__ __align__(128) std::uint8_t shared[];
  BoxBarriers& barriers = *reinterpret_cast<BoxBarriers*>(shared);
  Handover* const stages = barriers.stages;
  std::uint8_t* const ring = shared + kBoxRingAt;
  float4* const partials = reinterpret_cast<float4*>(shared + p.partials_at);
  float4* const gathered = reinterpret_cast<float4*>(shared + p.gathered_at);
  const std::uint32_t warp = threadIdx.x / 32;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;

  allow_next();
  if (lane == 0) {
    if (warp == kLoader) {
      prefetch_map(p.map[0].tensor);
      init_stages(barriers, p);
    } else {
      init_barriers(barriers, p, warp);
    }
    fence_barrier_init();
  }
  const BoxWork work(p);
  const BoxX x(p, shared, work.rank);
  if (warp == kLoader) {
    // It does not wait for the others: what it needs is there.
    __syncwarp();
    asm volatile("bar.arrive 2, %0;" ::"n"(32 * kBoxWarps) : "memory");
    if (p.parts_log2 > 0) arrive_cluster_relaxed();
    BoxStream<U> stream(work, x.first, x.units, std::uint32_t(lane));
    return stream_boxes<U>(stream, ring, barriers);
  }
  const auto meet = [&] {
    asm volatile("bar.sync 2, %0;" ::"n"(32 * kBoxWarps) : "memory");
    if (p.parts_log2 > 0) arrive_cluster_relaxed();
  };
  if (warp > kWarps) {
    meet();
    if (p.parts_log2 > 0) await_cluster();
    await_previous();
    const std::uint32_t first = warp - kWarps - 1;
    if (!p.direct && first < kBoxTeams)
      add_rounds<X::kStored>(work, first, barriers, partials, gathered, std::uint32_t(lane));
    else if (p.parts_log2 > 0 && p.direct == first < kBoxTeams)
      gather_rounds<X::kStored>(work, p.direct ? first : 0, p.direct ? kBoxTeams : 1, barriers.gather, gathered,
                                std::uint32_t(lane));
    return;
  }
  UnitTurns turns(x, warp, kWarps);
  typename X::Column column;
  X::find(x, g, column);
  const std::uint32_t team = warp / kBoxTeamWarps, of_team = warp % kBoxTeamWarps;
  const std::uint32_t own_unit = of_team & (1u << p.step.units_log2) - 1, own_slab = of_team >> p.step.units_log2;
  const Share share(p);
  const std::uint32_t source = work.rank * p.step.units + own_unit;
  std::uint32_t own_row = kBoxRingAt + (16 * own_slab + g) * p.pitch + own_unit * U::kRowBytes;
  settle(own_row);
  meet();
  if (p.parts_log2 > 0) await_cluster();
  await_previous();
  X::split(x, turns, lane);
  asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory");
  if (threadIdx.x == 0) barriers.split.arrive();

  std::uint32_t place = team, parity = 0, slot = team, slot_parity = 1;
  for (std::uint32_t round = team; round < work.rounds; round += kBoxTeams) {
    const bool works = own_slab < work.slabs(round) && own_unit < p.step.units;
    Sums<X::T> sums = {};
    for (std::uint32_t unit = 0; unit < x.units; unit += p.step.units) {
      stages[place].full.await(parity);
      if (const std::uint32_t own = unit + own_unit; own < x.units && works) {
        // Copies begin at multiples of 16 bytes.
        const std::uint32_t before = X::kShape.aligned ? 0 : (x.first + unit) * U::kRowBytes % 16;
        const std::uint8_t* const row = shared + own_row + place * p.stage_bytes + before;
        X::add({{row, row + 8 * p.pitch}}, x, column, own, g, t, sums);
      }
      __syncwarp();
      stages[place].empty.arrive_as_warp(lane);
      place += kBoxTeams;
      if (place >= p.stages) place = team, parity ^= 1;
    }
    if (p.direct) {
      if (!works) continue;
      float4 fours[X::kFours];
      X::gather_fours(sums, t, fours);
      const Turn turn(round);
      turn.await(barriers.gather);
#pragma unroll
      for (int j = 0; j < X::kFours; ++j) {
        const std::uint32_t i = (own_slab << kLog2) + X::four(j, g, t);
        if (X::has_fours(t))
          send(&gathered[share.at(turn.slot, source, i)].x, fours[j], barriers.gather.full[turn.slot],
               share.rank(round, i));
      }
    } else {
      barriers.slots[slot].empty.await(slot_parity);
      X::store(sums, &partials[slot * kBoxTeamWarps + of_team << kLog2].x, g, t);
      barriers.slots[slot].full.arrive();
      slot += kBoxTeams;
      if (slot >= p.slots) slot = team, slot_parity ^= 1;
    }
  }
#endif
}

}  // namespace mlx_native::cuda
