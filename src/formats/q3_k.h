#pragma once

#include "formats/format.h"
#include "formats/signed_scale6.h"

namespace mlx_native {

/// 3.4375 bits a value: 256 values in 16 groups of 16, each with a signed 6-bit scale of the block's f16 factor.
struct Q3_K {
  K_STATIC bool kPlain = false, kHasOffset = false;
  K_STATIC int kBits = 3, kValues = 256, kGroup = 16, kBias = 4, kAlign = 2;
  K_STATIC bool kFolds = true;

  /// value = d * (scale[g] - 32) * (q - 4). Each half of the block, 128 values, has 32 bytes of qs; value i of its
  /// quarter j (32 values) takes the bits 2 j and 2 j + 1 of qs[i] and, above them, of qh[i] (which is of the whole
  /// block) the bit that counts quarters from the block's start. The low four bits of scale g are those of byte g of
  /// `scales` (g < 8) or the high ones of byte g - 8, the two above them the bits 2 (g / 4) and 2 (g / 4) + 1 of byte
  /// 8 + g % 4.
  struct Block {
    uint8_t qh[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;  // f16
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    const auto half = run / 8, quarter = run / 2 % 4, start = 16 * (run % 2);
    const auto low = (r.load(b.qs + 32 * half + start) >> 2 * quarter) & 0x03030303u;
    const auto high = (r.load(b.qh + start) >> run / 2) & 0x01010101u;
    return low | high << 2;
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) {
    const int low = b.scales[group % 8] >> 4 * (group / 8) & 15;
    const int high = b.scales[8 + group % 4] >> 2 * (group / 4) & 3;
    return {half_to_float(b.d) * float((low | high << 4) - 32), 0.0f};
  }
  template <class R>
  static K_FN auto group_bytes(R r, const K_GLOBAL Block& b) {
    const auto w = r.words(b.qs + 60);  // the last four bytes of qs and the scales
    const auto first = w.word[1], second = w.word[2], high = w.word[3];
    return GroupBytes<16, decltype(w.word[0] & 1u), decltype(r.half(&b.d))>{
        r.half(&b.d),
        {},
        {signed_scales(first, high), signed_scales(second, high >> 2), signed_scales(first >> 4, high >> 4),
         signed_scales(second >> 4, high >> 6)},
        {}};
  }
};
static_assert(sizeof(Q3_K::Block) == 110);

}  // namespace mlx_native
