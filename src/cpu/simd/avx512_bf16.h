// AVX-512 and its products of bfloat16 pairs.
#pragma once

#include "cpu/simd/avx512.h"

#define MLXN_HAS_BFLOAT_DOT 1
#define MLXN_PRODUCTS_ALONE 1

namespace mlx_native::cpu::MLXN_ISA {

/// Lane by lane: sum + the products of two bfloat16s, the upper ones first, each added with one rounding to nearest,
/// ties to even. Subnormal factors and sums count as zero.
K_FN Vec dot2(Vec sum, UIntVec a, UIntVec b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
/// 2 kLanes bfloat16s in order, rounded to nearest, ties to even; subnormal values become zero.
K_FN UIntVec to_bfloats(Vec low, Vec high) { return reinterpret_cast<UIntVec>(_mm512_cvtne2ps_pbh(high, low)); }
/// Lane i: lanes i of both as bfloat16s, `low` in the lower half; rounded like to_bfloats().
K_FN UIntVec to_bfloat_pairs(Vec low, Vec high) {
  alignas(64) static constexpr uint16_t kInterleaved[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                            21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                            11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return reinterpret_cast<UIntVec>(
      _mm512_permutexvar_epi16(_mm512_load_si512(kInterleaved), reinterpret_cast<__m512i>(to_bfloats(low, high))));
}

}  // namespace mlx_native::cpu::MLXN_ISA
