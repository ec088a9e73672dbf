// Products in integers of a tile of codes with rows of x.
//
// A row of x is rounded to integers of one, two or three signed bytes (planes) with a scale for every few values. Codes
// and bytes multiply exactly, and the sum of a group is exact; it becomes a float once, and is multiplied with the
// group's scale. One plane is what ggml does: E about 5e-3. Two planes are 16 bits: E about 2e-5. Three are up to 23
// bits, as many as leave the sum of a group within 32: for 4-bit codes E is about 2e-7.
//
// With infinite or NaN values of x the result is NaN; values below 2^-100 of all else are lost with their block's
// largest below that.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/simd/simd.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

/// How codes of so many bits are multiplied with signed bytes. 0: the machine adds four products in 32 bits. Else it
/// adds two in 16 bits, and so many of these sums are added before they are widened; kSignedCodes: codes have all 8
/// bits and are stored less their bias, as signed bytes. MLXN_DOT4_SIGNED: so they must be where dot4() takes both
/// as signed bytes.
inline constexpr int kSignedCodes = -1;
constexpr int chain_of(int bits, int group) {
#if MLXN_DOT4_SIGNED
  return bits > 7 ? kSignedCodes : 0 * group;
#elif MLXN_WIDE_DOT
  return 0 * bits * group;
#else
  const int words = group / 4, fit = 32767 / (2 * 127 * ((1 << bits) - 1)), most = fit < words ? fit : words;
  return bits > 7 ? kSignedCodes : most >= 8 ? 8 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
#endif
}

/// Group: values of a weight scale; Offset: whether groups have offsets. Everything else of a format is in the codes.
template <int Group, bool Offset, int Planes, int Chain>
struct ByteTile {
  static constexpr int kGroup = Group, kPlanes = Planes, kChain = Chain;
  static constexpr bool kOffset = Offset;
  static constexpr int kVectors = 2, kColumns = kVectors * kLanes;
  // Two sums for each row and vector in registers.
#if MLXN_WIDE_DOT
  static constexpr int kTileRows = kLanes == 16 ? (Planes == 3 ? 6 : 7) : kLanes == 8 ? (Planes == 3 ? 3 : 4) : 6;
#else
  static constexpr int kTileRows = 3;
#endif
  static constexpr int kBlock = Planes == 1 ? 32 : 256;  // values of x of one scale

  /// One group of kColumns weight rows: word j of a row is its codes 4 j to 4 j + 3.
  struct Weights {
    Vec scale[kVectors], offset[Offset ? kVectors : 1];
    UIntVec codes[Group / 4][kVectors];
  };

  /// A group of a row of x: q = sum over p of 256^(Planes - 1 - p) * bytes[p], x = scale * q.
  struct X {
    int8_t bytes[Planes][Group];
    uint32_t sum;  // of q: times the bias of the codes, modulo 2^32, or, where groups have offsets, a float
    float scale;
  };
  static constexpr uint64_t row_bytes(uint64_t k) { return k / Group * sizeof(X); }

  /// Blocks [begin, end) of a row of k values, the last of which may be short; |q| <= most.
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, int32_t most, uint32_t bias, X* to);

  /// y[i] = row i of x . weights over `groups` groups, for `m` <= kTileRows rows.
  static void multiply(int m, const Weights* weights, int groups, const X* const* x, Vec (*y)[kVectors],
                       const Ahead& ahead);
};

template <class Format, int Planes>
using ByteTileOf = ByteTile<Format::kGroup, Format::kHasOffset, Planes, chain_of(Format::kBits, Format::kGroup)>;

}  // namespace mlx_native::cpu::MLXN_ISA
