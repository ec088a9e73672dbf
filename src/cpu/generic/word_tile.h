// Products in integers of 16 bits of a tile of weights with rows of x.
//
// As in byte_tile.h a row of x is rounded to integers with a scale for every few values; here they have 16 bits, and
// two products are added at once. A unit of a weight row, values whose products are added exactly, is integers of 16
// bits too: the codes of a group less their bias, or, where a format has small integers as scales of its groups, codes
// times scale of as many groups as leave the sum within 32 bits. E is about 2e-5.
//
// With infinite or NaN values of x the result is NaN; values below 2^-100 of all else are lost with their block's
// largest below that.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/simd/simd.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Offset: whether every 32 values of a weight row have one. OfUnit: units of x have scales of their own, and 256
/// weights one; else units of weights, and 256 values of x.
template <int Unit, bool Offset, bool OfUnit>
struct WordTile {
  static constexpr int kUnit = Unit, kOffsets = Offset ? Unit / 32 : 0, kOuter = 256;
  static_assert(!(Offset && OfUnit));
  static constexpr bool kOfUnit = OfUnit;
  static constexpr int kVectors = 2, kColumns = kVectors * kLanes;
#if MLXN_WIDE_DOT
  static constexpr int kTileRows = kLanes == 16 ? 7 : 4;
#else
  static constexpr int kTileRows = 3;
#endif
  static constexpr int kBlock = OfUnit ? Unit : kOuter;  // values of x of one scale

  /// A unit of kColumns weight rows: word j of a row is its values 2 j and 2 j + 1.
  struct Weights {
    Vec scale[kVectors], offset[Offset ? kOffsets : 1][kVectors];
    UIntVec values[Unit / 2][kVectors];
  };

  /// A unit of a row of x: x = scale * q.
  struct X {
    int16_t q[Unit];
    float scale;
    float sums[Offset ? kOffsets : 1];  // of q
  };
  static constexpr uint64_t row_bytes(uint64_t k) { return k / Unit * sizeof(X); }

  /// Blocks [begin, end) of a row of k values, the last of which may be short, so that products of a unit with weights
  /// of up to `largest_weight` add up to less than 2^31.
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, int32_t largest_weight, X* to);

  /// y[i] = row i of x . weights over `units` units, for `m` <= kTileRows rows.
  static void multiply(int m, const Weights* weights, int units, const X* const* x, Vec (*y)[kVectors],
                       const Ahead& ahead);
};

}  // namespace mlx_native::cpu::MLXN_ISA
