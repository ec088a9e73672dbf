#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// Four 6-bit scales less 32, as signed bytes: byte i has the low nibble of byte i of `low` and, above it, the low two
/// bits of byte i of `high`.
template <class Word>
K_FN auto signed_scales(Word low, Word high) {
  // 128 more than the difference is between 96 and 159: no byte borrows from the next.
  return (((low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4) + 0x60606060u) ^ 0x80808080u;
}

}  // namespace mlx_native
