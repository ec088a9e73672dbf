// Products of plain weights with rows of x in bfloat16, two values at a time, summed in floats.
//
// x is rounded to 8 bits of mantissa, so are weights that are no bfloat16s: E about 1.7e-3, or 2.4e-3. A value of x
// above the largest bfloat16 (3.39e38) becomes infinite; subnormal values count as zero.
#pragma once

#include <type_traits>

#include "cpu/generic/ahead.h"
#include "cpu/simd/simd.h"
#include "formats/bf16.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Rows of x as bfloat16s, zeros behind the last value: whole vectors of kPiece, an odd number of them, for rows a
/// power of two apart would share sets of the L1.
struct BfloatRows {
  static constexpr bool kPrepares = true;
  static constexpr uint64_t kPiece = 2 * kLanes;
  static constexpr uint64_t row_bytes(uint64_t k) { return ((k + kPiece - 1) / kPiece | 1) * sizeof(UIntVec); }
  /// Pieces [begin, end) of a row.
  static void prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to);
};

/// 2 kLanes weights of F16 or BF16.
template <class Format>
K_FN UIntVec load_bfloats(const uint16_t* p) {
  if constexpr (std::is_same_v<Format, BF16>) {
    UIntVec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  } else {
    return to_bfloats(load_plain<Format>(p), load_plain<Format>(p + kLanes));
  }
}

struct BfloatTile {
  static constexpr int kVectors = 2, kColumns = kVectors * kLanes, kTileRows = 12;

  /// Two values of each of kColumns weight rows.
  struct Weights {
    UIntVec value[kVectors];
  };

  using X = uint32_t;  // a pair
  static K_FN UIntVec spread(uint32_t x) { return x + UIntVec{}; }
  static K_FN Vec add(Vec sum, UIntVec weights, UIntVec x) { return dot2(sum, weights, x); }

  /// y[i] = row i of x . weights over `pairs` pairs of values, for `m` <= kTileRows rows.
  static void multiply(int m, const Weights* weights, int pairs, const uint32_t* const* x, Vec (*y)[kVectors],
                       const Ahead& ahead);
};

}  // namespace mlx_native::cpu::MLXN_ISA
