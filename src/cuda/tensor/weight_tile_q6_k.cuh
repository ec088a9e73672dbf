// Tiles of Q6_K, which has two bits of a code in the same byte as those of three others.
#pragma once

#include "cuda/tensor/mma.cuh"
#include "cuda/tensor/weight_tile.cuh"
#include "formats/q6_k.h"

namespace mlx_native::cuda {

template <bool kFull>
struct LaneFactors<Q6_K, kFull> : PairFactors<Q6_K, kFull> {
  // Of two tiles that follow each other: words whose bytes have high bits of the lower one's codes at 4 and 5, and of
  // the upper one's at 6 and 7.
  uint32_t high_bits[4];
  // Of the first row's factors, for both rows: where this lane's low bits begin in shared memory, less the bytes that
  // they are behind a multiple of 4, and how many these are, 0 or 2.
  uint32_t low_bits, odd;
};

/// Tiles 0 and 2 of a chunk, and 1 and 3, have the same bytes of high bits, and follow each other (tile_in). What comes
/// from memory is shifted once, to where codes have their bits next to each other: those of tiles 2 and 3 are two up.
template <int kRowAlign>
struct TileCodes<Q6_K, kRowAlign> {
  Codes<4> row[2];

  /// Words of shared memory, each shifted by `by` bits, at most 32, into the one before.
  static __device__ __forceinline__ void read_shifted(uint32_t from, uint32_t by, uint32_t (&to)[4]) {
    uint32_t word[5];
    asm volatile(
        "ld.shared.u32 %0, [%5]; ld.shared.u32 %1, [%5 + 4]; ld.shared.u32 %2, [%5 + 8]; ld.shared.u32 %3, [%5 + 12]; "
        "ld.shared.u32 %4, [%5 + 16];"
        : "=&r"(word[0]), "=&r"(word[1]), "=&r"(word[2]), "=&r"(word[3]), "=&r"(word[4])
        : "r"(from)
        : "memory");
#pragma unroll
    for (int i = 0; i < 4; ++i) to[i] = __funnelshift_rc(word[i], word[i + 1], by);
  }
  /// The rows are a multiple of 16 apart.
  template <int kPlace, bool kFull>
  __device__ __forceinline__ void read(const uint8_t* const (&rows)[2], uint32_t t,
                                       LaneFactors<Q6_K, kFull> (&factors)[2]) {
    constexpr uint32_t kTile = tile_in<Q6_K>(kPlace);
    constexpr bool kUpper = kTile >= 2;
    const uint32_t half = t / 2, second = t % 2;  // of the block, and of that half's four quarters
    uint32_t &begin = factors[0].low_bits, &odd = factors[0].odd;
    if constexpr (kPlace == 0) {
      const uint32_t low_bits = shared_address(rows[0]) + 64 * half;
      odd = low_bits & 2, begin = low_bits - odd;
      asm volatile("" : "+r"(odd), "+r"(begin));  // kept in registers, which the compiler does not
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      factors[r].template begin<kPlace>(rows[r], t);
      const uint32_t at = begin + (r ? uint32_t(rows[1] - rows[0]) : 0) + 16 * kTile;
      uint32_t low[4];
      if constexpr (kUpper) {
        read_shifted(at + (second ? 0 : 2 * odd - 4), second ? 2 + 8 * odd : 30 - 8 * odd, low);
      } else {
        read_shifted(at + 2 * odd + 124 - 32 * half, 28 + 4 * second - 8 * odd, factors[r].high_bits);
        read_shifted(at, 8 * odd + 4 * second, low);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i)
        row[r].word[i] = select_bits(low[i], factors[r].high_bits[i], kUpper ? 0x3f3f3f3fu : 0x0f0f0f0fu);
      row[r].mask = 0x3f3f3f3fu, row[r].up = kUpper ? 2 : 0;
    }
  }
  template <int kPlace, bool kFull>
  __device__ __forceinline__ void decode(const uint8_t* const (&)[2], uint32_t, uint32_t odd_bytes,
                                         const LaneFactors<Q6_K, kFull> (&factors)[2],
                                         Fragments<kSplit<Q6_K, kFull>>& to) const {
    decode_runs<int(tile_in<Q6_K>(kPlace))>(row, odd_bytes, factors, to);
  }
};

}  // namespace mlx_native::cuda
