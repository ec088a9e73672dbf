#pragma once

#include "formats/format.h"

namespace mlx_native {

/// The 16 bytes that begin a block of Q4_K and of Q5_K: the factors d and dmin (f16), then 8 pairs of a 6-bit scale and
/// a 6-bit min. Pair j < 4 is the low six bits of bytes j and j + 4; pair j >= 4 the low nibble (scale) and high nibble
/// (min) of byte j + 4, topped by the two high bits of bytes j - 4 and j.
///
///   value = d * scale * q - dmin * min
struct ScaleMin6 {
  float d, dmin;
  uint32_t a, b, c;  // bytes 0 to 3, 4 to 7 and 8 to 11 of the pairs

  template <int Align>
  static K_FN ScaleMin6 load(const K_GLOBAL uint8_t* block) {
    const FourWords w = load_four_words<Align>(block);
    return {half_to_float(uint16_t(w.word[0])), half_to_float(uint16_t(w.word[0] >> 16)), w.word[1], w.word[2],
            w.word[3]};
  }

  /// Of pair j.
  K_FN Affine affine(int j) const {
    const int at = 8 * (j % 4);
    const uint32_t top_scale = a >> at, top_min = b >> at, low = c >> at;
    const uint32_t scale = j < 4 ? top_scale & 63 : (low & 15) | (top_scale >> 2 & 48);
    const uint32_t min = j < 4 ? top_min & 63 : (low >> 4 & 15) | (top_min >> 2 & 48);
    return {d * float(int(scale)), -(dmin * float(int(min)))};
  }
};

/// What formats share whose block of 256 values, 8 groups of 32, begins with a ScaleMin6.
struct ScaleMin6Format {
  K_STATIC bool kPlain = false, kHasOffset = true, kPairs = true;
  K_STATIC int kValues = 256, kGroup = 32, kBias = 0, kAlign = 16;

  template <class Block>
  static K_FN ScaleMin6 scales(const K_GLOBAL Block& b) {
    return ScaleMin6::load<kAlign>(reinterpret_cast<const K_GLOBAL uint8_t*>(&b));
  }
  template <class Block>
  static K_FN Affine affine(const K_GLOBAL Block& b, int group) {
    return scales(b).affine(group);
  }
  template <class R, class Block>
  static K_FN auto group_bytes(R r, const K_GLOBAL Block& block) {
    const auto w = r.words(reinterpret_cast<const K_GLOBAL uint8_t*>(&block));
    const auto a = w.word[1], b = w.word[2], c = w.word[3];
    return GroupBytes<8, decltype(w.word[0] & 1u), decltype(r.half(a))>{
        r.half(w.word[0]),
        -r.half(w.word[0] >> 16),
        {a & 0x3f3f3f3fu, (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)},
        {b & 0x3f3f3f3fu, (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)}};
  }

 protected:
  /// Of a run, where each 32 bytes hold 64 values: the low nibbles are the first 32.
  template <class R, class Run>
  static K_FN auto nibbles(R r, const K_GLOBAL uint8_t* qs, Run run) {
    return (r.load(qs + 32 * (run / 4) + 16 * (run % 2)) >> (run & 2) * 2) & 0x0f0f0f0fu;
  }
};

}  // namespace mlx_native
