#pragma once

#include "formats/format.h"
#include "formats/scale_min6.h"

namespace mlx_native {

/// 4.5 bits a value: 256 values in 8 groups of 32, each with a 6-bit scale and a 6-bit min of the block's f16 factors.
struct Q4_K {
  K_STATIC bool kPlain = false, kHasOffset = true;
  K_STATIC int kBits = 4, kValues = 256, kGroup = 32, kBias = 0, kAlign = 16;
  K_STATIC bool kPairs = true;

  /// value = d * scale[g] * q - dmin * min[g]. Each 32 bytes of qs hold 64 values: the low nibbles are the first 32.
  struct Block {
    uint16_t d, dmin;    // f16
    uint8_t scales[12];  // ScaleMin6
    uint8_t qs[128];
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    return (r.load(b.qs + 32 * (run / 4) + 16 * (run % 2)) >> (run & 2) * 2) & 0x0f0f0f0fu;
  }
  static K_FN ScaleMin6 scales(const K_GLOBAL Block& b) {
    return ScaleMin6::load<kAlign>(reinterpret_cast<const K_GLOBAL uint8_t*>(&b));
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) { return scales(b).affine(group); }
  template <class R>
  static K_FN auto group_bytes(R r, const K_GLOBAL Block& b) {
    return scale_min6_bytes(r, reinterpret_cast<const K_GLOBAL uint8_t*>(&b));
  }
};
static_assert(sizeof(Q4_K::Block) == 144);

}  // namespace mlx_native
