// Integer products of 32 codes at a time, for Arm: what dot_bytes.h is written over. A vector of 32 bytes is two
// registers.
#pragma once

#include <arm_neon.h>

#include "core/dialect.h"
#include "cpu/simd/pairs.h"

namespace mlx_native::cpu::MLXN_ISA {

K_FN IntOct to_int_oct(int32x4_t low, int32x4_t high) {
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
}
template <class Eight>
K_FN int32x4_t low_half(Eight v) {
  const IntOct lanes = reinterpret_cast<IntOct>(v);
  return __builtin_shufflevector(lanes, lanes, 0, 1, 2, 3);
}
template <class Eight>
K_FN int32x4_t high_half(Eight v) {
  const IntOct lanes = reinterpret_cast<IntOct>(v);
  return __builtin_shufflevector(lanes, lanes, 4, 5, 6, 7);
}

/// Half of add_products: 16 codes of one group, whose scale is in all lanes.
K_FN int32x4_t add_run(int32x4_t sum, int32x4_t codes, const int8_t* x, int32x4_t scale) {
  const int8x16_t a = vreinterpretq_s8_s32(codes), b = vld1q_s8(x);
#if defined(__ARM_FEATURE_DOTPROD)
  return vmlaq_s32(sum, vdotq_s32(int32x4_t{}, a, b), scale);
#else
  const int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b);
  const int16x8_t scales = vreinterpretq_s16_s32(scale);
  return vmlal_high_s16(vmlal_s16(sum, vget_low_s16(products), vget_low_s16(scales)), products, scales);
#endif
}

/// The sum grows by scale * code * x, four or eight products a lane. Codes < 128, so that sums of two products stay in
/// 16 bits.
K_FN IntOct add_products(IntOct sum, Bytes32 codes, const int8_t* x, IntOct scales) {
  return to_int_oct(add_run(low_half(sum), low_half(codes), x, low_half(scales)),
                    add_run(high_half(sum), high_half(codes), x + 16, high_half(scales)));
}

/// Eight signed bytes as scales of add_products: each twice, in both halves of a lane, where that multiplies 16 bits.
K_FN IntOct doubled_bytes(uint32_t low, uint32_t high) {
  const int16x8_t wide = vmovl_s8(vcreate_s8(low | uint64_t{high} << 32));
#if defined(__ARM_FEATURE_DOTPROD)
  return to_int_oct(vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide));
#else
  return to_int_oct(vreinterpretq_s32_s16(vzip1q_s16(wide, wide)), vreinterpretq_s32_s16(vzip2q_s16(wide, wide)));
#endif
}

/// Lanes 0 to 3: lane `low` of v; lanes 4 to 7: lane `high`.
K_FN IntOct two_lanes(const int32_t* v, int low, int high) {
  return to_int_oct(vld1q_dup_s32(v + low), vld1q_dup_s32(v + high));
}

/// 32 integers in [-128, 127] as bytes.
K_FN void store_bytes(int8_t* to, const IntOct (&v)[4]) {
  MLXN_UNROLL
  for (int i = 0; i < 4; i += 2) {
    const int16x8_t first = vuzp1q_s16(vreinterpretq_s16_s32(low_half(v[i])), vreinterpretq_s16_s32(high_half(v[i])));
    const int16x8_t second =
        vuzp1q_s16(vreinterpretq_s16_s32(low_half(v[i + 1])), vreinterpretq_s16_s32(high_half(v[i + 1])));
    vst1q_s8(to + 8 * i, vuzp1q_s8(vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(second)));
  }
}

/// To the nearest integers, ties to even.
K_FN IntOct to_nearest(Oct v) { return to_int_oct(vcvtnq_s32_f32(low_quad(v)), vcvtnq_s32_f32(high_quad(v))); }

}  // namespace mlx_native::cpu::MLXN_ISA
