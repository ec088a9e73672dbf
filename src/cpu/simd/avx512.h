// AVX-512 F, BW, DQ, VL and VNNI.
#pragma once

#include "cpu/simd/unroll.h"
#include "cpu/simd/x86.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kLanes = 16;
using Vec = float __attribute__((vector_size(64)));
using IntVec = int32_t __attribute__((vector_size(64)));
using UIntVec = uint32_t __attribute__((vector_size(64)));

// 24 sums, 6 rows of x and a weight fill the 32 registers.
inline constexpr int kTileRows = 6;

/// a * b + c, rounded once.
K_FN Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
K_FN Oct fma(Oct a, Oct b, Oct c) { return _mm256_fmadd_ps(a, b, c); }
K_FN Quad fold(Vec v) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

#define MLXN_SHUFFLES_VECTORS 1
K_FN UIntVec shuffle_bytes(Bytes16 table, UIntVec indices) {
  return reinterpret_cast<UIntVec>(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(reinterpret_cast<__m128i>(table)),
                                                       reinterpret_cast<__m512i>(indices)));
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

/// Signed codes.
K_FN Run to_signed_run(Codes codes) {
  return {{_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(reinterpret_cast<__m128i>(codes)))}};
}
K_FN Vec splat_half(uint16_t bits) { return _mm512_cvtph_ps(_mm256_set1_epi16(int16_t(bits))); }

K_FN Vec half_lanes(UIntVec bits) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(bits))); }

/// What byte_tile.h and dot_words.h need is here.
#define MLXN_HAS_BYTES 1
#define MLXN_WIDE_DOT 1
#define MLXN_WORD_DOT 1

/// A vector that is loaded once, here: else compilers load it again for each use, or keep many for later.
K_FN void keep(UIntVec& loaded) { asm("" : "+v"(loaded)); }
/// To the nearest integers, ties to even.
K_FN IntVec to_nearest(Vec v) { return reinterpret_cast<IntVec>(_mm512_cvtps_epi32(v)); }
/// Integers in [-128, 127] as bytes.
K_FN void store_bytes(int8_t* to, IntVec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
}
/// Lane by lane: sum + the product of four unsigned bytes of `codes` and four signed bytes of `x`, modulo 2^32.
K_FN UIntVec dot4(UIntVec sum, UIntVec codes, UIntVec x) {
  return reinterpret_cast<UIntVec>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(codes),
                                                       reinterpret_cast<__m512i>(x)));
}
/// Lane i of out[j]: bytes 4 j to 4 j + 3 at p + i * stride.
K_FN void load_columns(const uint8_t* p, uint64_t stride, UIntVec (&out)[4]) {
  const uint8_t *const p4 = p + 4 * stride, *const p8 = p + 8 * stride, *const p12 = p8 + 4 * stride;
  __m512i four[4];  // rows r, r + 4, r + 8, r + 12
  MLXN_UNROLL
  for (int r = 0; r < 4; ++r) {
    const auto row = [&](const uint8_t* from) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + r * stride));
    };
    __m512i v = _mm512_castsi128_si512(row(p));
    v = _mm512_inserti32x4(v, row(p4), 1);
    v = _mm512_inserti32x4(v, row(p8), 2);
    four[r] = _mm512_inserti32x4(v, row(p12), 3);
  }
  const __m512i low01 = _mm512_unpacklo_epi32(four[0], four[1]), high01 = _mm512_unpackhi_epi32(four[0], four[1]);
  const __m512i low23 = _mm512_unpacklo_epi32(four[2], four[3]), high23 = _mm512_unpackhi_epi32(four[2], four[3]);
  out[0] = reinterpret_cast<UIntVec>(_mm512_unpacklo_epi64(low01, low23));
  out[1] = reinterpret_cast<UIntVec>(_mm512_unpackhi_epi64(low01, low23));
  out[2] = reinterpret_cast<UIntVec>(_mm512_unpacklo_epi64(high01, high23));
  out[3] = reinterpret_cast<UIntVec>(_mm512_unpackhi_epi64(high01, high23));
}
/// Lane i of out[j]: word j at p + i * stride. Each row is read once: 16 rows a power of two apart share one set of the
/// L1, which they do not fit into.
#define MLXN_HAS_SQUARES 1
K_FN void load_square(const uint8_t* p, uint64_t stride, UIntVec (&out)[16]) {
  __m512i rows[16], quads[16];  // quads[4 g + j]: word 4 c + j of rows 4 g to 4 g + 3, in 128 bits each, c = 0 to 3
  MLXN_UNROLL
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(p + i * stride);
  MLXN_UNROLL
  for (int g = 0; g < 16; g += 4) {
    const __m512i low01 = _mm512_unpacklo_epi32(rows[g], rows[g + 1]);
    const __m512i high01 = _mm512_unpackhi_epi32(rows[g], rows[g + 1]);
    const __m512i low23 = _mm512_unpacklo_epi32(rows[g + 2], rows[g + 3]);
    const __m512i high23 = _mm512_unpackhi_epi32(rows[g + 2], rows[g + 3]);
    quads[g] = _mm512_unpacklo_epi64(low01, low23);
    quads[g + 1] = _mm512_unpackhi_epi64(low01, low23);
    quads[g + 2] = _mm512_unpacklo_epi64(high01, high23);
    quads[g + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
  MLXN_UNROLL
  for (int j = 0; j < 4; ++j) {
    const __m512i even_a = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0x88);
    const __m512i even_b = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0x88);
    const __m512i odd_a = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0xdd);
    const __m512i odd_b = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0xdd);
    out[j] = reinterpret_cast<UIntVec>(_mm512_shuffle_i32x4(even_a, even_b, 0x88));
    out[4 + j] = reinterpret_cast<UIntVec>(_mm512_shuffle_i32x4(odd_a, odd_b, 0x88));
    out[8 + j] = reinterpret_cast<UIntVec>(_mm512_shuffle_i32x4(even_a, even_b, 0xdd));
    out[12 + j] = reinterpret_cast<UIntVec>(_mm512_shuffle_i32x4(odd_a, odd_b, 0xdd));
  }
}
/// Lane i: the halfword at p + i * stride bytes.
#define MLXN_HAS_HALFWORD_COLUMNS 1
K_FN UIntVec load_halfword_columns(const uint16_t* p, uint64_t stride) {
  const auto eight = [&](const uint8_t* first) {
    const uint8_t* const fifth = first + 4 * stride;
    const auto word = [&](const uint8_t* from, int i) {
      uint16_t bits;
      __builtin_memcpy(&bits, from + i * stride, sizeof bits);
      return bits;
    };
    __m128i v = _mm_cvtsi32_si128(word(first, 0));
    v = _mm_insert_epi16(v, word(first, 1), 1);
    v = _mm_insert_epi16(v, word(first, 2), 2);
    v = _mm_insert_epi16(v, word(first, 3), 3);
    v = _mm_insert_epi16(v, word(fifth, 0), 4);
    v = _mm_insert_epi16(v, word(fifth, 1), 5);
    v = _mm_insert_epi16(v, word(fifth, 2), 6);
    return _mm_insert_epi16(v, word(fifth, 3), 7);
  };
  const uint8_t* const at = reinterpret_cast<const uint8_t*>(p);
  const __m256i all = _mm256_inserti128_si256(_mm256_castsi128_si256(eight(at)), eight(at + 8 * stride), 1);
  return reinterpret_cast<UIntVec>(_mm512_cvtepu16_epi32(all));
}
/// 16 bytes each at p, p + stride, p + 2 stride and p + 3 stride.
K_FN __m512i load_four_runs(const uint8_t* p, uint64_t stride) {
  const auto run = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i * stride)); };
  __m512i v = _mm512_castsi128_si512(run(0));
  v = _mm512_inserti32x4(v, run(1), 1);
  v = _mm512_inserti32x4(v, run(2), 2);
  return _mm512_inserti32x4(v, run(3), 3);
}
/// The first or the last halves of four runs, each followed by that of the run four runs later.
K_FN UIntVec halves_of_runs(__m512i first, __m512i second, int part) {
  return reinterpret_cast<UIntVec>(part ? _mm512_unpackhi_epi64(first, second) : _mm512_unpacklo_epi64(first, second));
}
/// Which of eight runs it is of which a lane has a word then.
constexpr int run_of_lane(int lane, int = 0) { return lane / 4 + lane % 4 / 2 * 4; }
K_FN UIntVec load_runs(const uint8_t* p, uint64_t stride, int, int part) {
  return halves_of_runs(load_four_runs(p, stride), load_four_runs(p + 4 * stride, stride), part);
}
/// A bit for each byte.
struct SpreadBits {
  uint64_t bytes;
  int left;

  friend K_FN SpreadBits operator<<(SpreadBits a, int by) { return {a.bytes, a.left + by}; }
  /// `to` lacks them.
  friend K_FN UIntVec operator|(UIntVec to, SpreadBits bits) {
    const __m512i old = reinterpret_cast<__m512i>(to);
    return reinterpret_cast<UIntVec>(_mm512_mask_add_epi8(old, bits.bytes, old, _mm512_set1_epi8(1 << bits.left)));
  }
};
/// Byte i of a run: bit i of the halfword at p + that run * stride.
#define MLXN_SPREADS_BITS 1
K_FN SpreadBits load_bits_of_runs(const uint8_t* p, uint64_t stride, int part) {
  const auto four = [&](const uint8_t* first) {
    const auto bits = [&](int i) {
      uint16_t halfword;
      __builtin_memcpy(&halfword, first + i * stride, sizeof halfword);
      return uint64_t{halfword} << 16 * i;
    };
    return bits(0) | bits(1) | bits(2) | bits(3);
  };
  const uint64_t first = four(p), second = four(p + 4 * stride), low = 0x00ff00ff00ff00ff;
  return {part ? (first >> 8 & low) | (second & ~low) : (first & low) | (second & low) << 8, 0};
}
/// Lane i: the f16 at p + run_of_lane(i) * stride.
K_FN Vec load_halfs_of_blocks(const uint8_t* p, uint64_t stride) {
  constexpr uint64_t kLoad = 64;
  // Of the lanes' runs modulo `runs`.
  const auto gathered = [&](uint64_t runs, const uint8_t* from) {
    alignas(32) uint16_t index[kLanes];
    const uint64_t end = (runs - 1) * stride + 2, second = end > kLoad ? end - kLoad : 0;
    for (int i = 0; i < kLanes; ++i) {
      const uint64_t at = uint64_t(run_of_lane(i)) % runs * stride;
      index[i] = uint16_t((at + 2 <= kLoad ? at : at - second + kLoad) / 2);
    }
    const __m512i indices = _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(index)));
    return _mm512_castsi512_si256(
        end > kLoad ? _mm512_permutex2var_epi16(_mm512_loadu_si512(from), indices, _mm512_loadu_si512(from + second))
                    : _mm512_permutexvar_epi16(indices,
                                               _mm512_maskz_loadu_epi16(uint32_t((uint64_t{1} << end / 2) - 1), from)));
  };
  if (7 * stride + 2 <= 2 * kLoad) return _mm512_cvtph_ps(gathered(8, p));
  return _mm512_cvtph_ps(_mm256_blend_epi32(gathered(4, p), gathered(4, p + 4 * stride), 0xaa));
}
/// Lane i: word index[i] of the 64 bytes at p, or of the 128. They are known where this is compiled.
K_FN UIntVec pick_words(const uint8_t* p, IntVec index) {
  bool same_twos = index[1] == index[0] + 1;
  int most = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    same_twos = same_twos && index[lane] == index[lane % 2];
    most = index[lane] > most ? index[lane] : most;
  }
  if (same_twos) {
    int64_t both;
    __builtin_memcpy(&both, p + 4 * index[0], sizeof both);
    return reinterpret_cast<UIntVec>(_mm512_set1_epi64(both));
  }
  const __m512i indices = reinterpret_cast<__m512i>(index), first = _mm512_loadu_si512(p);
  return reinterpret_cast<UIntVec>(most < kLanes
                                       ? _mm512_permutexvar_epi32(indices, first)
                                       : _mm512_permutex2var_epi32(first, indices, _mm512_loadu_si512(p + 64)));
}
/// `to` with `bits`, which it lacks, in those bytes whose `words` have bit by[lane].
#define MLXN_TESTS_BYTES 1
K_FN UIntVec add_bits_where(UIntVec words, UIntVec by, UIntVec bits, UIntVec to) {
  const __mmask64 where =
      _mm512_test_epi8_mask(reinterpret_cast<__m512i>(words), reinterpret_cast<__m512i>(0x01010101u << by));
  const __m512i old = reinterpret_cast<__m512i>(to);
  return reinterpret_cast<UIntVec>(_mm512_mask_add_epi8(old, where, old, reinterpret_cast<__m512i>(bits)));
}
/// Each lane by its own number of bits, modulo 32.
#define MLXN_ROTATES 1
K_FN UIntVec rotated_left(UIntVec words, UIntVec by) {
  return reinterpret_cast<UIntVec>(_mm512_rolv_epi32(reinterpret_cast<__m512i>(words), reinterpret_cast<__m512i>(by)));
}
/// Lane i: lane index[i] of `table`.
K_FN Vec pick(Vec table, IntVec index) { return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), table); }
K_FN Vec pick(Oct table, IntVec index) { return pick(_mm512_castps256_ps512(table), index); }
K_FN Vec pick(Quad table, IntVec index) { return pick(_mm512_castps128_ps512(table), index); }

/// What word_tile.h needs is here.
#define MLXN_HAS_WORDS 1

/// Lane by lane: sum + the products of both 16-bit integers, modulo 2^32.
K_FN void add_products(UIntVec& sum, UIntVec a, UIntVec b) {
  sum = reinterpret_cast<UIntVec>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
/// The four bytes of each lane as 16-bit integers, two in each of out[0] and out[1].
K_FN void widen_bytes(UIntVec bytes, UIntVec (&out)[2]) {
  const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1));
  const __m512i last =
      _mm512_broadcast_i32x4(_mm_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1));
  out[0] = reinterpret_cast<UIntVec>(_mm512_shuffle_epi8(reinterpret_cast<__m512i>(bytes), first));
  out[1] = reinterpret_cast<UIntVec>(_mm512_shuffle_epi8(reinterpret_cast<__m512i>(bytes), last));
}
/// Integers in [-32768, 32767] as 16-bit ones.
K_FN void store_words(int16_t* to, IntVec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(v)));
}

}  // namespace mlx_native::cpu::MLXN_ISA
