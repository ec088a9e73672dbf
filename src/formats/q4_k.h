#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 6-bit scale and 6-bit min number `j` (0..7) of the 12 bytes that Q4_K and Q5_K share. For j < 4 they are the low six bits
/// of bytes j and j + 4; for j >= 4 the low nibble (scale) and high nibble (min) of byte j + 4, topped by the two high bits
/// of bytes j - 4 and j.
struct ScaleMin6 {
  int scale, min;
};
K_FN ScaleMin6 scale_min6(const K_GLOBAL uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

/// 4.5 bits a value: 256 values in 8 groups of 32, each with a 6-bit scale and a 6-bit min of the block's f16 factors.
struct Q4_K {
  static constexpr bool kPlain = false, kHasOffset = true;
  static constexpr int kValues = 256, kGroup = 32, kBias = 0, kAlign = 16;

  /// value = d * scale[g] * q - dmin * min[g]. Each 32 bytes of qs hold 64 values: the low nibbles are the first 32.
  struct Block {
    uint16_t d, dmin;    // f16
    uint8_t scales[12];  // scale_min6
    uint8_t qs[128];
  };

  template <class R>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, int run) {
    return (r.load(b.qs + 32 * (run / 4) + 16 * (run % 2)) >> (run & 2) * 2) & 0x0f0f0f0fu;
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) {
    const ScaleMin6 s = scale_min6(b.scales, group);
    return {half_to_float(b.d) * float(s.scale), -(half_to_float(b.dmin) * float(s.min))};
  }
};
static_assert(sizeof(Q4_K::Block) == 144);

}  // namespace mlx_native
