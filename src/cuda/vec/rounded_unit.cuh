// A unit times activations rounded to halfs, where that allows more than Unit does: weights are rounded to halfs, too.
#pragma once

#include "cuda/vec/units.cuh"

namespace mlx_native::cuda {

template <class Format>
struct RoundedUnit : Unit<Format> {};

/// Lane t takes blocks 2 t and 2 t + 1, 36 bytes, whose scales become part of the codes.
template <>
struct RoundedUnit<Q4_0> {
  static constexpr Order kOrder = Order::Pairs;
  static constexpr bool kAligned = false, kBrainFloat = false, kSwap = true;
  static constexpr int kRowBytes = 144, kXBytes = 576, kSumsAt = 0, kSkew = 64, kHighFrom = 0, kGroups = 0;

  template <int T, Halfs kHalfs, bool kRowsAlign>
  static __device__ __forceinline__ void add(const Rows& rows, const Columns<T>& x, int t, Sums<T>& sums) {
    static_assert(kHalfs == Halfs::Rounded);
    // Below the exponent of 1024, and of 64 that of a high nibble. Not known to the compiler, which then needs one
    // instruction to mask a code and to put it there.
    const std::uint32_t one = 0x64006400 | x.low >> 31, sixteenth = one ^ 0x30003000;
    constexpr std::uint32_t kBias = 0x64086408, kHighBias = 0x54805480;  // 1024 + 8, 64 + 8
    std::uint32_t words[2][9];
#pragma unroll
    for (int i = 0; i < 18; ++i) words[i / 9][i % 9] = load4(rows.at[i / 9] + 36 * t + 4 * (i % 9));
    Sums<T> even = {}, odd = {};
#pragma unroll
    for (int block = 0; block < 2; ++block) {
      std::uint32_t scale[2];
#pragma unroll
      for (int r = 0; r < 2; ++r)
        scale[r] = block ? __byte_perm(words[r][4], 0, 0x3232) : __byte_perm(words[r][0], 0, 0x1010);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        std::uint32_t low[2][4], high[2][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int j = i / 2, r = i % 2, word = 2 * half + j;
          const std::uint32_t w = block ? words[r][5 + word] : __funnelshift_r(words[r][word], words[r][word + 1], 16),
                              w8 = w >> 8;
          low[j][r] = multiply2(subtract2((w & kLow) | one, kBias), scale[r]);
          low[j][2 + r] = multiply2(subtract2((w8 & kLow) | one, kBias), scale[r]);
          high[j][r] = multiply2(subtract2((w & kHigh) | sixteenth, kHighBias), scale[r]);
          high[j][2 + r] = multiply2(subtract2((w8 & kHigh) | sixteenth, kHighBias), scale[r]);
        }
#pragma unroll
        for (int c = 0; c < T; ++c) {
          const std::uint8_t* const granule = x.at[c] + 144 * t + 64 * block + 16 * half;
          const uint4 b = load16(granule), b_high = load16(granule + 32);
          multiply_tile<false>(even[c], low[0], b.x, b.y);
          multiply_tile<false>(even[c], low[1], b.z, b.w);
          multiply_tile<false>(odd[c], high[0], b_high.x, b_high.y);
          multiply_tile<false>(odd[c], high[1], b_high.z, b_high.w);
        }
      }
    }
    add_group<T>(even, odd, 1.0f, 1.0f);
    add_unit<T>(sums, x, 1.0f, 1.0f, even);
  }
};

}  // namespace mlx_native::cuda
