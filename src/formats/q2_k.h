#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 2.625 bits a value: 256 values in 16 groups of 16, each with a 4-bit scale and a 4-bit min of the block's f16
/// factors.
struct Q2_K {
  K_STATIC bool kPlain = false, kHasOffset = true;
  K_STATIC int kBits = 2, kValues = 256, kGroup = 16, kBias = 0, kAlign = 4;
  K_STATIC bool kFolds = true;

  /// value = d * scale[g] * q - dmin * min[g]. The low nibble of scales[g] is the scale, the high one the min. Each
  /// half of the block, 128 values, has 32 bytes of qs; value i of its quarter j (32 values) is the bits 2 j and 2 j +
  /// 1 of qs[i].
  struct Block {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;  // f16
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    return (r.load(b.qs + 32 * (run / 8) + 16 * (run % 2)) >> 2 * (run / 2 % 4)) & 0x03030303u;
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) {
    const int both = b.scales[group];
    return {half_to_float(b.d) * float(both & 15), -(half_to_float(b.dmin) * float(both >> 4))};
  }
  template <class R>
  static K_FN auto block_factors(R r, const K_GLOBAL Block& b) {
    const auto w = r.words(b.scales);
    GroupBytes<16, decltype(w.word[0] & 1u), decltype(r.half(&b.d))> all = {r.half(&b.d), -r.half(&b.dmin), {}, {}};
    K_UNROLL
    for (int i = 0; i < 4; ++i) {
      all.scales[i] = w.word[i] & 0x0f0f0f0fu;
      all.offsets[i] = w.word[i] >> 4 & 0x0f0f0f0fu;
    }
    return all;
  }
};
static_assert(sizeof(Q2_K::Block) == 84);

}  // namespace mlx_native
