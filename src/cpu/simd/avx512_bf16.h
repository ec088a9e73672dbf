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

}  // namespace mlx_native::cpu::MLXN_ISA
