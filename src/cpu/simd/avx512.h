// AVX-512 F, BW, DQ, VL and VNNI.
#pragma once

#include <immintrin.h>

#include "core/dialect.h"

#define MLXN_BYTES_HEADER "cpu/simd/bytes256.h"

namespace mlx_native::cpu::avx512 {

inline constexpr int kLanes = 16;
using Vec = float __attribute__((vector_size(64)));
using IntVec = int32_t __attribute__((vector_size(64)));
using Quad = float __attribute__((vector_size(16)));
using Oct = float __attribute__((vector_size(32)));
using Codes = uint32_t __attribute__((vector_size(16)));
using Bytes16 = uint8_t __attribute__((vector_size(16)));

// 24 sums, 6 rows of x and a weight fill the 32 registers.
inline constexpr int kTileRows = 6;

/// a * b + c, rounded once.
K_FN Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
K_FN Oct fma(Oct a, Oct b, Oct c) { return _mm256_fmadd_ps(a, b, c); }
K_FN Quad fold(Vec v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/// Eight signed bytes, the lowest of `low` first.
K_FN Oct signed_bytes(uint32_t low, uint32_t high) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_insert_epi32(_mm_cvtsi32_si128(int(low)), int(high), 1)));
}

K_FN Codes shuffle_bytes(Bytes16 table, Codes indices) {
  return reinterpret_cast<Codes>(
      _mm_shuffle_epi8(reinterpret_cast<__m128i>(table), reinterpret_cast<__m128i>(indices)));
}

struct Run {
  Vec part[16 / kLanes];
};
K_FN Run to_run(Codes codes) { return {{_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(reinterpret_cast<__m128i>(codes)))}}; }

K_FN Vec load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
/// To nearest, ties to even.
K_FN void store_half(uint16_t* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
K_FN Vec load_bfloat(const uint16_t* p) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}

}  // namespace mlx_native::cpu::avx512
