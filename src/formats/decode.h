// Plain decode of a whole block on the host: what every faster decode must equal.
#pragma once

#include "formats/format.h"

namespace mlx_native {

/// Decodes a block to F::kValues floats.
template <class F>
inline void decode_block(const typename F::Block& block, float* out) {
  if constexpr (F::kPlain) {
    *out = F::value(block);
  } else {
    for (int first = 0; first < F::kValues; first += 4) {
      const Affine a = F::affine(block, first / F::kGroup);
      const uint32_t word = F::codes(WordReader<F::kAlign>{first / 4 % 4}, block, first / 16);
      for (int i = 0; i < 4; ++i) {
        const float product = a.scale * float(code_of(word, i) - F::kBias);
        out[first + i] = F::kHasOffset ? product + a.offset : product;
      }
    }
  }
}

}  // namespace mlx_native
