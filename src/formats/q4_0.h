#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 4.5 bits a value: 32 values of one scale.
struct Q4_0 {
  K_STATIC bool kPlain = false, kHasOffset = false;
  K_STATIC int kBits = 4, kValues = 32, kGroup = 32, kBias = 8, kAlign = 2;

  /// value = d * (q - 8). The low nibbles of qs are values 0 to 15, the high ones 16 to 31.
  struct Block {
    uint16_t d;  // f16
    uint8_t qs[16];
  };

  template <class R>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, int run) {
    return (r.load(b.qs) >> 4 * run) & 0x0f0f0f0fu;
  }
  template <class R>
  static K_FN auto scale(R r, const K_GLOBAL Block& b) {
    return r.half(&b.d);
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int) { return {half_to_float(b.d), 0.0f}; }
};
static_assert(sizeof(Q4_0::Block) == 18);

}  // namespace mlx_native
