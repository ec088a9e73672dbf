// Any machine: vectors of four, which the compiler maps to what there is.
#pragma once

#include "core/f16.h"
#include "cpu/simd/vectors.h"

namespace mlx_native::cpu::MLXN_ISA {

inline constexpr int kLanes = 4;
using Vec = float __attribute__((vector_size(16)));
using IntVec = int32_t __attribute__((vector_size(16)));
using UIntVec = uint32_t __attribute__((vector_size(16)));

inline constexpr int kTileRows = 2;

/// a * b + c, rounded once or twice.
K_FN Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
K_FN Oct fma(Oct a, Oct b, Oct c) { return a * b + c; }
K_FN Quad fold(Vec v) { return v; }

/// Eight signed bytes, the lowest of `low` first.
K_FN Oct signed_bytes(uint32_t low, uint32_t high) {
  Oct v;
  for (int i = 0; i < 4; ++i) {
    v[i] = float(int8_t(low >> 8 * i));
    v[i + 4] = float(int8_t(high >> 8 * i));
  }
  return v;
}

struct Run {
  Vec part[16 / kLanes];
};
K_FN Run to_run(Codes codes) {
  Run run;
  for (int i = 0; i < 16; ++i) run.part[i / 4][i % 4] = float(codes[i / 4] >> 8 * (i % 4) & 255u);
  return run;
}

K_FN Codes shuffle_bytes(Bytes16 table, Codes indices) {
  uint8_t from[16], at[16], to[16];
  __builtin_memcpy(from, &table, 16);
  __builtin_memcpy(at, &indices, 16);
  for (int i = 0; i < 16; ++i) to[i] = from[at[i] & 15];
  Codes result;
  __builtin_memcpy(&result, to, 16);
  return result;
}

K_FN Vec load_half(const uint16_t* p) {
  return Vec{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
}
/// To nearest, ties to even.
K_FN void store_half(uint16_t* p, Vec v) {
  for (int i = 0; i < 4; ++i) p[i] = float_to_half(v[i]);
}
K_FN Vec load_bfloat(const uint16_t* p) {
  return Vec{bfloat_to_float(p[0]), bfloat_to_float(p[1]), bfloat_to_float(p[2]), bfloat_to_float(p[3])};
}

K_FN Vec half_lanes(UIntVec bits) {
  return Vec{half_to_float(uint16_t(bits[0])), half_to_float(uint16_t(bits[1])), half_to_float(uint16_t(bits[2])),
             half_to_float(uint16_t(bits[3]))};
}

/// Lane i of out[j]: bytes 4 j to 4 j + 3 at p + i * stride.
K_FN void load_columns(const uint8_t* p, uint64_t stride, UIntVec (&out)[4]) {
  for (int i = 0; i < 4; ++i) {
    uint32_t row[4];
    __builtin_memcpy(row, p + i * stride, sizeof row);
    for (int j = 0; j < 4; ++j) out[j][i] = row[j];
  }
}

}  // namespace mlx_native::cpu::MLXN_ISA
