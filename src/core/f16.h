// Rounding of floats to the 16-bit types, on the host. The other direction is in core/dialect.h.
#pragma once

#include <algorithm>

#include "core/dialect.h"

namespace mlx_native {

inline constexpr float kHalfMax = 65504.0f;
inline constexpr uint16_t kHalfMaxBits = 0x7bff;
inline constexpr float kBfloatMax = 0x1.fep127f;

/// Nearest binary16, ties to even; overflow is infinite, a NaN stays a quiet NaN.
inline uint16_t float_to_half(float value) {
  const uint32_t bits = float_to_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // 65520, halfway to 65536
  // Below 2^-14: the sum with 1/2 rounds to a multiple of 2^-24, the step of subnormal halfs.
  if (magnitude < 0x38800000u) return uint16_t(sign | (float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u));
  return uint16_t(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

/// Nearest bfloat16, ties to even; overflow is infinite, a NaN stays a quiet NaN.
inline uint16_t float_to_bfloat(float value) {
  const uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(bits >> 16 | 0x40u);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/// Nearest finite binary16.
inline uint16_t float_to_finite_half(float value) { return float_to_half(std::clamp(value, -kHalfMax, kHalfMax)); }

/// Nearest finite bfloat16.
inline uint16_t float_to_finite_bfloat(float value) {
  return float_to_bfloat(std::clamp(value, -kBfloatMax, kBfloatMax));
}

}  // namespace mlx_native
