// Rotary embeddings, with angles in exact fixed point.
//
// The angle of a pair is position * frequency. A position is an integer, so with the frequency in turns only its
// fraction counts: as a 64-bit fraction F, the angle is position * F modulo 2^64, without any rounding; an error of
// 2^-60 in F is one of 2^-28 turns at the largest position. F itself is made of integers: frequencies are powers of two
// whose exponents, multiples of log2(theta) * 2 / rope_dim, the launcher gives as 64-bit fractions too.
#pragma once

#include "args/attention.h"
#include "core/random.h"
#include "gpu/kernels/math.h"

namespace mlx_native::gpu {

/// The frequency of pair i is 2^(-i * (whole + fraction / 2^64)), or its reciprocal.
struct RopeProblem {
  RopeArgs rope;
  uint64_t step_fraction;
  uint32_t step_whole;
  uint32_t rising;  // 1: reciprocal, for theta < 1
};

struct RopeShape {
  K_STATIC int kThreads = 64;
  K_STATIC uint32_t kHeads = 4;  // that share the making of an angle
};

/// bits * 2^exponent, for the frequencies' arithmetic in integers. Normalised to 2^62 <= bits where it matters.
struct Scaled {
  uint64_t bits;
  int32_t exponent;
};

/// 2^(fraction / 2^64), in [1, 2), with 63 bits after the point: the series of exp(fraction * ln 2).
K_FN Scaled exp2_of_fraction(uint64_t fraction) {
  constexpr uint64_t kOne = uint64_t(1) << 63;
  const uint64_t x = scale_bits(fraction, 0xb17217f7d1cf79acu);  // ln 2
  uint64_t p = kOne;
  K_UNROLL
  for (uint32_t k = 20; k > 0; --k) p = kOne + scale_bits(p, x) / k;
  return {p, -63};
}

/// A positive finite float as an integer of 24 bits, the first one set, and an exponent.
K_FN Scaled split(float x) {
  const bool tiny = x < 1.17549435e-38f;
  const uint32_t bits = float_to_bits(tiny ? x * 16777216.0f : x);
  return {(bits & 0x7fffffu) | 0x800000u, int32_t(bits >> 23) - 150 - (tiny ? 24 : 0)};
}

/// Turns per position, in 2^-64.
K_FN uint64_t turn_frequency(K_CONST const RopeProblem& p, uint32_t pair) {
  const uint64_t fraction = p.step_fraction * pair;
  const int32_t whole = int32_t(p.step_whole * pair + uint32_t(scale_bits(p.step_fraction, pair)));
  const bool falling = !p.rising;
  Scaled f = exp2_of_fraction(falling ? 0 - fraction : fraction);
  f.exponent += falling ? -whole - (fraction != 0 ? 1 : 0) : whole;
  f.bits = scale_bits(f.bits, 0xa2f9836e4e44152au);  // 2^66 / (2 pi)
  f.exponent -= 2;
  if (p.rope.freq_scale != 1.0f) {
    const Scaled s = split(p.rope.freq_scale);
    f.bits = scale_bits(f.bits, s.bits << 40);
    f.exponent += s.exponent + 24;
  }
  if (p.rope.freq_factors) {
    const float factor = magnitude(p.rope.freq_factors[pair]);
    if (factor == infinity()) return 0;
    const Scaled s = split(factor);
    const uint64_t quotient = f.bits / s.bits, rest = f.bits - quotient * s.bits;
    f.bits = (quotient << 23) + (rest << 23) / s.bits;
    f.exponent -= s.exponent + 23;
  }
  const int32_t shift = f.exponent + 64;
  if (shift >= 64 || shift <= -64) return 0;
  const uint64_t turns = shift >= 0 ? f.bits << shift : f.bits >> -shift;
  return p.rope.freq_factors && p.rope.freq_factors[pair] < 0.0f ? 0 - turns : turns;
}

/// NaN where no angle exists: a factor of 0 or NaN.
K_FN SineCosine rotation(K_CONST const RopeProblem& p, uint32_t pair, uint32_t position) {
  if (p.rope.freq_factors && !(magnitude(p.rope.freq_factors[pair]) > 0.0f)) return {quiet_nan(), quiet_nan()};
  return sine_cosine(position * turn_frequency(p, pair));
}

K_FN bool is_rotated(K_CONST const RopeArgs& a, uint32_t i) {
  return a.adjacent ? i < a.rope_dim : i < a.rope_dim / 2 || (i >= a.pair_split && i - a.pair_split < a.rope_dim / 2);
}

/// A group for kHeads heads of a token, a thread for a pair of each.
template <class Thread>
K_FN void rope(Thread t, K_CONST const RopeProblem& p, K_SHARED float*) {
  K_CONST const RopeArgs& a = p.rope;
  const uint32_t head_tiles = (a.n_heads - 1) / RopeShape::kHeads + 1;
  const uint64_t units = uint64_t(a.n_tokens) * head_tiles;
  for (uint64_t unit = t.group(); unit < units; unit += t.groups()) {
    const uint64_t token = unit / head_tiles;
    const uint32_t head = uint32_t(unit % head_tiles) * RopeShape::kHeads, left = a.n_heads - head;
    const uint32_t heads = left < RopeShape::kHeads ? left : RopeShape::kHeads;
    const uint64_t base = (token * a.n_heads + head) * a.head_dim;
    for (uint32_t pair = t.thread_in_group(); pair < a.rope_dim / 2; pair += t.threads_in_group()) {
      const SineCosine r = rotation(p, pair, a.positions[token]);
      const uint32_t first = a.adjacent ? 2 * pair : pair, second = first + a.pair_split;
      for (uint32_t h = 0; h < heads; ++h) {
        const uint64_t at = base + uint64_t(h) * a.head_dim;
        const float x = a.input[at + first], y = a.input[at + second];
        a.output[at + first] = x * r.cosine - y * r.sine;
        a.output[at + second] = x * r.sine + y * r.cosine;
      }
    }
    if (a.input == a.output || a.rope_dim == a.head_dim) continue;
    for (uint32_t i = t.thread_in_group(); i < a.head_dim; i += t.threads_in_group())
      if (!is_rotated(a, i))
        for (uint32_t h = 0; h < heads; ++h)
          a.output[base + uint64_t(h) * a.head_dim + i] = a.input[base + uint64_t(h) * a.head_dim + i];
  }
}

}  // namespace mlx_native::gpu
