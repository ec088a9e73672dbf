// Products of one to four rows with quantized weights, on Hopper.
//
// Two warps of a group stream rows of W through a ring in shared memory, in pieces of many hundred bytes; the others
// each multiply a unit of a stage. A group takes a multiprocessor; its ring fills while the kernel before ends
// elsewhere.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/digits.cuh"
#include "cuda/vec/pace.cuh"
#include "cuda/vec/stream_plan.h"
#include "gpu/kernels/math.h"

namespace mlx_native::cuda {

static_assert(kMostStages * sizeof(Handover) <= RingRoom::kRingAt);

/// The slabs of a group: those of a round are neighbours. With `gated`, a round of the first product's is followed by
/// one of the second's.
struct StreamWork {
  std::uint32_t group, groups, first, step, gated;
  __device__ __forceinline__ StreamWork(const StreamPlan& p, std::uint32_t of_group, std::uint32_t of_groups)
      : group(of_group),
        groups(of_groups),
        first(of_group << p.step_slabs_log2),
        step(of_groups << p.step_slabs_log2),
        gated(p.gated != nullptr) {}
  __device__ __forceinline__ std::uint32_t slab(std::uint32_t round) const { return first + (round >> gated) * step; }
};

/// A slab of a product.
struct StreamSlab {
  const StreamPlan& p;
  std::uint32_t product = 0, row;
  __device__ __forceinline__ StreamSlab(const StreamPlan& plan, std::uint32_t slab, std::uint32_t round) : p(plan) {
#pragma unroll
    for (std::uint32_t i = 1; i < VecPlan::kMostTargets; ++i)
      if (i < p.targets && slab >= p.target[i].first_slab) product = i;
    if (p.gated) product = round & 1;
    row = 16 * (slab - p.target[product].first_slab);
  }
  __device__ __forceinline__ const VecPlan::Target& target() const { return p.target[product]; }
};

/// Fills the ring: a row a lane of all who load, of whom this is `loader`.
template <class U>
__device__ __forceinline__ void stream_rows(const StreamPlan& p, const StreamWork& work, std::uint8_t* ring,
                                            Handover* stages, std::uint32_t loader, std::uint32_t lane) {
  const std::uint32_t rows = 16u << p.step_slabs_log2;
  std::uint32_t place = 0, parity = 1;
  Pace pace{p.ahead, p.stages};
  for (std::uint32_t round_0 = 0; work.slab(round_0) < p.slabs; round_0 += kStreamTeams) {
    for (std::uint32_t unit = 0; unit < p.units; unit += p.step_units) {
      const std::uint32_t width = min(p.step_units, p.units - unit) * U::kRowBytes;
#pragma unroll 1
      for (std::uint32_t round = round_0; round < round_0 + kStreamTeams; ++round) {
        pace.keep(stages);
        stages[place].empty.await(parity);
        const std::uint32_t slab = work.slab(round);
        std::uint32_t all = 0;
        for (std::uint32_t r = lane * kStreamTeams + loader; r < rows; r += 32 * kStreamTeams) {
          if (slab + r / 16 >= p.slabs) break;
          const StreamSlab of(p, slab + r / 16, round);
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
          bulk_copy_once(ring + place * p.stage_bytes + r * p.pitch, from, bytes, stages[place].full);
          all += bytes;
        }
        all = __reduce_add_sync(0xffffffffu, all);
        if (lane == 0) stages[place].full.arrive_and_expect(all);
        if (++place == p.stages) place = 0, parity ^= 1;
      }
    }
  }
}

constexpr std::uint32_t kNormWarps = 8;

/// Leaves the kNormWarps parts of the sum of squares of rows of x, in the order of rms_norm (gpu/kernels): a row is
/// read by 32 lanes, or by 256 if it is long.
__device__ __forceinline__ void sum_squares(const float* x, std::uint32_t rows, std::uint32_t k, float* squares,
                                            std::uint32_t warp, int lane) {
  if (warp >= kNormWarps) return;
  const std::uint32_t lanes = k <= 512 ? 32 : 32 * kNormWarps, thread = 32 * warp + std::uint32_t(lane);
  constexpr std::uint32_t kAtOnce = 16;
#pragma unroll 1
  for (std::uint32_t row = 0; row < rows; ++row, x += k) {
    float sum = 0.0f;
    if (thread < lanes) {
#pragma unroll 1
      for (std::uint32_t begin = thread; begin < k; begin += kAtOnce * lanes) {
        float v[kAtOnce];
#pragma unroll
        for (std::uint32_t j = 0; j < kAtOnce; ++j) v[j] = begin + j * lanes < k ? x[begin + j * lanes] : 0.0f;
#pragma unroll
        for (std::uint32_t j = 0; j < kAtOnce; ++j) sum = fmaf(v[j], v[j], sum);
      }
    }
    sum = lane_sum(sum);
    if (lane == 0) squares[row * kNormWarps + warp] = sum;
  }
}

/// Threads that registers are dealt for: of two rows of x more than there are, so that a small kernel's group finds
/// some too.
constexpr int stream_threads(int rows) { return rows == 2 ? 768 : kStreamThreads; }

/// kRows: 2 or 4, at least p.m. Two teams take rounds by turns; for each of them a warp loads.
///
/// Code comes slowly where it is run for the first time, so there is little of it: nothing twice, few loops unrolled.
template <class Format, int kRows>
__device__ __forceinline__ void stream_products(const StreamPlan& p, std::uint32_t group, std::uint32_t groups) {
#if __CUDA_ARCH__ >= 900
  using U = DigitUnit<Format>;
  constexpr int T = (kPlanes * kRows + 7) / 8, kColumns = kPlanes * kRows, kPartial = 16 * kRows;
  constexpr int kWarps = int(kStreamTeams * kStreamWarps), kThreads = 32 * kWarps;
  static_assert(kColumns == DigitColumns<T>::columns);
  extern __shared__ __align__(128) std::uint8_t shared[];
  Handover* const stages = reinterpret_cast<Handover*>(shared);
  std::uint8_t* const ring = shared + RingRoom::kRingAt;
  const std::uint32_t warp = threadIdx.x / 32, team = warp / kStreamWarps, of_team = warp % kStreamWarps;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const StreamWork work(p, group, groups);

  if (threadIdx.x == 0) {
#pragma unroll 1
    for (std::uint32_t i = 0; i < p.stages; ++i)
      stages[i].full.init(kStreamTeams), stages[i].empty.init_for_warps(kStreamWarps);
    fence_barrier_init();
  }
  allow_next();
  __syncthreads();
  if (warp >= kWarps) {
    stream_rows<U>(p, work, ring, stages, warp - kWarps, std::uint32_t(lane));
    return;
  }

  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const sums_of_x = shared + p.sums_at;
  std::uint8_t* const x = shared + p.x_at;
  const auto meet = [] { asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory"); };

  // The lane's columns. Those of no row or plane repeat another, and their sums are not used.
  const std::uint8_t* column[T];
#pragma unroll
  for (int i = 0; i < T; ++i) {
    const std::uint32_t c = 8 * i + g;
    column[i] = x + (min(c / kRows, std::uint32_t(kPlanes - 1)) * p.m + min(c % kRows, p.m - 1)) * p.x_stride;
  }
  const std::uint32_t own_unit = of_team & p.step_units - 1, own_slab = of_team >> 3 - p.step_slabs_log2;
  const std::uint8_t* const own_row = ring + (16 * own_slab + g) * p.pitch + own_unit * U::kRowBytes;
  constexpr std::uint32_t kRoundFloats = kStreamWarps * kPartial;

  await_previous();
  if (p.norm) {
    sum_squares(p.input, p.m, p.k, partials, warp, lane);
    meet();
  }
#pragma unroll 1
  for (std::uint32_t row = 0; row < p.m; ++row) {
    float root = 0.0f;
    if (p.norm) {
      const float sum = lane_sum(std::uint32_t(lane) < kNormWarps ? partials[row * kNormWarps + lane] : 0.0f);
      root = 1.0f / square_root(sum / float(p.k) + p.eps);
    }
    const auto place_of = [&](std::uint32_t unit) -> DigitPlace {
      return {p.input + std::uint64_t(row) * p.k + unit * U::kValues,
              x + row * p.x_stride + unit * U::kXBytes,
              p.m * p.x_stride,
              sums_of_x + unit * (U::kSumBytes * kColumns),
              factors + unit * kColumns,
              kColumns,
              row,
              kRows};
    };
    const auto normed = [&](std::uint32_t unit, LoadedUnit& all, const LoadedUnit& weights) {
      scale_unit(all, root, weights);
      if (p.normed && group == min(unit, groups - 1))
        store_unit(p.normed + std::uint64_t(row) * p.k + unit * U::kValues, all, lane);
    };
    split_all_digits<U>(warp, kWarps, p.units, lane, place_of, p.norm, normed);
  }
  meet();

  std::uint32_t place = team, parity = 0, round = 0, finished = 0;
  // All teams go through the same rounds, so that all warps meet.
  while (work.slab(round) < p.slabs) {
    const std::uint32_t slab = work.slab(round + team) + own_slab;
    const bool works = slab < p.slabs;
    [[maybe_unused]] std::uint32_t row_at[2] = {};  // its address, modulo 16
    if constexpr (!U::kAligned) {
      const StreamSlab of(p, min(slab, p.slabs - 1), round + team);
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
          columns.at[c] = column[c] + own * U::kXBytes;
          columns.factor[c] = *reinterpret_cast<const float2*>(factors + own * kColumns + 8 * c + 2 * t);
        }
        Rows of{{own_row + place * p.stage_bytes, own_row + place * p.stage_bytes + 8 * p.pitch}};
        if constexpr (!U::kAligned) {
#pragma unroll
          for (int r = 0; r < 2; ++r) of.at[r] += (row_at[r] + unit * U::kRowBytes) % 16;
        }
        U::template add<T>(of, columns, g, t, sums);
      }
      __syncwarp();
      stages[place].empty.arrive_as_warp(lane);
      place += kStreamTeams;
      if (place >= p.stages) place = team, parity ^= 1;
    }
    store_planes<kRows>(sums, partials + (round + team & 2 * p.batch - 1) * kRoundFloats + of_team * kPartial, g, t);
    round += kStreamTeams;
    if ((round & p.batch - 1) != 0 && work.slab(round) < p.slabs) continue;

    meet();
#pragma unroll 1
    for (std::uint32_t o = threadIdx.x / 16; o < (round - finished >> work.gated) * kRows << p.step_slabs_log2;
         o += kThreads / 16) {
      const std::uint32_t of_x = o % kRows, own = o / kRows & (1u << p.step_slabs_log2) - 1,
                          i = finished + (o / kRows >> p.step_slabs_log2 << work.gated), row = threadIdx.x % 16;
      if (of_x >= p.m || work.slab(i) + own >= p.slabs) continue;
      const StreamSlab of(p, work.slab(i) + own, 0);
      if (of.row + row >= of.target().n) continue;
      const std::uint64_t at = std::uint64_t(of_x) * of.target().n + of.row + row;
      const float residual = p.sum ? p.residual[at] : 0.0f;
      const auto total = [&](std::uint32_t of_round) {
        const float* const from =
            partials + (of_round & 2 * p.batch - 1) * kRoundFloats + own * p.step_units * kPartial + row * kRows + of_x;
        float sum = 0;
#pragma unroll
        for (std::uint32_t w = 0; w < kStreamWarps; ++w) sum += w < p.step_units ? from[w * kPartial] : 0.0f;
        return sum;
      };
      const float sum = total(i);
      of.target().output[at] = sum;
      if (p.gated) {
        const float up = total(i + 1);
        p.target[1].output[at] = up;
        p.gated[at] = gpu::silu(sum) * up;
      }
      if (p.sum) p.sum[at] = residual + sum;
    }
    finished = round;
  }
#endif
}

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
