#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 8.5 bits a value: 32 signed bytes of one scale.
struct Q8_0 {
  K_STATIC bool kPlain = false, kHasOffset = false;
  K_STATIC int kBits = 8, kValues = 32, kGroup = 32, kBias = 128, kAlign = 2;

  /// value = d * q, q signed. The code is q + 128, which flips the sign bit.
  struct Block {
    uint16_t d;      // f16
    uint8_t qs[32];  // two's complement
  };

  template <class R>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, int run) {
    return r.load(b.qs + 16 * run) ^ 0x80808080u;
  }
  template <class R>
  static K_FN auto scale(R r, const K_GLOBAL Block& b) {
    return r.half(&b.d);
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int) { return {half_to_float(b.d), 0.0f}; }
};
static_assert(sizeof(Q8_0::Block) == 34);

}  // namespace mlx_native
