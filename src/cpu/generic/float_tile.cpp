#include "cpu/generic/float_tile.h"

#include "cpu/generic/tile_rows.h"

namespace mlx_native::cpu::MLXN_ISA {

void FloatTile::multiply(int m, const Weights* weights, int length, const float* const* x, Vec (*y)[kVectors],
                         const Ahead& ahead) {
  multiply_tile<FloatTile>(m, weights, length, x, y, ahead);
}

}  // namespace mlx_native::cpu::MLXN_ISA
