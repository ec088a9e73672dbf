// AVX2 with products of four bytes at once.
#pragma once

#include "cpu/simd/avx2.h"

#define MLXN_WIDE_DOT 1
#define MLXN_PRODUCTS_ALONE 1

namespace mlx_native::cpu::MLXN_ISA {

/// Lane by lane: sum + the product of four unsigned bytes of `codes` and four signed bytes of `x`, modulo 2^32.
K_FN UIntVec dot4(UIntVec sum, UIntVec codes, UIntVec x) {
  return reinterpret_cast<UIntVec>(_mm256_dpbusd_avx_epi32(
      reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
}

/// Lane by lane: sum + the products of both 16-bit integers, modulo 2^32.
K_FN void add_products(UIntVec& sum, UIntVec a, UIntVec b) {
  sum = reinterpret_cast<UIntVec>(_mm256_dpwssd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(a),
                                                          reinterpret_cast<__m256i>(b)));
}

}  // namespace mlx_native::cpu::MLXN_ISA
