#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct AttentionParams {
  std::uint32_t n_tokens;  ///< queries
  std::uint32_t n_heads;   ///< a multiple of n_kv_heads: query head h reads KV head h / (n_heads / n_kv_heads)
  std::uint32_t n_kv_heads;
  std::uint32_t head_dim;  ///< any
  std::uint32_t kv_capacity;
  float scale;  ///< usually 1 / sqrt(head_dim)
  bool causal = true;
  std::uint32_t sliding_window = 0;  ///< a query sees at most this many positions, its own included; 0: all
  float softcap = 0.0f;              ///< scores become softcap * tanh(score / softcap); 0: as they are
  std::uint32_t likely_keys = 0;     ///< about how many positions the cache will hold, for speed alone; 0: kv_capacity
};

/// Softmax attention over the KV cache, whose slot s holds the newest position p with p % kv_capacity == s and p <=
/// last, where last = positions[n_tokens - 1] (kv_cache_write of these tokens comes first). The query of position p
/// sees the positions of the cache that are <= p (causal; all of them otherwise) and > p - sliding_window. For a ring
/// to serve a window while n_tokens are processed at once, kv_capacity must be >= sliding_window + n_tokens - 1.
///
/// query and output F32 [n_tokens, n_heads, head_dim]; k_cache and v_cache F32 or both F16 [n_kv_heads, kv_capacity,
/// head_dim]; positions U32 [n_tokens], ascending by one (checked where the host wrote them). Softmax and sums in f32:
/// relative L2 error at most 1e-5 against float64 on the cache's values. A query that sees nothing gives zeros. Errors
/// as in ops/matmul.h; InvalidArgument also for n_heads that is not a multiple of n_kv_heads, a scale that is not
/// finite, and a softcap that is negative or not finite.
Result<void> attention(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                       const MlxBuffer& query, const MlxBuffer& k_cache, const MlxBuffer& v_cache,
                       const MlxBuffer& positions, MlxBuffer& output, const AttentionParams& params);

}  // namespace mlx_native
