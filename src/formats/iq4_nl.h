#pragma once

#include "formats/iq4_values.h"

namespace mlx_native {

/// 4.5 bits a value: 32 values of one scale, codes that are not evenly spaced.
struct IQ4_NL {
  K_STATIC bool kPlain = false, kHasOffset = false;
  K_STATIC int kBits = 8, kValues = 32, kGroup = 32, kBias = 128, kAlign = 2;

  /// value = d * (kIq4Values[q] - 128). The low nibbles of qs are values 0 to 15, the high ones 16 to 31.
  struct Block {
    uint16_t d;  // f16
    uint8_t qs[16];
  };

  template <class R>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, int run) {
    return r.lookup(kIq4Values, (r.load(b.qs) >> 4 * run) & 0x0f0f0f0fu);
  }
  template <class R>
  static K_FN auto scale(R r, const K_GLOBAL Block& b) {
    return r.half(&b.d);
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int) { return {half_to_float(b.d), 0.0f}; }
};
static_assert(sizeof(IQ4_NL::Block) == 18);

}  // namespace mlx_native
