// Weight rows that are multiplied at once.
#pragma once

#include "core/dialect.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// R rows at once, `count` times: these are `apart` rows from one to the next, and `step` rows from those of the next
/// time.
struct AtOnce {
  uint64_t count, apart, step;

  /// Of `rows` rows, of which less than R may be left over. They are neighbours, or, where a machine reads several
  /// streams sooner than one, the same rows of equal parts.
  template <int R>
  static K_FN AtOnce of(uint64_t rows) {
    constexpr bool kNeighbours = MLXN_STREAMS == 1;
    const uint64_t count = rows / R;
    return {count, kNeighbours ? 1 : count, kNeighbours ? R : 1};
  }
  /// From the first row to the last of the first of each R, and behind it.
  K_FN uint64_t rows() const { return count * step; }
};

}  // namespace mlx_native::cpu::MLXN_ISA
