// Integer products of 32 codes at a time, for x86 with AVX2: what dot_bytes.h is written over.
#pragma once

#include <immintrin.h>

#include "core/dialect.h"
#include "cpu/simd/pairs.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Lane i of the sum grows by scale i * (the products of codes and x of bytes 4 i to 4 i + 3), where scale i is given
/// twice, in both halves of lane i of `scales`. Codes < 128; sums of two products stay in 16 bits.
K_FN IntOct add_products(IntOct sum, Bytes32 codes, const int8_t* x, IntOct scales) {
  const __m256i xv = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  const __m256i products = _mm256_maddubs_epi16(reinterpret_cast<__m256i>(codes), xv);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return reinterpret_cast<IntOct>(
      _mm256_dpwssd_epi32(reinterpret_cast<__m256i>(sum), products, reinterpret_cast<__m256i>(scales)));
#elif defined(__AVXVNNI__)
  return reinterpret_cast<IntOct>(
      _mm256_dpwssd_avx_epi32(reinterpret_cast<__m256i>(sum), products, reinterpret_cast<__m256i>(scales)));
#else
  return sum + reinterpret_cast<IntOct>(_mm256_madd_epi16(products, reinterpret_cast<__m256i>(scales)));
#endif
}

/// Eight signed bytes as integers, each twice, in both halves of a lane.
K_FN IntOct doubled_bytes(uint32_t low, uint32_t high) {
  const __m128i bytes = _mm_insert_epi32(_mm_cvtsi32_si128(int(low)), int(high), 1);
  const IntOct wide = reinterpret_cast<IntOct>(_mm256_cvtepi8_epi32(bytes));
  return (wide & 0xffff) | wide << 16;
}

/// Lanes 0 to 3: lane `low` of v; lanes 4 to 7: lane `high`.
K_FN IntOct two_lanes(const int32_t* v, int low, int high) {
  const IntOct l = v[low] - IntOct{}, h = v[high] - IntOct{};
  return __builtin_shufflevector(l, h, 0, 1, 2, 3, 12, 13, 14, 15);
}

/// 32 integers in [-128, 127] as bytes.
K_FN void store_bytes(int8_t* to, const IntOct (&v)[4]) {
  const auto pack = [](IntOct a, IntOct b) {
    return _mm256_packs_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
  };
  // Packing works within halves: four bytes of each vector in turn, twice.
  const __m256i mixed = _mm256_packs_epi16(pack(v[0], v[1]), pack(v[2], v[3]));
  const __m256i bytes = _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
}

#if defined(__AVX512F__)
/// To the nearest integers, ties to even.
K_FN IntOct to_nearest(Oct v) { return reinterpret_cast<IntOct>(_mm256_cvtps_epi32(v)); }
#endif

#define MLXN_HAS_SCALE_MIN6 1
/// The eight scales and offsets of the ScaleMin6 at `block` (formats/scale_min6.h), bit for bit, in half the
/// instructions of its words one by one.
K_FN void scale_min6(const uint8_t* block, Oct& scales, Oct& offsets) {
  const __m128i header = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));  // words d and dmin, a, b, c
  constexpr int kLow = 0x0f0f0f0f, kSix = 0x3f3f3f3f, kTop = 0x30303030;
  const __m128i acbc = _mm_shuffle_epi32(header, _MM_SHUFFLE(3, 2, 3, 1));
  const __m128i low =
      _mm_and_si128(_mm_srlv_epi32(acbc, _mm_setr_epi32(0, 0, 0, 4)), _mm_setr_epi32(kSix, kLow, kSix, kLow));
  const __m128i aabb = _mm_shuffle_epi32(header, _MM_SHUFFLE(2, 2, 1, 1));
  const __m128i top = _mm_and_si128(_mm_srli_epi32(aabb, 2), _mm_setr_epi32(0, kTop, 0, kTop));
  const __m128i bytes = _mm_or_si128(low, top);  // eight scales, eight mins
  const __m128 factors = _mm_cvtph_ps(header);
  scales = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), _mm256_broadcastss_ps(factors));
  offsets = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))),
                          -_mm256_broadcastss_ps(_mm_movehdup_ps(factors)));
}

}  // namespace mlx_native::cpu::MLXN_ISA
