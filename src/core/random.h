// Random numbers that every device makes alike: a function of (seed, step), no state.
#pragma once

#include "core/dialect.h"

namespace mlx_native {

/// The first 64 bits of Philox4x32-10 with key `seed` and counter `step` (Salmon et al., "Parallel random numbers: as
/// easy as 1, 2, 3", 2011).
K_FN uint64_t random_bits(uint64_t seed, uint64_t step) {
  uint32_t c0 = uint32_t(step), c1 = uint32_t(step >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53u) * c0, b = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(b >> 32) ^ c1 ^ k0;
    c1 = uint32_t(b);
    c2 = uint32_t(a >> 32) ^ c3 ^ k1;
    c3 = uint32_t(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c0 | uint64_t(c1) << 32;
}

/// floor(bits * n / 2^64): `bits` spread over [0, n).
K_FN uint64_t scale_bits(uint64_t bits, uint64_t n) {
  const uint64_t b0 = bits & 0xffffffffu, b1 = bits >> 32, n0 = n & 0xffffffffu, n1 = n >> 32;
  const uint64_t middle = b1 * n0 + (b0 * n0 >> 32);
  const uint64_t low = b0 * n1 + (middle & 0xffffffffu);
  return b1 * n1 + (middle >> 32) + (low >> 32);
}

}  // namespace mlx_native
