#pragma once

#include "formats/scale_min6.h"

namespace mlx_native {

/// 5.5 bits a value: Q4_K with a fifth bit.
struct Q5_K : ScaleMin6Format {
  K_STATIC int kBits = 5;

  /// value = d * scale[g] * q - dmin * min[g]. Each 32 bytes of qs hold the low four bits of 64 values: the low nibbles
  /// are the first 32. Bit g of qh[i] is the fifth bit of value i of group g.
  struct Block {
    uint16_t d, dmin;    // f16
    uint8_t scales[12];  // ScaleMin6
    uint8_t qh[32];
    uint8_t qs[128];
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    const auto low = nibbles(r, b.qs, run);
    const auto high = (r.load(b.qh + 16 * (run % 2)) >> run / 2) & 0x01010101u;
    return low | high << 4;
  }
};
static_assert(sizeof(Q5_K::Block) == 176);

}  // namespace mlx_native
