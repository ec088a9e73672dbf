// Elementary functions of the common subset: the same bits on every device.
#pragma once

#include "core/dialect.h"

namespace mlx_native::gpu {

K_FN float quiet_nan() { return bits_to_float(0x7fc00000u); }
K_FN float infinity() { return bits_to_float(0x7f800000u); }
K_FN bool is_finite(float x) { return (float_to_bits(x) & 0x7fffffffu) < 0x7f800000u; }
K_FN float magnitude(float x) { return bits_to_float(float_to_bits(x) & 0x7fffffffu); }

/// A number and what its rounding lost.
struct TwoFloats {
  float high, low;
};
/// a + b, exactly (Knuth).
K_FN TwoFloats exact_sum(float a, float b) {
  const float high = a + b, back = high - a;
  return {high, (a - (high - back)) + (b - back)};
}

/// Relative error below 2e-7; 0 and infinity beyond the range of floats, subnormals in between, NaN for NaN.
K_FN float exponential(float x) {
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: a sum keeps the nearest integer in its low bits
  x = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
  const float rounded = multiply_add(x, kLog2E, kRounder), n = rounded - kRounder;
  const float r = multiply_add(n, -kLn2Low, multiply_add(n, -kLn2High, x));
  float p = 1.0f / 5040;
  p = multiply_add(p, r, 1.0f / 720);
  p = multiply_add(p, r, 1.0f / 120);
  p = multiply_add(p, r, 1.0f / 24);
  p = multiply_add(p, r, 1.0f / 6);
  p = multiply_add(p, r, 0.5f);
  p = multiply_add(p, r, 1.0f);
  p = multiply_add(p, r, 1.0f);
  // 2^n in two factors, as n alone may be out of the range of exponents.
  const int32_t exponent = int32_t(float_to_bits(rounded) - 0x4b400000u), first = exponent / 2;
  return p * bits_to_float(uint32_t(first + 127) << 23) * bits_to_float(uint32_t(exponent - first + 127) << 23);
}

/// exp(a - b): the rounding of the difference costs nothing.
K_FN float exponential_of_difference(float a, float b) {
  const TwoFloats d = exact_sum(a, -b);
  const float e = exponential(d.high);
  return d.high > -104.0f ? multiply_add(e, d.low, e) : e;
}

/// Absolute error below 2e-7, relative error below 1e-6.
K_FN float hyperbolic_tangent(float x) {
  const float size = magnitude(x), square = x * x;
  if (size < 0.35f) {
    float p = -1382.0f / 155925;
    p = multiply_add(p, square, 62.0f / 2835);
    p = multiply_add(p, square, -17.0f / 315);
    p = multiply_add(p, square, 2.0f / 15);
    p = multiply_add(p, square, -1.0f / 3);
    return multiply_add(p * square, x, x);
  }
  const float e = exponential(-2.0f * size), large = (1.0f - e) / (1.0f + e);
  return x < 0.0f ? -large : large;
}

/// Absolute error below 3e-7 (Abramowitz and Stegun, 7.1.26).
K_FN float error_function(float x) {
  const float size = magnitude(x), t = 1.0f / multiply_add(size, 0.3275911f, 1.0f);
  float p = 1.061405429f;
  p = multiply_add(p, t, -1.453152027f);
  p = multiply_add(p, t, 1.421413741f);
  p = multiply_add(p, t, -0.284496736f);
  p = multiply_add(p, t, 0.254829592f);
  const float result = 1.0f - p * t * exponential(-size * size);
  return x < 0.0f ? -result : result;
}

/// 1 / (1 + exp(-x)) * x. The root of the exponential keeps it and the result in range.
K_FN float silu(float x) {
  const float root = exponential(-0.5f * magnitude(x)), e = root * root;
  return x < 0.0f ? x * root / (1.0f + e) * root : x / (1.0f + e);
}

struct SineCosine {
  float sine, cosine;
};
/// Of `turns` * 2^-64 turns; absolute errors below 1.5e-7. The reduction to an eighth of a turn is exact.
K_FN SineCosine sine_cosine(uint64_t turns) {
  constexpr uint64_t kEighth = uint64_t(1) << 61;
  const uint32_t quarter = uint32_t((turns + kEighth) >> 62);
  const uint64_t rest = turns - (uint64_t(quarter) << 62);
  const bool negative = rest >> 63 != 0;
  const uint64_t size = negative ? 0 - rest : rest;
  const float positive = float(size) * 3.40612159e-19f;  // 2 pi / 2^64
  const float x = negative ? -positive : positive, square = x * x;
  float s = 1.0f / 362880;
  s = multiply_add(s, square, -1.0f / 5040);
  s = multiply_add(s, square, 1.0f / 120);
  s = multiply_add(s, square, -1.0f / 6);
  s = multiply_add(s * square, x, x);
  float c = -1.0f / 3628800;
  c = multiply_add(c, square, 1.0f / 40320);
  c = multiply_add(c, square, -1.0f / 720);
  c = multiply_add(c, square, 1.0f / 24);
  c = multiply_add(c, square, -0.5f);
  c = multiply_add(c, square, 1.0f);
  const float sine = quarter % 2 ? c : s, cosine = quarter % 2 ? s : c;
  return {quarter & 2 ? -sine : sine, (quarter + 1) & 2 ? -cosine : cosine};
}

}  // namespace mlx_native::gpu
