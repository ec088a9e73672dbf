#pragma once

#include "formats/iq4_values.h"
#include "formats/signed_scale6.h"

namespace mlx_native {

/// 4.25 bits a value: 256 values in 8 groups of 32, each with a signed 6-bit scale of the block's f16 factor; codes
/// that are not evenly spaced.
struct IQ4_XS {
  K_STATIC bool kPlain = false, kHasOffset = false;
  K_STATIC int kBits = 8, kValues = 256, kGroup = 32, kBias = 128, kAlign = 8;

  /// value = d * (scale[g] - 32) * (kIq4Values[q] - 128). The low four bits of scale g are nibble g of scales_low, the
  /// high two the bits 2 g and 2 g + 1 of scales_high. Each 16 bytes of qs are a group: the low nibbles its first 16.
  struct Block {
    uint16_t d;  // f16
    uint16_t scales_high;
    uint8_t scales_low[4];
    uint8_t qs[128];
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    return r.lookup(kIq4Values, (r.load(b.qs + 16 * (run / 2)) >> 4 * (run % 2)) & 0x0f0f0f0fu);
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) {
    const int low = b.scales_low[group / 2] >> 4 * (group % 2) & 15, high = b.scales_high >> 2 * group & 3;
    return {half_to_float(b.d) * float((low | high << 4) - 32), 0.0f};
  }
  template <class R>
  static K_FN auto block_factors(R r, const K_GLOBAL Block& b) {
    const auto w = r.words(reinterpret_cast<const K_GLOBAL uint8_t*>(&b));
    const auto high = w.word[0] >> 16, low = w.word[1];
    return GroupBytes<8, decltype(w.word[0] & 1u), decltype(r.half(w.word[0]))>{
        r.half(w.word[0]),
        {},
        {signed_scales(nibbles(low & 0xffffu), pairs(high & 255u)),
         signed_scales(nibbles(low >> 16), pairs(high >> 8))},
        {}};
  }

 private:
  /// Nibble i, or pair i of bits, in the low bits of byte i, whose other bits have no meaning.
  template <class Word>
  static K_FN auto nibbles(Word x) {
    const auto bytes = (x | x << 8) & 0x00ff00ffu;
    return bytes | bytes << 4;
  }
  template <class Word>
  static K_FN auto pairs(Word x) {
    const auto nibbles_of = (x | x << 12) & 0x000f000fu;
    return nibbles_of | nibbles_of << 6;
  }
};
static_assert(sizeof(IQ4_XS::Block) == 136);

}  // namespace mlx_native
