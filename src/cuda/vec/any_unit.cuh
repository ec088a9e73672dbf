// A unit of any block format, by its codes() and factors, times activations rounded to halfs.
#pragma once

#include "cuda/vec/units.cuh"

namespace mlx_native::cuda {

/// For formats without one that knows their bits. Lane t takes word t of each run.
template <class Format>
struct Unit {
  static_assert(!Format::kPlain);
  static constexpr Order kOrder = Order::Runs;
  static constexpr int kGroups = Format::kHasOffset ? 256 / Format::kGroup : 0;
  static constexpr bool kBrainFloat = false, kSwap = true;
  static constexpr int kRowBytes = kUnitRowBytes<Format>, kSumsAt = 512, kLowSums = -2 * kGroups,
                       kXBytes = kSumsAt + 4 * kGroups, kSkew = 64, kHighFrom = 0;
  static constexpr bool kAligned = kRowBytes % 16 == 0;
  static constexpr bool kSmallFactors = HasSmallFactors<Format>;
  static_assert(Folds<Format> || Format::kGroup == 32);
  static_assert(kSmallFactors || Format::kValues == 32);
  static constexpr int kBias = [] {
    if constexpr (Folds<Format>)
      return kFoldedBias<Format>;
    else
      return Format::kBias;
  }();

  template <int T, Halfs kHalfs, bool kRowsAlign>
  static __device__ __forceinline__ void add(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    static_assert(kHalfs == Halfs::Rounded);
    if constexpr (kSmallFactors)
      add_small<T>(rows, x, t, sums);
    else
      add_scaled<T>(rows, x, t, sums);
  }

 private:
  using Factors = GroupBytes<256 / Format::kGroup>;

  /// What a product of 16 columns takes of run `run`.
  static __device__ __forceinline__ void load_run(const Rows& rows, [[maybe_unused]] const Factors* factors, int t,
                                                  int run, std::uint32_t (&a)[4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      std::uint32_t word;
      if constexpr (Folds<Format>)
        word = folded_codes<Format>(rows, factors[r], r, t, run);
      else
        word = unit_codes<Format>(rows, r, t, run);
      a[r] = word & 0x00ff00ffu;
      a[2 + r] = __byte_perm(word, 0, 0x4341);
#pragma unroll
      for (int i = r; i < 4; i += 2)
        if constexpr (kBias != 0) a[i] = subtract2(a[i], twice(kBias));
    }
  }
  /// acc += 32 values from 32 `pair` on.
  template <int T>
  static __device__ __forceinline__ void multiply_pair(const std::uint32_t (&a)[2][4], const Columns<T>& x, int t,
                                                       int pair, Sums<T>& acc) {
#pragma unroll
    for (int c = 0; c < T; ++c) {
      const uint4 b = load16(x.at[c] + 64 * pair + 16 * t);
      multiply_tile<false>(acc[c], a[0], b.x, b.y);
      multiply_tile<false>(acc[c], a[1], b.z, b.w);
    }
  }
  /// acc += offsets times the sums of groups, in two parts.
  template <int T>
  static __device__ __forceinline__ void add_offsets(const std::uint32_t (&offsets)[4], const Columns<T>& x, int t,
                                                     Sums<T>& acc) {
#pragma unroll
    for (int c = 0; c < T; ++c)
#pragma unroll
      for (int i = 0; i < kGroups / 8; ++i) {
        const std::uint8_t* const at = x.at[c] + kSumsAt + 32 * i + 4 * t;
        multiply_tile<false>(acc[c], offsets, load4(at), load4(at + 16));
      }
  }

  /// A scale a group, any f16.
  template <int T>
  static __device__ __forceinline__ void add_scaled(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    Sums<T> unit = {};
    if constexpr (Format::kHasOffset) {
      std::uint32_t offsets[4];
      offset_halfs<Format>(rows, t, offsets);
      add_offsets<T>(offsets, x, t, unit);
    }
#pragma unroll
    for (int pair = 0; pair < 8; ++pair) {
      std::uint32_t a[2][4];
      load_run(rows, nullptr, t, 2 * pair, a[0]);
      load_run(rows, nullptr, t, 2 * pair + 1, a[1]);
      Sums<T> acc = {};
      multiply_pair<T>(a, x, t, pair, acc);
      add_group<T>(unit, acc, kUnscale * half_to_float(block_of<Format>(rows.at[0], pair).d),
                   kUnscale * half_to_float(block_of<Format>(rows.at[1], pair).d));
    }
    add_unit<T>(sums, x, 1.0f, 1.0f, unit);
  }

  /// A block is a unit; scales and offsets are small integers.
  template <int T>
  static __device__ __forceinline__ void add_small(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    const Factors factors[2] = {small_factors<Format>(rows.at[0]), small_factors<Format>(rows.at[1])};
    Sums<T> unit = {};
#pragma unroll
    for (int pair = 0; pair < 8; ++pair) {
      std::uint32_t a[2][4];
      load_run(rows, factors, t, 2 * pair, a[0]);
      load_run(rows, factors, t, 2 * pair + 1, a[1]);
      if constexpr (Folds<Format>) {
        multiply_pair<T>(a, x, t, pair, unit);
      } else {
        Sums<T> acc = {};
        multiply_pair<T>(a, x, t, pair, acc);
        add_group<T>(unit, acc, float(signed_byte(factors[0].scales[pair / 4], pair % 4)),
                     float(signed_byte(factors[1].scales[pair / 4], pair % 4)));
      }
    }
    Sums<T> offsets = {};
    if constexpr (Format::kHasOffset) {
      std::uint32_t halfs[4];
      offset_halfs<Format>(factors[0], factors[1], t, halfs);
      add_offsets<T>(halfs, x, t, offsets);
    }
#pragma unroll
    for (int c = 0; c < T; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        unit[c][i] = kUnscale * factors[i / 2].scale_unit * unit[c][i];
        if constexpr (Format::kHasOffset)
          unit[c][i] = fmaf(kUnscale * factors[i / 2].offset_unit, offsets[c][i], unit[c][i]);
      }
    }
    add_unit<T>(sums, x, 1.0f, 1.0f, unit);
  }
};

}  // namespace mlx_native::cuda
