#pragma once

#include "args/attention.h"

namespace mlx_native::gpu {

/// A group per token and KV head.
template <bool kHalf, class Thread>
K_FN void kv_cache_write(Thread t, K_CONST const KvCacheWriteArgs& a, K_SHARED float*) {
  const uint64_t rows = uint64_t(a.n_tokens) * a.n_kv_heads;
  for (uint64_t row = t.group(); row < rows; row += t.groups()) {
    const uint64_t token = row / a.n_kv_heads, head = row - token * a.n_kv_heads;
    const uint64_t to = (head * a.kv_capacity + a.positions[token] % a.kv_capacity) * a.head_dim;
    const K_GLOBAL float* const from = a.input + row * a.head_dim;
    for (uint32_t i = t.thread_in_group(); i < a.head_dim; i += t.threads_in_group()) {
      if constexpr (kHalf)
        reinterpret_cast<K_GLOBAL uint16_t*>(a.cache)[to + i] = float_to_half(from[i]);
      else
        reinterpret_cast<K_GLOBAL float*>(a.cache)[to + i] = from[i];
    }
  }
}

}  // namespace mlx_native::gpu
