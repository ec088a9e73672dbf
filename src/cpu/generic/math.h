// Elementary functions of vectors.
#pragma once

#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// exp(x) = value * 2^n, where x is at most 104 in size: value in [0.7, 1.42], and n in the low bits of rounded.
struct ExpParts {
  Vec value, rounded;
};
/// 2^23 and more: the sum with a smaller number keeps the nearest integer in its low bits. These are n + 127.
inline constexpr float kExpRounder = 0x1.8p23f + 127;

K_FN ExpParts exp_parts(Vec x) {
  constexpr float kLog2E = 0x1.715476p+0f, kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  const Vec rounded = fma(x, splat(kLog2E), splat(kExpRounder)), n = rounded - kExpRounder;
  const Vec r = fma(n, splat(-kLn2Low), fma(n, splat(-kLn2High), x));
  // Minimax on [-ln 2 / 2, ln 2 / 2]: relative error 4e-9 before rounding.
  Vec p = splat(0x1.6a23dp-10f);
  p = fma(p, r, splat(0x1.123a2p-7f));
  p = fma(p, r, splat(0x1.5558f2p-5f));
  p = fma(p, r, splat(0x1.555492p-3f));
  p = fma(p, r, splat(0x1.fffffcp-2f));
  p = fma(p, r, splat(1.0f));
  return {fma(p, r, splat(1.0f)), rounded};
}

/// Relative error below 2e-7; 0 and infinity beyond the range of floats, subnormals in between, NaN for NaN.
K_FN Vec exp(Vec x) {
  x = x < -104.0f ? splat(-104.0f) : x;
  x = x > 89.0f ? splat(89.0f) : x;
  const ExpParts e = exp_parts(x);
  // 2^n in two factors, as n alone may be out of the range of exponents.
  const IntVec exponent = float_as_bits(e.rounded) - int32_t(float_to_bits(kExpRounder));
  const IntVec half = exponent >> 1;
  return e.value * bits_as_float((half + 127) << 23) * bits_as_float((exponent - half + 127) << 23);
}

/// The same for x <= 88, where results below 2^-125 may be 0: half as much work.
K_FN Vec exp_of_difference(Vec x) {
  constexpr float kLeast = -86.6f;
  const ExpParts e = exp_parts(x < kLeast ? splat(kLeast) : x);
  return x < kLeast ? Vec{} : e.value * bits_as_float(float_as_bits(e.rounded) << 23);
}

/// Absolute error below 2e-7, relative error below 1e-6.
K_FN Vec tanh(Vec x) {
  const Vec size = abs(x), e = exp(-2.0f * size);
  const Vec large = (1.0f - e) / (1.0f + e), square = x * x;
  Vec small = splat(-1382.0f / 155925);
  small = fma(small, square, splat(62.0f / 2835));
  small = fma(small, square, splat(-17.0f / 315));
  small = fma(small, square, splat(2.0f / 15));
  small = fma(small, square, splat(-1.0f / 3));
  small = fma(small * square, x, x);
  return size < 0.35f ? small : x < 0.0f ? -large : large;
}

/// Absolute error below 3e-7: the series near 0, Abramowitz and Stegun 7.1.26 beyond.
K_FN Vec erf(Vec x) {
  const Vec size = abs(x), square = x * x, t = 1.0f / fma(size, splat(0.3275911f), splat(1.0f));
  Vec p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  const Vec large = 1.0f - p * t * exp(-square);
  Vec small = splat(-1.0f / 1320);
  small = fma(small, square, splat(1.0f / 216));
  small = fma(small, square, splat(-1.0f / 42));
  small = fma(small, square, splat(1.0f / 10));
  small = fma(small, square, splat(-1.0f / 3));
  small = fma(small, square, splat(1.0f)) * (x * 1.1283791671f);
  return size < 0.5f ? small : x < 0.0f ? -large : large;
}

struct SineCosine {
  Vec sine, cosine;
};

/// Of angles in 2^-64 turns, whole turns dropped. Absolute error below 2e-7.
K_FN SineCosine sine_cosine(WideVec angle) {
  constexpr float kUnit = 0x1.921fb54442d18p-30f;  // 2 pi / 2^32
  const WideVec quadrant = (angle + (uint64_t{1} << 61)) >> 62;
  const IntVec rest = reinterpret_cast<IntVec>(__builtin_convertvector((angle - (quadrant << 62)) >> 32, UIntVec));
  const IntVec q = reinterpret_cast<IntVec>(__builtin_convertvector(quadrant, UIntVec));
  const Vec x = to_float(rest) * kUnit, square = x * x;  // |x| <= pi / 4: series
  Vec s = splat(1.0f / 362880);
  s = fma(s, square, splat(-1.0f / 5040));
  s = fma(s, square, splat(1.0f / 120));
  s = fma(s, square, splat(-1.0f / 6));
  s = fma(s * square, x, x);
  Vec c = splat(1.0f / 40320);
  c = fma(c, square, splat(-1.0f / 720));
  c = fma(c, square, splat(1.0f / 24));
  c = fma(c, square, splat(-0.5f));
  c = fma(c, square, splat(1.0f));
  const Vec sine = (q & 1) != 0 ? c : s, cosine = (q & 1) != 0 ? s : c;
  return {(q & 2) != 0 ? -sine : sine, ((q + 1) & 2) != 0 ? -cosine : cosine};
}

/// f(x) of n numbers: apply(v) for whole vectors and the rest.
template <class Apply>
K_FN void for_each_vector(uint64_t begin, uint64_t end, Apply&& apply) {
  for (; begin + kLanes <= end; begin += kLanes) apply(begin, kLanes);
  if (begin < end) apply(begin, int(end - begin));
}
K_FN Vec load_n(const float* p, int n) { return n == kLanes ? load(p) : load_part(p, n); }
K_FN void store_n(float* p, Vec v, int n) { n == kLanes ? store(p, v) : store_part(p, v, n); }

}  // namespace mlx_native::cpu::MLXN_ISA
