// Factors of blocks, for x86 with AVX2.
#pragma once

#include <immintrin.h>

#include "core/dialect.h"

namespace mlx_native::cpu::MLXN_ISA {

/// The f16 in the low halves of words.
K_FN Quad half_quad(Codes words) {
  const __m128i low = _mm_and_si128(reinterpret_cast<__m128i>(words), _mm_set1_epi32(0xffff));
  return _mm_cvtph_ps(_mm_packus_epi32(low, low));
}

#define MLXN_HAS_SCALE_MIN6 1
/// The eight scales and offsets of the ScaleMin6 at `block` (formats/scale_min6.h), bit for bit, in half the
/// instructions of its words one by one.
K_FN void scale_min6(const uint8_t* block, Oct& scales, Oct& offsets) {
  float of_block;
  uint32_t c;
  uint64_t ab;
  __builtin_memcpy(&of_block, block, sizeof of_block);
  __builtin_memcpy(&ab, block + 4, sizeof ab);
  __builtin_memcpy(&c, block + 12, sizeof c);
  // Words, not vectors: the instructions for these have enough to do.
  const uint64_t first = ab & 0x3f3f3f3f3f3f3f3fu;
  const uint64_t last = ((c | uint64_t{c} << 28) & 0x0f0f0f0f0f0f0f0fu) | (ab >> 2 & 0x3030303030303030u);
  const auto eight = [](uint64_t bytes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(int64_t(bytes))));
  };
  const __m256 of = _mm256_cvtph_ps(_mm_castps_si128(_mm_set1_ps(of_block)));
  scales = _mm256_mul_ps(eight(uint32_t(first) | last << 32), _mm256_moveldup_ps(of));
  offsets = -_mm256_mul_ps(eight(first >> 32 | last >> 32 << 32), _mm256_movehdup_ps(of));
}

}  // namespace mlx_native::cpu::MLXN_ISA
