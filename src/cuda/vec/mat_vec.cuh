// Products of few rows on tensor cores: dense, and routed to experts.
//
// Every warp streams its units of weights through a ring in shared memory by asynchronous copies, so that many bytes
// are on their way, and adds up 16 rows at a time. The sums of a slab's parts meet in the shared memory of one group of
// the cluster, which adds them in order.
#pragma once

#include "cuda/order.cuh"
#include "cuda/vec/activations.cuh"
#include "cuda/vec/plan.h"

namespace mlx_native::cuda {

/// The product that a slab belongs to.
__device__ __forceinline__ const VecPlan::Target& target_of(const VecPlan& plan, std::uint32_t slab) {
  std::uint32_t i = 0;
  while (i + 1 < plan.targets && slab >= plan.target[i + 1].first_slab) ++i;
  return plan.target[i];
}

/// The units of a warp's part, slab after slab.
template <class U, bool kRouted>
struct UnitStream {
  const VecPlan& plan;
  std::uint32_t part, step, slab, end, unit;
  const std::uint8_t* weight;  // of the slab's first row
  std::uint32_t last_row;      // of W behind it, at most 15
  std::uint32_t token;         // routed: row of x

  /// Slabs first, first + step ... below `last`.
  __device__ __forceinline__ UnitStream(const VecPlan& p, std::uint32_t first, std::uint32_t slab_step,
                                        std::uint32_t last, std::uint32_t own_part)
      : plan(p), part(own_part), step(slab_step), slab(first), end(min(last, p.slabs)), unit(own_part) {
    find_rows();
  }
  __device__ __forceinline__ void find_rows() {
    if (done()) return;
    const VecPlan::Target& target = target_of(plan, slab);
    weight = target.weight;
    std::uint32_t own = slab - target.first_slab;
    if constexpr (kRouted) {
      const std::uint32_t slot = own / target.slot_slabs, expert = plan.ids[slot];
      own -= slot * target.slot_slabs;
      weight += (expert < plan.n_experts ? expert : 0) * plan.expert_stride;
      token = slot / plan.top_k;
    }
    weight += std::uint64_t(own * 16) * plan.row_bytes;
    last_row = min(target.n - 1 - own * 16, 15u);
  }
  __device__ __forceinline__ void next() {
    unit += plan.parts;
    if (unit < plan.units) return;
    unit = part;
    slab += step;
    find_rows();
  }
  __device__ __forceinline__ bool done() const { return slab >= end; }
  /// Where the unit begins in row `r` of the slab; behind the last row of W, in that one.
  __device__ __forceinline__ const std::uint8_t* row(std::uint32_t r) const {
    return weight + min(r, last_row) * plan.row_bytes + unit * U::kRowBytes;
  }
  /// Bytes from a multiple of 16 to there.
  __device__ __forceinline__ std::uint32_t offset(std::uint32_t r) const {
    if constexpr (U::kAligned) return 0;
    return std::uint32_t(reinterpret_cast<std::uintptr_t>(row(r))) & 15;
  }
  /// kWidth lanes a row copy that many times 16 bytes of each, from there on.
  template <int kWidth>
  __device__ __forceinline__ void copy_columns(std::uint8_t* to, std::uint32_t first, std::uint32_t lane) {
    const std::uint32_t column = 16 * (first + lane % kWidth);
#pragma unroll
    for (std::uint32_t i = 0; i < kWidth / 2; ++i) {
      const std::uint32_t r = lane / kWidth + i * (32 / kWidth), apart = offset(r), bytes = apart + U::kRowBytes;
      if (column < bytes) copy16(to + r * kPitchOf<U> + column, row(r) - apart + column, min(bytes - column, 16u));
    }
  }
  /// One batch of copies of every lane, also when there is nothing left.
  __device__ __forceinline__ void fetch(std::uint8_t* to, std::uint32_t lane) {
    constexpr int kChunks = (U::kRowBytes + (U::kAligned ? 0 : 14) + 15) / 16, kRest = kChunks % 16;
    if (!done()) {
#pragma unroll
      for (int c = 0; c < kChunks / 16; ++c) copy_columns<16>(to, 16 * c, lane);
      if constexpr (kRest != 0)
        copy_columns<(kRest > 8 ? 16 : kRest > 4 ? 8 : kRest > 2 ? 4 : 2)>(to, kChunks - kRest, lane);
      next();
    }
    end_copies();
  }
};

template <class Format, int T, int kWarps, int kStages, bool kRouted>
__global__ void __launch_bounds__(32 * kWarps, kWarps > 8 ? 1 : 2) vec_kernel(const __grid_constant__ VecPlan p) {
  using U = Unit<Format>;
  static_assert(!kRouted || T == 1);
  extern __shared__ __align__(128) std::uint8_t shared[];
  constexpr int kUnitBytes = 16 * kPitchOf<U>, kColumns = 4 * T, kPartial = 16 * kColumns;
  const int lane = int(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const std::uint32_t warp = threadIdx.x / 32;
  const std::uint32_t cluster = p.parts / p.group_parts;
  const std::uint32_t rank = blockIdx.x % cluster, team = blockIdx.x / cluster, teams = gridDim.x / cluster;
  const std::uint32_t row_group = warp / p.group_parts, own_part = warp % p.group_parts;
  const std::uint32_t part = rank * p.group_parts + own_part;
  const std::uint32_t owned = (p.row_groups - 1) / cluster + 1;  // slabs of a round that are added up here, at most
  // The slab of a round. Routed: neighbours, for they share activations.
  const auto slab_of = [&](std::uint32_t round, std::uint32_t of_round) {
    return kRouted ? (of_round * teams + team) * p.rounds + round : (round * p.row_groups + of_round) * teams + team;
  };
  std::uint8_t* const ring = shared + warp * kStages * kUnitBytes;
  float* const partials = reinterpret_cast<float*>(shared + p.partials_at);
  float* const factors = reinterpret_cast<float*>(shared + p.factors_at);
  std::uint8_t* const x = shared + p.x_at;

  arrive_cluster();  // awaited before the first store to another group: it must have begun
  allow_next();
  if constexpr (kRouted) await_previous();  // the ids may be its work
  const std::uint32_t first_slab = row_group < p.row_groups ? slab_of(0, row_group) : p.slabs;
  UnitStream<U, kRouted> ahead(p, first_slab, kRouted ? 1 : p.row_groups * teams,
                               kRouted ? first_slab + p.rounds : p.slabs, part);
  UnitStream<U, kRouted> now = ahead;
#pragma unroll
  for (int s = 0; s < kStages; ++s) ahead.fetch(ring + s * kUnitBytes, std::uint32_t(lane));
  if constexpr (!kRouted) {
    await_previous();
    split_units<U, 1>(warp, kWarps, p.m * p.x_units, lane, [&](std::uint32_t i) -> UnitPlace {
      const std::uint32_t row = i / p.x_units, place = i - row * p.x_units, dealt = place / p.group_parts;
      const std::uint32_t unit = dealt * p.parts + rank * p.group_parts + place - dealt * p.group_parts;
      std::uint8_t* const hi = x + row * p.x_stride + place * U::kXBytes;
      return {unit < p.units ? p.input + std::uint64_t(row) * p.k + unit * 256 : nullptr, hi, hi + p.m * p.x_stride,
              factors + place * kColumns + row};
    });
    __syncthreads();
  }

  // The lane's columns: rows g % 4 of each four, hi or lo. Columns beyond m repeat the last row and are not stored.
  const std::uint8_t* column[T];
#pragma unroll
  for (int i = 0; i < T; ++i)
    column[i] = x + (kRouted ? warp * 2 * p.x_stride : 0) +
                (min(std::uint32_t(4 * i + g % 4), p.m - 1) + g / 4 * p.m) * p.x_stride;
  float* const own_factors = factors + (kRouted ? warp * p.x_units * 4 : 0);

  const auto finish = [&](std::uint32_t round) {
    const float* const from = partials + (round & 1) * owned * p.parts * kPartial;
    const std::uint32_t first = (rank + cluster - round * p.row_groups % cluster) % cluster, outputs = 16 * p.m;
    for (std::uint32_t o = threadIdx.x;; o += 32 * kWarps) {
      const std::uint32_t q = o / outputs, of_round = first + q * cluster;
      if (of_round >= p.row_groups) break;
      const std::uint32_t slab = slab_of(round, of_round);
      if (slab >= p.slabs) break;
      const std::uint32_t row = o % 16, col = (o - q * outputs) / 16;
      float sum = 0;
      for (std::uint32_t i = 0; i < p.parts; ++i) sum += from[(q * p.parts + i) * kPartial + row * kColumns + col];
      const VecPlan::Target& target = target_of(p, slab);
      const std::uint32_t own = slab - target.first_slab, slot = kRouted ? own / target.slot_slabs : col;
      const std::uint32_t at = (kRouted ? own - slot * target.slot_slabs : own) * 16 + row;
      if (kRouted && p.ids[slot] >= p.n_experts) sum = __uint_as_float(0x7fc00000u);
      if (at < target.n) target.output[std::uint64_t(slot) * target.n + at] = sum;
    }
  };

  std::uint32_t place_in_ring = 0, token = ~0u;
  for (std::uint32_t round = 0; round < p.rounds; ++round) {
    const bool works = !now.done();
    Sums<T> sums = {};
    if (works) {
      if constexpr (kRouted) {
        if (token != now.token) {
          token = now.token;
          __syncwarp();
          split_units<U, 4>(0, 1, p.x_units, lane, [&](std::uint32_t i) -> UnitPlace {
            const std::uint32_t unit = i * p.parts + part;
            std::uint8_t* const hi = x + warp * 2 * p.x_stride + i * U::kXBytes;
            return {unit < p.units ? p.input + std::uint64_t(token) * p.k + unit * 256 : nullptr, hi, hi + p.x_stride,
                    own_factors + 4 * i};
          });
          __syncwarp();
        }
      }
      for (std::uint32_t i = 0, units = (p.units - part - 1) / p.parts + 1; i < units; ++i) {
        await_copies<kStages - 1>();
        __syncwarp();
        const std::uint32_t place = kRouted ? i : i * p.group_parts + own_part;
        Columns<T> columns;
#pragma unroll
        for (int c = 0; c < T; ++c) {
          columns.at[c] = column[c] + place * U::kXBytes;
          columns.factor[c] = *reinterpret_cast<const float2*>(own_factors + place * kColumns + 4 * c + 2 * (t % 2));
        }
        const std::uint8_t* const at = ring + place_in_ring * kUnitBytes + g * kPitchOf<U>;
        U::template add<T>({{at + now.offset(g), at + 8 * kPitchOf<U> + now.offset(g + 8)}}, columns, t, sums);
        now.next();
        __syncwarp();
        ahead.fetch(ring + place_in_ring * kUnitBytes, std::uint32_t(lane));
        if (++place_in_ring == kStages) place_in_ring = 0;
      }
    }
    __syncwarp();
    await_cluster();
    if (round > 0) finish(round - 1);
    __syncwarp();
    if (works) {
      float* const to = partials + (((round & 1) * owned + row_group / cluster) * p.parts + part) * kPartial;
      const std::uint32_t owner = (round * p.row_groups + row_group) % cluster;
#pragma unroll
      for (int i = 0; i < T; ++i) {
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] = sums[i][j] + __shfl_xor_sync(0xffffffffu, sums[i][j], 2);
        if (t < 2) {
          float* const place = to + g * kColumns + 4 * i + 2 * t;
          store_in_cluster(place, owner, v[0], v[1]);
          store_in_cluster(place + 8 * kColumns, owner, v[2], v[3]);
        }
      }
    }
    __syncwarp();
    arrive_cluster();
  }
  await_cluster();
  finish(p.rounds - 1);
}

}  // namespace mlx_native::cuda
