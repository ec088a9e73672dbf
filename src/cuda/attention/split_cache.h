// F32 keys and values as pairs of halfs, in scratch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "args/attention.h"

namespace mlx_native::cuda {

/// value = (high + low) * factor of its row, a power of two that brings the row's largest value to [2^12, 2^13). Rows
/// are in the cache's order, [n_kv_heads, kv_capacity]; those of positions that no query sees are not written. The
/// factor of a row of values is NaN where one of them is not finite; its halfs are 0 then.
struct SplitCache {
  std::uint16_t *k_high, *k_low, *v_high, *v_low;
  float *k_factor, *v_factor;

  static std::size_t bytes(const AttentionArgs& a) { return rows(a) * (std::size_t{4} * 2 * a.head_dim + 2 * 4); }
  static std::size_t rows(const AttentionArgs& a) { return std::size_t{a.n_kv_heads} * a.kv_capacity; }
  static SplitCache in(const AttentionArgs& a) {
    const std::size_t n = rows(a) * a.head_dim;
    auto* const halfs = reinterpret_cast<std::uint16_t*>(a.scratch);
    auto* const factors = reinterpret_cast<float*>(halfs + 4 * n);
    return {halfs, halfs + n, halfs + 2 * n, halfs + 3 * n, factors, factors + rows(a)};
  }
};

}  // namespace mlx_native::cuda
