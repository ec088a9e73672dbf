// Products in integers of bytes of weights with rows of x, by matrix instructions (AMX).
//
// As in byte_tile.h a row of x is rounded to integers of one to three signed bytes (planes) with a scale for every few
// values. A unit of a weight row, the values of one float scale, is integers too: where a format has small integers as
// scales of its groups, these are multiplied into the codes, so that a unit is a whole block in two planes
// (256 * high + low), and hardly anything is left to do in floats; else it is a group of 32 codes less their bias.
// Every product is exact, and what belongs to one power of 256 is added exactly over a unit.
//
// With infinite or NaN values of x the result is NaN; values below 2^-100 of all else are lost with their block's
// largest below that.
#pragma once

#include "cpu/simd/simd.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Unit: 32 values in one plane or 256 in two. Offset: whether every 32 values have one.
template <int Unit, bool Offset, int Planes>
struct AmxTile {
  static constexpr int kUnit = Unit, kPlanes = Planes, kBlock = 256, kGroup = 32;
  static constexpr int kWeightPlanes = Unit == kBlock ? 2 : 1;
  static constexpr bool kOffset = Offset;
  static constexpr int kVectors = 2, kColumns = kVectors * kLanes;
  static constexpr int kLength = Unit == kBlock ? 256 : 512;   // of a panel: it stays in L1
  static constexpr int kScaled = Planes == 1 ? Unit : kBlock;  // values of x of one scale

  /// A unit of kLanes weight rows: word j of a row is its bytes 4 j to 4 j + 3, the high plane first.
  struct Weights {
    UIntVec bytes[kWeightPlanes][Unit / 4];
    Vec scale, offset[Offset ? Unit / kGroup : 1];
  };

  /// A block of a row of x: q = sum over p of 256^(Planes - 1 - p) * bytes[p], x = scale * q.
  struct alignas(64) X {
    int8_t bytes[Planes][kBlock];
    float scale[kBlock / kScaled];
    float sums[Offset ? kBlock / kGroup : 1];  // of q
  };
  /// An odd number of lines, so that 16 rows do not share a few sets of the cache.
  static constexpr uint64_t row_bytes(uint64_t k) { return (k + kBlock - 1) / kBlock * sizeof(X) | 64; }

  /// Blocks [begin, end) of a row of k values, the last of which may be short.
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, X* to);

  /// y[i] = row i of x . weights over `units` units for `m` rows, or adds that to y where `add`. `weights` are those of
  /// the first kLanes columns, then those of the others; rows of x are equally far apart, and a row of y is kColumns
  /// long. Between begin() and end().
  static void multiply(int m, const Weights* weights, int units, const X* const* x, float* y, bool add);
  static void begin();
  static void end();
};

}  // namespace mlx_native::cpu::MLXN_ISA
