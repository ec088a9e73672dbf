// A group's part of x as box_kernel multiplies it: halfs or digits.
#pragma once

#include <type_traits>

#include "cuda/vec/activations.cuh"
#include "cuda/vec/box_plan.h"
#include "cuda/vec/digits.cuh"
#include "cuda/vec/rounded_unit.cuh"

namespace mlx_native::cuda {

/// Where it lies in shared memory.
struct BoxX {
  const BoxPlan& p;
  std::uint32_t first, units;  // of the part
  std::uint8_t *shared, *x, *sums;
  float* factors;
  __device__ __forceinline__ BoxX(const BoxPlan& plan, std::uint8_t* begin, std::uint32_t part)
      : p(plan),
        first(plan.units * part >> plan.parts_log2),
        units((plan.units * (part + 1) >> plan.parts_log2) - first),
        shared(begin),
        x(begin + plan.x_at),
        sums(begin + plan.sums_at),
        factors(reinterpret_cast<float*>(begin + plan.factors_at)) {}
};

/// The units of all rows that a warp splits, every `warps`th, and where the first of them are: known before x is there.
struct UnitTurns {
  static constexpr std::uint32_t kAhead = 4;
  struct Place {
    std::uint32_t row, unit, at;  // at: of its first value in x
  };
  const BoxX& x;
  std::uint32_t count, rows, rest, apart;  // from one to the next: rows and units, and values
  Place first, next;
  std::uint32_t at[kAhead];
  __device__ __forceinline__ UnitTurns(const BoxX& part, std::uint32_t warp, std::uint32_t warps) : x(part) {
    const std::uint32_t all = x.p.m * x.units;
    count = warp < all ? (all - warp - 1) / warps + 1 : 0;
    rows = warps / x.units, rest = warps - rows * x.units;
    apart = rows * x.p.k + 256 * rest;
    const std::uint32_t row = warp / x.units, unit = warp - row * x.units;
    first = next = {row, unit, row * x.p.k + 256 * (x.first + unit)};
    settle(count), settle(rows), settle(rest), settle(apart), settle(first.row), settle(first.unit);
#pragma unroll
    for (std::uint32_t j = 0; j < kAhead; ++j, step(next)) settle(at[j] = next.at);
    settle(next.row), settle(next.unit), settle(next.at);
  }
  __device__ __forceinline__ void step(Place& place) const {
    place.row += rows, place.unit += rest, place.at += apart;
    if (place.unit >= x.units) place.unit -= x.units, ++place.row, place.at += x.p.k - 256 * x.units;
  }
};

/// Splits a warp's units: load(from) of some are under way, each to registers of its own, while split(loaded, row,
/// unit) has another.
template <class Load, class Split>
__device__ __forceinline__ void each_unit(const UnitTurns& turns, const Load& load, const Split& split) {
  constexpr std::uint32_t kAhead = UnitTurns::kAhead;
  if (turns.count == 0) return;
  UnitTurns::Place now = turns.first, next = turns.next;
  const float* const input = turns.x.p.input;
  decltype(load(input)) loaded[kAhead];
#pragma unroll
  for (std::uint32_t j = 0; j < kAhead; ++j)
    if (j < turns.count) loaded[j] = load(input + turns.at[j]);
#pragma unroll 1
  for (std::uint32_t i = 0; i < turns.count; i += kAhead) {
#pragma unroll
    for (std::uint32_t j = 0; j < kAhead; ++j, turns.step(now), turns.step(next)) {
      if (i + j >= turns.count) break;
      split(loaded[j], now.row, now.unit);
      if (i + j + kAhead < turns.count) loaded[j] = load(input + next.at);
    }
  }
}

/// Lanes kApart from each other send each other a pair: `first` from who is second, `second` from who is not.
template <int kApart>
__device__ __forceinline__ float2 exchange(bool is_second, const float2& first, const float2& second) {
  const float2 v = is_second ? first : second;
  return make_float2(__shfl_xor_sync(0xffffffffu, v.x, kApart), __shfl_xor_sync(0xffffffffu, v.y, kApart));
}
/// From columns 2 t and 2 t + 1 of rows g and g + 8 four columns, of row g in lanes of an even t, of g + 8 in the
/// others.
__device__ __forceinline__ float4 join_pairs(const float2& low, const float2& high, int t) {
  const float2 sent = exchange<1>(t % 2, low, high);
  return t % 2 == 0 ? make_float4(low.x, low.y, sent.x, sent.y) : make_float4(sent.x, sent.y, high.x, high.y);
}

/// Where in a tile of sums, as fours, those of a row of W and of x row 2 t lie.
__device__ __forceinline__ int pair_at(int row, int t) { return t / 2 * 64 + row * 4 + t % 2 * 2; }
__device__ __forceinline__ void store_pair(float* to, float a, float b) {
  *reinterpret_cast<float2*>(to) = make_float2(a, b);
}

/// Up to `rows` rows of x, split in two halfs or rounded to one.
///   add(rows, x, column, unit, g, t, sums): sums += rows times unit `unit` of the part
///   store(sums, to, g, t): to a tile
///   gather_fours(sums, t, fours): a lane's fours, if has_fours(t): of row four(i, g, t) % 16 of W and four rows of x
template <class Format, int rows, bool kSplit>
struct HalfBox {
  using U = std::conditional_t<kSplit, Unit<Format>, RoundedUnit<Format>>;
  static constexpr Halfs kHalfs = !kSplit ? Halfs::Rounded : rows < 8 ? Halfs::Beside : Halfs::InTurn;
  static constexpr bool kBeside = kHalfs == Halfs::Beside;
  static constexpr int kOf = kBeside ? 4 : 8, T = rows / kOf, kStored = rows, kFours = (rows + 7) / 8;
  /// With fewer rows of W one stage at a time is on its way until x is split, which would have to wait for them: where
  /// they are read in less time than they are multiplied in.
  static constexpr std::int64_t kOneStageBelow = [] {
    constexpr std::int64_t kFewRows = 8192;
    if (rows == 16) return std::int64_t{U::kRowBytes > 210 ? 0 : kManyRowsOfW};
    if (rows == 8) return U::kAligned ? kFewRows : std::int64_t{kManyRowsOfW};
    return U::kAligned ? 0 : kFewRows;
  }();
  /// The same where warps send their sums themselves, with any number of rows.
  static constexpr bool kOneStageDirect = U::kRowBytes % 16 != 0 || (rows == 16 && U::kRowBytes <= 210);
  static constexpr BoxShape kShape{.rows = rows,
                                   .stored = rows,
                                   .planes = kSplit ? 2 : 1,
                                   .row_bytes = U::kRowBytes,
                                   .x_bytes = U::kXBytes,
                                   .x_skew = U::kSkew,
                                   .factors = rows,
                                   .sum_bytes = 0,
                                   .aligned = U::kRowBytes % 16 == 0};
  using Column = std::uint32_t[T];  // in shared memory

  static __device__ __forceinline__ void split(const BoxX& to, const UnitTurns& turns, int lane) {
    each_unit(
        turns, [&](const float* from) { return load_granule<U, true>(from, lane); },
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
      settle(column[i] = x.p.x_at + (min(std::uint32_t(kOf * i + g % kOf), x.p.m - 1) + (kBeside ? g / 4 * x.p.m : 0)) *
                                        x.p.x_stride);
  }
  static __device__ __forceinline__ void add(const Rows& weights, const BoxX& x, const Column& column,
                                             std::uint32_t unit, int, int t, Sums<T>& sums) {
    Columns<T> columns;
    columns.low = x.p.m * x.p.x_stride;
#pragma unroll
    for (int c = 0; c < T; ++c) {
      columns.at[c] = x.shared + column[c] + unit * U::kXBytes;
      columns.factor[c] =
          *reinterpret_cast<const float2*>(x.factors + unit * rows + kOf * c + (kBeside ? 2 * (t % 2) : 2 * t));
    }
    U::template add<T, kHalfs, kShape.aligned>(weights, columns, t, sums);
  }
  static __device__ __forceinline__ bool has_fours(int t) { return rows >= 8 || t % 2 == 0; }
  static __device__ __forceinline__ std::uint32_t four(int i, int g, int t) {
    return std::uint32_t(kBeside ? g + t / 2 * 8 + t % 2 * 16 : 32 * i + t / 2 * 16 + t % 2 * 8 + g);
  }
  static __device__ __forceinline__ void gather_fours(const Sums<T>& sums, int t, float4 (&fours)[kFours]) {
    if constexpr (kBeside) {
      float2 pairs[T];
      add_halfs(sums, t, pairs);
      fours[0] = join_pairs(pairs[0], pairs[T - 1], t);
    } else {
#pragma unroll
      for (int c = 0; c < T; ++c)
        fours[c] = join_pairs(make_float2(sums[c][0], sums[c][1]), make_float2(sums[c][2], sums[c][3]), t);
    }
  }
  static __device__ __forceinline__ void store(const Sums<T>& sums, float* to, int g, int t) {
    if constexpr (kBeside) {
      float2 pairs[T];
      add_halfs(sums, t, pairs);
#pragma unroll
      for (int c = 0; c < T; ++c) store_pair(to + 64 * c + pair_at(g + t / 2 * 8, t % 2), pairs[c].x, pairs[c].y);
    } else {
#pragma unroll
      for (int c = 0; c < T; ++c) {
        store_pair(to + 128 * c + pair_at(g, t), sums[c][0], sums[c][1]);
        store_pair(to + 128 * c + pair_at(g + 8, t), sums[c][2], sums[c][3]);
      }
    }
  }

 private:
  /// Rows 4 c + 2 (t % 2) of x and the next, of row g or, where t is 2 or 3, g + 8 of W.
  static __device__ __forceinline__ void add_halfs(const Sums<T>& sums, int t, float2 (&pairs)[T]) {
#pragma unroll
    for (int c = 0; c < T; ++c) {
      const float2 low{sums[c][0], sums[c][1]}, high{sums[c][2], sums[c][3]}, sent = exchange<2>(t >= 2, low, high);
      pairs[c] = t < 2 ? make_float2(low.x + sent.x, low.y + sent.y) : make_float2(sent.x + high.x, sent.y + high.y);
    }
  }
};

/// Up to `rows` rows of x, of three digits.
template <class Format, int rows>
struct DigitBox {
  using U = DigitUnit<Format>;
  static constexpr int T = (kPlanes * rows + 7) / 8, kStored = rows < 4 ? 4 : rows, kFours = 1,
                       kColumns = kPlanes * rows;
  static constexpr std::int64_t kOneStageBelow = rows == 8 ? 8192 : 0;
  static constexpr bool kOneStageDirect = !U::kAligned;
  static_assert(kColumns == DigitColumns<T>::columns);
  static constexpr BoxShape kShape{.rows = rows,
                                   .stored = kStored,
                                   .planes = kPlanes,
                                   .row_bytes = U::kRowBytes,
                                   .x_bytes = U::kXBytes,
                                   .x_skew = 64,
                                   .factors = kColumns,
                                   .sum_bytes = U::kSumBytes * kColumns,
                                   .aligned = U::kAligned};
  using Column = std::uint32_t[T];  // in shared memory

  static __device__ __forceinline__ void split(const BoxX& to, const UnitTurns& turns, int lane) {
    each_unit(
        turns, [&](const float* from) { return load_unit(from, lane); },
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
      settle(column[i] = x.p.x_at +
                         (min(c / rows, std::uint32_t(kPlanes - 1)) * x.p.m + min(c % rows, x.p.m - 1)) * x.p.x_stride);
    }
  }
  static __device__ __forceinline__ void add(const Rows& weights, const BoxX& x, const Column& column,
                                             std::uint32_t unit, int g, int t, Sums<T>& sums) {
    DigitColumns<T> columns;
    columns.sums = x.sums + unit * (U::kSumBytes * kColumns);
#pragma unroll
    for (int c = 0; c < T; ++c) {
      columns.at[c] = x.shared + column[c] + unit * U::kXBytes;
      columns.factor[c] = *reinterpret_cast<const float2*>(x.factors + unit * kColumns + 8 * c + 2 * t);
    }
    U::template add<T>(weights, columns, g, t, sums);
  }
  static __device__ __forceinline__ bool has_fours(int t) { return rows >= 8 || t < 2; }
  static __device__ __forceinline__ std::uint32_t four(int, int g, int t) {
    return std::uint32_t(t / 2 * 16 + t % 2 * 8 + g);
  }
  static __device__ __forceinline__ void gather_fours(const Sums<T>& sums, int t, float4 (&fours)[kFours]) {
    const float4 v = add(sums, t);
    if constexpr (rows == 2)
      fours[0] = t == 0 ? make_float4(v.x, v.y, 0.0f, 0.0f) : make_float4(v.z, v.w, 0.0f, 0.0f);
    else
      fours[0] = join_pairs(make_float2(v.x, v.y), make_float2(v.z, v.w), t);
  }
  static __device__ __forceinline__ void store(const Sums<T>& sums, float* to, int g, int t) {
    const float4 v = add(sums, t);
    if (2 * t >= rows) return;
    store_pair(to + pair_at(g, t), v.x, v.y);
    store_pair(to + pair_at(g + 8, t), v.z, v.w);
  }

 private:
  /// Rows 2 t and 2 t + 1 of x, of rows g and then g + 8 of W.
  static __device__ __forceinline__ float4 add(const Sums<T>& sums, int t) {
    if constexpr (rows < 8) {
      return add_planes<rows, T>(sums, t);
    } else {
      static_assert(T == kPlanes);
      float v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = (sums[0][i] + sums[1][i]) + sums[2][i];
      return make_float4(v[0], v[1], v[2], v[3]);
    }
  }
};

}  // namespace mlx_native::cuda
