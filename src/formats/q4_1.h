#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 5 bits a value: 32 values of one scale and one offset.
struct Q4_1 {
  K_STATIC bool kPlain = false, kHasOffset = true;
  K_STATIC int kBits = 4, kValues = 32, kGroup = 32, kBias = 0, kAlign = 4;

  /// value = d * q + m. The low nibbles of qs are values 0 to 15, the high ones 16 to 31.
  struct Block {
    uint16_t d, m;  // f16
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
  template <class R>
  static K_FN auto offset(R r, const K_GLOBAL Block& b) {
    return r.half(&b.m);
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int) { return {half_to_float(b.d), half_to_float(b.m)}; }
};
static_assert(sizeof(Q4_1::Block) == 20);

}  // namespace mlx_native
