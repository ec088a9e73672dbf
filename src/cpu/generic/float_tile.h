// Products in floats of a tile of weights with rows of x.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/simd/simd.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

struct FloatTile {
  static constexpr int kVectors = 2, kColumns = kVectors * kLanes;
  static constexpr int kTileRows = kLanes == 4 ? 4 : kLanes == 8 ? 6 : 12;

  /// One value of each of kColumns weight rows.
  struct Weights {
    Vec value[kVectors];
  };

  using X = float;
  static K_FN Vec spread(float x) { return splat(x); }
  static K_FN Vec add(Vec sum, Vec weights, Vec x) { return fma(x, weights, sum); }

  /// y[i] = row i of x . weights over `length` values, for `m` <= kTileRows rows.
  static void multiply(int m, const Weights* weights, int length, const float* const* x, Vec (*y)[kVectors],
                       const Ahead& ahead);
};

}  // namespace mlx_native::cpu::MLXN_ISA
