// Weights asked for before they are needed.
#pragma once

#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

/// Bytes of some rows that are asked for, into L2, while something else is done in steps: the hardware sees no pattern
/// in the rows, and all at once would fill the queue of misses.
struct Ahead {
  const uint8_t* at;  // in the first row
  uint64_t stride;    // bytes from a row to the next
  int rows, bytes;

  /// Part i of n, each some of the rows; none of them where i >= n.
  K_FN Ahead part(int i, int n) const {
    const int first = i < n ? i * rows / n : 0, end = i < n ? (i + 1) * rows / n : 0;
    return {at + first * stride, stride, end - first, bytes};
  }
  K_FN Ahead none() const { return part(0, 0); }

  /// In step `step` of `steps`.
  K_FN void ask(int step, int steps) const {
    constexpr int kLine = 64, kIntoL2 = 2;
    for (int row = step * rows / steps; row < (step + 1) * rows / steps; ++row) {
      const uint8_t* const from = at + row * stride;
      for (int i = 0; i < bytes; i += kLine) __builtin_prefetch(from + i, 0, kIntoL2);
      __builtin_prefetch(from + bytes - 1, 0, kIntoL2);
    }
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
