// What AVX2 and AVX-512 share.
#pragma once

#include <immintrin.h>

#include "cpu/simd/vectors.h"

#define MLXN_FACTORS_HEADER "cpu/simd/factors256.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Eight signed bytes, the lowest of `low` first.
K_FN Oct signed_bytes(uint32_t low, uint32_t high) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_insert_epi32(_mm_cvtsi32_si128(int(low)), int(high), 1)));
}

K_FN Codes shuffle_bytes(Bytes16 table, Codes indices) {
  return reinterpret_cast<Codes>(
      _mm_shuffle_epi8(reinterpret_cast<__m128i>(table), reinterpret_cast<__m128i>(indices)));
}

}  // namespace mlx_native::cpu::MLXN_ISA
