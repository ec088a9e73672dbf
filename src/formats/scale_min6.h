#pragma once

#include "core/dialect.h"
#include "formats/format.h"

namespace mlx_native {

/// 6-bit scale and 6-bit min number `j` (0..7) of the 12 bytes that Q4_K and Q5_K share. For j < 4 they are the low six
/// bits of bytes j and j + 4; for j >= 4 the low nibble (scale) and high nibble (min) of byte j + 4, topped by the two
/// high bits of bytes j - 4 and j.
struct ScaleMin6 {
  int scale, min;
};
K_FN ScaleMin6 scale_min6(const K_GLOBAL uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

/// All of them for value = d * scale * q - dmin * min.
K_FN GroupBytes<8> scale_min6_bytes(const K_GLOBAL uint8_t* s, float d, float dmin) {
  const uint32_t a = load_word<4>(s), b = load_word<4>(s + 4), c = load_word<4>(s + 8);
  return {d,
          -dmin,
          {a & 0x3f3f3f3fu, (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u)},
          {b & 0x3f3f3f3fu, (c >> 4 & 0x0f0f0f0fu) | (b >> 2 & 0x30303030u)}};
}

}  // namespace mlx_native
