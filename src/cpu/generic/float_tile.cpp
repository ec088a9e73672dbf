#include "cpu/generic/float_tile.h"

namespace mlx_native::cpu::MLXN_ISA {

namespace {

constexpr int kStep = 16;  // values between two times that weights are asked for

template <int M>
K_FN void multiply_rows(const FloatTile::Weights* weights, int length, const float* const* rows,
                        Vec (*y)[FloatTile::kVectors], const Ahead& ahead) {
  const float* x[M];
  Vec total[M][FloatTile::kVectors] = {};
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) x[m] = rows[m];
  Ahead::Steps asking = ahead.in((length + kStep - 1) / kStep);
  for (int start = 0; start < length; start += kStep) {
    asking.next();
    const int end = start + kStep < length ? start + kStep : length;
    for (int i = start; i < end; ++i) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        const Vec xv = splat(x[m][i]);
        for (int v = 0; v < FloatTile::kVectors; ++v) total[m][v] = fma(xv, weights[i].value[v], total[m][v]);
      }
    }
  }
  MLXN_UNROLL
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < FloatTile::kVectors; ++v) y[m][v] = total[m][v];
}

template <int M>
K_FN void choose(int m, const FloatTile::Weights* weights, int length, const float* const* x,
                 Vec (*y)[FloatTile::kVectors], const Ahead& ahead) {
  if (m == M) return multiply_rows<M>(weights, length, x, y, ahead);
  if constexpr (M > 1) choose<M - 1>(m, weights, length, x, y, ahead);
}

}  // namespace

void FloatTile::multiply(int m, const Weights* weights, int length, const float* const* x, Vec (*y)[kVectors],
                         const Ahead& ahead) {
  choose<kTileRows>(m, weights, length, x, y, ahead);
}

}  // namespace mlx_native::cpu::MLXN_ISA
