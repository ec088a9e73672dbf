// AVX2, FMA and F16C; also the vocabulary of the ISA that only adds products of bytes to it.
#pragma once

#include <immintrin.h>

#include "core/dialect.h"
#include "cpu/simd/unroll.h"

#define MLXN_BYTES_HEADER "cpu/simd/bytes256.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kLanes = 8;
using Vec = float __attribute__((vector_size(32)));
using IntVec = int32_t __attribute__((vector_size(32)));
using UIntVec = uint32_t __attribute__((vector_size(32)));
using Quad = float __attribute__((vector_size(16)));
using Oct = Vec;
using Codes = uint32_t __attribute__((vector_size(16)));
using Bytes16 = uint8_t __attribute__((vector_size(16)));

// 12 sums, 3 rows of x and a weight fill the 16 registers.
inline constexpr int kTileRows = 3;

/// a * b + c, rounded once.
K_FN Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
K_FN Quad fold(Vec v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }

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
K_FN Run to_run(Codes codes) {
  const __m128i low = reinterpret_cast<__m128i>(codes), high = _mm_unpackhi_epi64(low, low);
  return {{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high))}};
}

K_FN Vec load_half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
/// To nearest, ties to even.
K_FN void store_half(uint16_t* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
K_FN Vec load_bfloat(const uint16_t* p) {
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}

K_FN Vec half_lanes(UIntVec bits) {
  // Packing works within halves: the eight values are in words 0 and 2.
  const __m256i packed = _mm256_packus_epi32(reinterpret_cast<__m256i>(bits), _mm256_setzero_si256());
  return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
}

/// Lane i of out[j]: bytes 4 j to 4 j + 3 at p + i * stride.
K_FN void load_columns(const uint8_t* p, uint64_t stride, UIntVec (&out)[4]) {
  __m256i two[4];  // rows r, r + 4
  MLXN_UNROLL
  for (int r = 0; r < 4; ++r) {
    const auto row = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + (r + i) * stride)); };
    two[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(row(0)), row(4), 1);
  }
  const __m256i low01 = _mm256_unpacklo_epi32(two[0], two[1]), high01 = _mm256_unpackhi_epi32(two[0], two[1]);
  const __m256i low23 = _mm256_unpacklo_epi32(two[2], two[3]), high23 = _mm256_unpackhi_epi32(two[2], two[3]);
  out[0] = reinterpret_cast<UIntVec>(_mm256_unpacklo_epi64(low01, low23));
  out[1] = reinterpret_cast<UIntVec>(_mm256_unpackhi_epi64(low01, low23));
  out[2] = reinterpret_cast<UIntVec>(_mm256_unpacklo_epi64(high01, high23));
  out[3] = reinterpret_cast<UIntVec>(_mm256_unpackhi_epi64(high01, high23));
}

/// What byte_tile.h needs is here.
#define MLXN_HAS_BYTES 1

/// To the nearest integers, ties to even.
K_FN IntVec to_nearest(Vec v) { return reinterpret_cast<IntVec>(_mm256_cvtps_epi32(v)); }
/// Integers in [-128, 127] as bytes.
K_FN void store_bytes(int8_t* to, IntVec v) {
  const __m256i bytes = _mm256_shuffle_epi8(reinterpret_cast<__m256i>(v), _mm256_set1_epi32(0x0c080400));
  const int64_t both = _mm256_extract_epi32(bytes, 4);
  const int64_t packed = both << 32 | uint32_t(_mm256_cvtsi256_si32(bytes));
  __builtin_memcpy(to, &packed, sizeof packed);
}

/// Sums of two products of unsigned `codes` and signed bytes of x in 16 bits each.
K_FN UIntVec pairs_of(UIntVec codes, UIntVec x) {
  return reinterpret_cast<UIntVec>(
      _mm256_maddubs_epi16(reinterpret_cast<__m256i>(codes), reinterpret_cast<__m256i>(x)));
}
/// The same of signed codes; x in [-127, 127].
K_FN UIntVec signed_pairs(UIntVec codes, UIntVec x) {
  const __m256i cv = reinterpret_cast<__m256i>(codes);
  return reinterpret_cast<UIntVec>(
      _mm256_maddubs_epi16(_mm256_abs_epi8(cv), _mm256_sign_epi8(reinterpret_cast<__m256i>(x), cv)));
}
K_FN UIntVec add_pairs(UIntVec a, UIntVec b) {
  return reinterpret_cast<UIntVec>(_mm256_add_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
/// Sums of the two in each lane.
K_FN UIntVec widen_pairs(UIntVec pairs) {
  return reinterpret_cast<UIntVec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(pairs), _mm256_set1_epi16(1)));
}

}  // namespace mlx_native::cpu::MLXN_ISA
