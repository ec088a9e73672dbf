// Products of one to four rows with quantized weights, on Hopper.
//
// A warp or two of a group stream rows of W through a ring in shared memory, in pieces of many hundred bytes; the
// others each multiply a unit of a stage. A group takes a multiprocessor; its ring fills while it waits for x.
#pragma once

#include "cuda/order.cuh"
#include "cuda/tensor/wgmma.cuh"
#include "cuda/vec/digits.cuh"
#include "cuda/vec/stream_plan.h"

namespace mlx_native::cuda {

static_assert(kMostStages * sizeof(Handover) <= RingRoom::kRingAt);

/// A slab of a product.
struct StreamSlab {
  const StreamPlan& p;
  std::uint32_t product = 0, row;
  __device__ __forceinline__ StreamSlab(const StreamPlan& plan, std::uint32_t slab) : p(plan) {
#pragma unroll
    for (std::uint32_t i = 1; i < VecPlan::kMostTargets; ++i)
      if (i < p.targets && slab >= p.target[i].first_slab) product = i;
    row = 16 * (slab - p.target[product].first_slab);
  }
  __device__ __forceinline__ const VecPlan::Target& target() const { return p.target[product]; }
};

/// bulk_copy() of what is read once: it leaves L2 before anything else does, such as code and activations.
__device__ __forceinline__ void bulk_copy_once(void* to, const void* from, std::uint32_t bytes,
                                               SharedBarrier& barrier) {
  std::uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier)), "l"(policy)
      : "memory");
}

/// Fills the ring: a row a lane of all who load, of whom this is `loader`.
template <class U>
__device__ __forceinline__ void stream_rows(const StreamPlan& p, std::uint8_t* ring, Handover* stages,
                                            std::uint32_t loader, std::uint32_t lane) {
  const std::uint32_t rows = 16u << p.step_slabs_log2, step = gridDim.x << p.step_slabs_log2;
  std::uint32_t place = 0, parity = 1;
  for (std::uint32_t first = blockIdx.x << p.step_slabs_log2; first < p.slabs; first += kStreamTeams * step) {
    for (std::uint32_t unit = 0; unit < p.units; unit += p.step_units) {
      const std::uint32_t width = min(p.step_units, p.units - unit) * U::kRowBytes;
      for (std::uint32_t slab = first; slab < first + kStreamTeams * step; slab += step) {
        stages[place].empty.await(parity);
        std::uint32_t all = 0;
        for (std::uint32_t r = lane * kStreamTeams + loader; r < rows; r += 32 * kStreamTeams) {
          if (slab + r / 16 >= p.slabs) break;
          const StreamSlab of(p, slab + r / 16);
          const std::uint32_t row = of.row + r % 16;
          if (row >= of.target().n) continue;
          const std::uint8_t* from = of.target().weight + row * p.row_bytes + unit * U::kRowBytes;
          std::uint32_t bytes = width;
          if constexpr (!U::kAligned) {
            // Whole pieces of 16 bytes: memory is handed out by them.
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

/// Adds the planes of each row of x, lowest first, and stores [row of W][row of x].
template <int kRows, int T>
__device__ __forceinline__ void store_planes(const Sums<T>& sums, float* to, int g, int t) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float a = sums[0][2 * half], b = sums[0][2 * half + 1];
    if constexpr (kRows == 2) {
      // A plane a lane.
      if (t == kPlanes) a = b = 0.0f;
      a += __shfl_xor_sync(0xffffffffu, a, 1), b += __shfl_xor_sync(0xffffffffu, b, 1);
      a += __shfl_xor_sync(0xffffffffu, a, 2), b += __shfl_xor_sync(0xffffffffu, b, 2);
    } else {
      // Planes 0 and 1 in pairs of lanes, and plane 2 in the first pair's second product.
      a += __shfl_xor_sync(0xffffffffu, a, 2), b += __shfl_xor_sync(0xffffffffu, b, 2);
      a += sums[T - 1][2 * half], b += sums[T - 1][2 * half + 1];
    }
    if (2 * t < kRows) *reinterpret_cast<float2*>(to + (g + 8 * half) * kRows + 2 * t) = make_float2(a, b);
  }
}

/// Threads that registers are dealt for: of two rows of x more than there are, so that a small kernel's group finds
/// some too.
constexpr int stream_threads(int rows) { return rows == 2 ? 768 : 32 * int(kStreamTeams * (kStreamWarps + 1)); }

/// kRows: 2 or 4, at least p.m. For each team a warp loads.
template <class Format, int kRows>
__global__ void __launch_bounds__(stream_threads(kRows), 1) stream_kernel(const __grid_constant__ StreamPlan p) {
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

  if (threadIdx.x == 0) {
    for (std::uint32_t i = 0; i < p.stages; ++i) stages[i].full.init(kStreamTeams), stages[i].empty.init(kStreamWarps);
    fence_barrier_init();
  }
  allow_next();
  __syncthreads();
  if (warp >= kWarps) {
    stream_rows<U>(p, ring, stages, warp - kWarps, std::uint32_t(lane));
    return;
  }

  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const sums_of_x = shared + p.sums_at;
  std::uint8_t* const x = shared + p.x_at;
  const auto meet = [] { asm volatile("bar.sync 1, %0;" ::"n"(kThreads) : "memory"); };
  await_previous();
  split_all_digits<U>(warp, kWarps, p.m * p.units, lane, [&](std::uint32_t i) -> DigitPlace {
    const std::uint32_t row = p.m == 1 ? 0 : i / p.units, unit = i - row * p.units;
    return {p.input + std::uint64_t(row) * p.k + unit * U::kValues,
            x + row * p.x_stride + unit * U::kXBytes,
            p.m * p.x_stride,
            sums_of_x + unit * (U::kSumBytes * kColumns),
            factors + unit * kColumns,
            kColumns,
            row,
            kRows};
  });
  meet();

  // The lane's columns. Those of no row or plane repeat another, and their sums are not used.
  const std::uint8_t* column[T];
#pragma unroll
  for (int i = 0; i < T; ++i) {
    const std::uint32_t c = 8 * i + g;
    column[i] = x + (min(c / kRows, std::uint32_t(kPlanes - 1)) * p.m + min(c % kRows, p.m - 1)) * p.x_stride;
  }

  // The first slab of round i is i step + first.
  const std::uint32_t first = blockIdx.x << p.step_slabs_log2, step = gridDim.x << p.step_slabs_log2;
  constexpr std::uint32_t kRoundFloats = kStreamWarps * kPartial;
  const auto finish = [&](std::uint32_t round, std::uint32_t rounds) {
    meet();
    for (std::uint32_t o = threadIdx.x / 16; o < rounds * kRows << p.step_slabs_log2; o += kThreads / 16) {
      const std::uint32_t of_x = o % kRows, own = o / kRows & (1u << p.step_slabs_log2) - 1,
                          i = o / kRows >> p.step_slabs_log2, row = threadIdx.x % 16;
      const std::uint32_t slab = first + (round + i) * step + own;
      if (of_x >= p.m || slab >= p.slabs) continue;
      const StreamSlab of(p, slab);
      if (of.row + row >= of.target().n) continue;
      const float* const from = partials + ((round + i) & 2 * p.batch - 1) * kRoundFloats +
                                own * p.step_units * kPartial + row * kRows + of_x;
      float sum = 0;
      if (p.step_units == kStreamWarps) {
#pragma unroll
        for (std::uint32_t w = 0; w < kStreamWarps; ++w) sum += from[w * kPartial];
      } else {
        for (std::uint32_t w = 0; w < p.step_units; ++w) sum += from[w * kPartial];
      }
      of.target().output[std::uint64_t(of_x) * of.target().n + of.row + row] = sum;
    }
  };

  const std::uint32_t own_unit = of_team & p.step_units - 1, own_slab = of_team / p.step_units;
  const std::uint8_t* const own_row = ring + (16 * own_slab + g) * p.pitch + own_unit * U::kRowBytes;
  std::uint32_t place = team, parity = 0, round = 0;
  // All teams go through the same rounds, so that all warps meet.
  for (std::uint32_t of_team_0 = first; of_team_0 < p.slabs; of_team_0 += kStreamTeams * step) {
    const std::uint32_t slab = of_team_0 + team * step + own_slab;
    const bool works = slab < p.slabs;
    [[maybe_unused]] std::uint32_t row_at[2] = {};  // its address, modulo 16
    if constexpr (!U::kAligned) {
      const StreamSlab of(p, min(slab, p.slabs - 1));
      row_at[0] = std::uint32_t(reinterpret_cast<std::uintptr_t>(of.target().weight)) +
                  (of.row + g) * std::uint32_t(p.row_bytes);
      row_at[1] = row_at[0] + 8 * std::uint32_t(p.row_bytes);
    }
    Sums<T> sums = {};
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
        Rows rows{{own_row + place * p.stage_bytes, own_row + place * p.stage_bytes + 8 * p.pitch}};
        if constexpr (!U::kAligned) {
#pragma unroll
          for (int r = 0; r < 2; ++r) rows.at[r] += (row_at[r] + unit * U::kRowBytes) % 16;
        }
        U::template add<T>(rows, columns, g, t, sums);
      }
      __syncwarp();
      if (lane == 0) stages[place].empty.arrive();
      place += kStreamTeams;
      if (place >= p.stages) place = team, parity ^= 1;
    }
    store_planes<kRows>(sums, partials + (round + team & 2 * p.batch - 1) * kRoundFloats + of_team * kPartial, g, t);
    round += kStreamTeams;
    if ((round & p.batch - 1) == 0) finish(round - p.batch, p.batch);
  }
  if (const std::uint32_t rest = round & p.batch - 1; rest != 0) finish(round - rest, rest);
#endif
}

}  // namespace mlx_native::cuda
