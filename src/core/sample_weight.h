// The softmax of sampling in integers: sums of them have one value in any order, so that every device keeps and draws
// the same token.
#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// Weight of the largest logit.
K_TABLE uint32_t kSampleWeightOne = 0x80000000u;
/// top_p = 1.
K_TABLE uint32_t kTopPOne = 1u << 24;

/// 2^30 * 2^(g / 2^26): the polynomial of degree 6 through the Chebyshev nodes of [0, 1], coefficients in 2^-30. Their
/// sum is 2^31 exactly, and none is negative, so that the weight is monotonic.
K_TABLE uint32_t kSampleWeightPolynomial[7] = {0x0003951eu, 0x00144d4du, 0x009eaa6cu, 0x038cfea1u,
                                               0x0f5fef8eu, 0x2c5c84f4u, 0x40000006u};

/// 2^31 * exp((logit - max) / temperature), rounded down, within 1e-8 of itself: 0 from 2^-32 on. For logit <= max, max
/// finite, and scale = 2^26 / (ln 2 * temperature), finite. Falls with falling logits.
K_FN uint32_t sample_weight(float logit, float max, float scale) {
  const float z = (max - logit) * scale;  // in 2^-26 of a halving
  if (!(z < 0x1p31f)) return 0;
  const uint32_t halvings = uint32_t(z) >> 26;
  const uint64_t g = (1u << 26) - (uint32_t(z) & ((1u << 26) - 1u));
  uint64_t p = kSampleWeightPolynomial[0];
  for (int i = 1; i < 7; ++i) p = kSampleWeightPolynomial[i] + (p * g >> 26);
  return uint32_t(p >> halvings);
}

/// floor(total * top_p / 2^24), for total < 2^63 and top_p <= 2^24.
K_FN uint64_t top_p_weight(uint64_t total, uint32_t top_p) {
  return (total >> 24) * top_p + ((total & 0xffffffu) * top_p >> 24);
}

/// A logit after the repeat penalty of a token that was seen. `inverse` is 1 / penalty in f32.
K_FN float penalized(float logit, float penalty, float inverse) {
  return logit > 0 ? logit * inverse : logit * penalty;
}

}  // namespace mlx_native
