#include "cpu/generic/bfloat_tile.h"

#if MLXN_HAS_BFLOAT_DOT

namespace mlx_native::cpu::MLXN_ISA {

namespace {

constexpr int kStep = 16;  // pairs between two times that weights are asked for

template <int M>
K_FN void multiply_rows(const BfloatTile::Weights* weights, int pairs, const uint32_t* const* rows,
                        Vec (*y)[BfloatTile::kVectors], const Ahead& ahead) {
  const uint32_t* x[M];
  Vec total[M][BfloatTile::kVectors] = {};
  MLXN_UNROLL
  for (int m = 0; m < M; ++m) x[m] = rows[m];
  Ahead::Steps asking = ahead.in((pairs + kStep - 1) / kStep);
  for (int start = 0; start < pairs; start += kStep) {
    asking.next();
    const int end = start + kStep < pairs ? start + kStep : pairs;
    for (int i = start; i < end; ++i) {
      MLXN_UNROLL
      for (int m = 0; m < M; ++m) {
        const UIntVec two = x[m][i] + UIntVec{};
        for (int v = 0; v < BfloatTile::kVectors; ++v) total[m][v] = dot2(total[m][v], weights[i].pairs[v], two);
      }
    }
  }
  MLXN_UNROLL
  for (int m = 0; m < M; ++m)
    for (int v = 0; v < BfloatTile::kVectors; ++v) y[m][v] = total[m][v];
}

template <int M>
K_FN void choose(int m, const BfloatTile::Weights* weights, int pairs, const uint32_t* const* x,
                 Vec (*y)[BfloatTile::kVectors], const Ahead& ahead) {
  if (m == M) return multiply_rows<M>(weights, pairs, x, y, ahead);
  if constexpr (M > 1) choose<M - 1>(m, weights, pairs, x, y, ahead);
}

}  // namespace

void BfloatRows::prepare(const float* x, uint64_t k, uint64_t begin, uint64_t end, uint8_t* to) {
  for (uint64_t piece = begin; piece < end; ++piece) {
    const float* const from = x + piece * kPiece;
    float last[kPiece] = {};
    const bool whole = k - piece * kPiece >= kPiece;
    if (!whole) __builtin_memcpy(last, from, (k - piece * kPiece) * sizeof(float));
    const float* const values = whole ? from : last;
    const UIntVec rounded = to_bfloats(load(values), load(values + kLanes));
    __builtin_memcpy(to + piece * sizeof rounded, &rounded, sizeof rounded);
  }
}

void BfloatTile::multiply(int m, const Weights* weights, int pairs, const uint32_t* const* x, Vec (*y)[kVectors],
                          const Ahead& ahead) {
  choose<kTileRows>(m, weights, pairs, x, y, ahead);
}

}  // namespace mlx_native::cpu::MLXN_ISA

#endif
