// How rows of x become integers.
#pragma once

#include "cpu/simd/simd.h"
#include "mlx_native/ops/precision.h"

namespace mlx_native::cpu::MLXN_ISA {

/// x = scale * q with q the integer nearest to x * inverse. With infinite or NaN values of x the scale is NaN.
struct Rounding {
  float inverse, scale;

  /// So that |q| <= most where no magnitude is above `largest`; magnitudes that are all below 2^-100 are lost.
  K_FN Rounding(float largest, float most) {
    const bool finite = largest < __builtin_inff();
    inverse = finite && largest > 0x1p-100f ? most / largest : 0;
    scale = finite ? largest / most : __builtin_nanf("");
  }
};

/// What rows of x keep in integers of so many bytes.
template <int Bytes>
inline constexpr Precision kAccuracyOfBytes = Bytes == 1   ? Precision::Int8
                                              : Bytes == 2 ? Precision::Half
                                                           : Precision::Full;

#if MLXN_HAS_BYTES
/// Stores kLanes integers as signed digits from bytes[p] + at on: q = sum over p of 2^(Bits * (Planes - 1 - p)) *
/// bytes[p]. The first digit has what the others leave.
template <int Bits = 8, int Planes, int Size>
K_FN void store_planes(int8_t (&bytes)[Planes][Size], int at, IntVec q) {
  for (int p = Planes - 1; p > 0; --p) {
    const IntVec low = q << (32 - Bits) >> (32 - Bits);
    store_bytes(bytes[p] + at, low);
    q = (q - low) >> Bits;
  }
  store_bytes(bytes[0] + at, q);
}
#endif

}  // namespace mlx_native::cpu::MLXN_ISA
