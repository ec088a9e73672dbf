// NEON with products of four bytes at once.
#pragma once

#include "cpu/simd/neon.h"

#define MLXN_HAS_BYTES 1
#define MLXN_WIDE_DOT 1
#define MLXN_DOT4_SIGNED 1
#define MLXN_PRODUCTS_ALONE 1

namespace mlx_native::cpu::MLXN_ISA {

/// To the nearest integers, ties to even.
K_FN IntVec to_nearest(Vec v) { return vcvtnq_s32_f32(v); }
/// Integers in [-128, 127] as bytes.
K_FN void store_bytes(int8_t* to, IntVec v) {
  const int16x4_t words = vmovn_s32(v);
  const uint32_t bytes = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(words, words))), 0);
  __builtin_memcpy(to, &bytes, sizeof bytes);
}
/// Lane by lane: sum + the product of four signed bytes of `codes` and of `x`, modulo 2^32.
K_FN UIntVec dot4(UIntVec sum, UIntVec codes, UIntVec x) {
  return reinterpret_cast<UIntVec>(
      vdotq_s32(vreinterpretq_s32_u32(sum), vreinterpretq_s8_u32(codes), vreinterpretq_s8_u32(x)));
}

}  // namespace mlx_native::cpu::MLXN_ISA
