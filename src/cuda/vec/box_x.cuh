// A group's part of x as box_kernel multiplies it: halfs or digits.
#pragma once

#include "cuda/vec/activations.cuh"
#include "cuda/vec/box_plan.h"
#include "cuda/vec/digits.cuh"

namespace mlx_native::cuda {

/// Where it lies in shared memory.
struct BoxX {
  const BoxPlan& p;
  std::uint32_t first, units;  // of the part
  std::uint8_t *x, *sums;
  float* factors;
  __device__ __forceinline__ BoxX(const BoxPlan& plan, std::uint8_t* shared, std::uint32_t part)
      : p(plan),
        first(plan.units * part >> plan.parts_log2),
        units((plan.units * (part + 1) >> plan.parts_log2) - first),
        x(shared + plan.x_at),
        sums(shared + plan.sums_at),
        factors(reinterpret_cast<float*>(shared + plan.factors_at)) {}
  /// Of row i / units, unit i % units.
  __device__ __forceinline__ const float* from(std::uint32_t row, std::uint32_t unit) const {
    return p.input + std::uint64_t(row) * p.k + (first + unit) * 256;
  }
};

/// Splits all units of all rows, a warp every `warps`th of them: load(row, unit) of some are under way, each to
/// registers of its own, while split(loaded, row, unit) has another.
template <class Load, class Split>
__device__ __forceinline__ void each_unit(const BoxX& x, std::uint32_t warp, std::uint32_t warps, const Load& load,
                                          const Split& split) {
  constexpr std::uint32_t kAhead = 4;
  const std::uint32_t all = x.p.m * x.units;
  if (warp >= all) return;
  const std::uint32_t count = (all - warp - 1) / warps + 1, rows = warps / x.units, rest = warps - rows * x.units;
  struct Place {
    std::uint32_t row, unit;
  };
  const auto step = [&](Place& at) {
    at.row += rows, at.unit += rest;
    if (at.unit >= x.units) at.unit -= x.units, ++at.row;
  };
  Place now{warp / x.units, warp % x.units}, next = now;
  decltype(load(0u, 0u)) loaded[kAhead];
#pragma unroll
  for (std::uint32_t j = 0; j < kAhead; ++j, step(next))
    if (j < count) loaded[j] = load(next.row, next.unit);
#pragma unroll 1
  for (std::uint32_t i = 0; i < count; i += kAhead) {
#pragma unroll
    for (std::uint32_t j = 0; j < kAhead; ++j, step(now), step(next)) {
      if (i + j >= count) break;
      split(loaded[j], now.row, now.unit);
      if (i + j + kAhead < count) loaded[j] = load(next.row, next.unit);
    }
  }
}

/// Up to `rows` rows of x, split in two halfs, four rows a product, or rounded to one, eight rows.
///   add(rows, x, column, unit, g, t, sums): sums += rows times unit `unit` of the part
///   store(sums, to, g, t): [row of W][kStored rows of x]
template <class Format, int rows, bool kSplit>
struct HalfBox {
  using U = Unit<Format>;
  static constexpr int kOf = kSplit ? 4 : 8, T = rows / kOf, kStored = rows;
  /// With fewer rows of W x is asked for before most weights, which it would have to wait for: where they are read in
  /// less time than they are multiplied in.
  static constexpr std::int64_t kXFirstBelow = rows < 8 || U::kRowBytes > 210 ? 0
                                               : rows == 16 || !U::kAligned   ? kManyRowsOfW
                                                                              : 8192;
  static constexpr BoxShape kShape{.rows = rows,
                                   .stored = rows,
                                   .planes = kSplit ? 2 : 1,
                                   .row_bytes = U::kRowBytes,
                                   .x_bytes = U::kXBytes,
                                   .x_skew = U::kSkew,
                                   .factors = rows,
                                   .sum_bytes = 0,
                                   .slots = rows == 16 ? kBoxTeams : 2 * kBoxTeams,
                                   .aligned = U::kRowBytes % 16 == 0};
  using Column = const std::uint8_t* [T];

  static __device__ __forceinline__ void split(const BoxX& to, std::uint32_t warp, std::uint32_t warps, int lane) {
    each_unit(
        to, warp, warps,
        [&](std::uint32_t row, std::uint32_t unit) { return load_granule<U, true>(to.from(row, unit), lane); },
        [&](const Granule& granule, std::uint32_t row, std::uint32_t unit) {
          std::uint8_t* const hi = to.x + row * to.p.x_stride + unit * U::kXBytes;
          const float factor = split_activations<U, kSplit>(granule, hi, hi + to.p.m * to.p.x_stride, lane);
          if (lane == 0) to.factors[unit * rows + row] = factor;
        });
  }
  /// Columns beyond m repeat the last row and are not stored.
  static __device__ __forceinline__ void find(const BoxX& x, int g, Column& column) {
#pragma unroll
    for (int i = 0; i < T; ++i)
      column[i] =
          x.x + (min(std::uint32_t(kOf * i + g % kOf), x.p.m - 1) + (kSplit ? g / 4 * x.p.m : 0)) * x.p.x_stride;
  }
  static __device__ __forceinline__ void add(const Rows& weights, const BoxX& x, const Column& column,
                                             std::uint32_t unit, int, int t, Sums<T>& sums) {
    Columns<T> columns;
#pragma unroll
    for (int c = 0; c < T; ++c) {
      columns.at[c] = column[c] + unit * U::kXBytes;
      columns.factor[c] =
          *reinterpret_cast<const float2*>(x.factors + unit * rows + kOf * c + (kSplit ? 2 * (t % 2) : 2 * t));
    }
    U::template add<T, kSplit>(weights, columns, t, sums);
  }
  static __device__ __forceinline__ void store(const Sums<T>& sums, float* to, int g, int t) {
#pragma unroll
    for (int c = 0; c < T; ++c) {
      float v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = sums[c][j] + (kSplit ? __shfl_xor_sync(0xffffffffu, sums[c][j], 2) : 0.0f);
      if (kSplit && t >= 2) continue;
      *reinterpret_cast<float2*>(to + g * rows + kOf * c + 2 * t) = make_float2(v[0], v[1]);
      *reinterpret_cast<float2*>(to + (g + 8) * rows + kOf * c + 2 * t) = make_float2(v[2], v[3]);
    }
  }
};

/// Up to `rows` rows of x, of three digits.
template <class Format, int rows>
struct DigitBox {
  using U = DigitUnit<Format>;
  static constexpr int T = (kPlanes * rows + 7) / 8, kStored = rows < 4 ? 4 : rows, kColumns = kPlanes * rows;
  static constexpr std::int64_t kXFirstBelow = 0;
  static_assert(kColumns == DigitColumns<T>::columns);
  static constexpr BoxShape kShape{.rows = rows,
                                   .stored = kStored,
                                   .planes = kPlanes,
                                   .row_bytes = U::kRowBytes,
                                   .x_bytes = U::kXBytes,
                                   .x_skew = 64,
                                   .factors = kColumns,
                                   .sum_bytes = U::kSumBytes * kColumns,
                                   .slots = 2 * kBoxTeams,
                                   .aligned = U::kAligned};
  using Column = const std::uint8_t* [T];

  static __device__ __forceinline__ void split(const BoxX& to, std::uint32_t warp, std::uint32_t warps, int lane) {
    each_unit(
        to, warp, warps, [&](std::uint32_t row, std::uint32_t unit) { return load_unit(to.from(row, unit), lane); },
        [&](const LoadedUnit& all, std::uint32_t row, std::uint32_t unit) {
          split_digits<U>(
              all,
              {nullptr, to.x + row * to.p.x_stride + unit * U::kXBytes, to.p.m * to.p.x_stride,
               to.sums + unit * (U::kSumBytes * kColumns), to.factors + unit * kColumns, kColumns, row, rows},
              lane);
        });
  }
  /// Those of no row or plane repeat another, and their sums are not used.
  static __device__ __forceinline__ void find(const BoxX& x, int g, Column& column) {
#pragma unroll
    for (int i = 0; i < T; ++i) {
      const std::uint32_t c = 8 * i + g;
      column[i] = x.x + (min(c / rows, std::uint32_t(kPlanes - 1)) * x.p.m + min(c % rows, x.p.m - 1)) * x.p.x_stride;
    }
  }
  static __device__ __forceinline__ void add(const Rows& weights, const BoxX& x, const Column& column,
                                             std::uint32_t unit, int g, int t, Sums<T>& sums) {
    DigitColumns<T> columns;
    columns.sums = x.sums + unit * (U::kSumBytes * kColumns);
#pragma unroll
    for (int c = 0; c < T; ++c) {
      columns.at[c] = column[c] + unit * U::kXBytes;
      columns.factor[c] = *reinterpret_cast<const float2*>(x.factors + unit * kColumns + 8 * c + 2 * t);
    }
    U::template add<T>(weights, columns, g, t, sums);
  }
  static __device__ __forceinline__ void store(const Sums<T>& sums, float* to, int g, int t) {
    if constexpr (rows < 8) {
      store_planes<rows, T, kStored>(sums, to, g, t);
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int c = 0; c < T / kPlanes; ++c) {
          float v[2];
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int i = 2 * half + j;
            v[j] = (sums[c][i] + sums[c + T / kPlanes][i]) + sums[c + 2 * (T / kPlanes)][i];
          }
          *reinterpret_cast<float2*>(to + (g + 8 * half) * kStored + 8 * c + 2 * t) = make_float2(v[0], v[1]);
        }
    }
  }
};

}  // namespace mlx_native::cuda
