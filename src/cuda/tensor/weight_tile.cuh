// Weights of a tile of k as the tall operand of mma and wgmma.
#pragma once

#include "cuda/tensor/halfs.cuh"

namespace mlx_native::cuda {

/// 16 rows by 64 columns in a warp's registers, a run of 16 columns in four: see mma_m16n8k16. Low: only for Full.
template <bool kFull>
struct Fragments {
  uint32_t high[4][4], low[kFull ? 4 : 1][4];

  /// No access moves across this point.
  __device__ __forceinline__ void hold() {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        asm volatile("" : "+r"(high[i][j])::"memory");
        if constexpr (kFull) asm volatile("" : "+r"(low[i][j])::"memory");
      }
    }
  }
};

/// Makes this lane's part of tile kTile of chunks that begin at `rows` (of rows g and g + 8 of the warp's 16): word t
/// of each run.
template <class Format, bool kFull, int kTile>
__device__ __forceinline__ void decode_tile(const uint8_t* const (&rows)[2], uint32_t t, Fragments<kFull>& to) {
  using Block = typename Format::Block;
#pragma unroll
  for (int run = 0; run < 4; ++run) {
    constexpr int kFirst = 64 * kTile;
    const int value = kFirst + 16 * run;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Block* const blocks = reinterpret_cast<const Block*>(rows[r]);
      Halfs h, l;
      if constexpr (Format::kPlain) {
        float v[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) v[i] = kWeightUnit * Format::value(blocks[value + 4 * t + i]);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          h.pair[i] = rounded_pair(v[2 * i], v[2 * i + 1]);
          if constexpr (kFull) l.pair[i] = lost_pair(v[2 * i], v[2 * i + 1], h.pair[i]);
        }
      } else {
        const Block& block = blocks[value / Format::kValues];
        const int within = value % Format::kValues;
        const GroupDecode<Format, kFull> group(Format::affine(block, within / Format::kGroup));
        const uint32_t codes = Format::codes(WordReader<Format::kAlign>{int(t)}, block, within / 16);
        if constexpr (kFull)
          group.split(codes, h, l);
        else
          h = group.high(codes);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        to.high[run][2 * i + r] = h.pair[i];
        if constexpr (kFull) to.low[run][2 * i + r] = l.pair[i];
      }
    }
  }
}

}  // namespace mlx_native::cuda
