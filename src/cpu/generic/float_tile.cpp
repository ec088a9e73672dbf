#include "cpu/generic/float_tile.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

template <int M>
K_FN void multiply_rows(const FloatTile::Weights* weights, int length, const float* const* rows,
                        Vec (*y)[FloatTile::kVectors]) {
  const float* x[M];
  Vec total[M][FloatTile::kVectors] = {};
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) x[m] = rows[m];
  for (int i = 0; i < length; ++i) {
    MLXN_UNROLL
    for (int m = 0; m < M; ++m) {
      const Vec xv = splat(x[m][i]);
      for (int v = 0; v < FloatTile::kVectors; ++v) total[m][v] = fma(xv, weights[i].value[v], total[m][v]);
    }
  }
  MLXN_UNROLL
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < FloatTile::kVectors; ++v) y[m][v] = total[m][v];
}

template <int M>
K_FN void choose(int m, const FloatTile::Weights* weights, int length, const float* const* x,
                 Vec (*y)[FloatTile::kVectors]) {
  if (m == M) return multiply_rows<M>(weights, length, x, y);
  if constexpr (M > 1) choose<M - 1>(m, weights, length, x, y);
}

}  // namespace

void FloatTile::multiply(int m, const Weights* weights, int length, const float* const* x, Vec (*y)[kVectors]) {
  choose<kTileRows>(m, weights, length, x, y);
}

}  // namespace mlx_native::cpu::MLXN_ISA
