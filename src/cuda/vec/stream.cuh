// Products of one to four rows with quantized weights, on Hopper.
//
// A warp of a group streams weights through a ring in shared memory, a box of 16 rows a copy, or two of them rows, a
// lane each; 16 warps multiply a unit of a stage each. A group takes a multiprocessor; its ring fills while the kernel
// before ends elsewhere.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/digits.cuh"
#include "cuda/vec/pace.cuh"
#include "cuda/vec/stream_plan.h"
#include "gpu/kernels/math.h"
#include "gpu/kernels/rms_norm.h"

namespace mlx_native::cuda {

struct StreamBarriers {
  Handover stages[kMostStages];
  SharedBarrier split;  // x is
};
static_assert(sizeof(StreamBarriers) <= RingRoom::kRingAt);

/// The slabs of a group: a turn's are neighbours.
struct StreamWork {
  std::uint32_t first, step;
  __device__ __forceinline__ StreamWork(const StreamPlan& p, std::uint32_t group, std::uint32_t groups)
      : first(group << p.step_slabs_log2), step(groups << p.step_slabs_log2) {}
  __device__ __forceinline__ std::uint32_t slab(std::uint32_t turn) const { return first + turn * step; }
};

/// A slab of a product; with `gated`, of that of this pass.
struct StreamSlab {
  const StreamPlan& p;
  std::uint32_t product = 0, row;
  __device__ __forceinline__ StreamSlab(const StreamPlan& plan, std::uint32_t slab, std::uint32_t pass) : p(plan) {
#pragma unroll
    for (std::uint32_t i = 1; i < VecPlan::kMostTargets; ++i)
      if (i < p.targets && slab >= p.target[i].first_slab) product = i;
    if (p.gated) product = pass;
    row = 16 * (slab - p.target[product].first_slab);
  }
  __device__ __forceinline__ const VecPlan::Target& target() const { return p.target[product]; }
};

/// Asks for a stage by boxes, one a lane.
template <class U>
__device__ __forceinline__ void copy_boxes(const StreamPlan& p, std::uint32_t slab, std::uint32_t unit,
                                           std::uint32_t pass, std::uint8_t* to, SharedBarrier& full,
                                           std::uint32_t lane) {
  const std::uint32_t first = lane << p.box_units_log2, bytes = 16 * p.pitch;
  const std::uint32_t own_slab = slab + (first >> 3 - p.step_slabs_log2), own_unit = unit + (first & p.step_units - 1);
  const bool wanted = first < kStreamWarps && own_slab < p.slabs && own_unit < p.units;
  const std::uint32_t all = __reduce_add_sync(0xffffffffu, wanted ? bytes : 0);
  if (lane == 0) full.arrive_and_expect(all);
  __syncwarp();
  if (!wanted) return;
  const StreamSlab of(p, own_slab, pass);
  box_copy_once(to + lane * bytes, p.map[of.product].tensor, own_unit * U::kRowBytes / 16 * (16 / kMapUnit), of.row, 0,
                full);
}

/// By rows, one a lane of all loaders.
template <class U>
__device__ __forceinline__ void copy_rows(const StreamPlan& p, std::uint32_t slab, std::uint32_t unit,
                                          std::uint32_t pass, std::uint8_t* to, SharedBarrier& full,
                                          std::uint32_t loader, std::uint32_t lane) {
  const std::uint32_t rows = 16u << p.step_slabs_log2, width = min(p.step_units, p.units - unit) * U::kRowBytes;
  std::uint32_t all = 0;
  for (std::uint32_t r = lane * kStreamLoaders + loader; r < rows; r += 32 * kStreamLoaders) {
    if (slab + r / 16 >= p.slabs) break;
    const StreamSlab of(p, slab + r / 16, pass);
    const std::uint32_t row = of.row + r % 16;
    if (row >= of.target().n) continue;
    const std::uint8_t* from = of.target().weight + row * p.row_bytes + unit * U::kRowBytes;
    std::uint32_t bytes = width;
    if constexpr (!U::kAligned) {
      // Whole pieces of 16 bytes, which allocations consist of.
      const std::uint32_t before = std::uint32_t(reinterpret_cast<std::uintptr_t>(from)) % 16;
      from -= before;
      bytes = (before + width + 15) / 16 * 16;
    }
    bulk_copy_once(to + r * p.pitch, from, bytes, full);
    all += bytes;
  }
  all = __reduce_add_sync(0xffffffffu, all);
  if (lane == 0) full.arrive_and_expect(all);
}

/// Fills the ring. A team's stages are every kStreamTeams-th.
template <class U>
__device__ __forceinline__ void stream_weights(const StreamPlan& p, const StreamWork& work, std::uint8_t* ring,
                                               StreamBarriers& barriers, std::uint32_t loader, std::uint32_t lane) {
  if (p.boxes && loader > 0) return;
  Handover* const stages = barriers.stages;
  std::uint32_t place = 0, parity = 1;
  Pace pace{p.early, p.stages};
  std::uint32_t more = p.ahead - p.early;
  const std::uint32_t passes = p.gated ? 2 : 1;
  for (std::uint32_t turn_0 = 0; work.slab(turn_0) < p.slabs; turn_0 += kStreamTeams) {
    const bool all = work.slab(turn_0 + kStreamTeams - 1) < p.slabs;
#pragma unroll 1
    for (std::uint32_t pass = 0; pass < passes; ++pass) {
#pragma unroll 1
      for (std::uint32_t unit = 0; unit < p.units; unit += p.step_units) {
#pragma unroll 1
        for (std::uint32_t turn = turn_0; turn < turn_0 + kStreamTeams; ++turn) {
          if (const std::uint32_t slab = work.slab(turn); slab < p.slabs) {
            if (more > 0 && barriers.split.has_ended(0)) pace.ahead += more, more = 0;
            if (all) pace.keep(stages);  // then stages follow each other
            stages[place].empty.await(parity);
            std::uint8_t* const to = ring + place * p.stage_bytes;
            if (p.boxes)
              copy_boxes<U>(p, slab, unit, pass, to, stages[place].full, lane);
            else
              copy_rows<U>(p, slab, unit, pass, to, stages[place].full, loader, lane);
          }
          if (++place == p.stages) place = 0, parity ^= 1;
        }
      }
    }
  }
}

/// Adds up the sums of a turn's slabs and writes them, with what is done to them. warp: of a team's.
template <int kRows>
__device__ __forceinline__ void finish_turn(const StreamPlan& p, std::uint32_t first_slab, const float* partials,
                                            std::uint32_t warp, std::uint32_t lane) {
  constexpr std::uint32_t kTile = 16 * kRows;
  const std::uint32_t row = lane % 16;
#pragma unroll 1
  for (std::uint32_t o = 2 * warp + lane / 16; o < kRows << p.step_slabs_log2; o += 2 * kStreamWarps) {
    const std::uint32_t of_x = o % kRows, own = o / kRows, slab = first_slab + own;
    if (of_x >= p.m || slab >= p.slabs) continue;
    const StreamSlab of(p, slab, 0);
    if (of.row + row >= of.target().n) continue;
    const std::uint64_t at = std::uint64_t(of_x) * of.target().n + of.row + row;
    const float residual = p.sum ? p.residual[at] : 0.0f;
    const auto total = [&](std::uint32_t pass) {
      const float* const from = partials + (pass * kStreamWarps + own * p.step_units) * kTile + row * kRows + of_x;
      float sum = 0;
#pragma unroll
      for (std::uint32_t w = 0; w < kStreamWarps; ++w) sum += w < p.step_units ? from[w * kTile] : 0.0f;
      return sum;
    };
    const float sum = total(0);
    of.target().output[at] = sum;
    if (p.gated) {
      const float up = total(1);
      p.target[1].output[at] = up;
      p.gated[at] = gpu::silu(sum) * up;
    }
    if (p.sum) p.sum[at] = residual + sum;
  }
}

constexpr std::uint32_t kNormWarps = 8;

/// Leaves the kNormWarps parts of the sum of squares of rows of x, in the order of rms_norm (gpu/kernels): a row is
/// read by 32 lanes, or by 256 if it is long. k: a multiple of 256.
__device__ __forceinline__ void sum_squares(const float* x, std::uint32_t rows, std::uint32_t k, float* squares,
                                            std::uint32_t warp, int lane) {
  if (warp >= kNormWarps) return;
  const auto sum_row = [&]<std::uint32_t kLanes>(const float* from) {
    constexpr std::uint32_t kAtOnce = 16;
    float sum = 0.0f;
#pragma unroll 1
    for (std::uint32_t rest = k / kLanes;; rest -= kAtOnce, from += kAtOnce * kLanes) {
      float v[kAtOnce];
#pragma unroll
      for (std::uint32_t j = 0; j < kAtOnce; ++j) v[j] = j < rest ? from[j * kLanes] : 0.0f;
#pragma unroll
      for (std::uint32_t j = 0; j < kAtOnce; ++j) sum = fmaf(v[j], v[j], sum);
      if (rest <= kAtOnce) return sum;
    }
  };
  std::uint32_t first = 32 * warp + std::uint32_t(lane);
  settle(first);
#pragma unroll 1
  for (std::uint32_t row = 0; row < rows; ++row, x += k) {
    float sum = 0.0f;
    if (k > gpu::RmsNormShape::kMostOfSimdgroup)
      sum = sum_row.template operator()<32 * kNormWarps>(x + first);
    else if (warp == 0)
      sum = sum_row.template operator()<32>(x + first);
    sum = lane_sum(sum);
    if (lane == 0) squares[row * kNormWarps + warp] = sum;
  }
}
/// Of its parts, in the order of lane_sum().
__device__ __forceinline__ float add_squares(const float* squares) {
  static_assert(kNormWarps == 8);
  const float4 a = reinterpret_cast<const float4*>(squares)[0], b = reinterpret_cast<const float4*>(squares)[1];
  return (a.x + b.x + (a.z + b.z)) + (a.y + b.y + (a.w + b.w));
}

/// kRows: 1, 2 or 4, at least p.m. Two teams take turns; warps of a team take turns to finish its.
///
/// All warps split x, four on each scheduler, so that an instruction there counts four times. Code comes slowly where
/// it is run for the first time, so there is little of it: nothing twice, few loops unrolled.
template <class Format, int kRows>
__device__ __forceinline__ void stream_products(const StreamPlan& p, std::uint32_t group, std::uint32_t groups) {
#if __CUDA_ARCH__ >= 900
  using U = DigitUnit<Format>;
  constexpr int kStored = kStoredRows<kRows>, kColumns = kPlanes * kStored, T = (kColumns + 7) / 8;
  constexpr int kPartial = 16 * kRows, kWarps = int(kStreamTeams * kStreamWarps), kThreads = 32 * kWarps;
  static_assert(kColumns == DigitColumns<T>::columns);
  extern __shared__ __align__(128) std::uint8_t bytes[];
  const std::uint32_t warp = own_warp(), team = warp / kStreamWarps, of_team = warp % kStreamWarps;
  const int lane = int(own_lane()), g = lane / 4, t = lane % 4;
  const StreamWork work(p, group, groups);

  allow_next();
  // The instruction takes its address from a uniform register: a lane of every warp.
  if (lane == 0) {
    static_assert(kMostStages < kWarps);
    auto& [stages, split] = *reinterpret_cast<StreamBarriers*>(bytes);
    if (warp < kMostStages)
      stages[warp].full.init(p.boxes ? 1 : kStreamLoaders), stages[warp].empty.init_for_warps(kStreamWarps);
    if (warp == kMostStages) split.init_for_warps(kWarps);
    fence_barrier_init();
  }
  __syncthreads();
  if (warp >= kWarps)
    return stream_weights<U>(p, work, bytes + RingRoom::kRingAt, *reinterpret_cast<StreamBarriers*>(bytes),
                             warp - kWarps, std::uint32_t(lane));

  std::uint8_t* const shared = settled(bytes);
  StreamBarriers& barriers = *reinterpret_cast<StreamBarriers*>(shared);
  Handover* const stages = barriers.stages;
  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const sums_of_x = shared + p.sums_at;
  std::uint8_t* const x = shared + p.x_at;
  const std::uint32_t m = kRows == 1 ? 1 : p.m, x_units = m * p.units;
  const auto meet = [] { asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory"); };

  // The lane's columns. Those of no row or plane repeat another, and their sums are not used.
  std::uint32_t column[T];
#pragma unroll
  for (int i = 0; i < T; ++i) {
    const std::uint32_t c = 8 * i + g;
    column[i] = p.x_at + (min(c / kStored, std::uint32_t(kPlanes - 1)) * m + min(c % kStored, m - 1)) * p.x_stride;
    settle(column[i]);
  }
  std::uint32_t own_unit = of_team & p.step_units - 1, own_slab = of_team >> 3 - p.step_slabs_log2;
  std::uint32_t of_box = of_team & (1u << p.box_units_log2) - 1;
  std::uint32_t own_row =
      RingRoom::kRingAt + (16 * (of_team >> p.box_units_log2) + g) * p.pitch + of_box * U::kRowBytes;
  settle(own_unit), settle(own_slab), settle(own_row);
  if constexpr (!U::kAligned) settle(of_box);

  // Units of x in turn: a row's, then the next one's.
  const auto row_of = [&](std::uint32_t at) {
    std::uint32_t row = 0;
    if constexpr (kRows > 1)
      for (; at >= p.units; at -= p.units) ++row;
    return row;
  };
  LoadedUnit now = {}, weights = {};
  const auto load_weights = [&](std::uint32_t at) {
    if (p.norm) weights = load_unit(p.norm + (at - row_of(at) * p.units) * U::kValues, lane);
  };
  if (warp < x_units) load_weights(warp);
  await_previous();
  if (warp < x_units) now = load_unit(p.input + warp * U::kValues, lane);
  if (p.norm) {
    sum_squares(p.input, m, p.k, partials, warp, lane);
    meet();
  }
  // A unit's loads are under way while the digits before are written. Not unrolled: code that is run once is slow to
  // come.
#pragma unroll 1
  for (std::uint32_t at = warp; at < x_units; at += kWarps) {
    const std::uint32_t row = row_of(at), unit = at - row * p.units;
    if (p.norm) {
      const float sum = add_squares(partials + row * kNormWarps);
      scale_unit(now, 1.0f / square_root(sum / float(p.k) + p.eps), weights);
      if (p.normed && group == min(unit, groups - 1)) store_unit(p.normed + at * U::kValues, now, lane);
    }
    const UnitDigits digits = digits_of(now);
    if (const std::uint32_t next = at + kWarps; next < x_units) {
      now = load_unit(p.input + next * U::kValues, lane);
      load_weights(next);
    }
    write_digits<U>(digits,
                    {nullptr, x + row * p.x_stride + unit * U::kXBytes, m * p.x_stride,
                     sums_of_x + unit * (U::kSumBytes * kColumns), factors + unit * kColumns, kColumns, row, kStored},
                    lane);
  }
  barriers.split.arrive_as_warp(lane);
  meet();

  std::uint32_t place = team, parity = 0;
  const std::uint32_t passes = p.gated ? 2 : 1;
  float* team_partials = partials + team * 2 * passes * kStreamWarps * kPartial;
#pragma unroll 1
  for (std::uint32_t turn = team; work.slab(turn) < p.slabs; turn += kStreamTeams) {
    const std::uint32_t slab = work.slab(turn) + own_slab;
    const bool works = slab < p.slabs;
    float* const of_turn = team_partials + (turn / kStreamTeams & 1) * passes * kStreamWarps * kPartial;
#pragma unroll 1
    for (std::uint32_t pass = 0; pass < passes; ++pass) {
      [[maybe_unused]] std::uint32_t row_at[2] = {};  // its address, modulo 16
      if constexpr (!U::kAligned) {
        const StreamSlab of(p, min(slab, p.slabs - 1), pass);
        row_at[0] = std::uint32_t(reinterpret_cast<std::uintptr_t>(of.target().weight)) +
                    (of.row + g) * std::uint32_t(p.row_bytes);
        row_at[1] = row_at[0] + 8 * std::uint32_t(p.row_bytes);
      }
      Sums<T> sums = {};
#pragma unroll 1
      for (std::uint32_t unit = 0; unit < p.units; unit += p.step_units) {
        stages[place].full.await(parity);
        if (const std::uint32_t own = unit + own_unit; own < p.units && works) {
          DigitColumns<T> columns;
          columns.sums = sums_of_x + own * (U::kSumBytes * kColumns);
#pragma unroll
          for (int c = 0; c < T; ++c) {
            columns.at[c] = shared + column[c] + own * U::kXBytes;
            columns.factor[c] = *reinterpret_cast<const float2*>(factors + own * kColumns + 8 * c + 2 * t);
          }
          const std::uint8_t* const weights_at = shared + own_row + place * p.stage_bytes;
          Rows of{{weights_at, weights_at + 8 * p.pitch}};
          if constexpr (!U::kAligned) {
#pragma unroll
            for (int r = 0; r < 2; ++r) of.at[r] += (row_at[r] + (own - of_box) * U::kRowBytes) % 16;
          }
          U::template add<T>(of, columns, g, t, sums);
        }
        __syncwarp();
        stages[place].empty.arrive_as_warp(lane);
        place += kStreamTeams;
        if (place >= p.stages) place = team, parity ^= 1;
      }
      store_planes<kRows>(sums, of_turn + (pass * kStreamWarps + of_team) * kPartial, g, t);
    }
    // Who finishes a turn is here again before another one's sums take the place.
    if (team == 0)
      asm volatile("bar.sync 2, %0;" ::"n"(32 * kStreamWarps) : "memory");
    else
      asm volatile("bar.sync 3, %0;" ::"n"(32 * kStreamWarps) : "memory");
    finish_turn<kRows>(p, work.slab(turn), of_turn, of_team + turn / kStreamTeams & kStreamWarps - 1,
                       std::uint32_t(lane));
  }
#endif
}

/// Threads that registers are dealt for: up to two rows of x more than there are, so that a small kernel's group finds
/// some too.
constexpr int stream_threads(int rows) { return rows <= 2 ? 768 : kStreamThreads; }

template <class Format, int kRows>
__global__ void __launch_bounds__(stream_threads(kRows), 1) stream_kernel(const __grid_constant__ StreamPlan p) {
  stream_products<Format, kRows>(p, blockIdx.x, gridDim.x);
}

template <class First, class Second, int kRows>
__global__ void __launch_bounds__(stream_threads(kRows), 1) stream_pair_kernel(const __grid_constant__ StreamPair p) {
  if (blockIdx.x < p.groups)
    stream_products<First, kRows>(p.plan[0], blockIdx.x, p.groups);
  else
    stream_products<Second, kRows>(p.plan[1], blockIdx.x - p.groups, gridDim.x - p.groups);
}

}  // namespace mlx_native::cuda
