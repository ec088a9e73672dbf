#pragma once

#include "formats/format.h"

namespace mlx_native {

/// 6.5625 bits a value: 256 values in 16 groups of 16, each with a signed 8-bit scale of the block's f16 factor.
struct Q6_K {
  K_STATIC bool kPlain = false, kHasOffset = false;
  K_STATIC int kBits = 6, kValues = 256, kGroup = 16, kBias = 32, kAlign = 2;
  K_STATIC bool kPairs = true, kAlternates = true;

  /// value = d * scale[g] * (q - 32). Each half of the block, 128 values, has 64 bytes of ql and 32 of qh; value i of
  /// its quarter j (32 values) takes the nibble j / 2 of ql[32 * (j % 2) + i] and, above it, the bits 2j and 2j + 1 of
  /// qh[i].
  struct Block {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;  // f16
  };

  template <class R, class Run>
  static K_FN auto codes(R r, const K_GLOBAL Block& b, Run run) {
    const auto half = run / 8, quarter = run / 2 % 4, start = 16 * (run % 2);
    const auto low = (r.load(b.ql + 64 * half + 32 * (quarter % 2) + start) >> 4 * (quarter / 2)) & 0x0f0f0f0fu;
    const auto high = (r.load(b.qh + 32 * half + start) >> 2 * quarter) & 0x03030303u;
    return low | high << 4;
  }
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) {
    return {half_to_float(b.d) * float(b.scales[group]), 0.0f};
  }
  template <class R>
  static K_FN auto group_bytes(R r, const K_GLOBAL Block& b) {
    const auto w = r.words(reinterpret_cast<const K_GLOBAL uint8_t*>(b.scales));
    const auto d = r.half(&b.d);
    return GroupBytes<16, decltype(w.word[0] & 1u), decltype(r.half(&b.d))>{
        d, {}, {w.word[0], w.word[1], w.word[2], w.word[3]}, {}};
  }
};
static_assert(sizeof(Q6_K::Block) == 210);

}  // namespace mlx_native
