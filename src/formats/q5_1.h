#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 6 bits a value: Q4_1 with a fifth bit.
struct Q5_1 {
  K_STATIC bool kPlain = false, kHasOffset = true;
  K_STATIC int kBits = 5, kValues = 32, kGroup = 32, kBias = 0, kAlign = 8;

  /// value = d * q + m. The low nibbles of qs are values 0 to 15, the high ones 16 to 31; bit i of qh is the fifth of
  /// value i.
  struct Block {
    uint16_t d, m;  // f16
    uint16_t qh[2];
    uint8_t qs[16];
  };

  template <class R>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, int run) {
    return ((r.load(b.qs) >> 4 * run) & 0x0f0f0f0fu) | r.spread(r.bits16(b.qh + run)) << 4;
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
static_assert(sizeof(Q5_1::Block) == 24);

}  // namespace mlx_native
