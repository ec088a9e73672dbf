#include "cpu/generic/tile_rows.h"

#if MLXN_HAS_BFLOAT_DOT

#include "cpu/generic/bfloat_tile.h"

namespace mlx_native::cpu::MLXN_ISA {

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
  multiply_tile<BfloatTile>(m, weights, pairs, x, y, ahead);
}

}  // namespace mlx_native::cpu::MLXN_ISA

#endif
