// The loop of a tile's product with rows of x, whatever its numbers are.
#pragma once

#include "cpu/generic/ahead.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// y[i] = row i of x . weights over `length` of a Tile's Weights, for M rows of x. A Tile says what a row of x is made
/// of (X), what one of them becomes for all weight rows (spread), and how a product is added (add).
template <class Tile, int M>
K_FN void multiply_rows(const typename Tile::Weights* weights, int length, const typename Tile::X* const* rows,
                        Vec (*y)[Tile::kVectors], const Ahead& ahead) {
  constexpr int kStep = 16;  // between two times that weights are asked for
  const typename Tile::X* x[M];
  Vec total[M][Tile::kVectors] = {};
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) x[m] = rows[m];
  Ahead::Steps asking = ahead.in((length + kStep - 1) / kStep);
  for (int start = 0; start < length; start += kStep) {
    asking.next();
    const int end = start + kStep < length ? start + kStep : length;
    for (int i = start; i < end; ++i) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        const auto of_x = Tile::spread(x[m][i]);
        for (int v = 0; v < Tile::kVectors; ++v) total[m][v] = Tile::add(total[m][v], weights[i].value[v], of_x);
      }
    }
  }
  MLXN_UNROLL
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < Tile::kVectors; ++v) y[m][v] = total[m][v];
}

/// For `m` <= M rows of x.
template <class Tile, int M = Tile::kTileRows>
K_FN void multiply_tile(int m, const typename Tile::Weights* weights, int length, const typename Tile::X* const* x,
                        Vec (*y)[Tile::kVectors], const Ahead& ahead) {
  if (m == M) return multiply_rows<Tile, M>(weights, length, x, y, ahead);
  if constexpr (M > 1) multiply_tile<Tile, M - 1>(m, weights, length, x, y, ahead);
}

}  // namespace mlx_native::cpu::MLXN_ISA
