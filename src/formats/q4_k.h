#pragma once

#include "formats/scale_min6.h"

namespace mlx_native {

/// 4.5 bits a value: 256 values in 8 groups of 32, each with a 6-bit scale and a 6-bit min of the block's f16 factors.
struct Q4_K : ScaleMin6Format {
  K_STATIC int kBits = 4;

  /// value = d * scale[g] * q - dmin * min[g]. Each 32 bytes of qs hold 64 values: the low nibbles are the first 32.
  struct Block {
    uint16_t d, dmin;    // f16
    uint8_t scales[12];  // ScaleMin6
    uint8_t qs[128];
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    return nibbles(r, b.qs, run);
  }
};
static_assert(sizeof(Q4_K::Block) == 144);

}  // namespace mlx_native
