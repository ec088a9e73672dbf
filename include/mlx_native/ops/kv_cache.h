#pragma once

#include <cstdint>

#include "mlx_native/buffer.h"
#include "mlx_native/command_encoder.h"
#include "mlx_native/device.h"
#include "mlx_native/kernel_registry.h"

namespace [[gnu::visibility("default")]] mlx_native {

struct KvCacheWriteParams {
  std::uint32_t n_tokens;
  std::uint32_t n_kv_heads;
  std::uint32_t head_dim;
  std::uint32_t kv_capacity;  ///< slots of the cache, >= n_tokens
};

/// cache[h, positions[t] % kv_capacity, :] = input[t, h, :]. input F32 [n_tokens, n_kv_heads, head_dim], positions U32
/// [n_tokens] ascending by one (checked where the host wrote them), cache F32 or F16 (rounded to nearest even)
/// [n_kv_heads, kv_capacity, head_dim]. Errors as in ops/matmul.h.
Result<void> kv_cache_write(CommandEncoder& encoder, const KernelRegistry& registry, const MlxDevice& device,
                            const MlxBuffer& input, const MlxBuffer& positions, MlxBuffer& cache,
                            const KvCacheWriteParams& params);

}  // namespace mlx_native
