// The factors of a block's groups, decoded together where the format allows it.
#pragma once

#include "cpu/generic/dequantize.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// A product with a group is scale * sum of code * x + rest * sum of x, with rest = offset - bias * scale.
template <class Format>
constexpr bool kHasRest = Format::kHasOffset || Format::kBias != 0;

template <class Format>
struct Factors {
  static constexpr int kGroups = Format::kValues / Format::kGroup;
  alignas(32) float scale[kGroups], rest[kGroups];

  K_FN explicit Factors(const typename Format::Block& block) {
    const Affines<Format> affines(block);
    __builtin_memcpy(scale, affines.scale, sizeof scale);
    if constexpr (kGroups % 8 == 0) {
      MLXN_UNROLL
      for (int i = 0; i < kGroups; i += 8) store_oct(rest + i, rest_of(load_oct(scale + i), affines.offset + i));
    } else {
      MLXN_UNROLL
      for (int i = 0; i < kGroups; ++i) rest[i] = rest_of(scale[i], affines.offset + i);
    }
  }

 private:
  template <class T>
  static K_FN T rest_of(T scales, const float* offset) {
    T rest = scales * -float(Format::kBias);
    if constexpr (Format::kHasOffset) {
      T offsets;
      __builtin_memcpy(&offsets, offset, sizeof offsets);
      rest = Format::kBias == 0 ? offsets : offsets + rest;
    }
    return rest;
  }
};

/// Sum over the blocks of a row of rest * sum of x.
template <class Format>
struct RestSum {
  using Of = Factors<Format>;
  Oct eights = {};
  float ones = 0;

  /// `sums`: of the block's groups.
  K_FN void add(const Of& factors, const float* sums) {
    if constexpr (!kHasRest<Format>) {
    } else if constexpr (Of::kGroups % 8 == 0) {
      MLXN_UNROLL
      for (int i = 0; i < Of::kGroups; i += 8) eights = fma(load_oct(factors.rest + i), load_oct(sums + i), eights);
    } else {
      MLXN_UNROLL
      for (int i = 0; i < Of::kGroups; ++i) ones += factors.rest[i] * sums[i];
    }
  }
  K_FN float total() const { return Of::kGroups % 8 == 0 ? sum_oct(eights) : ones; }
};

}  // namespace mlx_native::cpu::MLXN_ISA
