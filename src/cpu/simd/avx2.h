// AVX2, FMA and F16C; also the vocabulary of the ISA that only adds products of bytes to it.
#pragma once

#include "cpu/simd/unroll.h"
#include "cpu/simd/x86.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kLanes = 8;
using Vec = float __attribute__((vector_size(32)));
using IntVec = int32_t __attribute__((vector_size(32)));
using UIntVec = uint32_t __attribute__((vector_size(32)));

// 12 sums, 3 rows of x and a weight fill the 16 registers.
inline constexpr int kTileRows = 3;

/// a * b + c, rounded once.
K_FN Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
K_FN Quad fold(Vec v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }

#define MLXN_SHUFFLES_VECTORS 1
K_FN UIntVec shuffle_bytes(Bytes16 table, UIntVec indices) {
  return reinterpret_cast<UIntVec>(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(reinterpret_cast<__m128i>(table)),
                                                       reinterpret_cast<__m256i>(indices)));
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

/// Signed codes.
K_FN Run to_signed_run(Codes codes) {
  const __m128i low = reinterpret_cast<__m128i>(codes), high = _mm_unpackhi_epi64(low, low);
  return {{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high))}};
}
K_FN Vec splat_half(uint16_t bits) { return _mm256_cvtph_ps(_mm_set1_epi16(int16_t(bits))); }

/// What byte_tile.h and dot_words.h need is here.
#define MLXN_HAS_BYTES 1
#define MLXN_WORD_DOT 1
#define MLXN_FOLDS 1

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
/// Sums of the two in each lane, times a number below 2^15.
K_FN UIntVec widen_pairs(UIntVec pairs, int times = 1) {
  return reinterpret_cast<UIntVec>(
      _mm256_madd_epi16(reinterpret_cast<__m256i>(pairs), _mm256_set1_epi16(int16_t(times))));
}

/// 16 bytes at each place.
K_FN __m256i load_halves(const uint8_t* low, const uint8_t* high) {
  if (high - low == 16) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(low));
  const auto half = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  return _mm256_inserti128_si256(_mm256_castsi128_si256(half(low)), half(high), 1);
}
/// Each two lanes have two words of a run: the first and the last (`upper`) half of the 16 bytes at p0, p1, p2, p3.
K_FN UIntVec load_words_of_runs(const uint8_t* p0, const uint8_t* p1, const uint8_t* p2, const uint8_t* p3,
                                bool upper) {
  const __m256i even = load_halves(p0, p2), odd = load_halves(p1, p3);
  return reinterpret_cast<UIntVec>(upper ? _mm256_unpackhi_epi64(even, odd) : _mm256_unpacklo_epi64(even, odd));
}
/// Which of eight runs it is of which a lane has a word in a half of the vectors.
constexpr int run_of_lane(int lane, int half) { return lane / 4 * 4 + 2 * half + lane % 4 / 2; }
/// Words 2 part and 2 part + 1 of the runs of blocks 2 half, 2 half + 1, 2 half + 4 and 2 half + 5.
K_FN UIntVec load_runs(const uint8_t* p, uint64_t stride, int half, int part) {
  p += 2 * half * stride;
  return load_words_of_runs(p, p + stride, p + 4 * stride, p + 5 * stride, part);
}
/// The halfwords at p + i * stride. 2 to 16 bytes from there on are read.
K_FN __m128i load_halfwords(const uint8_t* p, uint64_t stride) {
  // That of place i is word i of what is loaded 2 i bytes before it.
  const auto at = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * (stride - 2))); };
  const __m128i a = _mm_blend_epi16(at(0), at(1), 0x02), b = _mm_blend_epi16(at(2), at(3), 0x08);
  const __m128i c = _mm_blend_epi16(at(4), at(5), 0x20), d = _mm_blend_epi16(at(6), at(7), 0x80);
  return _mm_blend_epi16(_mm_blend_epi16(a, b, 0x0c), _mm_blend_epi16(c, d, 0xc0), 0xf0);
}
/// The halfword at p of each of the blocks of load_runs() in its two lanes.
K_FN UIntVec load_halfwords_of_runs(const uint8_t* p, uint64_t stride, int half) {
  const __m256i all = _mm256_cvtepu16_epi32(load_halfwords(p, stride));
  const __m256i lanes = _mm256_setr_epi32(0, 0, 1, 1, 4, 4, 5, 5);
  return reinterpret_cast<UIntVec>(
      _mm256_permutevar8x32_epi32(all, _mm256_add_epi32(lanes, _mm256_set1_epi32(2 * half))));
}
/// Lane i: the f16 at p + i * stride.
K_FN Vec load_halfs_of_blocks(const uint8_t* p, uint64_t stride) { return _mm256_cvtph_ps(load_halfwords(p, stride)); }
/// A sum that is complete here: else compilers add in an order of their own, for which there are too few registers.
K_FN void complete(UIntVec& sum) { asm("" : "+x"(sum)); }
/// What word_tile.h needs is here, but for add_products() where there is an instruction for it.
#define MLXN_HAS_WORDS 1

/// Lane by lane: the sum of the products of both 16-bit integers, modulo 2^32.
K_FN UIntVec sum_of_products(UIntVec a, UIntVec b) {
  return reinterpret_cast<UIntVec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
}
/// The four bytes of each lane as 16-bit integers, two in each of out[0] and out[1].
K_FN void widen_bytes(UIntVec bytes, UIntVec (&out)[2]) {
  const __m256i first =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1));
  const __m256i last =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1));
  out[0] = reinterpret_cast<UIntVec>(_mm256_shuffle_epi8(reinterpret_cast<__m256i>(bytes), first));
  out[1] = reinterpret_cast<UIntVec>(_mm256_shuffle_epi8(reinterpret_cast<__m256i>(bytes), last));
}
/// Integers in [-32768, 32767] as 16-bit ones.
K_FN void store_words(int16_t* to, IntVec v) {
  const __m256i twice = _mm256_packs_epi32(reinterpret_cast<__m256i>(v), reinterpret_cast<__m256i>(v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(_mm256_permute4x64_epi64(twice, 0x08)));
}
/// Sums of each two lanes: two of `a`, two of `b`, and again; as 32 bits or as pairs of 16. (vphaddd and vphaddw take
/// more than twice the time.)
K_FN UIntVec even_lanes(UIntVec a, UIntVec b) {
  return reinterpret_cast<UIntVec>(_mm256_shuffle_ps(reinterpret_cast<Vec>(a), reinterpret_cast<Vec>(b), 0x88));
}
K_FN UIntVec odd_lanes(UIntVec a, UIntVec b) {
  return reinterpret_cast<UIntVec>(_mm256_shuffle_ps(reinterpret_cast<Vec>(a), reinterpret_cast<Vec>(b), 0xdd));
}
K_FN UIntVec fold_ints(UIntVec a, UIntVec b) { return even_lanes(a, b) + odd_lanes(a, b); }
K_FN UIntVec fold_pairs(UIntVec a, UIntVec b) { return add_pairs(even_lanes(a, b), odd_lanes(a, b)); }
/// Lane i: word index[i] at p, of which each two are neighbours, all of them in the same half of 16 bytes. They are
/// known where this is compiled.
K_FN UIntVec pick_words(const uint8_t* p, IntVec index) {
  if (index[0] == index[2] && index[2] == index[4] && index[4] == index[6]) {
    int64_t both;
    __builtin_memcpy(&both, p + 4 * index[0], sizeof both);
    return reinterpret_cast<UIntVec>(_mm256_set1_epi64x(both));
  }
  const auto run = [&](int lane) { return p + index[lane] / 4 * 16; };
  return load_words_of_runs(run(0), run(2), run(4), run(6), index[0] % 4 / 2);
}
/// `to` with `bits`, which it lacks, in those bytes whose `words` have bit by[lane].
#define MLXN_TESTS_BYTES 1
K_FN UIntVec add_bits_where(UIntVec words, UIntVec by, UIntVec bits, UIntVec to) {
  return reinterpret_cast<UIntVec>(_mm256_blendv_epi8(reinterpret_cast<__m256i>(to),
                                                      reinterpret_cast<__m256i>(to | bits),
                                                      reinterpret_cast<__m256i>(words << (7 - by))));
}
/// Lane i: lane index[i] of `table`.
K_FN Vec pick(Vec table, IntVec index) { return _mm256_permutevar8x32_ps(table, reinterpret_cast<__m256i>(index)); }
K_FN Vec pick(Quad table, IntVec index) { return pick(_mm256_castps128_ps256(table), index); }

}  // namespace mlx_native::cpu::MLXN_ISA
