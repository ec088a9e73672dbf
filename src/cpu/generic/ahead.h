// Weights asked for before they are needed.
#pragma once

#include "cpu/isa.h"
#include "cpu/simd/simd.h"

namespace mlx_native::cpu::MLXN_ISA {

K_FN void ask(const void* line, bool into_l2) {
  if (into_l2)
    __builtin_prefetch(line, 0, 2);
  else
    __builtin_prefetch(line);
}

/// Bytes of what one thread reads once, as a stream.
K_FN void ask_for_stream(const void* from, uint64_t bytes) {
  constexpr uint64_t kLine = 64;
  for (uint64_t i = 0; i < bytes; i += kLine) ask(static_cast<const char*>(from) + i, streams_into_l2);
}

/// Asks for the weights behind this block, as the rows of a matrix follow each other in memory: with the rows of x in
/// between the hardware loses track of them.
inline constexpr int64_t kPrefetchDistance = 12288;
template <int Count = 1, class Block>
K_FN void prefetch_ahead(const Block& block, int64_t distance = kPrefetchDistance) {
  ask_for_stream(reinterpret_cast<const char*>(&block) + distance, sizeof(Block) * Count);
}

/// Bytes of some rows that are asked for, into L1 where it has room, while something else is done in steps: the
/// hardware sees no pattern in the rows, and all at once would fill the queue of misses.
struct Ahead {
  static constexpr int kOfL1 = 32 << 10;

  const uint8_t* at;  // in the first row
  uint64_t stride;    // bytes from a row to the next
  int rows, bytes;
  bool into_l2 = rows * bytes > kOfL1;

  /// Part i of n, each some of the rows; none of them where i >= n.
  K_FN Ahead part(int i, int n) const {
    const int first = i < n ? i * rows / n : 0, end = i < n ? (i + 1) * rows / n : 0;
    return {at + first * stride, stride, end - first, bytes, into_l2};
  }
  K_FN Ahead none() const { return part(0, 0); }

  /// Asked for step by step, an equal part in each.
  struct Steps {
    const uint8_t* at;
    uint64_t stride;
    int bytes;
    bool into_l2;
    uint32_t rate, done;  // rows of a step and rows so far, times 2^16

    K_FN void next() {
      constexpr int kLine = 64;
      const uint32_t before = done >> 16;
      done += rate;
      for (uint32_t left = (done >> 16) - before; left > 0; --left, at += stride) {
        for (int i = 0; i < bytes; i += kLine) ask(at + i, into_l2);
        ask(at + bytes - 1, into_l2);
      }
    }
  };
  K_FN Steps in(int steps) const {
    return {at, stride, bytes, into_l2, ((uint32_t(rows) << 16) + uint32_t(steps) - 1) / uint32_t(steps), 0};
  }
};

}  // namespace mlx_native::cpu::MLXN_ISA
