// Rounding of floats to the 16-bit types, on the host. float_to_half and the other direction are in core/dialect.h.
#pragma once

#include <algorithm>

#include "core/dialect.h"

namespace mlx_native {

inline constexpr float kHalfMax = 65504.0f;
inline constexpr uint16_t kHalfMaxBits = 0x7bff;
inline constexpr float kBfloatMax = 0x1.fep127f;

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
