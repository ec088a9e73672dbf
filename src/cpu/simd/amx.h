// AVX-512 and AMX-INT8: eight registers (tiles) of 16 rows of 64 bytes, and their products.
//
// In assembly: GCC 12 believes that _tile_loadconfig reads eight bytes, and leaves out the stores of the others.
#pragma once

#include "cpu/simd/avx512.h"

#define MLXN_HAS_TILES 1
#define MLXN_PRODUCTS_ALONE 1
/// Of one stream of weights such a processor foresees too little: m = 1 of q8_0 by one row at a time reads 13 GB/s, of
/// four 20 (a plain loop over one stream 18, over four 21).
#define MLXN_STREAMS 4

namespace mlx_native::cpu::MLXN_ISA {

/// Rows and bytes of a row of the tiles, as the processor reads them.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

/// Tiles are this thread's, of these shapes and zero, until tiles_end(): then nobody needs to save them.
K_FN void tiles_begin(const TileShapes& shapes) { asm volatile("ldtilecfg %0" : : "m"(shapes)); }
K_FN void tiles_end() { asm volatile("tilerelease"); }

template <int Tile>
K_FN void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
}
template <int Tile>
K_FN void tile_load(const void* rows, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(rows), "r"(stride), "i"(Tile) : "memory");
}
template <int Tile>
K_FN void tile_store(void* rows, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(rows), "r"(stride), "i"(Tile) : "memory");
}
/// Row i, lane j of Sum grows by the products of four bytes l of A (row i) and of B (row l, lane j), l over all. A is
/// signed.
template <bool SignedB, int Sum, int A, int B>
K_FN void tile_dot4() {
  if constexpr (SignedB)
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(A), "i"(B));
  else
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(A), "i"(B));
}

}  // namespace mlx_native::cpu::MLXN_ISA
