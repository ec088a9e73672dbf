// Arm with NEON, which every 64-bit one has; also the vocabulary of the ISAs that only add integer products to it.
#pragma once

#include <arm_neon.h>

#include "cpu/simd/vectors.h"

#define MLXN_BYTES_HEADER "cpu/simd/bytes128.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kLanes = 4;
using Vec = float __attribute__((vector_size(16)));
using IntVec = int32_t __attribute__((vector_size(16)));
using UIntVec = uint32_t __attribute__((vector_size(16)));

// 24 sums, 6 rows of x and a weight fill the 32 registers.
inline constexpr int kTileRows = 6;

K_FN Quad low_quad(Oct v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
K_FN Quad high_quad(Oct v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }
K_FN Oct to_oct(Quad low, Quad high) { return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7); }

/// a * b + c, rounded once.
K_FN Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
K_FN Oct fma(Oct a, Oct b, Oct c) {
  return to_oct(fma(low_quad(a), low_quad(b), low_quad(c)), fma(high_quad(a), high_quad(b), high_quad(c)));
}
K_FN Quad fold(Vec v) { return v; }

/// Eight signed bytes, the lowest of `low` first.
K_FN Oct signed_bytes(uint32_t low, uint32_t high) {
  const int16x8_t wide = vmovl_s8(vcreate_s8(low | uint64_t{high} << 32));
  return to_oct(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide)));
}

K_FN Codes shuffle_bytes(Bytes16 table, Codes indices) {
  return reinterpret_cast<Codes>(vqtbl1q_u8(table, reinterpret_cast<Bytes16>(indices)));
}

struct Run {
  Vec part[16 / kLanes];
};
K_FN Run to_run(Codes codes) {
  const uint8x16_t bytes = reinterpret_cast<Bytes16>(codes);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
  return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
           vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))}};
}

K_FN Vec load_half(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
/// To nearest, ties to even.
K_FN void store_half(uint16_t* p, Vec v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
K_FN Vec load_bfloat(const uint16_t* p) { return reinterpret_cast<Vec>(vshll_n_u16(vld1_u16(p), 16)); }

K_FN Vec half_lanes(UIntVec bits) { return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(bits))); }

/// Lane i of out[j]: bytes 4 j to 4 j + 3 at p + i * stride.
K_FN void load_columns(const uint8_t* p, uint64_t stride, UIntVec (&out)[4]) {
  const auto row = [&](int i) { return reinterpret_cast<UIntVec>(vld1q_u8(p + i * stride)); };
  const UIntVec a = row(0), b = row(1), c = row(2), d = row(3);
  const UIntVec low01 = __builtin_shufflevector(a, b, 0, 4, 1, 5), high01 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const UIntVec low23 = __builtin_shufflevector(c, d, 0, 4, 1, 5), high23 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  out[0] = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
  out[1] = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
  out[2] = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
  out[3] = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
}

}  // namespace mlx_native::cpu::MLXN_ISA
